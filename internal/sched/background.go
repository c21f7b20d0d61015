package sched

import (
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

const (
	// backgroundLoadMax is the load, as a share of the instances' time, above which no
	// job in the background starts.
	backgroundLoadMax = 0.8
	// backgroundLateMax is the largest share of recent jobs that could not have waited
	// for a batch in the background that takes the last free slot.
	backgroundLateMax = 0.001
	// backgroundQuiet is the time without arrivals after which both do not matter.
	backgroundQuiet = time.Second
)

// arriveBackground lets a job in the background wait. It is not in the queue, so it
// counts in no estimate, and its arrival is not in the forecast.
func (c *Core) arriveBackground(e Arrive, j *job) {
	j.objective = slo.Objective{Deadline: slo.Never, Late: slo.LateRun}
	j.allowed &= c.models[j.model].known
	switch {
	case j.allowed == 0:
		c.giveUp(j, slo.Infeasible, slo.ReasonNoVariant)
	case c.draining:
		c.giveUp(j, slo.Shed, slo.ReasonDraining)
	default:
		j.strategy = make([]int, len(c.models[j.model].Planner.Routes()))
		j.strategy[e.Route] = 1
		c.background = append(c.background, j)
	}
}

// dispatchBackground starts a waiting job in the background on a free slot, if no other
// job waits and if this makes none late that is expected. It returns false if it
// started none.
func (c *Core) dispatchBackground() bool {
	if !c.mayStartBackground() || c.forecast.load() > backgroundLoadMax && !c.quiet() {
		return false
	}
	for at, j := range c.background {
		m, route := c.models[j.model], j.planned()
		v := m.Planner.Routes()[route].Variant
		for _, f := range c.freeClasses() {
			r := m.class(f.id)
			if r == nil || !r.variants.Has(v) || !c.harmless(m.pool, r.batchTime(v, 1)) {
				continue
			}
			in := c.idle[f.at]
			c.idle = slices.Delete(c.idle, f.at, f.at+1)
			c.background = slices.Delete(c.background, at, at+1)
			c.start(in, &gather{core: c, m: m, on: r, route: route, variant: v, takes: []take{{j, 1, route}}, items: 1}, nil)
			return true
		}
	}
	return false
}

// mayStartBackground reports whether a job in the background waits, a slot is free, and
// no other job waits.
func (c *Core) mayStartBackground() bool {
	return len(c.background) > 0 && len(c.idle) > 0 && !slices.ContainsFunc(c.pools, func(p *pool) bool { return p.queue.jobs > 0 })
}

// quiet reports whether nothing has arrived for some time.
func (c *Core) quiet() bool { return c.now.Sub(c.forecast.last) >= backgroundQuiet }

// harmless reports whether a batch may take a free slot: whether others are free, or jobs
// like the recent ones could wait for it.
func (c *Core) harmless(p *pool, takes time.Duration) bool {
	free := 0
	for _, in := range c.idle {
		if p.classes&(1<<in.class) != 0 {
			free++
		}
	}
	return free > 1 || c.forecast.impatient(float64(takes)) <= backgroundLateMax || c.quiet()
}

// endBackground gives up the jobs in the background that wait.
func (c *Core) endBackground(reason slo.Reason) {
	for len(c.background) > 0 {
		c.giveUp(c.background[0], reason.Outcome(), reason)
	}
}
