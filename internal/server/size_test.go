package server_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/server"
)

// TestInstancesAreMeasured serves with a runtime that runs one batch at a time, however
// many instances there are: one instance is enough, unless the configuration fixes the
// number.
func TestInstancesAreMeasured(t *testing.T) {
	for measure, want := range map[bool]string{true: "instances=1 threads=1 why=\"1 instance with 1 thread ran ", false: "instances=2 threads=1 why=\"as configured\""} {
		var device sync.Mutex
		var log bytes.Buffer
		s := startServer(t, func(cfg *server.Config) {
			cfg.Measure = measure
			cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
			cfg.Runtime = fake.New(fake.Config{Instant: true, Fail: func(r fake.Run) error {
				device.Lock()
				defer device.Unlock()
				select {
				case <-time.After(2 * time.Millisecond):
				case <-r.Context.Done():
				}
				return r.Context.Err()
			}})
		})
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("measure %v: the log has no %s:\n%s", measure, want, log.String())
		}
	}
}
