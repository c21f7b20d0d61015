package sched

import (
	"cmp"
	"slices"
)

// Bounds on the search for jobs that a new job displaces.
const (
	displaceScanMax = 64
	displaceJobsMax = 8
)

// displace makes room for a job that could not be on time, if queued jobs of the same
// client that have not begun leave: fewer items in all than the new job has, each of
// which takes more time than one of its items. So more items are on time (the rule of
// Moore and Hodgson). Jobs that free the most time for an item leave first; those that
// need not have left come back. They leave the queue; yield then ends them or puts them
// back. Otherwise displace returns false and leaves the queue unchanged.
func (c *Core) displace(j *job) bool {
	if j.n < 2 || j.first.other != nil || !c.mustFit(j) || !c.fits(nil) || c.tardiness(j) <= 0 {
		return false
	}
	cost := func(v *job) float64 { return float64(v.work) / float64(v.n) } // of a queued job
	own := float64(c.work(j)) / float64(j.n)
	var candidates []*job
	v := c.pool(j).queue.first()
	for scanned := 0; v != nil && scanned < displaceScanMax; scanned++ {
		if v.client == j.client && v.first.other == nil && !v.begun() && v.n < j.n && v.objective.Late == j.objective.Late && cost(v) > own {
			candidates = append(candidates, v)
		}
		v = c.pool(j).queue.next(v)
	}
	slices.SortStableFunc(candidates, func(a, b *job) int { return cmp.Compare(cost(b), cost(a)) })
	var out []*job
	items := 0
	for _, v := range candidates {
		if len(out) == displaceJobsMax || c.room(j, nil) {
			break
		}
		if items+v.n < j.n {
			c.dequeue(v)
			out, items = append(out, v), items+v.n
		}
	}
	fits := c.room(j, nil)
	for i := len(out) - 1; i >= 0; i-- {
		c.enqueue(out[i])
		if !fits || c.room(j, nil) {
			out = slices.Delete(out, i, i+1)
		} else {
			c.dequeue(out[i])
		}
	}
	for _, v := range out {
		v.facts.RetryAfter = c.waiting(c.pool(v))
	}
	c.leaving = append(c.leaving, out...)
	return fits
}
