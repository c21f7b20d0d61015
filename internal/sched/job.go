package sched

import (
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// job is one job's ledger: what its finished and running items are expected to
// score, hence what the pending ones must still score, and the strategy by
// which they will. A job whose items do not all carry the same is a chain of such
// ledgers, one for each group of items that may run on the same variants; each is
// queued and planned for itself, and all end together.
type job struct {
	node
	id        JobID
	group     int     // 0 of the first
	first     *job    // of the chain; itself if it is alone
	other     *job    // the next of the chain
	onward    *onward // of a group of items that go on with a further route; nil: none
	client    ClientID
	model     int
	n         int       // items that have not failed
	goal      slo.Score // what these must score
	bytes     int64     // of the first: of the whole job
	allowed   plan.Set
	objective slo.Objective
	expires   slo.Instant
	expiring  int // of the first: its place among those that run and expire, counted from 1

	pending   []span    // items not dispatched, ascending
	waiting   int       // number of pending items
	running   int       // items in batches
	committed slo.Score // expected score of finished and running items
	strategy  []int     // pending items by route; sums to waiting
	stale     bool      // the strategy must be planned anew before use

	// Of a policy that replans: the strategies there are for the pending items,
	// which of them is chosen, for how many items and what score they were planned, and
	// whether the job has taken over the chosen one yet.
	options       []plan.Strategy
	chosen        int
	optionsFor    int
	optionsTarget slo.Score
	fresh         bool

	virtualTime, virtualEnd int64 // in the order of jobs without a deadline, see client
	older, newer            *job  // queued, of the same client

	lost   int // instances that went down with items of it
	lostIn int // the last of these losses
	latest slo.Instant
	ended  slo.Outcome // not 0: the job is given up with this outcome and only waits for running items
	reason slo.Reason
	facts  FinishJob // facts for the last action: RetryAfter, Best
}

// span is a run of item indices.
type span struct{ first, count int }

// target is the score the pending items must still reach.
func (j *job) target() slo.Score { return max(0, j.goal-j.committed) }

// take removes x pending items and appends them to parts.
func (j *job) take(x int, parts []Part) []Part {
	j.waiting -= x
	for x > 0 {
		s := &j.pending[0]
		k := min(x, s.count)
		parts = append(parts, Part{Job: j.id, First: s.first, Count: k})
		s.first, s.count, x = s.first+k, s.count-k, x-k
		if s.count == 0 {
			j.pending = j.pending[1:]
		}
	}
	return parts
}

// giveBack returns items of a lost batch to the front of the pending ones.
func (j *job) giveBack(p Part) {
	j.pending = append([]span{{p.First, p.Count}}, j.pending...)
	j.waiting += p.Count
}

// planned is the route that most pending items are planned for, the first of
// equals.
func (j *job) planned() int {
	best := 0
	for v, x := range j.strategy {
		if x > j.strategy[best] {
			best = v
		}
	}
	return best
}

// below is how many pending items are planned on routes less accurate than r:
// those that taking r instead never takes below the floor (I-5).
func (j *job) below(r int, routes []plan.Route) int {
	sum := 0
	for u, x := range j.strategy {
		if routes[u].Accuracy < routes[r].Accuracy {
			sum += x
		}
	}
	return sum
}

// spend moves x items out of the strategy on to route r: first those planned
// there, then from the largest shares of less accurate ones, which makes the
// strategy stale: the surplus may let others run cheaper.
func (j *job) spend(r, x int, routes []plan.Route) {
	k := min(x, j.strategy[r])
	j.strategy[r] -= k
	for x -= k; x > 0; x -= k {
		from := -1
		for u, y := range j.strategy {
			if y > 0 && routes[u].Accuracy < routes[r].Accuracy && (from < 0 || y > j.strategy[from]) {
				from = u
			}
		}
		k = min(x, j.strategy[from])
		j.strategy[from] -= k
		j.stale = true
	}
}

// batch is a dispatched batch.
type batch struct {
	Dispatch
	on      *instance
	from    []*job // by part: whose items they are
	routes  []int  // by part: that its items take
	started slo.Instant
	nominal time.Duration // the profile's time, uncorrected
	aborted bool

	fromRoom  [4]*job // most batches have few parts
	routeRoom [4]int
}

// isWanted reports whether a job in the batch is not given up.
func (c *Core) isWanted(b *batch) bool {
	return slices.ContainsFunc(b.Parts, func(p Part) bool { return c.jobs[p.Job].ended == 0 })
}

// abort ends the batches in which a job that was given up had the last items
// that anybody wanted.
func (c *Core) abort(j *job) {
	var ids []BatchID
	for id, b := range c.batches {
		if !b.aborted && slices.ContainsFunc(b.Parts, func(p Part) bool { return p.Job == j.id }) && !c.isWanted(b) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		b := c.batches[id]
		b.aborted = true
		c.out = append(c.out, Abort{Batch: id, Instance: b.Instance})
	}
}
