// Package pending is for work that may hang and that nobody can end: code of the
// runtime in C, a disk that does not answer. Whoever waits for such work waits
// within a context, and what has not ended is known by name, so that a server that
// must stop can stop and say what held it up.
package pending

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Work is what is under way. The zero value is ready to use; it is safe for
// concurrent use.
type Work struct {
	mu    sync.Mutex
	tasks []*task
	ended chan struct{} // not nil: somebody waits for the end of one
}

type task struct {
	what  string
	began time.Time
}

// Begin notes that something is under way until end is called.
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

// Idle waits until nothing is under way; the error is ctx's if that ends before.
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

// Do runs f in a goroutine of its own and waits until it or ctx has ended; the
// error is ctx's, and f then still runs. What f writes may be read only when the
// error is nil.
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
		case <-done: // both: it has ended
			return nil
		default:
			return context.Cause(ctx)
		}
	}
}

// Pending says what is under way and for how long, the oldest first, such as
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

// Grace is a context that ends a time after ctx has ended: for what is left to do
// when the time for the work itself is over. Cancel frees it.
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
