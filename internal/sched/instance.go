package sched

import (
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/internal/slo"
)

func (c *Core) instanceUp(id InstanceID) {
	if _, busy := c.busy[id]; busy || slices.Contains(c.idle, id) {
		panic(fmt.Sprintf("sched: instance %d is up already", id))
	}
	c.idle = append(c.idle, id)
	c.reweighAll()
}

// instanceDown loses an instance but none of its items: they wait again, or
// fail when they have been lost too often (I-13).
func (c *Core) instanceDown(id InstanceID) {
	if i := slices.Index(c.idle, id); i >= 0 {
		c.idle = slices.Delete(c.idle, i, i+1)
		c.reweighAll()
		return
	}
	batchID, busy := c.busy[id]
	if !busy {
		panic(fmt.Sprintf("sched: instance %d is not up", id))
	}
	b := c.batches[batchID]
	c.release(b)
	for _, p := range b.Parts {
		j := c.group(p)
		c.unrun(j, b, p.Count, true)
		c.lose(j, p, b)
	}
	c.reweighAll()
}

// lose puts the items of a lost batch back or ends them.
func (c *Core) lose(j *job, p Part, b *batch) {
	if j.lostWith != b.Batch {
		j.lostWith = b.Batch // it may have several parts in one
		j.lost++
	}
	if j.ended == 0 && j.lost <= lostMax {
		j.giveBack(p)
		c.pend(j, p.Count)
		j.stale = true
		c.requeue(j)
		return
	}
	f := Finish{Part: p, Variant: b.Variant, Outcome: j.ended, Reason: j.reason}
	if j.ended == 0 {
		f.Outcome, f.Reason = slo.Failed, slo.ReasonInstanceLost
	}
	c.finish(f)
	c.settle(j, f)
}

// reweighAll computes every queued job's share of the work anew, because the
// number of instances that share it has changed.
func (c *Core) reweighAll() {
	for j := c.queue.first(); j != nil; j = c.queue.next(j) {
		j.latest = c.latestStart(j)
		c.reweigh(j)
	}
}
