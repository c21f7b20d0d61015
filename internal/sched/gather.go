package sched

import (
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// scanFactor bounds how many queued jobs are visited to fill a batch, in multiples of
// the largest batch. If jobs of several models or floors are queued, not every job
// fits.
const scanFactor = 4

// gather collects the items of one batch: first those of its head, then, in the order
// of the queue, items that may run on the same variant. The batch does not grow if that
// makes a job late that could be on time.
type gather struct {
	core     *Core
	m        *model
	on       *residence
	route    int  // of the head
	variant  int  // first step of the route
	upgraded bool // the route is more accurate than the head's planned one
	max      int  // items
	takes    []take
	items    int
	end      slo.Instant // the batch must end by then; Never: no bound
}

// take is a number of items of one job on one route.
type take struct {
	job   *job
	items int
	route int
}

// collect walks the queue from the head of the batch.
func (g *gather) collect(head *job) {
	g.end = slo.Never
	var passed time.Duration // work of the jobs that wait
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
		j = g.m.pool.queue.next(j)
	}
}

// trim leaves the last items of a batch waiting if it takes longer than its items in
// several batches: sizes beyond the best one often cost more per item.
func (g *gather) trim() {
	keep := g.on.bounded[g.variant].First(g.items)
	for over := g.items - keep; over > 0; {
		last := &g.takes[len(g.takes)-1]
		x := min(over, last.items)
		if last.items -= x; last.items == 0 {
			g.takes = g.takes[:len(g.takes)-1]
		}
		g.items, over = g.items-x, over-x
	}
}

// add takes those items of a job that should run on the variant.
func (g *gather) add(j *job) (taken int) {
	routes := j.planner.Routes()
	if j.allowed.Has(g.route) {
		planned := j.strategy[g.route]
		if g.upgraded {
			planned += j.below(g.route)
		}
		taken = g.takeSome(j, g.route, planned)
	}
	for r := len(g.m.Planner.Variants()); r <= len(routes); r++ {
		other := r // first the routes with several steps, then the variant alone
		if r == len(routes) {
			other = g.variant
		}
		if other == g.route || routes[other].Variant != g.variant || j.strategy[other] == 0 ||
			g.upgraded && routes[other].Accuracy < routes[g.route].Accuracy {
			continue // taken already, or not allowed
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

// fit returns the largest number of items, at most x, with which the batch ends in time
// for the jobs in it and those left waiting. The head of the queue gets at least one
// item: better late than never.
func (g *gather) fit(j *job, route, x int) int {
	end := g.end
	least := g.m.safe(g.on.batchTime(g.variant, g.items+1))
	if g.items == 0 {
		least = g.on.batchTime(g.variant, 1) // no safety margin: the head must run if it can be on time at all
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
// is due at own.
func (c *Core) quickerElsewhere(g *gather, own slo.Instant) bool {
	return len(c.up) > 1 && c.now.Add(c.quickest(g.m, g.variant, 1)) <= own
}

// protect bounds the batch's end so that a job of which items stay waiting can still be
// on time. passed is the work of the waiting jobs before it, taken the number of its
// own items in the batch.
func (g *gather) protect(j *job, passed time.Duration, taken int) {
	latest := j.latest - slo.Instant(passed) + slo.Instant(g.on.batchTime(g.variant, taken))
	if j.latest != slo.Never && g.core.now.Add(g.on.batchTime(g.variant, max(1, g.items))) <= latest {
		g.end = min(g.end, latest)
	}
}
