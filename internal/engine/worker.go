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
// of any model, each on a runtime's instance of its own.
type worker struct {
	id      sched.InstanceID
	batches chan *running
	log     *slog.Logger
	running running // the loop's while the instance is idle, the worker's while it runs
}

// running is a batch on its way through an instance.
type running struct {
	dispatch sched.Dispatch
	served   *deployment
	instance runtime.Instance
	ctx      context.Context    // of the run
	abort    context.CancelFunc // ends it early
	items    []runtime.Item
	outputs  []tensor.Tensor
	took     time.Duration
	err      error
	partErrs []error // by part of the dispatch, when they were run apart after an error
}

func (w *worker) run(e *Engine) {
	for b := range w.batches {
		began := time.Now()
		b.outputs, b.err = w.execute(b, b.items)
		if b.err != nil && b.ctx.Err() == nil { // else nobody waits for it
			e.log.Error("a batch failed", "model", b.served.Model.Name, "variant", b.served.Model.Variants[b.dispatch.Variant].Name,
				"items", len(b.items), "error", b.err)
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
		part, b.partErrs[i] = w.execute(b, b.items[row:row+p.Count])
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
func (w *worker) execute(b *running, items []runtime.Item) (outputs []tensor.Tensor, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("the runtime panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("the runtime panicked: %v", p)
		}
	}()
	if alike(items, b.inputs()) {
		return b.instance.Run(b.ctx, b.dispatch.Variant, items)
	}
	return b.runApart(items)
}

// inputs are the indices of those that the batch's variant reads.
func (b *running) inputs() []int { return b.served.Model.Variants[b.dispatch.Variant].Inputs }

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
func (b *running) runApart(items []runtime.Item) ([]tensor.Tensor, error) {
	var outputs []tensor.Tensor
	done := make([]bool, len(items))
	for first := range items {
		if done[first] {
			continue
		}
		var same []runtime.Item
		var rows []int
		for i := first; i < len(items); i++ {
			if !done[i] && sameSizes(items[i], items[first], b.inputs()) {
				done[i] = true
				same, rows = append(same, items[i]), append(rows, i)
			}
		}
		part, err := b.instance.Run(b.ctx, b.dispatch.Variant, same)
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
// then reports the instance up. A model that cannot be loaded any more, because its
// files have changed, holds the instance up only as long as it is served.
func (w *worker) reload(e *Engine, served []*deployment) {
	for pause := reloadPauseMin; ; pause = min(2*pause, reloadPauseMax) {
		fresh, err := e.loadAll(served)
		if err == nil {
			if !e.post(func(l *loop) { l.revive(w, served, fresh) }) {
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
		if !e.ask(func(l *loop) { served = l.lacking(w) }) {
			return
		}
	}
}

// loadAll loads one instance of each.
func (e *Engine) loadAll(served []*deployment) ([]runtime.Instance, error) {
	var instances []runtime.Instance
	for _, d := range served {
		instance, err := e.runtime.Load(context.Background(), d.Model, runtime.Options{Threads: e.cfg.Threads})
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
func (d *deployment) measure(instance runtime.Instance, v int) (float64, error) {
	curve := d.planner.Variants()[v].Curve
	item := blankItem(d.Model, v)
	var ratios []float64
	for _, size := range slices.Compact([]int{1, min(curve.Max(), d.Model.Limits.BatchItemsMax)}) {
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
