package engine

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// worker is one instance of the core. Those of class 0 run batches of any model, one in
// each of their slots, on one runtime instance per model. Each of the others runs one
// model's variants on one other server. Only the loop uses it.
type worker struct {
	id    sched.InstanceID
	class sched.ClassID
	log   *slog.Logger
	slots []*slot
	size  int  // slots in use: as many as every model's instance allows
	up    bool // as the core knows it
	lost  bool // it goes down when the batches that still run have ended

	lostBy sched.BatchID // the batch whose run lost the instance, or hung
	spared bool          // only the instance of one model is lost: it comes back at once with the others

	served    *deployment // not of class 0: its model; nil: none
	site      *site       // not of class 0: what it runs of it
	reloading bool        // a goroutine loads what it has lost
	away      bool        // not of class 0: loading has failed
}

// slot is a goroutine of a worker that runs one batch at a time.
type slot struct {
	worker  *worker
	batches chan *running
	running running // owned by the loop while the slot is free, by the slot while it runs
	watch   watch   // owned by the loop
	stuck   bool    // owned by the loop: abandoned with its batch
	lost    bool    // owned by the loop: the batch was lost and, for the core, runs until the instance goes down
}

// hire makes a worker with one slot.
func (e *Engine) hire(id sched.InstanceID, class sched.ClassID) *worker {
	w := &worker{id: id, class: class, log: e.log}
	w.resize(e, 1)
	return w
}

// resize sets the number of slots in use.
func (w *worker) resize(e *Engine, size int) {
	for len(w.slots) < size {
		s := &slot{worker: w, batches: make(chan *running, 1)}
		w.slots = append(w.slots, s)
		go s.run(e)
	}
	w.size = size
}

// free returns a slot that runs nothing. The core starts no batch unless there is one.
func (w *worker) free() *slot {
	return w.slots[slices.IndexFunc(w.slots, func(s *slot) bool { return !s.watch.busy })]
}

// find returns the slot that runs a batch, as the core knows it.
func (w *worker) find(id sched.BatchID) *slot {
	return w.slots[slices.IndexFunc(w.slots, func(s *slot) bool { return s.occupied() && s.running.dispatch.Batch == id })]
}

// occupied reports whether the slot runs a batch, as the core knows it.
func (s *slot) occupied() bool { return s.watch.busy || s.lost }

// busy returns the slots with batches that are expected to end.
func (w *worker) busy() (list []*slot) {
	for _, s := range w.slots {
		if s.watch.busy && !s.stuck {
			list = append(list, s)
		}
	}
	return list
}

// dismiss lets the goroutines of the slots end after their current batches.
func (w *worker) dismiss() {
	for _, s := range w.slots {
		close(s.batches)
	}
}

// running is a batch on an instance.
type running struct {
	dispatch sched.Dispatch
	started  slo.Instant
	served   *deployment
	instance *instance               // held until the run has ended; nil: it is lost
	awaited  *mending                // what the batch waits for where it is
	held     bool                    // the loop's: it holds what it waited for
	runs     *instance               // of compute: the one or the other
	ctx      context.Context         // of the run
	abort    context.CancelFunc      // ends it early
	aborted  bool                    // the loop's: the core wants it ended early
	items    []runtime.Item          // of the dispatch's parts, one after the other
	encoded  [][]bool                // by item: call.encoded
	own      [][]tensor.Shape        // by item: call.own; empty: no output follows an input
	core     coreVariant             // what it runs
	kept     [][]keptRow             // by item: what earlier steps computed, nil: the item runs the whole variant; empty: all do
	keep     []modelpkg.Intermediate // to be kept for later steps
	keepMax  int                     // bytes
	verdicts []sched.Verdict         // by item: what the gates decided; nil: there is no gate
	fresh    [][]keptRow             // by item: what is newly kept
	// confidence is, by item, that of an answer that a gate has seen; NaN: no gate has.
	confidence []float64
	// primaries is, by item, the modality that its answer depends on most, -1 if none is
	// known; nil: the model has no weights of the modalities.
	primaries []int
	faulty    []error      // by item: why it cannot run; nil: all can
	results   []partResult // by part of the dispatch
	rows      []itemResult // scratch space of compute, as are
	order     []int        // 0, 1, ... and
	whole     ran          // the run of all items
	took      time.Duration
	err       error  // of the whole batch: the instance was lost, or no part has a result
	left      func() // ends its entry in Config.Work as abandoned; nil: not abandoned
}

func (s *slot) run(e *Engine) {
	for b := range s.batches {
		b.await()
		began := time.Now()
		b.compute(s.worker, e.decoder)
		b.took = time.Since(began)
		clear(b.items)
		clear(b.encoded)
		clear(b.own)
		clear(b.kept)
		e.closeAll([]*instance{b.instance})
		e.report(s, b)
	}
}

// The pauses between attempts to reload a lost instance.
const (
	reloadPauseMin = time.Second
	reloadPauseMax = 30 * time.Second
)

// share is what a worker runs of a model.
type share struct {
	served *deployment
	site   *site
}

// reload loads a lost instance's models until that succeeds or the engine ends, then
// reports the instance up. A model that can no longer be loaded, because its files have
// changed, delays the instance only as long as it is served.
func (w *worker) reload(e *Engine, shares []share) {
	for pause := reloadPauseMin; ; pause = min(2*pause, reloadPauseMax) {
		fresh, err := e.loadAgain(shares)
		if err == nil {
			if !e.post(func(l *loop) { l.revive(w, shares, fresh) }) {
				e.closeAll(fresh)
			}
			return
		}
		e.log.Error("reloading a lost instance failed", "instance", w.id, "error", err, "next", pause)
		e.post(func(l *loop) { l.leave(w) })
		select {
		case <-time.After(pause):
		case <-e.healing.Done():
			return
		}
		if !e.ask(func(l *loop) { shares = l.lacking(w) }) {
			return
		}
	}
}

// loadAll loads one instance of each.
func (e *Engine) loadAll(ctx context.Context, shares []share) ([]*instance, error) {
	var instances []*instance
	for _, s := range shares {
		loaded, err := e.runtime.Load(ctx, s.served.Model, runtime.Options{Threads: e.cfg.Threads, Variants: s.site.variants})
		if err != nil {
			e.closeAll(instances)
			return nil, err
		}
		instances = append(instances, newInstance(loaded))
	}
	return instances, nil
}
