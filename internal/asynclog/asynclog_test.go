package asynclog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/asynclog"
)

func missing(n uint64) []byte { return fmt.Appendf(nil, "%d lines are missing\n", n) }

// reader is the other end of a log.
type reader struct {
	mu   sync.Mutex
	gate chan struct{} // not nil: it does not read until this is closed
	err  error
	got  bytes.Buffer
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	gate, err := r.gate, r.err
	r.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.Write(p)
}

func (r *reader) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.String()
}

func TestReaderThatStopsHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{gate: make(chan struct{})}
		w := asynclog.New(r, 100, missing)
		defer asynclog.Stop(w)
		for i := range 1000 { // blocks for ever if one waits
			if n, err := fmt.Fprintf(w, "line %04d\n", i); n != 10 || err != nil {
				t.Fatal(n, err)
			}
			synctest.Wait()
		}
		if n := w.Dropped(); n != 1000-11 { // one is being written, ten wait
			t.Errorf("dropped: %d", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("flush while nobody reads: %v", err)
		}
		close(r.gate)
		if err := w.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		got := r.text()
		if !strings.HasSuffix(got, "line 0010\n989 lines are missing\n") || strings.Count(got, "\n") != 12 {
			t.Errorf("written: %q", got)
		}
		fmt.Fprintln(w, "later")
		if err := w.Flush(t.Context()); err != nil || !strings.HasSuffix(r.text(), "missing\nlater\n") {
			t.Errorf("%v, written: %q", err, r.text())
		}
	})
}

func TestReaderThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{err: errors.New("broken pipe")}
		w := asynclog.New(r, 100, missing)
		defer asynclog.Stop(w)
		for range 3 {
			fmt.Fprintln(w, "nobody reads this")
			if err := w.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if n := w.Dropped(); n != 3 {
			t.Errorf("dropped: %d", n)
		}
		r.mu.Lock()
		r.err = nil
		r.mu.Unlock()
		fmt.Fprintln(w, "back")
		if err := w.Flush(t.Context()); err != nil || r.text() != "back\n3 lines are missing\n" {
			t.Errorf("%v, written: %q", err, r.text())
		}
	})
}
