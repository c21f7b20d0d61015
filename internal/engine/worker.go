package engine

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/tensor"
)

// worker is one instance of the core: a goroutine that runs one batch at a time,
// with the runtime's instances of all models.
type worker struct {
	id        sched.InstanceID
	instances []runtime.Instance // by model
	batches   chan *running
	running   running // the loop's while the instance is idle, the worker's while it runs
}

// running is a batch on its way through an instance.
type running struct {
	dispatch sched.Dispatch
	items    []runtime.Item
	outputs  []tensor.Tensor
	took     time.Duration
	err      error
}

func (w *worker) run(e *Engine) {
	for b := range w.batches {
		began := time.Now()
		b.outputs, b.err = w.execute(b)
		b.took = time.Since(began)
		clear(b.items)
		if b.err != nil {
			e.log.Error("a batch failed", "model", e.cfg.Models[b.dispatch.Model].Model.Name,
				"variant", b.dispatch.Variant, "items", len(b.items), "error", b.err)
		}
		e.inbox <- func(l *loop) { l.done(b) }
	}
}

// execute runs the batch. A panic inside the runtime's binding fails the batch,
// not the server.
func (w *worker) execute(b *running) (outputs []tensor.Tensor, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the runtime panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return w.instances[b.dispatch.Model].Run(context.Background(), b.dispatch.Variant, b.items)
}

const (
	// warmUpRuns are timed runs of each variant and size, after one that is not.
	warmUpRuns = 3
	// scaleNoted is the ratio to the profile, or its inverse, from which an
	// operator is told that the profile is of another machine.
	scaleNoted = 1.25
)

// warmUp runs every variant of every model on every instance, at one item and
// at the largest batch, and sets the models' Scale to how much slower than its
// profile each variant is on this machine now.
func (e *Engine) warmUp(models []sched.Model) error {
	for i, s := range e.cfg.Models {
		models[i].Scale = make([]float64, len(s.Model.Variants))
		for v := range s.Model.Variants {
			for _, w := range e.workers {
				scale, err := e.measure(w.instances[i], s, i, v)
				if err != nil {
					return fmt.Errorf("warming up %s, variant %s: %w", s.Model.Name, s.Model.Variants[v].Name, err)
				}
				models[i].Scale[v] = max(models[i].Scale[v], scale)
			}
		}
		if mean := geometricMean(models[i].Scale); mean > scaleNoted || mean < 1/scaleNoted {
			e.log.Warn("this machine differs from the profile's; its latencies are scaled, a profile of this machine is better: mosel profile "+s.Model.Dir,
				"model", s.Model.Name, "profile", s.Profile.Device, "scale", math.Round(mean*100)/100)
		}
	}
	return nil
}

// measure returns how long a variant takes relative to its profile: the
// geometric mean over the sizes of the best of a few runs.
func (e *Engine) measure(instance runtime.Instance, s Served, model, v int) (float64, error) {
	curve := e.planner[model].Variants()[v].Curve
	item := blankItem(s.Model, v)
	var ratios []float64
	for _, size := range slices.Compact([]int{1, min(curve.Max(), s.Model.Limits.BatchItemsMax)}) {
		items := slices.Repeat([]runtime.Item{item}, size)
		best := time.Duration(math.MaxInt64)
		for run := range 1 + warmUpRuns {
			began := time.Now()
			if _, err := instance.Run(context.Background(), v, items); err != nil {
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
		size := m.Inputs[i].DType.Size()
		for _, d := range m.Inputs[i].Shape {
			size *= int(max(1, d))
		}
		item[i] = make([]byte, size)
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
