package sched

import (
	"fmt"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Check verifies the invariants that can be read from the core's state. It visits every
// job, so it is for tests and simulation; production compares Counts.
func (c *Core) Check() error {
	if c.counts.Arrived != c.counts.Finished+c.counts.Queued+c.counts.Running {
		return fmt.Errorf("I-1: %+v", c.counts)
	}
	if c.items > c.cfg.QueueItemsMax || len(c.jobs)-c.inBackground > c.cfg.QueueJobsMax {
		return fmt.Errorf("I-9: %d items are queued, %d jobs unfinished", c.items, len(c.jobs))
	}
	for _, p := range c.pools {
		if j, _, _ := c.leads(p, c.freeClasses()); j != nil && len(c.idle) > 0 {
			return fmt.Errorf("I-8: %d free slots while job %d waits that could run", len(c.idle), j.id)
		}
	}
	running, waiting, background := 0, 0, 0
	for id, j := range c.jobs {
		if err := c.checkJob(j); err != nil {
			return fmt.Errorf("job %d: %w", id, err)
		}
		for g := j; g != nil; g = g.other {
			running += g.running
			waiting += g.waiting
			if g.background {
				background += g.waiting
			}
		}
	}
	if running != c.counts.Running || waiting != c.counts.Queued || waiting-background != c.items || background != len(c.background) {
		return fmt.Errorf("I-1: %d running and %d waiting in jobs, %+v", running, waiting, c.counts)
	}
	if err := c.checkBatches(); err != nil {
		return err
	}
	if err := c.checkClients(); err != nil {
		return err
	}
	for _, p := range c.pools {
		if err := c.checkQueue(p); err != nil {
			return err
		}
	}
	return nil
}

// checkJob checks a job and its groups.
func (c *Core) checkJob(j *job) error {
	left, n := 0, 0
	var goal slo.Score
	for g := j; g != nil; g = g.other {
		if err := c.checkGroup(g); err != nil {
			return fmt.Errorf("group %d: %w", g.group, err)
		}
		left, n, goal = left+g.waiting+g.running, n+g.n, goal+g.goal
	}
	if left == 0 {
		return fmt.Errorf("I-2: no item waits or runs")
	}
	if j.ended == 0 && goal < j.objective.Floor.Times(n) {
		return fmt.Errorf("I-5: its goals are %d, %d items at its floor score %d", goal, n, j.objective.Floor.Times(n))
	}
	return nil
}

func (c *Core) checkGroup(j *job) error {
	if j.queued != (j.waiting > 0 && !j.background) {
		return fmt.Errorf("queued %v with %d items waiting", j.queued, j.waiting)
	}
	planned, pending := 0, 0
	for _, x := range j.strategy {
		planned += x
	}
	for _, s := range j.pending {
		pending += s.count
	}
	if j.ended == 0 && (pending != j.waiting || planned != j.waiting || j.stale) {
		return fmt.Errorf("%d waiting, %d pending, %d planned (stale %v)", j.waiting, pending, planned, j.stale)
	}
	best := j.planner.MaxAccuracy(j.allowed)
	if j.ended == 0 && best.Times(j.waiting) < j.target() {
		return fmt.Errorf("I-5: %d items must still score %d, at best %d", j.waiting, j.target(), best.Times(j.waiting))
	}
	return nil
}

func (c *Core) checkBatches() error {
	running := map[InstanceID]int{}
	for id, b := range c.batches {
		m := c.models[b.Model]
		r := m.class(b.on.class)
		items := 0
		for i, p := range b.Parts {
			items += p.Count
			route := b.routes[i]
			if !b.from[i].allowed.Has(route) || m.Planner.Routes()[route].Variant != b.Variant || !r.variants.Has(b.Variant) {
				return fmt.Errorf("I-6: batch %d runs job %d on variant %d for route %d", id, p.Job, b.Variant, route)
			}
		}
		if limit := m.batchMax(r, b.Variant); items < 1 || items > limit {
			return fmt.Errorf("I-4: batch %d has %d items of %d", id, items, limit)
		}
		running[b.Instance]++
	}
	slots, free := 0, map[*instance]int{}
	for _, in := range c.idle {
		free[in]++
	}
	for id, in := range c.instances {
		slots += in.slots
		if in.running != running[id] || free[in] != max(0, in.slots-in.running) {
			return fmt.Errorf("I-4: instance %d runs %d batches, counted %d, in %d slots, %d of them free", id, running[id], in.running, in.slots, free[in])
		}
	}
	if slots != c.slots {
		return fmt.Errorf("I-4: %d slots, counted %d", slots, c.slots)
	}
	return nil
}

// checkClients compares the clients' sums with a walk over their jobs.
func (c *Core) checkClients() error {
	jobs := 0
	for at, client := range c.clients.heap {
		var work int64
		count := 0
		for j := client.newest; j != nil; j = j.older {
			if !j.queued || j.client != client.id {
				return fmt.Errorf("job %d is listed for client %d", j.id, client.id)
			}
			work, count = work+j.work, count+1
		}
		if count == 0 || count != client.jobs || work != client.work || client.at != at || c.clients.byID[client.id] != client {
			return fmt.Errorf("client %d has %d jobs with work %d, counted %d with %d", client.id, count, work, client.jobs, client.work)
		}
		jobs += count
	}
	queued := 0
	for _, p := range c.pools {
		queued += p.queue.jobs
	}
	if jobs != queued || len(c.clients.byID) != len(c.clients.heap) {
		return fmt.Errorf("the clients have %d of %d queued jobs", jobs, queued)
	}
	return nil
}

// checkQueue compares the queue's sums with a walk in order.
func (c *Core) checkQueue(p *pool) error {
	var sum int64
	slack, slackDrop := int64(slackMax), int64(slackMax)
	jobs := 0
	var last *job
	for j := p.queue.first(); j != nil; j = p.queue.next(j) {
		if last != nil && !last.before(j) {
			return fmt.Errorf("I-10: job %d is queued after %d", j.id, last.id)
		}
		last = j
		jobs++
		sum += j.work
		own, ownDrop := j.own(sum)
		slack, slackDrop = min(slack, own), min(slackDrop, ownDrop)
	}
	if jobs != p.queue.jobs || sum != p.queue.total() || slack != p.queue.slack() ||
		(p.queue.root != nil && slackDrop != p.queue.root.slackDrop) {
		return fmt.Errorf("the queue's sums are wrong: %d jobs, work %d, slack %d", jobs, sum, slack)
	}
	return nil
}
