package engine

import (
	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/status"
)

// HoldObserver blocks the observer until the channel is closed.
func (e *Engine) HoldObserver(until <-chan struct{}) {
	held := make(chan struct{})
	go e.observing.Ask(func() { close(held); <-until })
	<-held
}

// HoldLoop keeps the loop from handling messages until the channel is closed.
func (e *Engine) HoldLoop(until <-chan struct{}) {
	held := make(chan struct{})
	e.post(func(*loop) { close(held); <-until })
	<-held
}

// Snapshot is what the engine says is under way, and what its observer says of the
// same moment.
func (e *Engine) Snapshot() (snapshot feed.Snapshot, observed status.Status) {
	e.ask(func(l *loop) {
		snapshot = l.snapshot()
		e.observe(func(o *obs.Observer) { observed = o.Status(snapshot.At) })
	})
	return snapshot, observed
}
