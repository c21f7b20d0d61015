package sched

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// reassign lets a reference policy that replans choose new strategies for all queued
// jobs, and drops those that it gives up. It visits the whole queue at every event:
// such policies are for comparison, not for long queues.
func (c *Core) reassign() {
	if !c.cfg.Policy.Replans() {
		return
	}
	var jobs []*job
	for _, p := range c.pools {
		for j := p.queue.first(); j != nil; j = p.queue.next(j) {
			jobs = append(jobs, j)
		}
	}
	if len(jobs) == 0 {
		return
	}
	if len(c.pools) > 1 {
		sort.Slice(jobs, func(a, b int) bool { return jobs[a].before(jobs[b]) })
	}
	var queue []plan.Queued
	for _, j := range jobs {
		queue = append(queue, c.queued(j, c.now.Add(c.busyTime(c.pool(j)))))
	}
	drop := c.cfg.Policy.Reassign(queue)
	for i, j := range jobs {
		if j.ended != 0 {
			continue // dropped with another group of its job
		}
		if slices.Contains(drop, i) {
			c.giveUp(j, slo.Shed, slo.ReasonTooBusy)
			continue
		}
		if chosen := queue[i].Chosen; chosen != j.chosen || j.fresh {
			j.chosen = chosen
			j.strategy = slices.Clone(j.options[j.chosen].Items)
			j.fresh = false
			j.latest = c.latestStart(j)
			c.updateWork(j)
		}
	}
}

// queued describes a job to a reference policy. Its options are planned on arrival and
// after part of it has been dispatched.
func (c *Core) queued(j *job, free slo.Instant) plan.Queued {
	m := c.models[j.model]
	if j.optionsFor != j.waiting || j.optionsTarget != j.target() {
		j.options = j.planner.Options(j.waiting, j.target(), j.allowed)
		// The rest of a job keeps its planned accuracy.
		accuracy := j.score(j.strategy)
		j.chosen = slices.IndexFunc(j.options, func(s plan.Strategy) bool { return s.Score >= accuracy })
		if j.chosen < 0 {
			j.chosen = len(j.options) - 1
		}
		j.optionsFor, j.optionsTarget, j.fresh = j.waiting, j.target(), true
	}
	q := plan.Queued{Options: j.options, Chosen: j.chosen, Deadline: math.MaxInt64, Keep: j.objective.Late == slo.LateRun}
	if j.objective.Deadline != slo.Never {
		// Several instances mean more time, a slower machine less.
		most := float64(math.MaxInt64 / 2)
		q.Deadline = time.Duration(min(most, float64(j.objective.Deadline.Sub(free))*float64(m.pool.slotsOr1())/m.meanSlowness()))
	}
	return q
}

// score returns the score of a strategy, by the accuracies that the floor is kept by.
func (j *job) score(strategy []int) slo.Score {
	var sum slo.Score
	for v, x := range strategy {
		sum += j.planner.Routes()[v].Accuracy.Times(x)
	}
	return sum
}

// meanSlowness returns the mean correction of the variants' times.
func (m *model) meanSlowness() float64 {
	sum := 0.0
	for _, s := range m.slowness {
		sum += s
	}
	return sum / float64(len(m.slowness))
}
