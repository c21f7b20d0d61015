package engine

import (
	"context"
	"log/slog"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// worker is one instance of the core: a goroutine that runs one batch at a time,
// of any model, each on a runtime's instance of its own.
type worker struct {
	id      sched.InstanceID
	batches chan *running
	log     *slog.Logger
	running running // the loop's while the instance is idle, the worker's while it runs
	watch   watch   // the loop's
	up      bool    // the loop's: as the core knows it
}

// running is a batch on its way through an instance.
type running struct {
	dispatch sched.Dispatch
	started  slo.Instant
	served   *deployment
	instance runtime.Instance
	ctx      context.Context    // of the run
	abort    context.CancelFunc // ends it early
	items    []runtime.Item     // of the dispatch's parts, one after the other
	results  []partResult       // by part of the dispatch
	rows     []itemResult       // scratch of compute, like
	order    []int              // 0, 1, ... and
	whole    ran                // the run of all items
	took     time.Duration
	err      error  // of the whole batch: the instance was lost, or no part has a result
	left     func() // ends the note that it was left behind; nil: it was not
}

func (w *worker) run(e *Engine) {
	for b := range w.batches {
		began := time.Now()
		b.compute(w)
		b.took = time.Since(began)
		clear(b.items)
		e.report(w, b)
	}
}

// The pauses between attempts to load a lost instance anew.
const (
	reloadPauseMin = time.Second
	reloadPauseMax = 30 * time.Second
)

// reload loads a lost instance's models until that succeeds or the engine ends,
// then reports the instance up. A model that cannot be loaded any more, because its
// files have changed, holds the instance up only as long as it is served.
func (w *worker) reload(e *Engine, served []*deployment) {
	for pause := reloadPauseMin; ; pause = min(2*pause, reloadPauseMax) {
		fresh, err := e.loadAgain(served)
		if err == nil {
			if !e.post(func(l *loop) { l.revive(w, served, fresh) }) {
				e.closeAll(fresh)
			}
			return
		}
		e.log.Error("loading a lost instance again", "instance", w.id, "error", err, "next", pause)
		select {
		case <-time.After(pause):
		case <-e.healing.Done():
			return
		}
		if !e.ask(func(l *loop) { served = l.lacking(w) }) {
			return
		}
	}
}

// loadAll loads one instance of each.
func (e *Engine) loadAll(ctx context.Context, served []*deployment) ([]runtime.Instance, error) {
	var instances []runtime.Instance
	for _, d := range served {
		instance, err := e.runtime.Load(ctx, d.Model, runtime.Options{Threads: e.cfg.Threads})
		if err != nil {
			e.closeAll(instances)
			return nil, err
		}
		instances = append(instances, instance)
	}
	return instances, nil
}
