package server

import (
	"log/slog"
	"strings"
)

// progress writes lines of text, such as those of an installation, to the log.
type progress struct{ log *slog.Logger }

// Write takes whole lines.
func (p progress) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		p.log.Info(strings.TrimSpace(line))
	}
	return len(text), nil
}
