package engine

import (
	"context"
	"hash/maphash"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/drift"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Bounds on shadow runs.
const (
	shadowItemsMax = 256              // that wait or run, over all models
	shadowBytesMax = 64 << 20         // of their tensors
	shadowWaitMax  = 10 * time.Second // for idle time
	shadowsPerJob  = 4                // items of one request
)

// Bounds on shadow runs that do not wait for idle time.
const (
	recoveryShare    = 0.1                    // of the instances' time
	recoveryAheadMax = 200 * time.Millisecond // that is saved up
	recoveryDue      = 2 * time.Second        // from begin to end of one variant's run
	shadowsWaiting   = 16                     // so many wait for idle time: there is none
)

// shadowCounts counts the items of a model that were chosen for shadow runs.
type shadowCounts struct {
	ran     atomic.Int64
	late    atomic.Int64 // no idle time within shadowWaitMax
	full    atomic.Int64 // too many were waiting
	unfit   atomic.Int64 // the most accurate variant does not run on what they carry
	failed  atomic.Int64
	waiting atomic.Int64
}

// shadow is an item that is run again by the most accurate variant.
type shadow struct {
	request Request       // of the one item
	of      int           // place of the variant or the cascade that answered it; -1: of none
	answer  []float64     // nil: there is none
	sure    bool          // the reference's confidence in it has been observed
	also    []int         // declared variants that run beside the reference
	due     time.Duration // not 0: it is queued as requests are, to end within this time
	bytes   int64
}

// picks reports whether an item of a request is in the random share of the traffic. A
// secret seed keeps clients from choosing.
func (e *Engine) picks(c *call, item int) bool {
	var h maphash.Hash
	h.SetSeed(e.seed)
	if c.ID != "" {
		_, _ = h.WriteString(c.ID)
	} else {
		maphash.WriteComparable(&h, c.job)
	}
	maphash.WriteComparable(&h, item)
	return float64(h.Sum64()) < e.cfg.Shadow*math.MaxUint64
}

// shadow starts shadow runs of those items of a request that were picked. Of a request that
// was refused because the accuracies have fallen there is no response: its items show when
// they have recovered, also while every request is refused. It copies what the runs need:
// the caller may reuse the request's memory.
func (e *Engine) shadow(c *call, asked Request, r *Response) {
	d := c.served
	if e.cfg.Shadow <= 0 || !d.live.comparable {
		return
	}
	started := 0
	for item := range asked.Items {
		if !e.picks(c, item) {
			continue
		}
		e.hintInputs(d, c, asked, item)
		s := &shadow{of: -1}
		if r != nil && !s.answered(e, d, r, item) {
			continue
		}
		carried := c.carried(item)
		runnable := d.planner.Runnable(slo.Carried{Items: 1, Present: carried.Present, Sizes: carried.Sizes})
		if d.live.variantFor(d.live.reference, runnable) < 0 {
			d.live.shadows.unfit.Add(1)
			continue
		}
		if started == shadowsPerJob {
			d.live.shadows.full.Add(1)
			continue
		}
		for _, input := range asked.Items[item] {
			s.bytes += int64(len(input))
		}
		s.also = d.live.alsoRun()
		s.due = e.due(d, s, runnable)
		most := int64(shadowItemsMax)
		if s.due == 0 {
			most /= 2 // the rest is for those that do not wait for idle time
		}
		if e.shadowItems.Load() >= most || e.shadowBytes.Load()+s.bytes > shadowBytesMax || !d.hold() {
			d.live.shadows.full.Add(1)
			continue
		}
		started++
		s.request = Request{Modalities: carried.Present, Encoded: asked.Encoded, Shapes: cloneShapes(asked.Shapes), Items: []runtime.Item{cloneItem(asked.Items[item])},
			Objective: slo.Objective{Deadline: slo.Never, Late: slo.LateRun}}
		e.shadowItems.Add(1)
		e.shadowBytes.Add(s.bytes)
		d.live.shadows.waiting.Add(1)
		go e.runShadow(d, s)
	}
}

// answered notes the answer to an item, and observes it as a hint. It reports whether there
// is one that can be compared.
func (s *shadow) answered(e *Engine, d *deployment, r *Response, item int) bool {
	if slices.ContainsFunc(r.Failed, func(f ItemError) bool { return f.Item == item }) {
		return false
	}
	if s.answer = modelpkg.Floats(r.Outputs[0], item); s.answer == nil {
		d.live.shadows.unfit.Add(1)
		return false
	}
	if s.of = d.answeredBy(r, item); s.of >= 0 {
		primary := -1
		if at := d.Model.Weights(); at >= 0 {
			primary = modelpkg.Primary(r.Outputs[at], item)
		}
		e.hint(d, s, primary)
	}
	return true
}

// answeredBy returns the place of the variant or the cascade of which an item's answer is a
// sample; -1 if it is one of none, because a gate chose the item.
func (d *deployment) answeredBy(r *Response, item int) int {
	if r.Routes == nil {
		return d.live.base[r.Variants[item]]
	}
	if at, known := d.live.places[r.Routes[item].Name]; known && r.Routes[item].Whole {
		return at
	}
	return -1
}

// hint observes an answer and how confident it is. That needs no
// shadow run, so it is known also where there is no idle time.
func (e *Engine) hint(d *deployment, s *shadow, primary int) {
	a := d.live
	p, err := a.judge.Predict(s.answer)
	if err != nil {
		return
	}
	s.sure = s.of == a.reference
	e.evident(d, func(a *accuracies) drift.Change {
		a.monitor.Answered(s.of)
		a.hints.Answer(s.of, a.judge.Class(p), p.Certainty) // which knows none of cascades
		a.hints.Primary(s.of, primary)
		return a.monitor.Confident(s.of, p.Certainty)
	})
}

// hintInputs observes what an item carries: which modalities, and how much there is in each
// input that is a tensor. What is in files is not known before they are decoded.
func (e *Engine) hintInputs(d *deployment, c *call, asked Request, item int) {
	type seen struct {
		input int
		level float64
		blank bool
	}
	present := c.carried(item).Present
	var room [8]seen
	inputs := room[:0]
	for k := range d.Model.Inputs {
		in, data := &d.Model.Inputs[k], asked.Items[item][k]
		if present.Has(1<<in.Modality) && len(data) > 0 && (asked.Encoded == nil || !asked.Encoded[k]) {
			level, blank := in.Level(data)
			inputs = append(inputs, seen{k, level, blank})
		}
	}
	e.evident(d, func(a *accuracies) drift.Change {
		a.hints.Item(present)
		for _, s := range inputs {
			a.hints.Input(s.input, s.level, s.blank)
		}
		return drift.None
	})
}

func cloneItem(item runtime.Item) runtime.Item {
	own := make(runtime.Item, len(item))
	for k, input := range item {
		own[k] = slices.Clone(input)
	}
	return own
}

func cloneShapes(shapes []tensor.Shape) (own []tensor.Shape) {
	for _, s := range shapes {
		own = append(own, slices.Clone(s))
	}
	return own
}

// carried returns what an item of the call carries.
func (c *call) carried(item int) slo.Carried {
	for _, r := range c.Mixed {
		if item < r.Items {
			return r
		}
		item -= r.Items
	}
	return slo.Carried{Items: 1, Present: c.Modalities, Sizes: c.sizes}
}

// variantFor returns the size of a declared variant that runs on an item, given the routes
// that do; -1: none.
func (a *accuracies) variantFor(base int, runnable plan.Set) int {
	for v, b := range a.base {
		if b == base && runnable.Has(v) {
			return v
		}
	}
	return -1
}

// runShadow runs an item again, with the reference and with further variants, and observes
// how far their answers agree.
func (e *Engine) runShadow(d *deployment, s *shadow) {
	counts := &d.live.shadows
	defer func() {
		counts.waiting.Add(-1)
		e.shadowItems.Add(-1)
		e.shadowBytes.Add(-s.bytes)
		d.release()
	}()
	ctx, cancel := context.WithTimeout(e.life, shadowWaitMax)
	defer cancel()
	stop := context.AfterFunc(d.leaving, cancel)
	defer stop()
	answers := map[int][]float64{} // by place
	if s.of >= 0 {
		answers[s.of] = s.answer
	}
	reference, err := e.again(ctx, d, s, d.live.reference, answers)
	if err == nil && reference != nil {
		for _, base := range s.also {
			if _, err = e.again(ctx, d, s, base, answers); err != nil {
				break
			}
		}
	}
	switch {
	case err != nil && (ctx.Err() != nil || s.due > 0 && (slo.KindOf(err) == slo.KindOverloaded || slo.KindOf(err) == slo.KindDeadlineExceeded)):
		counts.late.Add(1)
		return
	case err != nil || reference == nil:
		counts.failed.Add(1)
		return
	}
	counts.ran.Add(1)
	d.live.derive(answers)
	e.compare(d, s, reference, answers)
}

// again runs an item by a declared variant, unless its answer is known. It returns nil if
// no size of the variant runs on the item.
func (e *Engine) again(ctx context.Context, d *deployment, s *shadow, base int, answers map[int][]float64) ([]float64, error) {
	if answer, known := answers[base]; known {
		return answer, nil
	}
	c := &call{Request: s.request, served: d, ids: e.ids, arrived: e.Now(), done: make(chan struct{}), background: true}
	if err := c.fit(ctx, e.decoder); err != nil {
		return nil, err
	}
	runnable := d.planner.Runnable(c.carried(0))
	if c.route = d.live.variantFor(base, runnable); c.route < 0 {
		return nil, nil
	}
	if s.due > 0 {
		c.Objective = slo.Objective{Deadline: c.arrived.Add(s.due), Late: slo.LateDrop}
	}
	r, err := e.wait(ctx, c)
	if err != nil {
		return nil, err // the item's own fault too: it is the only one
	}
	answers[base] = modelpkg.Floats(r.Outputs[0], 0)
	return answers[base], nil
}

// due returns 0 if the shadow run waits for idle time. While variants count less than
// their profile says, requests run on expensive ones: then there may never be idle time,
// and nothing would show that the others have recovered. So some runs are queued as
// requests are, which makes none late either, but takes up to recoveryShare of the time.
func (e *Engine) due(d *deployment, s *shadow, runnable plan.Set) time.Duration {
	a := d.live
	if a.shadows.waiting.Load() < shadowsWaiting {
		return 0
	}
	var takes time.Duration
	for _, base := range append([]int{a.reference}, s.also...) {
		if v := a.variantFor(base, runnable); v >= 0 && base != s.of {
			takes += d.planner.Variants()[v].Curve.Batch(1)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.monitor.Changed() || !a.recovery.take(e.Now(), takes, e.cfg.Instances) {
		return 0
	}
	return recoveryDue
}

// allowance is time that may be spent on what is not for requests. It grows with time.
type allowance struct {
	left time.Duration
	at   slo.Instant // when it last grew
}

// take takes time, if there is enough.
func (a *allowance) take(now slo.Instant, takes time.Duration, instances int) bool {
	a.left = min(a.left+time.Duration(recoveryShare*float64(now.Sub(a.at))*float64(instances)), recoveryAheadMax)
	a.at = now
	if a.left < takes {
		return false
	}
	a.left -= takes
	return true
}

// alsoRun lists the declared variants that a shadow run runs beside the reference: those
// that count less than their profile says, alone or in a cascade, since requests may no
// longer run on them, and
// the next one of the frontier in turn. If requests run on the reference itself, that is
// what shows that the data have changed.
func (a *accuracies) alsoRun() (bases []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	add := func(base int) {
		if base != a.reference && !slices.Contains(bases, base) {
			bases = append(bases, base)
		}
	}
	for at := range a.names {
		switch {
		case !a.monitor.Lowered(at):
		case at < a.bases:
			add(at)
		case at < a.bases+len(a.points):
			add(a.points[at-a.bases].first)
			add(a.points[at-a.bases].then)
		}
	}
	if len(a.frontier) > 0 {
		a.turn = (a.turn + 1) % len(a.frontier)
		add(a.frontier[a.turn])
	}
	return bases
}

// derive adds the answers that follow from those of the variants: of cascades both of whose
// variants have run.
func (a *accuracies) derive(answers map[int][]float64) {
	for i, p := range a.points {
		first, then := answers[p.first], answers[p.then]
		if answers[a.bases+i] != nil || first == nil || then == nil {
			continue
		}
		answers[a.bases+i] = then
		if a.confidence(first) >= p.threshold {
			answers[a.bases+i] = first
		}
	}
}

// compare observes how far answers to one item agree with the reference's.
func (e *Engine) compare(d *deployment, s *shadow, reference []float64, answers map[int][]float64) {
	judge := d.live.judge
	best, err := judge.Predict(reference)
	if err != nil {
		return
	}
	if s.sure {
		best.Certainty = math.NaN()
	}
	for at := range d.live.names {
		answer, ran := answers[at]
		if !ran {
			continue
		}
		p, err := judge.Predict(answer)
		if err != nil {
			continue
		}
		agreement := judge.Agreement(p, best)
		e.evident(d, func(a *accuracies) drift.Change { return a.monitor.Shadow(at, agreement, best.Certainty) })
		best.Certainty = math.NaN() // counted once
	}
}
