package sched

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// scanFactor bounds how far behind the head a batch looks for company, in
// largest batches: with several models or floors queued, not every job fits.
const scanFactor = 4

// dispatchAll gives every idle instance work while there is any.
func (c *Core) dispatchAll() {
	c.reassign()
	c.shedHopeless()
	for len(c.idle) > 0 && c.queue.root != nil {
		c.dispatch(c.idle[0])
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
		reason := slo.ReasonTooBusy
		if c.now >= j.objective.Deadline {
			reason = slo.ReasonDeadlinePassed
		}
		j.first.finishes.RetryAfter = c.Waiting()
		c.giveUp(j, slo.Shed, reason)
	}
}

// dispatch starts a batch for the most urgent job on an idle instance.
func (c *Core) dispatch(instance InstanceID) {
	head := c.queue.first()
	if head.objective.Deadline == slo.Never {
		c.clients.turn = max(c.clients.turn, head.turn)
	}
	m := c.models[head.model]
	planned := plan.Batch{Variant: head.planned(), Items: m.batchMax(head.planned())}
	chosen := planned
	var why *Decision
	if c.cfg.Explain {
		why = &Decision{Head: head.id, Queued: m.items}
	}
	if c.cfg.Policy.LooksAhead() {
		planned.Items = min(m.items, planned.Items)
		chosen = c.choose(m, head, planned, why)
	}
	if why != nil {
		why.Planned, why.Chosen = planned, chosen
	}
	g := gather{core: c, m: m, variant: chosen.Variant, upgraded: chosen.Variant != planned.Variant, max: chosen.Items}
	g.fill(head)
	c.start(instance, &g, why)
}

// reserveShare is the part of a usual deadline that is not spent on accuracy
// when arrivals are at random.
const reserveShare = 0.15

// choose lets the policy decide between the batch that the head of the queue is
// planned to lead and smaller or more accurate ones that make nobody in the
// queue late.
func (c *Core) choose(m *model, head *job, planned plan.Batch, why *Decision) plan.Batch {
	share := 1 / float64(c.instances())
	perItem := m.Planner.Variants()[planned.Variant].Curve.PerItem() * m.scale[planned.Variant] * m.partial * share
	// A job to come waits for what is running and for the queued work that is
	// about as urgent as itself.
	probe := job{id: math.MaxUint64, objective: slo.Objective{Deadline: c.now.Add(time.Duration(c.forecast.reach))}}
	before, _ := c.queue.around(&probe)
	// One without a deadline waits for all there is.
	ahead := float64(before) + c.forecast.endless*float64(c.queue.total()-before)
	busy := float64(c.busyTime())
	slack := float64(c.queue.slack()-int64(c.now)) - busy
	// The less is known of what will come, and the more there is of it, the more
	// of the time there is stays unspent.
	load := min(1, c.forecast.load())
	unknown := c.forecast.irregular() * load
	margin := m.safety() + unknown
	reserve := reserveShare * unknown * c.forecast.reach
	// Work is shared by the instances, but a batch holds one of them to its end:
	// a job that finds all of them held waits for a whole batch, not for its share.
	// Under load that counts less than full batches do.
	hold := math.Pow(share, 1-0.5*(1-load))

	c.options = append(c.options[:0], planned)
	for _, p := range m.frontier(head.allowed) {
		upgrade := p.Accuracy > m.Planner.Variants()[planned.Variant].Accuracy
		if (!upgrade && p.Variant != planned.Variant) || (upgrade && c.now.Add(m.batchTime(p.Variant, 1)) > head.objective.Deadline) {
			continue
		}
		for b := min(planned.Items, m.batchMax(p.Variant)); b >= 1; b /= 2 {
			if p.Variant == planned.Variant && b == planned.Items {
				continue // is the first
			}
			if extra := float64(m.batchTime(p.Variant, b))*share - float64(b)*perItem; !upgrade || margin*extra <= slack-reserve {
				c.options = append(c.options, plan.Batch{Variant: p.Variant, Items: b})
			}
		}
	}
	if why != nil {
		why.Slack = time.Duration(min(slack, float64(time.Hour)))
		why.Reserve = time.Duration(reserve)
		why.Options = make([]Option, 0, len(c.options))
	}
	return c.cfg.Policy.Choose(m.Planner, c.options, func(b plan.Batch) float64 {
		rest := max(0, ahead-float64(b.Items)*perItem)
		if left := planned.Items - b.Items; left > 0 {
			rest = max(rest, float64(m.batchTime(planned.Variant, left))*share)
		}
		predicted := m.batchTime(b.Variant, b.Items)
		late := c.forecast.late(c.now, reserve+margin*(busy+float64(predicted)*hold+rest))
		if why != nil {
			why.Options = append(why.Options, Option{Batch: b, Predicted: predicted, Late: late})
		}
		return late
	})
}

// gather collects the items of one batch: the head of the queue first, then, in
// the queue's order, whatever may run on the same variant, as long as nobody
// who could be on time is made late by the batch growing.
type gather struct {
	core     *Core
	m        *model
	variant  int
	upgraded bool // the policy chose a more accurate variant than the head's plan
	max      int  // items
	takes    []take
	items    int
	end      slo.Instant // the batch must end by then; Never: no bound
}

// take is a number of items of one job.
type take struct {
	job   *job
	items int
}

// fill walks the queue from its head.
func (g *gather) fill(head *job) {
	g.end = slo.Never
	var passed time.Duration // work of the jobs that were passed over
	j := head
	for scanned := 0; j != nil && g.items < g.max && scanned < scanFactor*g.max; scanned++ {
		x := 0
		if j.model == head.model && j.allowed.Has(g.variant) {
			x = g.fit(j, min(g.wanted(j), g.max-g.items))
		}
		if x > 0 {
			g.takes = append(g.takes, take{j, x})
			g.items += x
		}
		if x < j.waiting {
			g.protect(j, passed, x)
			passed += time.Duration(j.work)
		}
		j = g.core.queue.next(j)
	}
}

// wanted is how many items of j should run on the variant: those planned there
// and, in a batch that the policy made more accurate than planned, those planned
// on less accurate ones.
func (g *gather) wanted(j *job) int {
	planned := j.strategy[g.variant]
	if g.upgraded {
		planned += j.below(g.variant, g.m.Planner.Variants())
	}
	return planned
}

// fit is the largest number of items, at most x, with which the batch ends in
// time for all in it and all passed over. The head of the queue gets at least
// one item: it is late rather than never run.
func (g *gather) fit(j *job, x int) int {
	end := g.end
	least := g.m.safeTime(g.variant, g.items+1)
	if g.items == 0 {
		least = g.m.batchTime(g.variant, 1) // the head runs, if only just
	}
	if own := j.objective.Deadline; g.core.now.Add(least) <= own {
		end = min(end, own)
	} else if g.items > 0 && j.objective.Late == slo.LateDrop {
		return 0
	}
	for x > 0 && g.core.now.Add(g.m.safeTime(g.variant, g.items+x)) > end {
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

// protect bounds the batch's end so that a job left waiting, fully or in part,
// can still be on time after it: passed is the work of the jobs before it that
// wait too, taken the number of its own items in the batch.
func (g *gather) protect(j *job, passed time.Duration, taken int) {
	latest := j.latest - slo.Instant(passed) + slo.Instant(g.m.batchTime(g.variant, taken))
	if j.latest != slo.Never && g.core.now.Add(g.m.batchTime(g.variant, max(1, g.items))) <= latest {
		g.end = min(g.end, latest)
	}
}

// start records the batch and tells the driver to run it.
func (c *Core) start(instance InstanceID, g *gather, why *Decision) {
	c.lastBatch++
	g.m.fill(g.variant, g.items)
	variants := g.m.Planner.Variants()
	b := &batch{started: c.now, nominal: variants[g.variant].Curve.Batch(g.items)}
	b.Dispatch = Dispatch{Batch: c.lastBatch, Instance: instance, Variant: g.variant, Why: why,
		Predicted: g.m.batchTime(g.variant, g.items), Parts: make([]Part, 0, len(g.takes))}
	for _, t := range g.takes {
		b.Model = t.job.model
		b.Parts = t.job.take(t.items, b.Parts)
		t.job.spend(g.variant, t.items, variants)
		t.job.committed += variants[g.variant].Accuracy.Times(t.items)
		t.job.running += t.items
		c.expiry.add(t.job.first)
		c.pend(t.job, -t.items)
		c.counts.Running += t.items
		c.requeue(t.job)
	}
	c.batches[b.Batch] = b
	c.busy[instance] = b.Batch
	c.busyUntil += int64(c.now) + int64(b.Predicted)
	c.idle = c.idle[1:]
	c.out = append(c.out, b.Dispatch)
}

// pend counts pending items.
func (c *Core) pend(j *job, items int) {
	c.items += items
	c.models[j.model].items += items
	c.counts.Queued += items
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
	if j.stale {
		s, ok := c.cfg.Policy.Strategy(c.models[j.model].Planner, j.waiting, j.target(), j.allowed)
		if !ok {
			panic(fmt.Sprintf("sched: I-5: job %d cannot reach its floor any more", j.id))
		}
		j.strategy, j.stale = s.Items, false
	}
	j.latest = c.latestStart(j)
	if j.queued {
		c.reweigh(j)
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
	c.idle = append(c.idle, b.Instance)
	if !e.Failed && e.FailedParts == nil {
		c.models[b.Model].observe(b.Variant, e.Took, b.nominal)
	}
	item := 0
	for i, p := range b.Parts {
		j := c.group(p)
		var verdicts []Verdict
		if e.Verdicts != nil {
			verdicts = e.Verdicts[item : item+p.Count]
			item += p.Count
		}
		c.unrun(j, b, p.Count, e.PartFailed(i))
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
		if !f.Outcome.Ran() || !slices.Contains(verdicts, Fail) {
			c.finish(f)
			c.settle(j, f)
			continue
		}
		c.finishApart(j, f, verdicts)
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

// unrun takes items out of the running ones; what was lost scores nothing.
func (c *Core) unrun(j *job, b *batch, items int, lost bool) {
	j.running -= items
	c.counts.Running -= items
	if lost {
		j.committed -= c.models[b.Model].Planner.Variants()[b.Variant].Accuracy.Times(items)
	}
}

// release forgets a running batch and its instance.
func (c *Core) release(b *batch) {
	delete(c.batches, b.Batch)
	delete(c.busy, b.Instance)
	c.busyUntil -= int64(b.started) + int64(b.Predicted)
}
