package engine

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
)

// worker is one instance of the core: a goroutine that runs one batch at a time,
// of any model, each on a runtime's instance of its own.
type worker struct {
	id      sched.InstanceID
	batches chan *running
	log     *slog.Logger
	running running // the loop's while the instance is idle, the worker's while it runs
	watch   watch   // the loop's
}

// running is a batch on its way through an instance.
type running struct {
	dispatch sched.Dispatch
	served   *deployment
	instance runtime.Instance
	ctx      context.Context    // of the run
	abort    context.CancelFunc // ends it early
	items    []runtime.Item     // of the dispatch's parts, one after the other
	results  []partResult       // by part of the dispatch
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

const (
	// warmUpRuns are timed runs of each variant and size, after one that is not;
	// fewer when they take longer than warmUpTime, but one at least.
	warmUpRuns = 3
	warmUpTime = 150 * time.Millisecond
	// scaleNoted is the ratio to the profile, or its inverse, from which an
	// operator is told that the profile is of another machine.
	scaleNoted = 1.25
)

// measure returns how long a variant takes relative to its profile: the
// geometric mean over the sizes of the best of a few runs.
func (d *deployment) measure(ctx context.Context, instance runtime.Instance, v int) (float64, error) {
	curve := d.planner.Variants()[v].Curve
	item := blankItem(d.Model, v)
	var ratios []float64
	for _, size := range slices.Compact([]int{1, min(curve.Max(), d.Model.Limits.BatchItemsMax)}) {
		items := slices.Repeat([]runtime.Item{item}, size)
		best := time.Duration(math.MaxInt64)
		start := time.Now()
		for run := 0; run <= 1 || (run <= warmUpRuns && time.Since(start) < warmUpTime); run++ {
			began := time.Now()
			if _, err := instance.Run(ctx, v, items); err != nil {
				return 0, err
			}
			if run > 0 {
				best = min(best, time.Since(began))
			}
		}
		ratios = append(ratios, float64(max(best, 1))/float64(curve.Batch(size)))
	}
	return geometricMean(ratios), nil
}

// blankItem is an item of zeros for a variant. Dynamic dimensions are 1.
func blankItem(m *modelpkg.Model, v int) runtime.Item {
	item := make(runtime.Item, len(m.Inputs))
	for _, i := range m.Variants[v].Inputs {
		item[i] = make([]byte, runtime.ItemBytes(m.Inputs[i].Spec))
	}
	return item
}

func geometricMean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(values)))
}
