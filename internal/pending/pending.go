// Package pending is for work that may hang and cannot be ended: C code of the
// runtime, or a disk that does not answer. Callers wait for such work only until a
// context ends. The package knows the names of what has not ended, so that a server can
// stop in time and say what hangs.
package pending

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Work is a set of running work. The zero value is ready to use. It is safe for
// concurrent use.
type Work struct {
	mu    sync.Mutex
	tasks []*task
	ended chan struct{} // not nil: closed when some work ends, because somebody waits
}

type task struct {
	what  string
	began time.Time
}

// Begin records that work with this name is running until end is called.
func (w *Work) Begin(what string) (end func()) {
	t := &task{what: what, began: time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tasks = append(w.tasks, t)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.tasks = slices.DeleteFunc(w.tasks, func(o *task) bool { return o == t })
		if w.ended != nil {
			close(w.ended)
			w.ended = nil
		}
	}
}

// Idle waits until no work is running. If ctx ends before, it returns ctx's error.
func (w *Work) Idle(ctx context.Context) error {
	for {
		w.mu.Lock()
		if len(w.tasks) == 0 {
			w.mu.Unlock()
			return nil
		}
		if w.ended == nil {
			w.ended = make(chan struct{})
		}
		ended := w.ended
		w.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Do runs f in a new goroutine and waits until f or ctx ends. If ctx ends first, it
// returns ctx's error and f still runs. Read what f writes only if the error is nil.
func (w *Work) Do(ctx context.Context, what string, f func()) error {
	end := w.Begin(what)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer end()
		f()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		select {
		case <-done: // both have ended
			return nil
		default:
			return context.Cause(ctx)
		}
	}
}

// Pending lists the running work and its duration, oldest first, such as
// "loading model digits (12s)".
func (w *Work) Pending() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]string, len(w.tasks))
	for i, t := range w.tasks {
		list[i] = fmt.Sprintf("%s (%v)", t.what, time.Since(t.began).Round(10*time.Millisecond))
	}
	return list
}

// Grace returns a context that ends a certain time after ctx has ended, for clean-up.
// Cancel frees it.
func Grace(ctx context.Context, grace time.Duration) (_ context.Context, cancel func()) {
	late, end := context.WithCancel(context.WithoutCancel(ctx))
	timer := time.AfterFunc(time.Hour, end)
	timer.Stop()
	stop := context.AfterFunc(ctx, func() { timer.Reset(grace) })
	return late, func() {
		stop()
		timer.Stop()
		end()
	}
}
