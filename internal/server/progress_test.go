package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestTheLogSaysThatARuntimeIsInstalled(t *testing.T) {
	var log bytes.Buffer
	fmt.Fprint(progress{slog.New(slog.NewTextHandler(&log, nil))}, "installing ONNX Runtime\nit is installed\n")
	for _, say := range []string{`level=INFO msg="installing ONNX Runtime"`, `msg="it is installed"`} {
		if !strings.Contains(log.String(), say) {
			t.Errorf("it does not say %s:\n%s", say, log.String())
		}
	}
}
