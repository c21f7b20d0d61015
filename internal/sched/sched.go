// Package sched is the core of mosel: admission, ledgers, the queue, batching
// across jobs, dispatch, cancellation and drain, in one state machine, because
// they share one state and one set of invariants (docs/invariants.md).
//
// The core never blocks and reads no clock. A driver (engine in real time, sim
// in virtual time) owns it from one goroutine and
//
//   - calls Step with instants that never go back, events of one instant in the
//     order in which event.go declares them;
//   - carries out the actions in order;
//   - answers every Dispatch with exactly one Done, unless it reports the
//     instance down first;
//   - calls Step with a Tick no later than Next asks for;
//   - forgets an id when its FinishJob comes: a finish is for ever.
//
// Jobs wait in earliest-deadline-first order. A variant is chosen when a batch
// is dispatched, not before: each job's ledger says what its pending items must
// still score, and an idle instance takes the most urgent job, decides by
// policy which variant to run it on, and fills the batch with later items that
// may run there and are not made late.
package sched

import (
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Config is what a core is made from.
type Config struct {
	Models []Model
	Policy plan.Policy
	// QueueItemsMax, QueueJobsMax and QueueBytesMax bound what is unfinished, over
	// all models (I-9). A job that would exceed them is shed on arrival, unless
	// clients with more in the queue yield to it. No bytes is no bound on them.
	QueueItemsMax int
	QueueJobsMax  int
	QueueBytesMax int64
	// Explain asks for a Decision with every Dispatch.
	Explain bool
}

// DefaultQueueItemsMax and DefaultQueueJobsMax hold a large batch job of
// 100,000 items beside single requests; the memory is a few hundred bytes a job.
const (
	DefaultQueueItemsMax = 200_000
	DefaultQueueJobsMax  = 100_000
)

// lostMax is how many losses of an instance a job may be charged with before it fails:
// an item that kills its instance must not kill all of them.
const lostMax = 2

// Core is the state machine. It is not safe for concurrent use.
type Core struct {
	cfg       Config
	models    []*model // by number; nil: none
	pools     []*pool
	clients   clients
	jobs      map[JobID]*job
	batches   map[BatchID]*batch
	instances map[InstanceID]*instance
	classes   []class     // by ClassID
	up        []ClassID   // classes with slots
	slots     int         // over all instances
	losses    int         // of instances
	free      []freeClass // kept for its memory
	idle      []*instance // one entry for each free slot, in the order in which they became free
	expiry    expiry
	leaving   []*job // out of the queue for the job that is being admitted
	forecast  forecast
	options   []plan.Batch // of the last choice, kept for its memory
	items     int          // pending items over all jobs
	bytes     int64        // of all unfinished jobs
	lastBatch BatchID
	now       slo.Instant
	draining  bool
	out       []Action
	counts    Counts
}

// Counts are running totals, enough for the cheap invariants in production.
type Counts struct {
	Arrived, Finished, Queued, Running int // items; I-1: Arrived = Finished + Queued + Running
	Jobs                               int // unfinished
}

// New makes a core without instances.
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

// retire takes a model away.
func (c *Core) retire(number int) {
	if jobs := c.models[number].jobs; jobs > 0 {
		panic(fmt.Sprintf("sched: I-13: model %d goes while %d of its jobs are unfinished", number, jobs))
	}
	c.models[number] = nil
	c.fleetChanged()
}

// Step tells the core what happened at now and appends what is to be done to
// out. It panics when the driver breaks its duties.
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
	case Retire:
		c.retire(e.Model)
	case Cancel:
		if j := c.jobs[e.Job]; j != nil && j.ended == 0 {
			outcome, reason := e.ends()
			c.giveUp(j, outcome, reason)
		}
	case Arrive:
		c.arrive(e)
	case Drain:
		c.draining = true
	case Tick:
	default:
		panic(fmt.Sprintf("sched: unknown event %T", event))
	}
	c.expire()
	c.dispatchAll()
	out, c.out = c.out, nil
	return out
}

// Next returns the latest instant at which the core wants to be called, so that
// work that can no longer be on time is told so when that becomes true and not
// when an instance is free. It reports false when nothing waits for time.
func (c *Core) Next() (slo.Instant, bool) {
	at := c.expiry.first()
	for _, p := range c.pools {
		if j := p.queue.first(); j != nil && j.objective.Late == slo.LateDrop {
			at = min(at, j.latest)
		}
	}
	if at == slo.Never {
		return 0, false
	}
	return max(c.now, at) + 1, true
}

// Idle reports whether nothing is queued or running: after a Drain, that it is
// complete (I-13).
func (c *Core) Idle() bool { return len(c.jobs) == 0 }

// Counts returns the running totals.
func (c *Core) Counts() Counts { return c.counts }

// Waiting is the time in which the instances would work off all that is queued
// and running, as cheaply as the floors allow.
func (c *Core) Waiting() (most time.Duration) {
	for _, p := range c.pools {
		most = max(most, c.waiting(p))
	}
	return most
}
