package engine

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// worker is one instance of the core: a goroutine that runs one batch at a time,
// with the runtime's instances of all models.
type worker struct {
	id        sched.InstanceID
	instances []runtime.Instance // by model
	batches   chan *running
	models    []Served
	log       *slog.Logger
	running   running // the loop's while the instance is idle, the worker's while it runs
}

// running is a batch on its way through an instance.
type running struct {
	dispatch sched.Dispatch
	items    []runtime.Item
	outputs  []tensor.Tensor
	took     time.Duration
	err      error
	partErrs []error // by part of the dispatch, when they were run apart after an error
}

func (w *worker) run(e *Engine) {
	for b := range w.batches {
		began := time.Now()
		b.outputs, b.err = w.execute(b.dispatch, b.items)
		if b.err != nil {
			e.log.Error("a batch failed", "model", e.cfg.Models[b.dispatch.Model].Model.Name,
				"variant", b.dispatch.Variant, "items", len(b.items), "error", b.err)
			if len(b.dispatch.Parts) > 1 && slo.KindOf(b.err) != slo.KindUnavailable {
				w.isolate(b)
			}
		}
		b.took = time.Since(began)
		clear(b.items)
		e.inbox <- func(l *loop) { l.done(b) }
	}
}

// isolate runs the parts of a failed batch one by one: one client's bad item
// must not fail the others that shared its batch. (An instance that is not
// available fails them all.)
func (w *worker) isolate(b *running) {
	b.partErrs = make([]error, len(b.dispatch.Parts))
	row := 0
	for i, p := range b.dispatch.Parts {
		var part []tensor.Tensor
		part, b.partErrs[i] = w.execute(b.dispatch, b.items[row:row+p.Count])
		if b.partErrs[i] == nil {
			rows := make([]int, p.Count)
			for k := range rows {
				rows[k] = row + k
			}
			b.outputs, b.partErrs[i] = scatter(b.outputs, part, rows, len(b.items))
			b.err = nil // of the whole
		}
		row += p.Count
	}
}

// execute runs items of a batch. A panic inside the runtime's binding fails
// them, not the server.
func (w *worker) execute(d sched.Dispatch, items []runtime.Item) (outputs []tensor.Tensor, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("the runtime panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("the runtime panicked: %v", p)
		}
	}()
	instance, inputs := w.instances[d.Model], w.models[d.Model].Model.Variants[d.Variant].Inputs
	if alike(items, inputs) {
		return instance.Run(context.Background(), d.Variant, items)
	}
	return runApart(instance, d.Variant, inputs, items)
}

// alike reports whether all items agree in the sizes of these inputs, as they do
// unless the model has dynamic dimensions.
func alike(items []runtime.Item, inputs []int) bool {
	for _, item := range items[1:] {
		if !sameSizes(item, items[0], inputs) {
			return false
		}
	}
	return true
}

func sameSizes(a, b runtime.Item, inputs []int) bool {
	for _, i := range inputs {
		if len(a[i]) != len(b[i]) {
			return false
		}
	}
	return true
}

// runApart runs a batch whose items differ in size: the core does not see
// tensors, a runtime needs equal ones, so items of equal sizes run together.
func runApart(instance runtime.Instance, variant int, inputs []int, items []runtime.Item) ([]tensor.Tensor, error) {
	var outputs []tensor.Tensor
	done := make([]bool, len(items))
	for first := range items {
		if done[first] {
			continue
		}
		var same []runtime.Item
		var rows []int
		for i := first; i < len(items); i++ {
			if !done[i] && sameSizes(items[i], items[first], inputs) {
				done[i] = true
				same, rows = append(same, items[i]), append(rows, i)
			}
		}
		part, err := instance.Run(context.Background(), variant, same)
		if err != nil {
			return nil, err
		}
		if outputs, err = scatter(outputs, part, rows, len(items)); err != nil {
			return nil, err
		}
	}
	return outputs, nil
}

// scatter copies rows of part to their places in the outputs of n items.
func scatter(outputs, part []tensor.Tensor, rows []int, n int) ([]tensor.Tensor, error) {
	if outputs == nil {
		for _, p := range part {
			shape := slices.Clone(p.Shape)
			shape[0] = int64(n)
			outputs = append(outputs, tensor.Tensor{Name: p.Name, DType: p.DType, Shape: shape, Data: make([]byte, len(p.Row(0))*n)})
		}
	}
	for o, p := range part {
		for i, row := range rows {
			if len(p.Row(i)) != len(outputs[o].Row(row)) {
				return nil, fmt.Errorf("output %q has rows of different sizes for inputs of different sizes: such items cannot share a batch", p.Name)
			}
			copy(outputs[o].Row(row), p.Row(i))
		}
	}
	return outputs, nil
}

// The pauses between attempts to load a lost instance anew.
const (
	reloadPauseMin = time.Second
	reloadPauseMax = 30 * time.Second
)

// reload loads a lost instance's models until that succeeds or the engine ends,
// then reports the instance up.
func (w *worker) reload(e *Engine) {
	for pause := reloadPauseMin; ; pause = min(2*pause, reloadPauseMax) {
		fresh, err := e.loadAll()
		if err == nil {
			if !e.post(func(l *loop) { l.revive(w, fresh) }) {
				e.closeAll(fresh)
			}
			return
		}
		e.log.Error("loading a lost instance again", "instance", w.id, "error", err, "next", pause)
		select {
		case <-time.After(pause):
		case <-e.stopped:
			return
		}
	}
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
		start := time.Now()
		for run := 0; run <= 1 || (run <= warmUpRuns && time.Since(start) < warmUpTime); run++ {
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
