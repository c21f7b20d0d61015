// Package sched is the core of mosel: admission, ledgers, the queue, batching
// across jobs, dispatch, cancellation and drain. They are one state machine, because
// they share one state and one set of invariants (docs/invariants.md).
//
// The core never blocks and reads no clock. A driver (engine in real time, sim
// in virtual time) owns it in one goroutine. The driver
//
//   - calls Step with instants that never go back, and sends the events of one
//     instant in the order in which event.go declares them;
//   - carries out the actions in order;
//   - answers every Dispatch with exactly one Done, unless it reports the
//     instance down first;
//   - calls Step with a Tick no later than Next asks for;
//   - forgets a job's id after its FinishJob, which is final.
//
// Jobs wait in earliest-deadline-first order. The variant is chosen when a batch
// is dispatched, not before. Each job's ledger says what its pending items must
// still score. An idle instance takes the most urgent job, decides by the policy
// on which variant to run it, and fills the batch with later items that may run
// on it, as long as this makes no job late.
package sched

import (
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Config configures a core.
type Config struct {
	Models []Model
	Policy plan.Policy
	// QueueItemsMax, QueueJobsMax and QueueBytesMax bound what is unfinished, over all
	// models (I-9). A job that would exceed them is shed on arrival, unless clients
	// with more work in the queue yield to it. QueueBytesMax 0 is no bound.
	QueueItemsMax int
	QueueJobsMax  int
	QueueBytesMax int64
	// Explain adds a Decision to every Dispatch.
	Explain bool
}

// DefaultQueueItemsMax and DefaultQueueJobsMax have room for a batch job of 100,000
// items beside single requests. A queued job takes a few hundred bytes.
const (
	DefaultQueueItemsMax = 200_000
	DefaultQueueJobsMax  = 100_000
)

// lostMax is how many losses of instances may count for a job before it fails. The
// bound stops an item that crashes its instance from crashing all of them.
const lostMax = 2

// Core is the state machine. It is not safe for concurrent use.
type Core struct {
	cfg          Config
	models       []*model // by number; nil: none
	pools        []*pool
	clients      clients
	jobs         map[JobID]*job
	batches      map[BatchID]*batch
	instances    map[InstanceID]*instance
	classes      []class     // by ClassID
	up           []ClassID   // classes with slots
	slots        int         // over all instances
	losses       int         // instances lost
	free         []freeClass // kept to reuse its memory
	idle         []*instance // one entry for each free slot, in the order in which they became free
	expiry       expiry
	background   []*job // waiting jobs in the background, in the order of arrival
	inBackground int    // unfinished jobs in the background
	leaving      []*job // jobs taken out of the queue to make room for the one being admitted
	forecast     forecast
	options      []plan.Batch // of the last choice; kept to reuse its memory
	items        int          // pending items over all jobs
	bytes        int64        // of all unfinished jobs
	lastBatch    BatchID
	now          slo.Instant
	draining     bool
	out          []Action
	counts       Counts
}

// Counts are running totals. They allow cheap checks of invariants in production.
type Counts struct {
	Arrived, Finished, Queued, Running int // items; I-1: Arrived = Finished + Queued + Running
	Jobs                               int // unfinished
}

// New returns a core without instances.
func New(cfg Config) (*Core, error) {
	if cfg.QueueItemsMax < 1 || cfg.QueueJobsMax < 1 {
		return nil, fmt.Errorf("queue bounds %d items, %d jobs: both must be at least 1", cfg.QueueItemsMax, cfg.QueueJobsMax)
	}
	c := &Core{cfg: cfg, jobs: map[JobID]*job{}, clients: clients{byID: map[ClientID]*client{}},
		batches: map[BatchID]*batch{}, instances: map[InstanceID]*instance{}, classes: make([]class, 1)}
	for _, m := range cfg.Models {
		if m.BatchItemsMax < 1 {
			return nil, fmt.Errorf("model %s: largest batch %d is not positive", m.Name, m.BatchItemsMax)
		}
		c.models = append(c.models, c.newModel(m))
	}
	return c, nil
}

// serve adds a model.
func (c *Core) serve(e Serve) {
	for e.Model >= len(c.models) {
		c.models = append(c.models, nil)
	}
	if c.models[e.Model] != nil || e.Spec.BatchItemsMax < 1 {
		panic(fmt.Sprintf("sched: model %s, of batches up to %d, as number %d", e.Spec.Name, e.Spec.BatchItemsMax, e.Model))
	}
	c.models[e.Model] = c.newModel(e.Spec)
	c.fleetChanged()
}

// retire removes a model.
func (c *Core) retire(number int) {
	if jobs := c.models[number].jobs; jobs > 0 {
		panic(fmt.Sprintf("sched: I-13: model %d goes while %d of its jobs are unfinished", number, jobs))
	}
	c.models[number] = nil
	c.fleetChanged()
}

// Step processes an event that happened at now and appends the resulting actions to
// out. It panics if the driver breaks its contract.
func (c *Core) Step(now slo.Instant, event Event, out []Action) []Action {
	if now < c.now {
		panic(fmt.Sprintf("sched: I-3: time goes back from %d to %d", c.now, now))
	}
	c.now, c.out = now, out
	switch e := event.(type) {
	case Done:
		c.done(e)
	case InstanceDown:
		c.instanceDown(e)
	case InstanceUp:
		c.instanceUp(e)
	case InstanceResize:
		c.instanceResize(e)
	case Serve:
		c.serve(e)
	case Replan:
		c.replanModel(e)
	case Retire:
		c.retire(e.Model)
	case Cancel:
		if j := c.jobs[e.Job]; j != nil && j.ended == 0 {
			if outcome, reason := e.ends(); !c.answerWithout(j, e.Without) {
				c.giveUp(j, outcome, reason)
			}
		}
	case Arrive:
		c.arrive(e)
	case Drain:
		c.draining = true
		c.endBackground(slo.ReasonDraining)
	case Tick:
	default:
		panic(fmt.Sprintf("sched: unknown event %T", event))
	}
	c.expire()
	c.dispatchAll()
	out, c.out = c.out, nil
	return out
}

// Next returns the latest instant at which Step must be called, so that jobs that can
// no longer be on time are ended at once and not when an instance becomes free. It
// returns false if no job waits for a time.
func (c *Core) Next() (slo.Instant, bool) {
	at := c.expiry.first()
	for _, p := range c.pools {
		if j := p.queue.first(); j != nil && j.objective.Late == slo.LateDrop {
			at = min(at, j.latest)
		}
	}
	if c.mayStartBackground() && !c.quiet() {
		at = min(at, c.forecast.last.Add(backgroundQuiet)-1)
	}
	if at == slo.Never {
		return 0, false
	}
	return max(c.now, at) + 1, true
}

// Idle reports whether nothing is queued or running. After a Drain it means that the
// drain is complete (I-13).
func (c *Core) Idle() bool { return len(c.jobs) == 0 }

// Needs reports whether pending items of a job need some routes of its model: without
// these they cannot score what they must, or wait behind a gate for one of them.
func (c *Core) Needs(id JobID, routes plan.Set) bool {
	j := c.jobs[id]
	if j == nil || j.ended != 0 {
		return false
	}
	for g := j; g != nil; g = g.other {
		left := g.allowed &^ routes
		switch {
		case g.waiting == 0:
		case left == 0, g.onward == nil && g.planner.MaxAccuracy(left).Times(g.waiting) < g.target():
			return true
		}
	}
	return false
}

// Counts returns the running totals.
func (c *Core) Counts() Counts { return c.counts }

// Waiting returns the time in which the instances would finish all queued and running
// work, as cheaply as the floors allow.
func (c *Core) Waiting() (most time.Duration) {
	for _, p := range c.pools {
		most = max(most, c.waiting(p))
	}
	return most
}
