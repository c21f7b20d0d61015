package sched

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// dispatchAll starts batches until no free slot or no runnable job is left.
func (c *Core) dispatchAll() {
	c.reassign()
	c.shedHopeless()
	for c.dispatchNext() {
		c.reassign()
		c.shedHopeless()
	}
	for c.dispatchBackground() {
	}
}

// shedHopeless drops jobs at the heads of the queues that can no longer be on time and
// have late rule drop (I-7). It uses the current time estimates of the variants.
func (c *Core) shedHopeless() {
	for _, p := range c.pools {
		c.shedFrom(p)
		if len(c.idle) > 0 {
			c.makeHeadroom(p)
		}
	}
}

func (c *Core) shedFrom(p *pool) {
	for j := p.queue.first(); j != nil && j.objective.Late == slo.LateDrop; j = p.queue.first() {
		j.latest = c.latestStart(j)
		if c.now <= j.latest {
			return
		}
		if c.answerEarly(j) {
			continue
		}
		reason := slo.ReasonTooBusy
		if c.now >= j.objective.Deadline {
			reason = slo.ReasonDeadlinePassed
		}
		j.first.facts.RetryAfter = c.waiting(p)
		c.giveUp(j, slo.Shed, reason)
	}
}

// leadScanMax bounds how many queued jobs are visited to find one that a free slot can
// serve: the first jobs may need another class.
const leadScanMax = 64

// dispatchNext starts a batch for the most urgent job that a free slot can serve on
// time. It returns false if there is none.
func (c *Core) dispatchNext() bool {
	if len(c.idle) == 0 {
		return false
	}
	free := c.freeClasses()
	var head *job
	var at, route int
	for _, p := range c.pools {
		if len(c.pools) > 1 && !slices.ContainsFunc(free, func(f freeClass) bool { return p.classes&(1<<f.id) != 0 }) {
			continue
		}
		j, a, r := c.leads(p, free)
		if j != nil && (head == nil || j.before(head)) {
			head, at, route = j, a, r
		}
	}
	if head == nil {
		return false
	}
	in := c.idle[at]
	c.idle = slices.Delete(c.idle, at, at+1)
	c.dispatch(in, head, route)
	return true
}

// leads returns the most urgent job of a pool that a free slot can serve, with the slot
// and the route that the job starts there; nil if there is none.
func (c *Core) leads(p *pool, free []freeClass) (j *job, at, route int) {
	j = p.queue.first()
	for scanned := 0; j != nil && scanned < leadScanMax; scanned++ {
		if at, route = c.slotFor(j, free); at >= 0 {
			return j, at, route
		}
		j = p.queue.next(j)
	}
	return nil, 0, 0
}

// freeClass is a class with a free slot, and its slot that has been free longest.
type freeClass struct {
	id ClassID
	at int // index in Core.idle
}

// freeClasses lists the classes with free slots, the one whose slot has been free
// longest first.
func (c *Core) freeClasses() []freeClass {
	c.free = c.free[:0]
	for at, in := range c.idle {
		if !slices.ContainsFunc(c.free, func(f freeClass) bool { return f.id == in.class }) {
			if c.free = append(c.free, freeClass{in.class, at}); len(c.free) == len(c.up) {
				break
			}
		}
	}
	return c.free
}

// slotFor returns the free slot that serves a job soonest, and the route that the job
// starts there. Among equal slots it takes the one that has been free longest. It
// returns -1 if there is none.
func (c *Core) slotFor(j *job, free []freeClass) (at, route int) {
	if len(c.up) == 1 && c.models[j.model].Classes == nil {
		if j.objective.Late == slo.LateDrop && c.now > c.latestStart(j) {
			return -1, 0 // it is shed when it is first in the queue
		}
		return 0, j.planned()
	}
	at, least := -1, time.Duration(math.MaxInt64)
	for _, f := range free {
		if r, takes := c.canLead(f.id, j); r >= 0 && takes < least {
			at, route, least = f.at, r, takes
		}
	}
	return at, route
}

// canLead returns the route on which an instance of the class can serve the head of a
// batch, and the time of one item. The route is the planned one or, if the class lacks
// its variant, that of routeThere. It returns -1 if the class cannot serve the job, or
// cannot serve it on time while another class, busy or free, can. A job with late rule
// drop is never started late.
func (c *Core) canLead(id ClassID, j *job) (route int, takes time.Duration) {
	m := c.models[j.model]
	r := m.class(id)
	if r == nil {
		return -1, 0
	}
	routes := m.Planner.Routes()
	if route = j.planned(); !r.variants.Has(routes[route].Variant) {
		if route = c.routeThere(m, r, j); route < 0 {
			return -1, 0
		}
	}
	v := routes[route].Variant
	takes = r.batchTime(v, 1)
	if j.objective.Deadline == slo.Never {
		return route, takes
	}
	left := j.objective.Deadline.Sub(c.now) - m.after(route)
	if takes > left && (j.objective.Late == slo.LateDrop || c.quickest(m, v, 1) <= left) {
		return -1, 0
	}
	return route, takes
}

// firstEndless returns the first job without a deadline. There must be one.
func (c *Core) firstEndless() (first *job) {
	for _, p := range c.pools {
		if j := p.queue.firstEndless(); j != nil && (first == nil || j.before(first)) {
			first = j
		}
	}
	return first
}

// routeThere returns the route on which a class can serve a job whose planned route it
// cannot run: among the planned routes of the job's other pending items, the one with
// the most; else the cheapest more accurate one; -1 if there is none.
func (c *Core) routeThere(m *model, r *residence, j *job) int {
	routes := j.planner.Routes()
	most, cheapest, planned := -1, -1, routes[j.planned()].Accuracy
	for p := range routes {
		if !j.allowed.Has(p) || !m.up.Has(p) || !r.variants.Has(routes[p].Variant) {
			continue
		}
		if j.strategy[p] > 0 && (most < 0 || j.strategy[p] > j.strategy[most]) {
			most = p
		}
		if routes[p].Accuracy > planned && (cheapest < 0 || routes[p].Curve.PerItem() < routes[cheapest].Curve.PerItem()) {
			cheapest = p
		}
	}
	if most >= 0 {
		return most
	}
	return cheapest
}

// dispatch starts a batch on an instance with a free slot. The head starts on the
// route.
func (c *Core) dispatch(in *instance, head *job, route int) {
	if head.objective.Deadline == slo.Never {
		c.clients.virtualTime = max(c.clients.virtualTime, c.firstEndless().virtualTime)
	}
	m := c.models[head.model]
	r := m.class(in.class)
	planned := plan.Batch{Route: route, Items: m.batchBest(r, m.Planner.Routes()[route].Variant)}
	chosen := planned
	var why *Decision
	if c.cfg.Explain {
		why = &Decision{Head: head.id, Queued: m.items}
	}
	if c.cfg.Policy.LooksAhead() && head.onward == nil {
		planned.Items = min(m.items, planned.Items)
		chosen = c.choose(m, in.class, head, planned, why)
	}
	if why != nil {
		why.Planned, why.Chosen = planned, chosen
	}
	g := gather{core: c, m: m, on: r, route: chosen.Route, variant: m.Planner.Routes()[chosen.Route].Variant,
		upgraded: chosen.Route != route || head.strategy[route] == 0, max: chosen.Items}
	if chosen == planned {
		g.max = min(2*planned.Items, m.batchMax(r, g.variant)) // trim decides
	}
	g.collect(head)
	g.trim()
	c.start(in, &g, why)
}

// start records the batch and tells the driver to run it.
func (c *Core) start(in *instance, g *gather, why *Decision) {
	c.lastBatch++
	curve := g.on.curves[g.variant]
	if !g.takes[0].job.background {
		g.m.seeBatch(curve, g.items)
	}
	routes := g.m.Planner.Routes()
	b := &batch{on: in, started: c.now, nominal: curve.Batch(g.items)}
	b.from, b.routes, b.credits = b.fromRoom[:0], b.routeRoom[:0], b.creditRoom[:0]
	b.Dispatch = Dispatch{Batch: c.lastBatch, Instance: in.id, Model: g.takes[0].job.model, Variant: g.variant, Why: why,
		Predicted: g.on.batchTime(g.variant, g.items), Parts: make([]Part, 0, len(g.takes))}
	gated := false
	for i, t := range g.takes {
		b.Parts = t.job.take(t.items, b.Parts)
		credit := c.worth(t.job, t.route)
		for len(b.from) < len(b.Parts) {
			b.from, b.routes, b.credits = append(b.from, t.job), append(b.routes, t.route), append(b.credits, credit)
		}
		gated = gated || routes[t.route].Next != nil
		t.job.spend(t.route, t.items)
		if t.job.onward == nil {
			t.job.commit(credit, t.items)
		}
		t.job.running += t.items
		c.expiry.add(t.job.first)
		c.pend(t.job, -t.items)
		c.counts.Running += t.items
		if i+1 == len(g.takes) || g.takes[i+1].job != t.job {
			c.requeue(t.job)
		}
	}
	if gated {
		b.Routes = slices.Clone(b.routes)
	}
	c.batches[b.Batch] = b
	in.running++
	k := &c.classes[in.class]
	k.busy++
	k.endSum += int64(c.now) + int64(b.Predicted)
	c.out = append(c.out, b.Dispatch)
}

// pend counts pending items.
func (c *Core) pend(j *job, items int) {
	c.counts.Queued += items
	if j.background {
		return
	}
	c.items += items
	c.models[j.model].items += items
}

// strategy plans the pending items of a job, on routes that the classes that are up can
// run, if these reach the items' target, else on all allowed routes.
func (c *Core) strategy(j *job) (plan.Strategy, bool) {
	m := c.models[j.model]
	if here := j.allowed & m.up; here != j.allowed && here != 0 {
		if s, ok := c.cfg.Policy.Strategy(j.planner, j.waiting, j.target(), here); ok {
			return s, true
		}
	}
	return c.cfg.Policy.Strategy(j.planner, j.waiting, j.target(), j.allowed)
}

// requeue puts a changed job back in its place. It removes a job without pending items
// from the queue, and replaces a stale strategy.
func (c *Core) requeue(j *job) {
	if j.waiting == 0 {
		j.stale = false
		if j.queued {
			c.dequeue(j)
		}
		return
	}
	if j.onward != nil {
		if j.strategy == nil {
			j.strategy = make([]int, len(c.models[j.model].Planner.Routes()))
		}
		j.strategy[j.onward.route], j.stale = j.waiting, false
	}
	if j.stale {
		s, ok := c.strategy(j)
		if !ok {
			panic(fmt.Sprintf("sched: I-5: job %d cannot reach its floor any more", j.id))
		}
		j.strategy, j.stale = s.Items, false
	}
	j.latest = c.latestStart(j)
	if j.queued {
		c.updateWork(j)
	} else {
		c.enqueue(j)
	}
}

// done ends a batch.
func (c *Core) done(e Done) {
	b := c.batches[e.Batch]
	if b == nil {
		panic(fmt.Sprintf("sched: I-2: batch %d is not running", e.Batch))
	}
	c.release(b)
	if b.on.running < b.on.slots {
		c.idle = append(c.idle, b.on)
	}
	if m := c.models[b.Model]; !e.Failed && e.FailedParts == nil {
		m.scatter.see(float64(e.Took), float64(b.Predicted), max(c.forecast.meanDeadline, float64(b.Predicted)))
		m.observe(m.class(b.on.class), b.Variant, e.Took, b.nominal)
		c.measureVariant(m, b.Variant)
		c.measureRoutes(m)
		if len(c.up) > 1 {
			c.classes[b.on.class].speed = c.speed(b.on.class)
		}
	}
	item := 0
	for i, p := range b.Parts {
		j := b.from[i]
		var verdicts []Verdict
		if e.Verdicts != nil {
			verdicts = e.Verdicts[item : item+p.Count]
			item += p.Count
		}
		c.unrun(b, i, e.PartFailed(i))
		f := Finish{Part: p, Variant: b.Variant, Outcome: j.ended, Reason: j.reason}
		switch {
		case j.ended != 0: // given up: its score no longer matters
		case e.PartFailed(i):
			f.Outcome, f.Reason = slo.Failed, slo.ReasonRuntime
		case c.now > j.objective.Deadline:
			f.Outcome = slo.Late
		default:
			f.Outcome = slo.OnTime
		}
		if f.Outcome.Ran() && slices.ContainsFunc(verdicts, func(v Verdict) bool { return v != Accept }) {
			c.judge(j, f, b.routes[i], b.credits[i], verdicts)
			continue
		}
		c.finish(f)
		c.settle(j, f)
	}
}

// settle ends the job after some of its items have ended.
func (c *Core) settle(j *job, f Finish) {
	if j.ended == 0 && f.Outcome == slo.Failed {
		c.giveUp(j, f.Outcome, f.Reason)
		return
	}
	c.finishJob(j)
}

// unrun takes the items of a part out of the running ones. Lost items score nothing,
// except items whose score was credited at an earlier step.
func (c *Core) unrun(b *batch, part int, lost bool) {
	j, items := b.from[part], b.Parts[part].Count
	j.running -= items
	c.counts.Running -= items
	if lost && j.onward == nil {
		j.commit(b.credits[part], -items)
	}
}

// release forgets a running batch.
func (c *Core) release(b *batch) {
	delete(c.batches, b.Batch)
	b.on.running--
	k := &c.classes[b.on.class]
	k.busy--
	k.endSum -= int64(b.started) + int64(b.Predicted)
}
