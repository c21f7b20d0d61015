package sched

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// scanFactor bounds how far behind the head a batch looks for more items, in
// largest batches: with several models or floors queued, not every job fits.
const scanFactor = 4

// dispatchAll gives every free slot work while there is any for it.
func (c *Core) dispatchAll() {
	c.reassign()
	c.shedHopeless()
	for c.dispatchNext() {
		c.reassign()
		c.shedHopeless()
	}
}

// shedHopeless drops, from the head of the queue, what can no longer be on time
// and asked to be dropped then (I-7), by what is known of the variants' times now.
func (c *Core) shedHopeless() {
	for j := c.queue.first(); j != nil && j.objective.Late == slo.LateDrop; j = c.queue.first() {
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
		j.first.facts.RetryAfter = c.Waiting()
		c.giveUp(j, slo.Shed, reason)
	}
}

// leadScanMax bounds how many queued jobs are looked at for one that a free slot can
// serve: the first jobs may be for other classes only.
const leadScanMax = 64

// dispatchNext starts a batch for the most urgent job that a free slot can serve on
// time; false if there is none.
func (c *Core) dispatchNext() bool {
	if len(c.idle) == 0 {
		return false
	}
	head := c.queue.first()
	for scanned := 0; head != nil && scanned < leadScanMax; scanned++ {
		if at, route := c.slotFor(head); at >= 0 {
			in := c.idle[at]
			c.idle = slices.Delete(c.idle, at, at+1)
			c.dispatch(in, head, route)
			return true
		}
		head = c.queue.next(head)
	}
	return false
}

// slotFor is the free slot on which a job is served soonest, of those that are as
// soon the one that is free longest, and the route that it starts there; -1 if there
// is none.
func (c *Core) slotFor(j *job) (at, route int) {
	if len(c.up) == 1 && c.models[j.model].Classes == nil {
		if j.objective.Late == slo.LateDrop && c.now > c.latestStart(j) {
			return -1, 0 // it is not the first, and is shed when it is
		}
		return 0, j.planned()
	}
	at, least := -1, time.Duration(math.MaxInt64)
	seen := ClassID(-1) // most free slots are of the class of the one before
	for i, in := range c.idle {
		if in.class == seen {
			continue
		}
		seen = in.class
		if r, takes := c.canLead(in.class, j); r >= 0 && takes < least {
			at, route, least = i, r, takes
		}
	}
	return at, route
}

// canLead is the route on which an instance of the class serves the head of a batch:
// the planned one, else as in routeThere. It is -1 where the class cannot serve the job on time although
// another, now busy or not, can. takes is how long one item takes.
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

// routeThere is the route on which a class serves a job whose planned route it cannot
// run: that of most of the other pending items, or the cheapest that is more accurate;
// -1 if there is none.
func (c *Core) routeThere(m *model, r *residence, j *job) int {
	routes := m.Planner.Routes()
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

// dispatch starts a batch on an instance with a free slot, led by a job that starts
// the route.
func (c *Core) dispatch(in *instance, head *job, route int) {
	if first := c.queue.firstEndless(); first != nil && head.objective.Deadline == slo.Never {
		c.clients.virtualTime = max(c.clients.virtualTime, first.virtualTime)
	}
	m := c.models[head.model]
	r := m.class(in.class)
	planned := plan.Batch{Route: route, Items: m.batchMax(r, m.Planner.Routes()[route].Variant)}
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
	g.collect(head)
	c.start(in, &g, why)
}

// gather collects the items of one batch: those of its head first, then, in the
// queue's order, whatever may run on the same variant, as long as nobody who could be
// on time is made late by the batch growing.
type gather struct {
	core     *Core
	m        *model
	on       *residence
	route    int  // of the head
	variant  int  // its first step
	upgraded bool // the route is more accurate than the head's plan
	max      int  // items
	takes    []take
	items    int
	end      slo.Instant // the batch must end by then; Never: no bound
}

// take is a number of items of one job that take a route.
type take struct {
	job   *job
	items int
	route int
}

// collect walks the queue from the head of the batch.
func (g *gather) collect(head *job) {
	g.end = slo.Never
	var passed time.Duration // work of the jobs that were passed over
	j := head
	for scanned := 0; j != nil && g.items < g.max && scanned < scanFactor*g.max; scanned++ {
		x := 0
		if j.model == head.model {
			x = g.add(j)
		}
		if x < j.waiting {
			g.protect(j, passed, x)
			passed += time.Duration(j.work)
		}
		j = g.core.queue.next(j)
	}
}

// add takes those items of a job that should run on the variant.
func (g *gather) add(j *job) (taken int) {
	routes := g.m.Planner.Routes()
	if j.allowed.Has(g.route) {
		planned := j.strategy[g.route]
		if g.upgraded {
			planned += j.below(g.route, routes)
		}
		taken = g.takeSome(j, g.route, planned)
	}
	for r := len(g.m.Planner.Variants()); r <= len(routes); r++ {
		other := r // the routes of several steps, and then the variant alone
		if r == len(routes) {
			other = g.variant
		}
		if other == g.route || routes[other].Variant != g.variant || j.strategy[other] == 0 ||
			g.upgraded && routes[other].Accuracy < routes[g.route].Accuracy {
			continue // these are taken already, if they may be
		}
		taken += g.takeSome(j, other, j.strategy[other])
	}
	return taken
}

// takeSome takes up to x items of a job, as many as fit.
func (g *gather) takeSome(j *job, route, x int) int {
	x = g.fit(j, route, min(x, g.max-g.items))
	if x > 0 {
		g.takes = append(g.takes, take{j, x, route})
		g.items += x
	}
	return x
}

// fit is the largest number of items, at most x, with which the batch ends in
// time for all in it and all passed over. The head of the queue gets at least
// one item: it is late rather than never run.
func (g *gather) fit(j *job, route, x int) int {
	end := g.end
	least := g.m.safe(g.on.batchTime(g.variant, g.items+1))
	if g.items == 0 {
		least = g.on.batchTime(g.variant, 1) // the head runs, if only just
	}
	own := j.objective.Deadline
	if own != slo.Never {
		own -= slo.Instant(g.m.after(route))
	}
	if g.core.now.Add(least) <= own {
		end = min(end, own)
	} else if g.items > 0 && (j.objective.Late == slo.LateDrop || g.core.quickerElsewhere(g, own)) {
		return 0
	}
	for x > 0 && g.core.now.Add(g.m.safe(g.on.batchTime(g.variant, g.items+x))) > end {
		x--
	}
	if x == 0 && g.items == 0 {
		x = 1
	}
	if x > 0 {
		g.end = end
	}
	return x
}

// quickerElsewhere reports whether another class could still serve a job on time that
// is due by own.
func (c *Core) quickerElsewhere(g *gather, own slo.Instant) bool {
	return len(c.up) > 1 && c.now.Add(c.quickest(g.m, g.variant, 1)) <= own
}

// protect bounds the batch's end so that a job left waiting, fully or in part,
// can still be on time after it: passed is the work of the jobs before it that
// wait too, taken the number of its own items in the batch.
func (g *gather) protect(j *job, passed time.Duration, taken int) {
	latest := j.latest - slo.Instant(passed) + slo.Instant(g.on.batchTime(g.variant, taken))
	if j.latest != slo.Never && g.core.now.Add(g.on.batchTime(g.variant, max(1, g.items))) <= latest {
		g.end = min(g.end, latest)
	}
}

// start records the batch and tells the driver to run it.
func (c *Core) start(in *instance, g *gather, why *Decision) {
	c.lastBatch++
	curve := g.on.curves[g.variant]
	g.m.seeBatch(curve, g.items)
	routes := g.m.Planner.Routes()
	b := &batch{on: in, started: c.now, nominal: curve.Batch(g.items)}
	b.from, b.routes = b.fromRoom[:0], b.routeRoom[:0]
	b.Dispatch = Dispatch{Batch: c.lastBatch, Instance: in.id, Model: g.takes[0].job.model, Variant: g.variant, Why: why,
		Predicted: g.on.batchTime(g.variant, g.items), Parts: make([]Part, 0, len(g.takes))}
	gated := false
	for i, t := range g.takes {
		b.Parts = t.job.take(t.items, b.Parts)
		for len(b.from) < len(b.Parts) {
			b.from, b.routes = append(b.from, t.job), append(b.routes, t.route)
		}
		gated = gated || routes[t.route].Next != nil
		t.job.spend(t.route, t.items, routes)
		if t.job.onward == nil {
			t.job.committed += routes[t.route].Accuracy.Times(t.items)
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
	c.items += items
	c.models[j.model].items += items
	c.counts.Queued += items
}

// strategy plans the pending items of a job: by what can run on classes that are up,
// if that reaches what they must score.
func (c *Core) strategy(j *job) (plan.Strategy, bool) {
	m := c.models[j.model]
	if here := j.allowed & m.up; here != j.allowed && here != 0 {
		if s, ok := c.cfg.Policy.Strategy(m.Planner, j.waiting, j.target(), here); ok {
			return s, true
		}
	}
	return c.cfg.Policy.Strategy(m.Planner, j.waiting, j.target(), j.allowed)
}

// requeue puts a job that has changed back in its place: out of the queue when
// nothing of it is pending, else with a fresh strategy if the old one is stale.
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
		case j.ended != 0: // given up: what it scored does not matter
		case e.PartFailed(i):
			f.Outcome, f.Reason = slo.Failed, slo.ReasonRuntime
		case c.now > j.objective.Deadline:
			f.Outcome = slo.Late
		default:
			f.Outcome = slo.OnTime
		}
		if f.Outcome.Ran() && slices.ContainsFunc(verdicts, func(v Verdict) bool { return v != Accept }) {
			c.judge(j, f, b.routes[i], verdicts)
			continue
		}
		c.finish(f)
		c.settle(j, f)
	}
}

// settle ends the job after some of its items have.
func (c *Core) settle(j *job, f Finish) {
	if j.ended == 0 && f.Outcome == slo.Failed {
		c.giveUp(j, f.Outcome, f.Reason)
		return
	}
	c.finishJob(j)
}

// unrun takes the items of a part out of the running ones; what was lost scores
// nothing, unless it was credited before it came to this step.
func (c *Core) unrun(b *batch, part int, lost bool) {
	j, items := b.from[part], b.Parts[part].Count
	j.running -= items
	c.counts.Running -= items
	if lost && j.onward == nil {
		j.committed -= c.models[b.Model].Planner.Routes()[b.routes[part]].Accuracy.Times(items)
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
