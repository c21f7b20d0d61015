package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"

	"github.com/mosel-serve/mosel/internal/media"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// partResult is the result of one part of a dispatch. Parts are independent: a part
// keeps its outputs, with the shape that its own items gave, whatever happened to other
// parts.
type partResult struct {
	outputs []tensor.Tensor // Model.Outputs, in order; the first dimension is the part's items; nil after err
	errs    []error         // by item of the part, nil without error; nil: all items succeeded
	err     error           // of the whole part
}

// ran is a run that has ended.
type ran struct {
	outputs []tensor.Tensor
	keep    []modelpkg.Intermediate // what it was to keep
	kept    []tensor.Tensor         // by keep; nil: nothing
	faults  []error                 // by row, for outputs that are no answers; nil: none
	err     error
}

// itemResult locates the answer to one item: a row of a run's outputs.
type itemResult struct {
	*ran
	row int
}

// compute runs the batch and sets the results of its parts. The core does not see
// tensors, so its batches may hold items that cannot share a run: those run apart.
// It sets err when the instance was lost or no part has a result.
func (b *running) compute(w *worker, decoder *media.Decoder) {
	items := slices.Grow(b.rows[:0], len(b.items))[:len(b.items)]
	b.rows = items
	defer clear(items)
	b.settle()
	if b.err = b.decode(decoder); b.err != nil {
		// Nobody waits for the batch any more.
	} else if b.faulty == nil && b.together() {
		for i := range b.items {
			b.order = append(b.order, i)
		}
		b.err = w.runGroup(b, b.order, items)
	} else {
		for _, group := range b.groups() {
			if b.err = w.runGroup(b, group, items); b.err != nil {
				break
			}
		}
	}
	w.judge(b, items)
	b.dropEstimates(items)
	b.weigh(items)
	defer func() { b.whole = ran{} }()
	b.results = slices.Grow(b.results[:0], len(b.dispatch.Parts))[:len(b.dispatch.Parts)]
	clear(b.results)
	first, failed := 0, 0
	for i, p := range b.dispatch.Parts {
		if b.err != nil {
			b.results[i].err = b.err
			continue
		}
		if b.results[i] = b.cut(b.join(items, first, p.Count), first, p.Count); b.results[i].err != nil {
			failed++
		}
		first += p.Count
	}
	if b.err == nil && failed == len(b.results) {
		b.err = b.results[0].err
	}
}

// dropEstimates drops a gate's estimates, which are no output of the model.
func (b *running) dropEstimates(results []itemResult) {
	if b.served.Model.GateOf(b.core.variant) == nil {
		return
	}
	for _, r := range results {
		if r.ran != nil && r.outputs != nil {
			r.outputs = r.outputs[:len(b.served.Model.Outputs)]
		}
	}
}

// weigh notes the primary modality of each item that has an answer.
func (b *running) weigh(results []itemResult) {
	b.primaries = nil
	at := b.served.Model.Weights()
	if at < 0 || b.err != nil {
		return
	}
	b.primaries = make([]int, len(results))
	for i, r := range results {
		if b.primaries[i] = -1; r.ran != nil && r.outputs != nil {
			b.primaries[i] = modelpkg.Primary(r.outputs[at], r.row)
		}
	}
}

// together reports whether all items may share a run, which is nearly always so.
func (b *running) together() bool {
	if len(b.items) == 1 {
		return true
	}
	if b.served.valueSized(b.core.variant) != "" {
		return false
	}
	for i := range b.items {
		if !b.alike(i, 0) || b.infinite(i) >= 0 {
			return false
		}
	}
	return true
}

// groups divides the items of the batch into runs. Two kinds of item run alone, so
// that an answer does not depend on its neighbours:
//   - All items, if the size of an output depends on values: the graph would give
//     each item the size of the largest, or fail.
//   - An item with a number that is not finite: if the graph mixes its items, it
//     would spoil others, perhaps of other clients. (The check takes about 60
//     microseconds per megabyte of inputs.)
func (b *running) groups() [][]int {
	var groups, alone [][]int
	valueSized := b.served.valueSized(b.core.variant) != ""
	for i := range b.items {
		if b.faulty != nil && b.faulty[i] != nil {
			continue
		}
		if valueSized || (len(b.items) > 1 && b.infinite(i) >= 0) {
			alone = append(alone, []int{i})
			continue
		}
		g := slices.IndexFunc(groups, func(group []int) bool { return b.alike(i, group[0]) })
		if g < 0 {
			groups = append(groups, append(make([]int, 0, len(b.items)-i), i))
			continue
		}
		groups[g] = append(groups[g], i)
	}
	return append(groups, alone...)
}

// valueSized returns the name of an output of a variant whose size depends on the
// inputs' values; "" if there is none. That is an output with a dynamic size although
// the inputs' sizes are fixed, or one that had different sizes for samples of equal
// sizes.
func (d *deployment) valueSized(variant int) string {
	dynamic := func(s modelpkg.Spec) bool { return slices.Contains(s.Shape, -1) }
	for _, i := range d.Model.Variants[variant].Inputs {
		if dynamic(d.Model.Inputs[i].Spec) {
			return d.sized[variant]
		}
	}
	for _, out := range d.Model.Outputs {
		if dynamic(out) {
			return out.Name
		}
	}
	return ""
}

// alike reports whether two items may share a run: the inputs that the variant reads
// have the same sizes (they differ only with dynamic dimensions), the inputs that apply
// to the whole batch have the same value, and they take over the same from earlier steps.
func (b *running) alike(i, k int) bool {
	if !alikeKept(b.given(i), b.given(k)) {
		return false
	}
	for _, input := range b.reads(i) {
		if !runtime.Alike(b.served.Model.Inputs[input], b.items[i][input], b.items[k][input]) {
			return false
		}
	}
	return true
}

// runGroup runs items of the batch together and, when that fails, those of each
// part by themselves: one client's bad item must not fail the others that shared
// its batch. It returns an error only when nothing else can run either: the
// instance is not available or has too much to do, or nobody waits for the batch any more.
func (w *worker) runGroup(b *running, group []int, results []itemResult) error {
	err := w.runInto(b, group, results)
	if err == nil || b.hopeless(err) {
		return err
	}
	parts := b.byPart(group)
	if len(parts) == 1 {
		return nil
	}
	for _, part := range parts {
		if err := w.runInto(b, part, results); err != nil && b.hopeless(err) {
			return err
		}
	}
	return nil
}

// hopeless reports whether, after this error, the rest of the batch is not worth
// running.
func (b *running) hopeless(err error) bool {
	kind := slo.KindOf(err)
	return b.ctx.Err() != nil || errors.Is(err, runtime.ErrLost) || kind == slo.KindUnavailable || kind == slo.KindOverloaded
}

// runInto runs items of the batch together and records the result of each.
func (w *worker) runInto(b *running, group []int, results []itemResult) error {
	run := &b.whole
	if len(group) < len(b.items) {
		run = new(ran)
	}
	if w.execute(b, group, run); run.err == nil {
		run.faults = b.faults(group, run.outputs)
	}
	for row, i := range group {
		results[i] = itemResult{run, row}
	}
	return run.err
}

// pick returns these items of the batch, or the batch's own slice if these are all.
func (b *running) pick(group []int) []runtime.Item {
	if len(group) == len(b.items) {
		return b.items
	}
	items := make([]runtime.Item, len(group))
	for k, i := range group {
		items[k] = b.items[i]
	}
	return items
}

// byPart splits items of the batch, in ascending order, by part.
func (b *running) byPart(group []int) [][]int {
	var parts [][]int
	end := 0
	for _, p := range b.dispatch.Parts {
		end += p.Count
		n := 0
		for n < len(group) && group[n] < end {
			n++
		}
		if n > 0 {
			parts, group = append(parts, group[:n]), group[n:]
		}
	}
	return parts
}

// execute runs items of a batch and checks the outputs against the contract of Run. A
// panic in the runtime's binding fails the items, not the server.
func (w *worker) execute(b *running, group []int, run *ran) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("the runtime panicked", "panic", p, "stack", string(debug.Stack()))
			*run = ran{err: fmt.Errorf("the runtime panicked: %v", p)}
		}
	}()
	if b.runs == nil {
		run.err = errMending
		return
	}
	items := b.pick(group)
	if part := b.part(group, items); part != nil {
		run.keep = part.Keep
		run.outputs, run.kept, run.err = b.runs.Instance.(runtime.Staged).RunStages(b.ctx, *part)
	} else {
		run.outputs, run.err = b.runs.Run(b.ctx, b.core.variant, items)
	}
	if run.err == nil {
		run.err = checkOutputs(run.outputs, len(b.served.Model.OutputsOf(b.core.variant)), len(items))
	}
	if run.err != nil {
		if b.ctx.Err() == nil { // otherwise nobody waits for it
			m, err := b.served.Model, run.err
			log := w.log.With("model", m.Name, "variant", m.Variants[b.core.variant].Name, "items", len(items))
			if detail := runtime.Detail(err); detail != "" {
				log = log.With("detail", detail)
			}
			level := slog.LevelError
			if kind := slo.KindOf(err); kind == slo.KindInvalid || kind == slo.KindTooLarge { // a client's mistake
				level = slog.LevelInfo
			}
			log.Log(b.ctx, level, "a run failed", "error", err)
		}
		run.outputs, run.kept = nil, nil
	}
}

// checkOutputs returns an error for outputs that cannot be split by items.
func checkOutputs(outputs []tensor.Tensor, want, items int) error {
	if len(outputs) != want {
		return fmt.Errorf("the runtime returned %d outputs; the model has %d", len(outputs), want)
	}
	for _, out := range outputs {
		if out.Rows() != items || len(out.Data)%items != 0 && out.DType != tensor.Bytes {
			return fmt.Errorf("output %q has shape %v and %d bytes for %d items: its first dimension must be the items", out.Name, out.Shape, len(out.Data), items)
		}
		if out.DType != tensor.Bytes {
			continue
		}
		if _, err := tensor.New(out.Name, out.DType, out.Shape, out.Data); err != nil {
			return err
		}
	}
	return nil
}

// join makes a part's outputs from those of its items: views of a run's rows if they
// are adjacent there, else copies.
func join(items []itemResult) partResult {
	for _, item := range items {
		if item.err != nil {
			return partResult{err: item.err}
		}
	}
	var errs []error
	for i, item := range items {
		if item.faults != nil && item.faults[item.row] != nil {
			if errs == nil {
				errs = make([]error, len(items))
			}
			errs[i] = item.faults[item.row]
		}
	}
	first := items[0]
	adjacent := true
	for i, item := range items {
		adjacent = adjacent && item.ran == first.ran && item.row == first.row+i
	}
	if adjacent && len(items) == first.outputs[0].Rows() {
		return partResult{outputs: first.outputs, errs: errs}
	}
	r := partResult{outputs: make([]tensor.Tensor, len(first.outputs)), errs: errs}
	for o, out := range first.outputs {
		shape := slices.Clone(out.Shape)
		shape[0] = int64(len(items))
		t := tensor.Tensor{Name: out.Name, DType: out.DType, Shape: shape}
		if adjacent {
			t.Data = rows(out, first.row, len(items))
		} else {
			t.Data = make([]byte, 0, len(items)*(len(out.Data)/out.Rows()))
			for _, item := range items {
				other := item.outputs[o]
				if !other.Shape[1:].Equal(out.Shape[1:]) {
					return partResult{err: differ(out.Name, out.Shape, other.Shape)}
				}
				t.Data = append(t.Data, other.Row(item.row)...)
			}
		}
		r.outputs[o] = t
	}
	return r
}

// differ returns the error of a job whose items' answers have no common shape.
func differ(output string, a, b tensor.Shape) error {
	return slo.E("", slo.KindInvalid, "output %q has shape %v for one item of the request and %v for another: they cannot be one tensor; send items with answers of different sizes in separate requests",
		output, a[1:], b[1:])
}
