package sched

import (
	"math"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// reserveShare is the part of the mean deadline that is kept in reserve, and not spent
// on accuracy, when arrivals are random.
const reserveShare = 0.15

// choose lets the policy decide between the batch that the strategy of the head of the
// queue asks for, and smaller or more accurate batches that make no queued job late.
func (c *Core) choose(m *model, id ClassID, head *job, planned plan.Batch, why *Decision) plan.Batch {
	on, routes := m.class(id), head.planner.Routes()
	share := c.share(m.pool, id)
	perItem := m.perItem(planned.Route) * m.batchInefficiency * (1 / float64(m.pool.slotsOr1()))
	// An expected job waits for the running batches and for the queued work that is at
	// least as urgent.
	probe := job{id: math.MaxUint64, objective: slo.Objective{Deadline: c.now.Add(time.Duration(c.forecast.meanDeadline))}}
	before, _ := m.pool.around(&probe)
	// An expected job without a deadline waits for all queued work.
	workBefore := float64(before) + c.forecast.noDeadlineShare*float64(m.pool.total()-before)
	busy := float64(c.busyTime(m.pool))
	slack := float64(m.pool.slack()-int64(c.now)) - busy
	// The reserve grows with the randomness of arrivals and with their number.
	load := min(1, c.forecast.load())
	unknown := c.forecast.irregular() * load
	margin := m.safety() + unknown
	reserve := reserveShare * unknown * c.forecast.meanDeadline
	// Work is shared by the slots, but a batch holds one slot until it ends: a job that
	// finds all slots taken waits for a whole batch, not for its share of one. This
	// matters less under load, where full batches matter more.
	hold := math.Pow(share, 1-0.5*(1-load))
	// takes returns the time of a batch with its later steps, as time of all slots
	// together.
	takes := func(b plan.Batch) float64 {
		r := &routes[b.Route]
		time := float64(on.batchTime(r.Variant, b.Items)) * share
		if r.Next != nil {
			time += float64(b.Items) * m.tails[b.Route] / float64(m.pool.slotsOr1())
		}
		return time
	}

	c.offer(m, on, head, planned, func(b plan.Batch) bool {
		extra := margin * (takes(b) - float64(b.Items)*perItem)
		return extra+m.scatter.reserve(extra) <= slack-reserve
	})
	if why != nil {
		why.Slack = time.Duration(min(slack, float64(time.Hour)))
		why.Reserve = time.Duration(reserve)
		why.Options = make([]Option, 0, len(c.options))
	}
	return c.cfg.Policy.Choose(head.planner, c.options, func(b plan.Batch) float64 {
		rest := max(0, workBefore-float64(b.Items)*perItem)
		if left := planned.Items - b.Items; left > 0 {
			rest = max(rest, float64(on.batchTime(routes[planned.Route].Variant, left))*share)
		}
		if r := &routes[b.Route]; r.Next != nil {
			rest += float64(b.Items) * m.tails[b.Route] / float64(m.pool.slotsOr1())
		}
		predicted := on.batchTime(routes[b.Route].Variant, b.Items)
		backlog := margin * (busy + float64(predicted)*hold + rest)
		late := c.forecast.late(c.now, reserve+backlog+m.scatter.reserve(backlog))
		if why != nil {
			why.Options = append(why.Options, Option{Batch: b, Predicted: predicted, Late: late})
		}
		return late
	})
}

// offer lists the batches that the policy may choose from: the planned one, smaller
// ones, and more accurate ones. These run on a variant that the class has, are on time
// for the head of the queue, and are affordable.
func (c *Core) offer(m *model, on *residence, head *job, planned plan.Batch, affordable func(plan.Batch) bool) {
	routes := head.planner.Routes()
	c.options = append(c.options[:0], planned)
	for _, p := range m.frontier(head) {
		r := &routes[p.Route]
		upgrade := p.Accuracy > routes[planned.Route].Accuracy
		if (!upgrade && p.Route != planned.Route) || !on.variants.Has(r.Variant) || !m.up.Has(p.Route) ||
			(upgrade && c.now.Add(on.batchTime(r.Variant, 1)+m.after(p.Route)) > head.objective.Deadline) {
			continue
		}
		for items := min(planned.Items, m.batchBest(on, r.Variant)); items >= 1; items /= 2 {
			if p.Route == planned.Route && items == planned.Items {
				continue // already in the list
			}
			if b := (plan.Batch{Route: p.Route, Items: items}); !upgrade || affordable(b) {
				c.options = append(c.options, b)
			}
		}
	}
}
