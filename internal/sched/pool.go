package sched

import (
	"math"
	"time"
)

// pool is the queue of the models that the same classes have, with the slots of these
// classes. If all classes have all models, there is one pool. If a class is in several
// pools, estimates count the work of all of them as if it came first.
type pool struct {
	classes uint64 // by ClassID
	queue   queue
	up      []ClassID // the classes with slots; if none has slots, one of the classes
	slots   int       // over all of these classes
	near    []*pool   // pools that share a class with it; the first is the pool itself
}

// ClassesMax is the number of classes that there may be: a pool's classes are 64 bits.
const ClassesMax = 64

// poolOf returns the pool of a model.
func (c *Core) poolOf(m *model) *pool {
	classes := uint64(math.MaxUint64)
	if m.Classes != nil {
		classes = 0
		for id, r := range m.Classes {
			if r.Variants != 0 {
				classes |= 1 << id
			}
		}
	}
	for _, p := range c.pools {
		if p.classes == classes {
			return p
		}
	}
	p := &pool{classes: classes}
	p.near = append(p.near, p)
	for _, other := range c.pools {
		if other.classes&classes != 0 {
			p.near, other.near = append(p.near, other), append(other.near, p)
		}
	}
	c.pools = append(c.pools, p)
	c.findUp(p)
	return p
}

// findUp determines which classes of a pool have slots.
func (c *Core) findUp(p *pool) {
	p.up, p.slots = p.up[:0], 0
	lowest := ClassID(-1)
	for id, k := range c.classes {
		if p.classes&(1<<id) == 0 {
			continue
		}
		if lowest < 0 {
			lowest = ClassID(id)
		}
		if p.slots += k.slots; k.slots > 0 {
			p.up = append(p.up, ClassID(id))
		}
	}
	if len(p.up) == 0 {
		p.up = append(p.up, max(lowest, 0))
	}
}

// slotsOr1 returns the number of slots that share the pool's work, or 1 if there are
// none, for estimates.
func (p *pool) slotsOr1() int { return max(1, p.slots) }

// around is queue.around over all jobs that may wait for the same slots.
func (p *pool) around(j *job) (before, slackAfter int64) {
	slackAfter = slackMax
	for _, q := range p.near {
		b, s := q.queue.around(j)
		before, slackAfter = before+b, min(slackAfter, s)
	}
	return before, slackAfter
}

// total returns the work of all jobs that may wait for the same slots.
func (p *pool) total() (sum int64) {
	for _, q := range p.near {
		sum += q.queue.total()
	}
	return sum
}

// slack returns the least slack of the queues of these jobs.
func (p *pool) slack() int64 {
	least := int64(slackMax)
	for _, q := range p.near {
		least = min(least, q.queue.slack())
	}
	return least
}

// waiting returns the time in which the pool's slots would finish all queued and running
// work, as cheaply as the floors allow.
func (c *Core) waiting(p *pool) time.Duration {
	return c.busyTime(p) + time.Duration(p.total())
}

// share returns the share of a pool's capacity that one slot of a class has.
func (c *Core) share(p *pool, id ClassID) float64 {
	if len(p.up) == 1 {
		return 1 / float64(p.slotsOr1())
	}
	return c.classes[id].speed / c.power(p)
}

// power returns a pool's capacity, in slots of the planners' speed.
func (c *Core) power(p *pool) (sum float64) {
	for _, id := range p.up {
		sum += float64(c.classes[id].slots) * c.classes[id].speed
	}
	return sum
}

// busyTime returns how long the running batches in a pool's slots still take, divided
// over these slots. Without an instance it is 0, so estimates start from now.
func (c *Core) busyTime(p *pool) time.Duration {
	left := func(k *class) int64 { return max(0, k.endSum-int64(c.now)*int64(k.busy)) }
	if len(p.up) == 1 {
		return time.Duration(left(&c.classes[p.up[0]])) / time.Duration(p.slotsOr1())
	}
	sum := 0.0
	for _, id := range p.up {
		sum += float64(left(&c.classes[id])) * c.classes[id].speed
	}
	return time.Duration(sum / c.power(p))
}
