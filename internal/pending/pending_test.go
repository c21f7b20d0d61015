package pending_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/pending"
)

func TestWorkThatHangsIsLeftAndNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w pending.Work
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		gate := make(chan struct{})
		if err := w.Do(ctx, "reading a tape", func() { <-gate }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("work that hangs: %v", err)
		}
		if got := w.Pending(); !slices.Equal(got, []string{"reading a tape (3s)"}) {
			t.Errorf("pending: %q", got)
		}
		if err := w.Idle(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for it: %v", err)
		}
		close(gate)
		if err := w.Idle(t.Context()); err != nil {
			t.Errorf("waiting for its end: %v", err)
		}
		if got := w.Pending(); len(got) > 0 {
			t.Errorf("pending when all has ended: %q", got)
		}
	})
}

func TestWorkThatEnds(t *testing.T) {
	var w pending.Work
	done := false
	if err := w.Do(t.Context(), "work", func() { done = true }); err != nil || !done || len(w.Pending()) > 0 {
		t.Errorf("%v, done %v, pending %q", err, done, w.Pending())
	}
}

func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		late, cancel := pending.Grace(ctx, time.Second)
		defer cancel()
		time.Sleep(time.Hour) // virtual
		synctest.Wait()
		if late.Err() != nil {
			t.Error("it ended before its parent")
		}
		began := time.Now()
		end()
		<-late.Done()
		if took := time.Since(began); took != time.Second {
			t.Errorf("it ended %v after its parent", took)
		}
	})
}
