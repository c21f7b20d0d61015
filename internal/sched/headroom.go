package sched

import (
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// headroomScanMax bounds how many queued jobs are visited to find where larger batches
// begin.
const headroomScanMax = 128

// headroomGain is by how much fewer items must be late, by an estimate, for jobs to be
// dropped. Not all queued items run in batches as small as the next one.
const headroomGain = 0.3

// makeHeadroom drops jobs from the head of a queue that has fallen behind. A job at its
// last moment leaves time for a small batch only. If the jobs behind it have no slack
// either, the next batch is as small, and the next: the queue is served at the rate of
// small batches, and more jobs are late than if the first ones were dropped. The choice
// is the one with which the fewest items are late: those dropped, and those that the
// remaining queue loses in batches of the size that is then possible. Policies that
// replan are left alone: they leave no slack, and find out themselves what to drop.
func (c *Core) makeHeadroom(p *pool) {
	head := p.queue.first()
	if head == nil || p.queue.jobs < 2 || c.cfg.Policy.Replans() || !c.droppable(head) || c.batchLoss(head) == 0 {
		return
	}
	probe := job{id: ^JobID(0), objective: slo.Objective{Deadline: c.now.Add(time.Duration(c.forecast.meanDeadline))}}
	behind, _ := p.around(&probe)
	m := c.models[head.model]
	items := float64(behind) * float64(p.slotsOr1()) / m.perItem(head.planned())
	_, slackAfter := p.around(head)
	if slackAfter == slackMax || float64(slackAfter-int64(c.now)-int64(c.busyTime(p))) > c.batchLoss(head)*float64(behind) {
		return // nobody is late because of small batches
	}
	drop, least := 0, headroomGain*c.batchLoss(head)*items
	dropped := 0
	var first []*job
	j := head
	for len(first) < headroomScanMax && c.droppable(j) {
		first, dropped = append(first, j), dropped+j.first.total()
		if j = p.queue.next(j); j == nil || float64(dropped) >= least {
			break
		}
		loss := c.batchLoss(j)
		if lost := float64(dropped) + loss*(items-float64(dropped)); lost < least {
			drop, least = len(first), lost
		}
		if loss == 0 {
			break
		}
	}
	for _, j := range first[:drop] {
		if j.ended != 0 || !j.queued {
			continue // with another group of its job
		}
		if j.onward != nil && c.now <= j.objective.Deadline && c.settleFor(j, j.waiting) {
			c.finishJob(j) // its items keep the answers of the step before
			continue
		}
		j.first.facts.RetryAfter = c.waiting(p)
		c.giveUp(j, slo.Shed, slo.ReasonTooBusy)
	}
}

// total returns the number of items of a job that have not failed, over its groups.
func (j *job) total() (n int) {
	for g := j; g != nil; g = g.other {
		if g.onward == nil {
			n += g.n
		}
	}
	return n
}

// droppable reports whether a queued job may be given up to make headroom.
func (c *Core) droppable(j *job) bool {
	for g := j.first; g != nil; g = g.other {
		if g.running > 0 {
			return false
		}
	}
	return j.objective.Late == slo.LateDrop
}

// batchLoss returns how much more time an item takes, as a share, in the largest batch
// that a job at its head leaves time for, than in the best batch.
func (c *Core) batchLoss(j *job) float64 {
	if j.objective.Deadline == slo.Never {
		return 0
	}
	m := c.models[j.model]
	route := j.planned()
	v := m.Planner.Routes()[route].Variant
	curve := m.Planner.Variants()[v].Curve
	left := j.objective.Deadline.Sub(c.now) - m.after(route)
	best := min(m.BatchItemsMax, curve.BestBatch())
	size := best
	for size > 1 && m.safe(m.meanTime(v, size)) > left {
		size /= 2
	}
	if size == best {
		return 0
	}
	return inefficiency(curve, size)/inefficiency(curve, best) - 1
}

// inefficiency returns the time of an item in a batch, relative to the best batch.
func inefficiency(curve plan.Curve, items int) float64 {
	return float64(curve.Batch(items)) / (float64(items) * curve.PerItem())
}
