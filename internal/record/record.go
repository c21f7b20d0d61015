// Package record builds records from the steps of a core: of every job, from its
// arrival to its end, and of every batch. It sees only events and actions, so a running
// server and a simulation use the same computation, and its figures mean the same in
// the server's metrics and in the simulator's report. The package is pure.
package record

import (
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Job is the record of a job.
type Job struct {
	sched.Arrive                 // the request
	Arrived      slo.Instant     //
	Started      slo.Instant     // start of its first batch; meaningless if there was none
	Ended        slo.Instant     // meaningless before it has ended
	End          sched.FinishJob // how it ended; Outcome 0: it has not ended
	Compute      time.Duration   // time of the batches with its items
	Ran          []Ran           // what ran to its end
	Shares       []Share         // of batches: the first SharesMax-1 and the latest
	Batches      int             // that had a share of it

	// These are not known to the core. A driver may set them when the job arrives: the
	// client's own name for the request, and the client's name.
	Request, Sender string

	// Gated is what gates decided on the job's items, by route, in the order in which
	// they were first taken.
	Gated []Gated
	// Primaries is how many of the items each modality decided; nil: the model does not say.
	Primaries []int

	left     int // items not finished
	accepted int // of these, items answered by a batch that just ended
	// Most jobs have one share of one batch. The record has room for that.
	ranRoom   [1]Ran
	shareRoom [1]Share
}

// Ran is how many of a job's items were answered by a variant.
type Ran struct {
	Variant int
	Items   int
}

// Gated is what the gate of a route decided on a job's items.
type Gated struct {
	Route int
	Items int         // that the gate has judged
	On    int         // of these, that it sent on
	To    map[int]int // of these, by route
	// Judged are the first JudgedMax of these items whose confidence is known.
	Judged []Judged
}

// Judged is what a gate decided on an item.
type Judged struct {
	Item       int
	Confidence float64 // of its answer
	On         bool
	To         int // the route that it went on with
}

// JudgedMax bounds the items in a Gated.
const JudgedMax = 32

// Judge records the decision of a route's gate on an item.
func (j *Job) Judge(route int, d Judged) {
	at := slices.IndexFunc(j.Gated, func(g Gated) bool { return g.Route == route })
	if at < 0 {
		at, j.Gated = len(j.Gated), append(j.Gated, Gated{Route: route})
	}
	g := &j.Gated[at]
	if g.Items++; d.On {
		g.On++
		if g.To == nil {
			g.To = map[int]int{}
		}
		g.To[d.To]++
	}
	if len(g.Judged) < JudgedMax && !math.IsNaN(d.Confidence) {
		g.Judged = append(g.Judged, d)
	}
}

// Decided records that an item's answer depends on a modality most.
func (j *Job) Decided(modality int) {
	for len(j.Primaries) <= modality {
		j.Primaries = append(j.Primaries, 0)
	}
	j.Primaries[modality]++
}

// Share is a job's part of a batch.
type Share struct {
	Batch sched.BatchID
	Items int
}

// SharesMax bounds the batches in a job's record, because a job of 100,000 items has
// thousands of them. The record keeps the first ones and the latest.
const SharesMax = 16

// Queue returns how long the job waited for its first batch, or for its end if it had
// none.
func (j *Job) Queue() time.Duration {
	if j.Batches == 0 {
		return j.Ended.Sub(j.Arrived)
	}
	return j.Started.Sub(j.Arrived)
}

// Total returns the time from the job's arrival to its end.
func (j *Job) Total() time.Duration { return j.Ended.Sub(j.Arrived) }

// Margin returns the expected accuracy minus the floor of a job that ran.
func (j *Job) Margin() slo.Accuracy { return j.End.Expected - j.Objective.Floor }

// Slack returns the time left to the deadline at the job's end, negative if it was
// late.
func (j *Job) Slack() time.Duration { return j.Objective.Deadline.Sub(j.Ended) }

// share records a part of a batch.
func (j *Job) share(p sched.Part, d *sched.Dispatch, now slo.Instant) {
	if n := len(j.Shares); n > 0 && j.Shares[n-1].Batch == d.Batch { // a batch may have several parts of the job
		j.Shares[n-1].Items += p.Count
		return
	}
	if j.Batches == 0 {
		j.Started = now
	}
	j.Batches++
	s := Share{Batch: d.Batch, Items: p.Count}
	if len(j.Shares) == SharesMax {
		j.Shares[SharesMax-1] = s
		return
	}
	j.Shares = append(j.Shares, s)
}

// ran records items that were answered.
func (j *Job) ran(variant, items int) {
	for i := range j.Ran {
		if j.Ran[i].Variant == variant {
			j.Ran[i].Items += items
			return
		}
	}
	j.Ran = append(j.Ran, Ran{Variant: variant, Items: items})
}

// Batch is the record of a batch.
type Batch struct {
	sched.Dispatch // the driver owns Parts
	Items          int
	Started        slo.Instant
	Took           time.Duration // measured; 0 while it runs and when it was lost
	Aborted        bool          // it may end early: nobody wants anything of it any more
	End            BatchEnd
	FailedItems    int // items that the runtime failed to run, or that have no answer
}

// BatchEnd is how a batch ended.
type BatchEnd uint8

// The ends of a batch.
const (
	BatchRunning BatchEnd = iota
	BatchDone             // the whole batch, or the parts that did not fail
	BatchFailed           // the whole batch
	BatchLost             // its instance went down
	BatchAborted          // all its jobs had been given up
	BatchUnknown          // it ended in a gap of the subscriber's steps
)

// Queue is the unfinished work.
type Queue struct {
	Waiting int   // items not dispatched
	Running int   // items in batches
	Jobs    int   //
	Bytes   int64 // held by the jobs' payloads
}

// Sink receives what happens, in the order of the core's actions.
type Sink interface {
	// Arrived is called before the actions for the arrival are recorded.
	Arrived(j *Job)
	// Started and Ended are called at the start and at the end of a batch. The sink
	// must not keep the record.
	Started(b *Batch)
	Ended(b *Batch)
	// Finished is called at a job's end. From then on the sink owns the record. It may
	// return it with Recycle.
	Finished(j *Job)
	// Changed is called at the end of a step for every model with an arrival, a start
	// or an end in it.
	Changed(model int, q Queue)
}
