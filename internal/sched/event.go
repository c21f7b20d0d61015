package sched

import (
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// JobID names a job. The driver chooses it; an id is never used twice. Among
// equal deadlines the lower id is the more urgent.
type JobID uint64

// BatchID names a batch. The core counts them from 1.
type BatchID uint64

// InstanceID names an instance, chosen by the driver.
type InstanceID int

// ClassID names a class of instances, chosen by the driver: small numbers from 0.
// Instances of one class are alike in device, models and speed.
type ClassID int

// ClientID names who sends jobs, chosen by the driver. What one client asks for
// does not starve the others, see client.
type ClientID uint64

// Event is what a driver tells the core. The events of one instant are given in
// the order in which they are declared here.
type Event interface{ event() }

// Done answers a Dispatch: its batch ended after Took. It failed as a whole, or
// some of its parts did, each of which ends its job, or some of its items did,
// which end alone.
type Done struct {
	Batch       BatchID
	Took        time.Duration
	Failed      bool
	FailedParts []bool    // by part of the Dispatch; nil: none but what Failed says
	Verdicts    []Verdict // by item, in the order of the parts; nil: Accept for all
}

// Verdict is what the driver says of one item that ran.
type Verdict uint8

// The verdicts. The others are made by Next.
const (
	Accept Verdict = iota // its outputs are its answer
	Fail                  // it has no answer; the rest of its job goes on
)

// verdicts is the number of the verdicts above: v-verdicts is the route of another.
const verdicts = 2

// Next says that an item is not done: the gate of its route sends it on with
// another, which must be in the Next of its route. It keeps its job's place in
// the queue.
func Next(route int) Verdict { return verdicts + Verdict(route) }

// Next is the route that an item goes on with; false if the verdict ends it.
func (v Verdict) Next() (route int, ok bool) { return int(v) - verdicts, v >= verdicts }

// PartFailed reports whether a part of the batch failed.
func (d Done) PartFailed(part int) bool {
	return d.Failed || (part < len(d.FailedParts) && d.FailedParts[part])
}

// Count is how many of a part's items were accepted, and how many failed alone;
// first is the place of its first item in the batch. The rest goes on.
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

// InstanceDown takes an instance away. The batches it was running are lost; no
// Done follows for them.
type InstanceDown struct {
	Instance InstanceID
	// By is the batch that the instance was lost with, if it is known: only its jobs
	// are charged with the loss, see lostMax. 0 charges all that ran there.
	By BatchID
}

// InstanceUp adds an idle instance. What it can run, and how fast, is said for its
// class by each model.
type InstanceUp struct {
	Instance InstanceID
	Class    ClassID
	Slots    int // batches that it runs at a time; 0: one
}

// InstanceResize changes how many batches an instance runs at a time, 0 and more.
// Those that run go on, also where they are more than that now.
type InstanceResize struct {
	Instance InstanceID
	Slots    int
}

// Serve adds a model under a number that no model has.
type Serve struct {
	Model int
	Spec  Model
}

// Retire takes a model away, of which no job is unfinished: the driver holds it
// back until that is so. Its number may be used again.
type Retire struct{ Model int }

// Cancel gives up a job. Unknown and finished jobs are ignored: the client's
// cancellation and the job's end may cross.
type Cancel struct {
	Job JobID
	// Reason is why: none for a client that gives up. ReasonDraining ends the job as
	// shed: the server stops before it has run. ReasonRuntime ends it as failed.
	Reason slo.Reason
}

// ends is how the job ends.
func (e Cancel) ends() (slo.Outcome, slo.Reason) {
	switch e.Reason {
	case slo.ReasonDraining:
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
	Bytes     int64          // of memory that its payload holds until it ends
	Present   slo.Modalities // what every item carries; of a mixed job, what any does
	Choice    slo.Modalities // not 0: run exactly this subset
	Objective slo.Objective
	// Mixed says what the items carry where that differs: runs of items, in their
	// order, that add up to Items. Nil: Present and Choice hold for all.
	Mixed []slo.Carried
	// Expires is when a job that is dropped when late is given up although its items
	// run; it is not before the deadline. 0 is the deadline.
	Expires slo.Instant
}

// Drain refuses everything that arrives from now on; what is queued runs.
type Drain struct{}

// Tick says only that time has passed.
type Tick struct{}

func (Done) event()           {}
func (InstanceDown) event()   {}
func (InstanceUp) event()     {}
func (InstanceResize) event() {}
func (Serve) event()          {}
func (Retire) event()         {}
func (Cancel) event()         {}
func (Arrive) event()         {}
func (Drain) event()          {}
func (Tick) event()           {}

// Action is what the core asks of its driver. Actions are carried out in order.
type Action interface{ action() }

// Part is a run of consecutive items of one job: First, First+1, ... Count of them.
type Part struct {
	Job   JobID
	First int
	Count int
}

// Dispatch starts a batch on an instance with a free slot. The driver answers with
// one Done, unless the instance goes down before.
type Dispatch struct {
	Batch     BatchID
	Instance  InstanceID
	Model     int
	Variant   int
	Parts     []Part // owned by the driver
	Routes    []int  // by part: the route whose gate says what becomes of its items; nil: all are answered
	Predicted time.Duration
	Why       *Decision // nil unless Config.Explain
}

// Decision says why a batch is as it is.
type Decision struct {
	Head    JobID      // the most urgent job, which leads the batch
	Planned plan.Batch // what the cheapest strategies that keep the floors ask for
	Chosen  plan.Batch // what the policy made of it; the batch may still have fewer items
	// Options are what the policy chose from, the planned batch first. Nil where
	// the policy runs what is planned.
	Options []Option
	// Slack is how long serving could wait with all that is queued still on time,
	// after what is running; at most an hour, which stands for any longer.
	Slack time.Duration
	// Reserve is the part of it that is kept for jobs to come.
	Reserve time.Duration
	Queued  int // items of the model that waited, over all its jobs
}

// Option is a batch that could have run, by what it would have meant.
type Option struct {
	plan.Batch
	Predicted time.Duration
	Late      float64 // items of jobs to come that are expected to be late for it
}

// Abort says that nobody wants anything of a running batch any more: its jobs were
// given up. The driver may end it early; its Done follows all the same.
type Abort struct {
	Batch    BatchID
	Instance InstanceID
}

// GiveUp says that a job will end as given although some of its items still run:
// whoever waits for it may be told now. Its FinishJob, which says the same, comes
// when the last of its batches has ended; until then the driver keeps its payload.
type GiveUp struct{ FinishJob }

// Finish ends items of a job for ever. Variant is -1 when they did not run.
type Finish struct {
	Part
	Variant int
	Outcome slo.Outcome
	Reason  slo.Reason
}

// FinishJob ends a job for ever; all its items have been finished before. It
// is late as soon as one item is late.
type FinishJob struct {
	Job        JobID
	Outcome    slo.Outcome
	Reason     slo.Reason
	Expected   slo.Accuracy  // mean over the items that ran and did not fail
	RetryAfter time.Duration // shed: when a retry has a chance
	Best       slo.Accuracy  // infeasible: the highest accuracy there is; shed: the highest by the deadline, 0 if none
}

func (Dispatch) action()  {}
func (Abort) action()     {}
func (GiveUp) action()    {}
func (Finish) action()    {}
func (FinishJob) action() {}
