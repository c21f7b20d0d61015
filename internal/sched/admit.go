package sched

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// arrive admits a job or ends it at once. A job is infeasible if no strategy reaches
// its floor. It is shed if the queue is full. A job with late rule drop is also shed if
// it would be late, or if it would make a queued job with that rule late.
func (c *Core) arrive(e Arrive) {
	if e.Items < 1 || e.Model < 0 || e.Model >= len(c.models) || c.models[e.Model] == nil || e.Background && (e.Items != 1 || e.Mixed != nil) {
		panic(fmt.Sprintf("sched: arrival of %d items for model %d", e.Items, e.Model))
	}
	if c.jobs[e.Job] != nil {
		panic(fmt.Sprintf("sched: I-2: job %d arrived twice", e.Job))
	}
	m := c.models[e.Model]
	j := newJob(e, m.Planner)
	c.jobs[j.id] = j
	c.counts.Jobs++
	c.counts.Arrived += e.Items
	if e.Background {
		j.bytes = 0 // its driver bounds them
		j.allowed &= plan.Set(1) << e.Route
	}
	c.bytes += j.bytes
	m.jobs++
	for g := j; g != nil; g = g.other {
		c.pend(g, g.waiting)
	}
	if e.idles() {
		c.inBackground++
		c.arriveBackground(e, j)
		return
	}
	if e.Refused != 0 {
		c.giveUp(j, e.Refused.Outcome(), e.Refused)
		return
	}
	outcome, reason := c.plan(j)
	if outcome == 0 {
		// Refused jobs count in the forecast too. If only admitted jobs counted, the
		// forecast would be too low under overload.
		if !c.draining {
			var work int64
			latest := slo.Never
			for g := j; g != nil; g = g.other {
				work, latest = work+c.work(g), min(latest, g.latest)
			}
			c.forecast.arrive(c.now, e.Items, j.objective.Deadline, work, latest.Sub(c.now))
		}
		outcome, reason = c.admitGroups(j)
	}
	if outcome != 0 {
		c.giveUp(j, outcome, reason)
	}
}

// admitGroups queues all groups of a job, or none of them.
func (c *Core) admitGroups(j *job) (outcome slo.Outcome, reason slo.Reason) {
	for g := j; g != nil && outcome == 0; g = g.other {
		if outcome, reason = c.admit(g); outcome == 0 {
			c.enqueue(g)
		}
	}
	c.yield(j, outcome == 0)
	return outcome, reason
}

// plan gives each group of a new job a strategy. It returns outcome 0 if the floor can
// be reached.
func (c *Core) plan(j *job) (slo.Outcome, slo.Reason) {
	m := c.models[j.model]
	for g := j; g != nil; g = g.other {
		if g.allowed &= m.known; g.allowed == 0 {
			return slo.Infeasible, slo.ReasonNoVariant
		}
	}
	if best, ok := j.setGoals(m.up); !ok {
		j.facts.Best = best
		if m.lowered(j) {
			return slo.Infeasible, slo.ReasonDrift
		}
		return slo.Infeasible, slo.ReasonFloor
	}
	for g := j; g != nil; g = g.other {
		s, ok := c.strategy(g)
		if !ok {
			j.facts.Best = g.planner.MaxAccuracy(g.allowed)
			return slo.Infeasible, slo.ReasonFloor
		}
		g.strategy = s.Items
		g.latest = c.latestStart(g)
	}
	return 0, 0
}

// admit returns outcome 0 if a planned group of a job may be queued.
func (c *Core) admit(j *job) (slo.Outcome, slo.Reason) {
	if j.objective.Deadline == slo.Never {
		c.clients.takeVirtualTime(j, c.work(j))
	}
	facts := &j.first.facts
	switch {
	case c.draining:
		return slo.Shed, slo.ReasonDraining
	case j.objective.Late == slo.LateDrop && c.now >= j.objective.Deadline:
		return slo.Shed, slo.ReasonDeadlinePassed
	case c.room(j, nil) || c.makeRoom(j) || c.displace(j):
		return 0, 0
	case !c.fits(nil):
		facts.RetryAfter = c.waiting(c.pool(j))
		return slo.Shed, slo.ReasonQueueFull
	}
	facts.RetryAfter = c.tardiness(j)
	facts.Best = c.reachable(j)
	return slo.Shed, slo.ReasonTooBusy
}

// tardiness returns by how much the new job would be late, or would make a queued job
// late that is dropped when late and is on time without it, whichever is more. If there
// is time for the job, the result is 0 or negative.
func (c *Core) tardiness(j *job) time.Duration {
	_, slackAfter := c.pool(j).around(j)
	free := int64(c.now) + int64(c.busyTime(c.pool(j)))
	late := int64(c.waitBefore(j))
	if work := c.work(j); slackAfter >= free {
		late = max(late, free-(slackAfter-work))
	}
	return time.Duration(late)
}

// waitBefore returns by how much a new job would be late because of the running batches
// and the work queued before it. It is negative if the job would be on time.
func (c *Core) waitBefore(j *job) time.Duration {
	before, _ := c.pool(j).around(j)
	return time.Duration(int64(c.now)+int64(c.busyTime(c.pool(j)))+before+c.batchingDelay(j, before)-int64(j.latest)) + c.moreOnward(j)
}

// onwardDeviations is how many standard deviations more items than expected may go on
// behind gates without making an admitted job late.
const onwardDeviations = 2

// moreOnward returns how much longer a new job may take than expected because more of
// its items than expected go on: their number has a binomial distribution. A job of one
// item is admitted with time for its longest path.
func (c *Core) moreOnward(j *job) time.Duration {
	m := c.models[j.model]
	if m.tails == nil || j.objective.Deadline == slo.Never {
		return 0
	}
	more := 0.0
	for r, x := range j.strategy {
		if x == 0 {
			continue
		}
		for _, b := range m.Planner.Routes()[r].Next {
			items := float64(x)
			more += min(onwardDeviations*math.Sqrt(items*b.Share*(1-b.Share)), items*(1-b.Share)) * m.perItem(b.Route)
		}
	}
	expected, longest := c.lengths(j)
	return max(longest, expected+time.Duration(more)/time.Duration(m.pool.slotsOr1())) - max(longest, expected)
}

// batchingDelay returns the extra time for sharing a batch, given the work that is
// queued before the job. Without it, admission fills the queue so tightly that each
// batch is led by a job that has little time left. Such batches are cut to that time:
// they become small, and the server serves fewer items than it could. The delay assumes
// the batch size with the highest throughput: a larger batch saves time per item but
// uses a larger part of the deadline.
func (c *Core) batchingDelay(j *job, before int64) int64 {
	m := c.models[j.model]
	v := m.Planner.Routes()[j.planned()].Variant
	curve := m.Planner.Variants()[v].Curve
	left := float64(j.objective.Deadline.Sub(c.now))
	best, served := 1, 0.0
	for b := 1; b <= min(m.BatchItemsMax, curve.Max()); b *= 2 {
		time := float64(m.safe(m.meanTime(v, b))) // the margin that gather leaves too
		if s := float64(b) * curve.PerItem() / float64(curve.Batch(b)) * (1 - time/left); s > served {
			best, served = b, s
		}
	}
	return max(0, min(before, int64(m.safe(m.meanTime(v, best))))-int64(m.meanTime(v, min(j.waiting, best))))
}

// reachable returns the highest accuracy with which a refused job could have been on
// time, with all its items on one route; 0 if there is none.
func (c *Core) reachable(j *job) slo.Accuracy {
	m := c.models[j.model]
	before, _ := c.pool(j).around(j)
	left := j.objective.Deadline.Sub(c.now) - c.busyTime(c.pool(j)) - time.Duration(before)
	var best slo.Accuracy
	for r, route := range j.planner.Routes() {
		if j.allowed.Has(r) && m.routeTime(r, j.n) <= float64(left) {
			best = max(best, route.Accuracy)
		}
	}
	return best
}

// latestStart returns the instant after which the job's pending items cannot be on
// time, if they run by their strategy on all slots together.
func (c *Core) latestStart(j *job) slo.Instant {
	if j.objective.Deadline == slo.Never {
		return slo.Never
	}
	return j.objective.Deadline - slo.Instant(c.shortest(j))
}

// shortest returns a lower bound of the time that the job's pending items need.
func (c *Core) shortest(j *job) time.Duration {
	expected, longest := c.lengths(j)
	return max(longest, expected)
}

// lengths returns the expected time of the job's pending items on all slots together, and
// the time of the longest path of one of them.
func (c *Core) lengths(j *job) (expected, longest time.Duration) {
	m := c.models[j.model]
	var total time.Duration
	for r, x := range j.strategy {
		if x == 0 {
			continue
		}
		total += time.Duration(m.routeTime(r, x))
		longest = max(longest, c.longest(m, r))
	}
	return total / time.Duration(m.pool.slotsOr1()), longest
}

// work returns the time, for all slots together, that the job's pending items add to
// the queue: by their strategy, in batches as full as recent ones.
func (c *Core) work(j *job) int64 {
	m := c.models[j.model]
	var sum float64
	for r, x := range j.strategy {
		if x > 0 {
			sum += float64(x) * m.perItem(r)
		}
	}
	return int64(math.Ceil(sum * m.batchInefficiency / float64(m.pool.slotsOr1())))
}

// giveUp ends a job before its items have run. Pending items finish at once, running
// ones when their batch ends. The outcome stays the same whatever the running items do.
func (c *Core) giveUp(j *job, outcome slo.Outcome, reason slo.Reason) {
	running := 0
	c.expiry.drop(j.first)
	if j.background {
		c.background = slices.DeleteFunc(c.background, func(k *job) bool { return k == j })
	}
	for g := j.first; g != nil; g = g.other {
		g.ended, g.reason = outcome, reason
		if g.queued {
			c.dequeue(g)
		}
		for _, s := range g.pending {
			c.finish(Finish{Part: Part{Job: g.id, First: s.first, Count: s.count}, Variant: -1, Outcome: outcome, Reason: reason})
		}
		c.pend(g, -g.waiting)
		g.pending, g.waiting = nil, 0
		running += g.running
	}
	if running > 0 {
		c.out = append(c.out, GiveUp{j.first.end()})
		c.abort(j)
	}
	c.finishJob(j)
}

// finish ends items.
func (c *Core) finish(f Finish) {
	c.counts.Finished += f.Count
	c.out = append(c.out, f)
}

// finishJob ends the job if none of its items is pending or running.
func (c *Core) finishJob(j *job) {
	j = j.first
	var score, expected slo.Score
	n := 0
	for g := j; g != nil; g = g.other {
		if g.waiting > 0 || g.running > 0 {
			return
		}
		score, expected, n = score+g.committed, expected+g.expected, n+g.n
	}
	f := j.end()
	if j.ended == 0 {
		f.Outcome = slo.OnTime
		if c.now > j.objective.Deadline {
			f.Outcome = slo.Late
		}
		f.Expected = max(0, expected.Mean(n))
		if j.objective.Confidence != 0 {
			f.Certified = max(0, score.Mean(n))
		}
	}
	c.expiry.drop(j)
	delete(c.jobs, j.id)
	c.counts.Jobs--
	c.bytes -= j.bytes
	if j.background {
		c.inBackground--
	}
	c.models[j.model].jobs--
	c.out = append(c.out, f)
}

// end returns the end of a job that was given up.
func (j *job) end() FinishJob {
	f := j.facts
	f.Job, f.Outcome, f.Reason = j.id, j.ended, j.reason
	return f
}
