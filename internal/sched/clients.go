package sched

import (
	"container/heap"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// client is a sender of jobs. A client that floods the server must not starve the
// others. Two rules ensure this:
//
//   - A job that finds no room may displace queued jobs of other clients: the newest
//     jobs of the client with the most work in the queue, one by one, as long as that
//     client has more work than the job's own client would have, and as long as it
//     helps. Each client thus gets its max-min fair share of a full queue, and may
//     use room that no other client needs.
//   - Jobs without a deadline are ordered by start-time fair queueing: by virtual
//     times that advance with the work of each client.
//
// The order of jobs with deadlines does not change (I-10). A client is known while it
// has jobs in the queue.
type client struct {
	id          ClientID
	work        int64 // of its queued jobs, in the queue's unit
	jobs        int   // number of queued jobs
	newest      *job  // newest queued job; the others follow by job.older and job.newer
	virtualTime int64 // of its next job without a deadline
	at          int   // index in the heap
}

// clients holds the clients with queued jobs as a heap: the one with the most work is
// first.
type clients struct {
	byID        map[ClientID]*client
	heap        []*client
	virtualTime int64 // of the last job without a deadline that led a batch
}

func (h *clients) Len() int { return len(h.heap) }

func (h *clients) Less(i, k int) bool {
	a, b := h.heap[i], h.heap[k]
	if a.work != b.work {
		return a.work > b.work
	}
	return a.id < b.id
}

func (h *clients) Swap(i, k int) {
	h.heap[i], h.heap[k] = h.heap[k], h.heap[i]
	h.heap[i].at, h.heap[k].at = i, k
}

// Push implements heap.Interface.
func (h *clients) Push(x any) {
	c := x.(*client)
	c.at = len(h.heap)
	h.heap = append(h.heap, c)
}

// Pop implements heap.Interface.
func (h *clients) Pop() any {
	last := h.heap[len(h.heap)-1]
	h.heap[len(h.heap)-1] = nil
	h.heap = h.heap[:len(h.heap)-1]
	return last
}

// work returns the queued work of a client.
func (h *clients) work(id ClientID) int64 {
	if c := h.byID[id]; c != nil {
		return c.work
	}
	return 0
}

// takeVirtualTime gives a job without a deadline its place among the others without
// one.
func (h *clients) takeVirtualTime(j *job, work int64) {
	virtualTime := h.virtualTime
	if c := h.byID[j.client]; c != nil {
		virtualTime = max(virtualTime, c.virtualTime)
	}
	j.virtualTime, j.virtualEnd = virtualTime, virtualTime+work
}

// add counts a job that was queued.
func (h *clients) add(j *job) {
	c := h.byID[j.client]
	if c == nil {
		c = &client{id: j.client}
		h.byID[j.client] = c
		heap.Push(h, c)
	}
	c.work += j.work
	c.jobs++
	c.virtualTime = max(c.virtualTime, j.virtualEnd)
	if j.older = c.newest; j.older != nil {
		j.older.newer = j
	}
	c.newest = j
	heap.Fix(h, c.at)
}

// drop stops counting a job that leaves the queue.
func (h *clients) drop(j *job) {
	c := h.byID[j.client]
	c.work -= j.work
	if j.older != nil {
		j.older.newer = j.newer
	}
	if j.newer != nil {
		j.newer.older = j.older
	} else {
		c.newest = j.older
	}
	j.older, j.newer = nil, nil
	if c.jobs--; c.jobs == 0 {
		heap.Remove(h, c.at)
		delete(h.byID, c.id)
		return
	}
	heap.Fix(h, c.at)
}

// setWork changes the work of a queued job.
func (h *clients) setWork(j *job, work int64) {
	c := h.byID[j.client]
	c.work += work - j.work
	heap.Fix(h, c.at)
}

// sumWork recomputes the clients' work from the queued jobs.
func (h *clients) sumWork(pools []*pool) {
	for _, c := range h.heap {
		c.work = 0
	}
	for _, p := range pools {
		h.addWork(p.queue.root)
	}
	heap.Init(h)
}

func (h *clients) addWork(t *job) {
	if t != nil {
		h.byID[t.client].work += t.work
		h.addWork(t.left)
		h.addWork(t.right)
	}
}

// enqueue puts a job into the queue.
func (c *Core) enqueue(j *job) {
	c.pool(j).queue.insert(j, c.work(j))
	c.clients.add(j)
}

// dequeue takes a job out of the queue.
func (c *Core) dequeue(j *job) {
	c.clients.drop(j)
	c.pool(j).queue.remove(j)
}

// updateWork recomputes the work of a queued job.
func (c *Core) updateWork(j *job) {
	work := c.work(j)
	c.clients.setWork(j, work)
	c.pool(j).queue.setWork(j, work)
}

// Bounds on the search for jobs that can yield, so that an arrival takes microseconds:
// the clients visited, the jobs visited, and the jobs that yield.
const (
	yieldClientsMax = 8
	yieldScanMax    = 512
	yieldJobsMax    = 256
)

// makeRoom makes room in a full queue for a job, if others have to yield to it. These
// leave the queue; yield then ends them or puts them back.
func (c *Core) makeRoom(j *job) bool {
	yielding := c.yielding(j)
	for _, v := range yielding {
		v.first.facts.RetryAfter = c.waiting(c.pool(v))
	}
	c.leaving = append(c.leaving, yielding...)
	return yielding != nil
}

// yield ends the jobs that made room for a job, or puts them back if that job was not
// admitted.
func (c *Core) yield(j *job, admitted bool) {
	for _, v := range slices.Backward(c.leaving) {
		if !admitted {
			v.first.facts.RetryAfter = 0
			c.enqueue(v)
		}
	}
	for _, v := range c.leaving {
		if admitted && v.ended == 0 { // otherwise it already yielded as another group of its job
			reason := slo.ReasonYielded
			if v.client == j.client {
				reason = slo.ReasonTooBusy // it was displaced
			}
			c.giveUp(v, slo.Shed, reason)
		}
	}
	clear(c.leaving)
	c.leaving = c.leaving[:0]
}

// yielding finds the jobs that must yield to make room for j, and takes them out of the
// queue. If that does not make room, it returns nil and leaves the queue unchanged.
func (c *Core) yielding(j *job) []*job {
	own := c.clients.work(j.client) + c.work(j)
	var out []*job
	var passed []*client // clients with no job that would help
	scans := 0
	for len(out) < yieldJobsMax && len(passed) < yieldClientsMax && scans < yieldScanMax && !c.ample(j, out) {
		if len(c.clients.heap) == 0 || c.clients.heap[0].work <= own {
			break
		}
		richest := c.clients.heap[0]
		anyHelps := !c.fits(out) || c.waitBefore(j)+c.fullBatch(j) <= 0
		v := richest.newest
		for ; v != nil && (v.begun() || !anyHelps && !v.before(j) || !c.shares(v, j)); v = v.older {
			if scans++; scans == yieldScanMax {
				v = nil
				break
			}
		}
		if v == nil {
			heap.Pop(&c.clients)
			passed = append(passed, richest)
			continue
		}
		c.dequeue(v)
		out = append(out, v)
	}
	for _, p := range passed {
		heap.Push(&c.clients, p)
	}
	if c.room(j, out) {
		return out
	}
	for _, v := range slices.Backward(out) {
		c.enqueue(v)
	}
	return nil
}

// shares reports whether it helps one job if another leaves: the bounds of the queue
// are exceeded, or both wait for the same slots.
func (c *Core) shares(v, j *job) bool {
	return len(c.pools) == 1 || !c.fits(nil) || c.pool(v).classes&c.pool(j).classes != 0
}

// room reports whether the queue has room for a job that is already counted, without
// the leaving jobs.
func (c *Core) room(j *job, leaving []*job) bool {
	return c.fits(leaving) && (!c.mustFit(j) || c.tardiness(j) <= 0)
}

// ample reports whether there is room and also time for one full batch. The margin
// avoids that jobs yield in vain.
func (c *Core) ample(j *job, leaving []*job) bool {
	return c.fits(leaving) && (!c.mustFit(j) || c.tardiness(j)+c.fullBatch(j) <= 0)
}

// fullBatch returns the time of a batch of the best size, or of all work before the job if that is
// less.
func (c *Core) fullBatch(j *job) time.Duration {
	m := c.models[j.model]
	before, _ := c.pool(j).around(j)
	v := m.Planner.Routes()[j.planned()].Variant
	return min(time.Duration(before), m.meanTime(v, min(m.BatchItemsMax, m.Planner.Variants()[v].Curve.BestBatch())))
}

// mustFit reports whether a job is refused if it cannot be on time. (A policy that
// replans drops such jobs later.)
func (c *Core) mustFit(j *job) bool {
	return j.objective.Late == slo.LateDrop && j.objective.Deadline != slo.Never && !c.cfg.Policy.Replans()
}

// fits reports whether the queue is within its bounds without the leaving jobs.
func (c *Core) fits(leaving []*job) bool {
	items, bytes, jobs := c.items+c.counts.Running, c.bytes, len(c.jobs)-c.inBackground-len(leaving)-len(c.leaving)
	for _, v := range c.leaving {
		items, bytes = items-v.waiting, bytes-v.bytes
	}
	for _, v := range leaving { // counts only the leaving group, not the job's other groups
		items, bytes = items-v.waiting, bytes-v.bytes
	}
	return items <= c.cfg.QueueItemsMax && jobs <= c.cfg.QueueJobsMax && (c.cfg.QueueBytesMax == 0 || bytes <= c.cfg.QueueBytesMax)
}
