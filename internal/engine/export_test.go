package engine

import (
	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/plan"
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

// Routed returns the planner of a model with routes, if the runtime keeps what stages
// compute, and for each of the planner's variants the model's.
func Routed(s Served) (planner *plan.Planner, variants []int, err error) {
	r, err := newRouting(s, func(v int) bool { return s.Model.Variants[v].Steps != nil })
	if err != nil {
		return nil, nil, err
	}
	for _, v := range r.variants {
		variants = append(variants, v.variant)
	}
	return r.planner, variants, nil
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
