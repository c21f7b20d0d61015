package sched

import (
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// JobID identifies a job. The driver chooses ids and never uses one twice. Among equal
// deadlines the lower id is more urgent.
type JobID uint64

// BatchID identifies a batch. The core counts batches from 1.
type BatchID uint64

// InstanceID identifies an instance. The driver chooses it.
type InstanceID int

// ClassID identifies a class of instances. The driver chooses small numbers from 0.
// Instances of one class have the same device, models and speed.
type ClassID int

// ClientID identifies a sender of jobs. The driver chooses it. A client cannot starve
// the others, see client.
type ClientID uint64

// Event is an input of the core. The driver sends the events of one instant in the
// order in which they are declared here.
type Event interface{ event() }

// Done answers a Dispatch: its batch ended after Took. Either the whole batch failed,
// or some of its parts, each of which ends its job, or some of its items, which end
// alone.
type Done struct {
	Batch       BatchID
	Took        time.Duration
	Failed      bool
	FailedParts []bool    // by part of the Dispatch; nil: no part failed unless Failed is set
	Verdicts    []Verdict // by item, in the order of the parts; nil: Accept for all
}

// Verdict is the driver's result for one item that ran.
type Verdict uint8

// The verdicts. Next makes the others.
const (
	Accept Verdict = iota // the item's outputs are its answer
	Fail                  // the item has no answer; the rest of its job goes on
)

// verdicts is the number of constants above: v-verdicts is the route of a Next.
const verdicts = 2

// Next returns the verdict that sends an item to another route, chosen by the gate of
// its route. That route must be in the Next of the item's route. The item keeps its
// job's place in the queue.
func Next(route int) Verdict { return verdicts + Verdict(route) }

// Next returns the route that an item goes to; false if the verdict ends it.
func (v Verdict) Next() (route int, ok bool) { return int(v) - verdicts, v >= verdicts }

// PartFailed reports whether a part of the batch failed.
func (d Done) PartFailed(part int) bool {
	return d.Failed || (part < len(d.FailedParts) && d.FailedParts[part])
}

// Count returns how many items of a part were accepted and how many failed alone. first
// is the index of the part's first item in the batch. The remaining items go on to
// another route.
func (d Done) Count(part Part, first int) (accepted, failed int) {
	if d.Verdicts == nil {
		return part.Count, 0
	}
	for _, v := range d.Verdicts[first : first+part.Count] {
		switch v {
		case Accept:
			accepted++
		case Fail:
			failed++
		}
	}
	return accepted, failed
}

// InstanceDown removes an instance. The batches that it was running are lost; no Done
// follows for them.
type InstanceDown struct {
	Instance InstanceID
	// By is the batch that lost the instance, if known: the loss counts only for its
	// jobs, see lostMax. 0: it counts for all jobs that ran there.
	By BatchID
}

// InstanceUp adds an idle instance. Each model says what the instance's class can run,
// and how fast.
type InstanceUp struct {
	Instance InstanceID
	Class    ClassID
	Slots    int // batches that it runs at a time; 0: one
}

// InstanceResize changes how many batches an instance runs at a time, to 0 or more.
// Running batches go on, even if they are more than the new number.
type InstanceResize struct {
	Instance InstanceID
	Slots    int
}

// Serve adds a model under a free number.
type Serve struct {
	Model int
	Spec  Model
}

// Replan changes what items are expected to score: the planner differs from the model's
// only in accuracies. Items that have started keep their credit.
type Replan struct {
	Model   int
	Planner *plan.Planner
}

// String lists the new accuracies by route, for traces.
func (e Replan) String() string {
	var accuracies []slo.Accuracy
	for _, r := range e.Planner.Routes() {
		accuracies = append(accuracies, r.Accuracy)
	}
	return fmt.Sprintf("{Model:%d Accuracies:%v}", e.Model, accuracies)
}

// GoString is String: a pointer would make traces differ.
func (e Replan) GoString() string { return e.String() }

// Retire removes a model without unfinished jobs; the driver waits until there are
// none. The number may be used again.
type Retire struct{ Model int }

// Cancel gives up a job. Unknown and finished jobs are ignored, because a client may
// cancel a job while it ends.
type Cancel struct {
	Job JobID
	// Reason is 0 if the client gave up. ReasonDraining ends the job as shed, because
	// the server stops before it has run, and ReasonAway because no class that it needs
	// is expected to come up. ReasonRuntime ends it as failed.
	Reason slo.Reason
	// Without, with ReasonAway, are the routes that no class will run. Items that a gate
	// has sent on to one of them keep the answers of the step before, if the floor
	// allows it; the job ends only if it needs these routes then.
	Without plan.Set
}

// ends returns how the job ends.
func (e Cancel) ends() (slo.Outcome, slo.Reason) {
	switch e.Reason {
	case slo.ReasonDraining, slo.ReasonAway:
		return slo.Shed, e.Reason
	case slo.ReasonRuntime:
		return slo.Failed, e.Reason
	default:
		return slo.Cancelled, slo.ReasonClient
	}
}

// Arrive submits a job of Items >= 1 items.
type Arrive struct {
	Job       JobID
	Client    ClientID
	Model     int // index into Config.Models, or the number of its Serve
	Items     int
	Bytes     int64          // memory that its payload holds until the job ends
	Present   slo.Modalities // modalities that every item carries; in a mixed job, that any item carries
	Choice    slo.Modalities // not 0: run exactly this subset
	Sizes     slo.Sizes      // of every item
	Objective slo.Objective
	// Mixed says what the items carry if they differ: runs of items, in their order,
	// that add up to Items. Nil: Present, Choice and Sizes hold for all.
	Mixed []slo.Carried
	// Expires is when a job with late rule drop is given up although its items run. It
	// must not be before the deadline. 0 means the deadline.
	Expires slo.Instant
	// Background is a job of one item that takes the route Route, whatever its floor. With
	// a deadline it is queued as others are. Without one it starts only while no other job
	// waits, and it ends as failed with a lost instance.
	Background bool
	Route      int
	// Refused, if not 0, is why the driver refuses the job. The core only records it.
	Refused slo.Reason
}

// idles reports whether the job starts only while no other waits.
func (e *Arrive) idles() bool { return e.Background && e.Objective.Deadline == slo.Never }

// Drain refuses all later arrivals. Queued jobs still run.
type Drain struct{}

// Tick only says that time has passed.
type Tick struct{}

func (Done) event()           {}
func (InstanceDown) event()   {}
func (InstanceUp) event()     {}
func (InstanceResize) event() {}
func (Serve) event()          {}
func (Replan) event()         {}
func (Retire) event()         {}
func (Cancel) event()         {}
func (Arrive) event()         {}
func (Drain) event()          {}
func (Tick) event()           {}

// Action is an output of the core. The driver carries out actions in order.
type Action interface{ action() }

// Part is a run of consecutive items of one job: First, First+1, ... Count of them.
type Part struct {
	Job   JobID
	First int
	Count int
}

// Dispatch starts a batch on an instance with a free slot. The driver answers with
// exactly one Done, unless the instance goes down first.
type Dispatch struct {
	Batch     BatchID
	Instance  InstanceID
	Model     int
	Variant   int
	Parts     []Part // owned by the driver
	Routes    []int  // by part: the route whose gate decides on its items; nil: all items are answered
	Predicted time.Duration
	Why       *Decision // nil unless Config.Explain
}

// Decision explains the composition of a batch.
type Decision struct {
	Head    JobID      // the most urgent job, which leads the batch
	Planned plan.Batch // the batch that the cheapest strategies that keep the floors ask for
	Chosen  plan.Batch // the policy's choice; the batch may still have fewer items
	// Options are the batches that the policy chose from, the planned one first. Nil if
	// the policy always runs the planned one.
	Options []Option
	// Slack is how long serving could wait, after the running batches, with all queued
	// jobs still on time. It is at most an hour.
	Slack time.Duration
	// Reserve is the part of Slack that is kept for expected jobs.
	Reserve time.Duration
	Queued  int // waiting items of the model, over all its jobs
}

// Option is a batch that could have run, with its expected effects.
type Option struct {
	plan.Batch
	Predicted time.Duration
	Late      float64 // items of expected jobs that this batch would make late
}

// Abort says that all jobs in a running batch were given up. The driver may end the
// batch early; its Done must still follow.
type Abort struct {
	Batch    BatchID
	Instance InstanceID
}

// GiveUp says that a job will end as given although some of its items still run, so its
// caller may be told now. Its FinishJob, with the same content, follows when the last
// of its batches has ended. Until then the driver keeps its payload.
type GiveUp struct{ FinishJob }

// Finish ends items of a job for good. Variant is -1 if they did not run.
type Finish struct {
	Part
	Variant int
	Outcome slo.Outcome
	Reason  slo.Reason
}

// FinishJob ends a job for good; all its items were finished before. A job is late if
// any item is late.
type FinishJob struct {
	Job        JobID
	Outcome    slo.Outcome
	Reason     slo.Reason
	Expected   slo.Accuracy  // mean over the items that ran and did not fail
	Certified  slo.Accuracy  // the lower bound of Expected, if the objective has a confidence
	RetryAfter time.Duration // shed: when a retry may succeed
	Best       slo.Accuracy  // infeasible: the highest possible accuracy; shed: the highest possible by the deadline, 0 if none
}

func (Dispatch) action()  {}
func (Abort) action()     {}
func (GiveUp) action()    {}
func (Finish) action()    {}
func (FinishJob) action() {}
