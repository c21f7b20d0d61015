package server

import (
	"log/slog"
	"strings"
)

// progress writes the output of an installation to the log, one message a line.
type progress struct{ log *slog.Logger }

// Write implements io.Writer. text must be whole lines.
func (p progress) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		p.log.Info(strings.TrimSpace(line))
	}
	return len(text), nil
}
