package sched

import (
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// job is the ledger of a job: the expected score of its finished and running items, so
// what the pending ones must still score, and the strategy for them. If the items do
// not all carry the same, the job is a chain of ledgers, one for each group of items
// that may run on the same variants. Each group is queued and planned on its own; all
// end together.
type job struct {
	node
	id         JobID
	group      int  // index in the chain
	first      *job // first of the chain; itself if there is only one
	other      *job // next in the chain
	background bool
	onward     *onward // set for a group of items that go on to another route; nil: none
	client     ClientID
	model      int
	planner    *plan.Planner // at the objective's confidence: by its accuracies the floor is kept
	n          int           // items that have not failed
	goal       slo.Score     // what these must score
	bytes      int64         // in the first: bytes of the whole job
	allowed    plan.Set
	objective  slo.Objective
	expires    slo.Instant
	expiring   int // in the first: index in the expiry heap, counted from 1; 0: not in it

	pending   []span    // items not dispatched, ascending
	waiting   int       // number of pending items
	running   int       // items in batches
	committed slo.Score // of finished and running items, by the planner's accuracies
	expected  slo.Score // the same by expected accuracies
	strategy  []int     // pending items by route; sums to waiting
	stale     bool      // the strategy must be replanned before use

	// For policies that replan: the strategies for the pending items, the chosen one,
	// the number of items and the target that they were planned for, and whether the job
	// has not yet taken over the chosen one.
	options       []plan.Strategy
	chosen        int
	optionsFor    int
	optionsTarget slo.Score
	fresh         bool

	virtualTime, virtualEnd int64 // place among jobs without a deadline, see client
	older, newer            *job  // queued jobs of the same client

	lost   int // how many instances went down with items of it
	lostIn int // the last of these losses
	latest slo.Instant
	ended  slo.Outcome // not 0: the job was given up with this outcome and waits only for running items
	reason slo.Reason
	facts  FinishJob // facts for the last action: RetryAfter, Best
}

// span is a run of item indices.
type span struct{ first, count int }

// target returns the score that the pending items must still reach.
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

// giveBack puts the items of a lost batch before the pending ones.
func (j *job) giveBack(p Part) {
	j.pending = append([]span{{p.First, p.Count}}, j.pending...)
	j.waiting += p.Count
}

// planned returns the route with the most pending items, the first among equals.
func (j *job) planned() int {
	best := 0
	for v, x := range j.strategy {
		if x > j.strategy[best] {
			best = v
		}
	}
	return best
}

// below returns how many pending items are planned on routes less accurate than r. If
// they take r instead, the job stays above its floor (I-5).
func (j *job) below(r int) int {
	routes, sum := j.planner.Routes(), 0
	for u, x := range j.strategy {
		if routes[u].Accuracy < routes[r].Accuracy {
			sum += x
		}
	}
	return sum
}

// spend takes x items out of the strategy because they run on route r: first those
// planned on r, then from the largest shares of less accurate routes. The latter makes
// the strategy stale, because the surplus may allow cheaper routes for other items.
func (j *job) spend(r, x int) {
	routes := j.planner.Routes()
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
	from    []*job  // by part: the job of its items
	routes  []int   // by part: the route of its items
	credits []worth // by part: what each of its items was credited with
	started slo.Instant
	nominal time.Duration // the profile's time, uncorrected
	aborted bool

	fromRoom   [4]*job // storage for from: most batches have few parts
	routeRoom  [4]int
	creditRoom [4]worth
}

// isWanted reports whether any job in the batch has not been given up.
func (c *Core) isWanted(b *batch) bool {
	return slices.ContainsFunc(b.Parts, func(p Part) bool { return c.jobs[p.Job].ended == 0 })
}

// abort aborts the batches that no job needs any more after this job was given up.
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
