package engine

import (
	"bytes"
	"math"
	"runtime/debug"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// What stages computed for an item that goes on behind a gate is kept until the item is
// finished, so that its next step need not compute it again. The rows are copies in Go's
// memory: they outlive the instance that computed them. They have a bound for the whole
// engine. An item for which there was no room computes its stages again.

// KeptBytesMaxDefault bounds what is kept for all unfinished items together.
const KeptBytesMaxDefault = 256 << 20

// keptRowBytes is the memory of a kept row beside its numbers, about.
const keptRowBytes = 160

// keptRow is a row of an intermediate tensor that is kept for one item.
type keptRow struct {
	modelpkg.Intermediate
	row tensor.Tensor
}

func keptBytes(rows []keptRow) (sum int64) {
	for _, r := range rows {
		sum += keptRowBytes + int64(len(r.row.Data))
	}
	return sum
}

// has reports whether rows include all values.
func has(rows []keptRow, values []modelpkg.Intermediate) bool {
	for _, value := range values {
		if !slices.ContainsFunc(rows, func(r keptRow) bool { return r.Intermediate == value }) {
			return false
		}
	}
	return true
}

// alikeKept reports whether two items have the same rows kept, with the same shapes.
func alikeKept(a, b []keptRow) bool {
	return slices.EqualFunc(a, b, func(x, y keptRow) bool { return x.Intermediate == y.Intermediate && runtime.AlikeRows(x.row, y.row) })
}

// keep keeps rows for an item if there is room.
func (l *loop) keep(c *call, item int, rows []keptRow) {
	size := keptBytes(rows)
	if size == 0 || l.engine.kept.Load()+size > l.engine.cfg.KeptBytesMax {
		return
	}
	if c.kept == nil {
		c.kept = make([][]keptRow, len(c.Items))
	}
	l.engine.kept.Add(size)
	c.kept[item] = append(slices.Clip(c.kept[item]), rows...)
}

// forget drops what is kept for finished items.
func (l *loop) forget(c *call, p sched.Part) {
	if c.kept == nil {
		return
	}
	for i := p.First; i < p.First+p.Count; i++ {
		l.engine.kept.Add(-keptBytes(c.kept[i]))
		c.kept[i] = nil
	}
}

// KeptBytes returns the size of what is kept for unfinished items.
func (e *Engine) KeptBytes() int64 { return e.kept.Load() }

// route prepares what the batch takes over from earlier steps and what it keeps for
// later ones.
func (l *loop) route(b *running) {
	r := b.served.routing
	b.core = r.variants[b.dispatch.Variant]
	if b.core.given != nil {
		for _, p := range b.dispatch.Parts {
			c := l.calls[p.Job]
			for i := p.First; i < p.First+p.Count; i++ {
				var rows []keptRow
				sizesLost := c.Encoded != nil && b.served.Model.Follows() // of files that would not be read again
				if c.kept != nil && has(c.kept[i], b.core.given) && !sizesLost {
					rows = c.kept[i]
				}
				b.kept = append(b.kept, rows)
			}
		}
	}
	for _, route := range b.dispatch.Routes {
		for _, value := range r.gates[route].keep {
			if !slices.Contains(b.keep, value) {
				b.keep = append(b.keep, value)
			}
		}
	}
	if b.keepMax = int(max(0, l.engine.cfg.KeptBytesMax-l.engine.kept.Load())); b.keepMax == 0 {
		b.keep = nil
	}
}

// given returns what earlier steps computed for an item of the batch, nil if the item
// runs the whole variant.
func (b *running) given(i int) []keptRow {
	if len(b.kept) == 0 {
		return nil
	}
	return b.kept[i]
}

// reads returns the model's inputs that the run of an item reads.
func (b *running) reads(i int) []int {
	if b.given(i) != nil {
		return b.core.inputs
	}
	return b.served.Model.Variants[b.core.variant].Inputs
}

// settle checks that the instance can run parts of the variant. Otherwise all items run
// the whole variant, and nothing is kept.
func (b *running) settle() {
	if (len(b.kept) > 0 || b.keep != nil) && (b.runs == nil || !runtime.Keeps(b.runs.Instance, b.core.variant)) {
		clear(b.kept)
		b.kept, b.keep = b.kept[:0], nil
	}
}

// part returns the run of some items as a part of the variant; nil if they run the whole
// variant and keep nothing.
func (b *running) part(group []int, items []runtime.Item) *runtime.Part {
	before := b.given(group[0]) // the others are alike
	if before == nil && b.keep == nil {
		return nil
	}
	p := &runtime.Part{Variant: b.core.variant, Items: items, KeepBytesMax: b.keepMax}
	for _, value := range b.keep {
		if !has(before, []modelpkg.Intermediate{value}) {
			p.Keep = append(p.Keep, value)
		}
	}
	if before == nil {
		return p
	}
	for _, value := range b.core.given {
		at := slices.IndexFunc(before, func(r keptRow) bool { return r.Intermediate == value })
		g := runtime.Given{Intermediate: value, Rows: make([]tensor.Tensor, len(group))}
		for k, i := range group {
			g.Rows[k] = b.kept[i][at].row
		}
		p.Given = append(p.Given, g)
	}
	return p
}

// judge has the gates decide which items go on, and copies what is kept for these.
// Items without an answer do not reach the gate.
func (w *worker) judge(b *running, results []itemResult) {
	if b.dispatch.Routes == nil || b.err != nil {
		return
	}
	b.verdicts, b.fresh = make([]sched.Verdict, len(b.items)), make([][]keptRow, len(b.items))
	b.confidence = slices.Repeat([]float64{math.NaN()}, len(b.items))
	i := 0
	for part, p := range b.dispatch.Parts {
		gate := b.served.routing.gates[b.dispatch.Routes[part]]
		for range p.Count {
			r := results[i]
			answered := (b.faulty == nil || b.faulty[i] == nil) && r.ran != nil && r.err == nil && (r.faults == nil || r.faults[r.row] == nil)
			if answered && (gate.decide != nil || gate.choose != nil) {
				confidence, next := w.asks(gate, r)
				if b.confidence[i] = confidence; next >= 0 {
					b.verdicts[i], b.fresh[i] = sched.Next(next), r.rowsOf(gate.keep)
				}
			}
			i++
		}
	}
}

// asks has a gate decide about an item. It returns the core's route that the item goes on
// with, -1 if it is answered. If the gate panics, the item has no answer; the others have.
func (w *worker) asks(gate coreGate, r itemResult) (confidence float64, next int) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("a gate panicked", "panic", p, "stack", string(debug.Stack()))
			if r.faults == nil {
				r.faults = make([]error, r.outputs[0].Rows())
			}
			r.faults[r.row] = slo.E("", slo.KindInternal, "the gate that decides whether the item goes on panicked: %v", p)
			confidence, next = math.NaN(), -1
		}
	}()
	if gate.choose != nil {
		confidence, way := gate.choose(r.outputs, r.row)
		if way < 0 {
			return confidence, -1
		}
		return confidence, gate.ways[way]
	}
	confidence, on := gate.decide(r.outputs, r.row)
	if !on {
		return confidence, -1
	}
	return confidence, gate.next
}

// goOn reports whether one of the items from first on goes on.
func (b *running) goOn(first, count int) bool {
	if b.verdicts == nil {
		return false
	}
	return slices.ContainsFunc(b.verdicts[first:first+count], func(v sched.Verdict) bool {
		_, on := v.Next()
		return on
	})
}

// rowsOf copies the kept rows of an item. It returns none if one of them is not finite:
// such an item runs alone, as its inputs say, which only a whole run sees.
func (r itemResult) rowsOf(values []modelpkg.Intermediate) (rows []keptRow) {
	for k, t := range r.kept {
		if !slices.Contains(values, r.keep[k]) {
			continue
		}
		data := t.Row(r.row)
		if !finite(t.DType, data) {
			return nil
		}
		shape := slices.Clone(t.Shape)
		shape[0] = 1
		rows = append(rows, keptRow{r.keep[k], tensor.Tensor{Name: t.Name, DType: t.DType, Shape: shape, Data: bytes.Clone(data)}})
	}
	return rows
}
