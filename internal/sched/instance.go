package sched

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// instance runs batches, up to slots at a time.
type instance struct {
	id      InstanceID
	class   ClassID
	slots   int
	running int // running batches
}

// class is the state of a class over all its instances.
type class struct {
	slots  int
	busy   int     // running batches
	endSum int64   // sum of their expected end times, ns
	speed  float64 // speed relative to the models' planners, mean over the models
}

// instanceUp adds an instance.
func (c *Core) instanceUp(e InstanceUp) {
	if c.instances[e.Instance] != nil {
		panic(fmt.Sprintf("sched: instance %d is up already", e.Instance))
	}
	if e.Class < 0 || e.Class >= ClassesMax {
		panic(fmt.Sprintf("sched: instance %d of class %d", e.Instance, e.Class))
	}
	for int(e.Class) >= len(c.classes) {
		c.classes = append(c.classes, class{})
	}
	in := &instance{id: e.Instance, class: e.Class}
	c.instances[e.Instance] = in
	c.resize(in, cmp.Or(e.Slots, 1))
}

// instanceResize changes the number of an instance's slots.
func (c *Core) instanceResize(e InstanceResize) {
	in := c.instances[e.Instance]
	if in == nil || e.Slots < 0 {
		panic(fmt.Sprintf("sched: %d slots for instance %d", e.Slots, e.Instance))
	}
	c.resize(in, e.Slots)
}

// resize sets an instance's slots. If there are fewer, the ones that became free last
// are removed first.
func (c *Core) resize(in *instance, slots int) {
	free := max(0, slots-in.running) - max(0, in.slots-in.running)
	for ; free > 0; free-- {
		c.idle = append(c.idle, in)
	}
	for at := len(c.idle) - 1; free < 0; at-- {
		if c.idle[at] == in {
			c.idle = slices.Delete(c.idle, at, at+1)
			free++
		}
	}
	c.classes[in.class].slots += slots - in.slots
	c.slots += slots - in.slots
	in.slots = slots
	c.fleetChanged()
	c.updateAllWork()
}

// instanceDown removes an instance. Its items wait again, or fail if they were lost too
// often (I-13).
func (c *Core) instanceDown(e InstanceDown) {
	in := c.instances[e.Instance]
	if in == nil {
		panic(fmt.Sprintf("sched: instance %d is not up", e.Instance))
	}
	delete(c.instances, e.Instance)
	c.losses++
	c.idle = slices.DeleteFunc(c.idle, func(i *instance) bool { return i == in })
	c.classes[in.class].slots -= in.slots
	c.slots -= in.slots
	c.fleetChanged()
	var lost []*batch
	if in.running > 0 {
		for _, b := range c.batches {
			if b.on == in {
				lost = append(lost, b)
			}
		}
		slices.SortFunc(lost, func(a, b *batch) int { return cmp.Compare(a.Batch, b.Batch) })
	}
	for _, b := range lost {
		c.release(b)
	}
	for _, b := range lost {
		for i, p := range b.Parts {
			c.unrun(b, i, true)
			c.lose(b.from[i], p, b, e.By == 0 || e.By == b.Batch)
		}
	}
	c.updateAllWork()
}

// lose puts the items of a lost batch back, or ends them if their job has lost items
// too often. The loss counts only if charged.
func (c *Core) lose(j *job, p Part, b *batch, charged bool) {
	if charged && j.lostIn != c.losses {
		j.lostIn = c.losses // it may have several parts and batches there
		j.lost++
	}
	if j.ended == 0 && j.lost <= lostMax && !j.background {
		j.giveBack(p)
		c.pend(j, p.Count)
		j.stale = true
		if o := j.ledger(); o.planner.MaxAccuracy(o.allowed).Times(o.waiting) >= o.target() || c.keepFloor(j.first) {
			c.requeue(j)
		}
		return
	}
	f := Finish{Part: p, Variant: b.Variant, Outcome: j.ended, Reason: j.reason}
	if j.ended == 0 {
		f.Outcome, f.Reason = slo.Failed, slo.ReasonInstanceLost
	}
	c.finish(f)
	c.settle(j, f)
}

// updateAllWork recomputes the work of every queued job after the slots that share it
// have changed. It replans jobs of models whose variants can now run on other classes.
func (c *Core) updateAllWork() {
	setWork := func(j *job) int64 {
		if m := c.models[j.model]; m.moved && j.onward == nil {
			if j.first.other != nil {
				j.first.resetGoals(m.up)
			}
			if s, ok := c.strategy(j); ok {
				j.strategy = s.Items
			}
		}
		j.latest = c.latestStart(j)
		return c.work(j)
	}
	for _, p := range c.pools {
		p.queue.setAllWork(setWork)
	}
	c.clients.sumWork(c.pools)
	for _, m := range c.models {
		if m != nil {
			m.moved = false
		}
	}
}

// fleetChanged updates the estimates after instances or models have changed.
func (c *Core) fleetChanged() {
	c.up = c.up[:0]
	for id, k := range c.classes {
		if k.slots > 0 {
			c.up = append(c.up, ClassID(id))
		}
	}
	for _, p := range c.pools {
		c.findUp(p)
	}
	for _, m := range c.models {
		if m != nil {
			c.measure(m)
		}
	}
	for _, id := range c.up {
		c.classes[id].speed = c.speed(id)
	}
}

// speed returns how much faster a class is than the planners expect: the mean over its
// models and their variants.
func (c *Core) speed(id ClassID) float64 {
	sum, n := 0.0, 0
	for _, m := range c.models {
		if m == nil || m.class(id) == nil {
			continue
		}
		r := m.class(id)
		for v := range m.slowness {
			if r.variants.Has(v) {
				sum, n = sum+1/m.factor(r, v), n+1
			}
		}
	}
	if n == 0 {
		return 1
	}
	return sum / float64(n)
}

// measure computes a model's slowness over the classes that are up.
func (c *Core) measure(m *model) {
	if m.slowness == nil {
		m.slowness = make([]float64, len(m.Planner.Variants()))
	}
	for v := range m.slowness {
		c.measureVariant(m, v)
	}
	c.measureRoutes(m)
	up := m.runnable(func(v int) bool {
		return slices.ContainsFunc(m.pool.up, func(id ClassID) bool { r := m.class(id); return r != nil && r.variants.Has(v) })
	})
	m.moved, m.up = m.moved || m.up != up, up
}

// measureVariant computes the slowness of a variant if all slots run only that variant.
// Slots that cannot run it count as idle.
func (c *Core) measureVariant(m *model, v int) {
	if len(m.pool.up) == 1 {
		if r := m.class(m.pool.up[0]); r != nil && r.variants.Has(v) {
			m.slowness[v] = m.factor(r, v)
			return
		}
	}
	rate := 0.0
	for _, id := range m.pool.up {
		if r := m.class(id); r != nil && r.variants.Has(v) {
			rate += float64(c.classes[id].slots) / m.factor(r, v)
		}
	}
	if m.slowness[v] = 1; rate > 0 {
		m.slowness[v] = float64(m.pool.slotsOr1()) / rate
	}
}

// factor returns how much slower a variant is on a class than in the planner.
func (m *model) factor(r *residence, v int) float64 {
	return r.curves[v].PerItem() / m.Planner.Variants()[v].Curve.PerItem() * r.scale[v]
}

// quickest returns the shortest time of a batch over the classes that are up.
func (c *Core) quickest(m *model, v, b int) time.Duration {
	least := time.Duration(math.MaxInt64)
	for _, id := range m.pool.up {
		if r := m.class(id); r != nil && r.variants.Has(v) {
			least = min(least, r.batchTime(v, b))
		}
	}
	if least == math.MaxInt64 {
		return m.meanTime(v, b)
	}
	return least
}

// longest returns the time of one item on the longest path of a route, with each step
// on the quickest class.
func (c *Core) longest(m *model, route int) time.Duration {
	return c.quickest(m, m.Planner.Routes()[route].Variant, 1) + m.after(route)
}

// after returns the part of longest after the first step of a route.
func (m *model) after(route int) time.Duration {
	if m.behind == nil {
		return 0
	}
	return m.behind[route]
}

// measureRoutes computes the times after the gates of a model's routes. Routes go on to
// routes with lower indices, so these are computed first.
func (c *Core) measureRoutes(m *model) {
	routes := m.Planner.Routes()
	for i := range m.tails {
		m.tails[i], m.behind[i] = 0, 0
		for _, b := range routes[i].Next {
			m.tails[i] += b.Share * m.perItem(b.Route)
			m.behind[i] = max(m.behind[i], c.longest(m, b.Route))
		}
	}
}
