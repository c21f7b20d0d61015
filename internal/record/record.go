// Package record makes records out of what happens to a core: of every job,
// from its arrival to its end, and of every batch. It sees only events and
// actions, so a running server and a simulation are recorded by the same computation:
// the metrics of the one and the report of the other cannot mean different things
// by the same word. The package is pure.
package record

import (
	"time"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Job is the record of a job.
type Job struct {
	sched.Arrive                 // what was asked
	Arrived      slo.Instant     //
	Started      slo.Instant     // of its first batch; meaningless without one
	Ended        slo.Instant     // meaningless until it has
	End          sched.FinishJob // how it ended; Outcome 0: it has not yet
	Compute      time.Duration   // of the batches its items ran in
	Ran          []Ran           // what ran to its end
	Shares       []Share         // of batches, the first SharesMax-1 and the latest
	Batches      int             // that it has had a share of

	// What a driver knows of a job beside the core, if it fills it in when the job
	// arrives: the client's own name for the request, and who the client is.
	Request, Sender string

	left     int // items not finished
	accepted int // of these, items that a batch which has just ended answered
	// Most jobs have one share of one batch: room for that is part of the record.
	ranRoom   [1]Ran
	shareRoom [1]Share
}

// Ran is how many of a job's items a variant has run to their answers.
type Ran struct {
	Variant int
	Items   int
}

// Share is a job's part of a batch.
type Share struct {
	Batch sched.BatchID
	Items int
}

// SharesMax bounds the batches that a job's record names: a job of 100,000
// items has thousands of them. The first ones show how it began, the latest how
// it ended.
const SharesMax = 16

// Queue is how long the job waited for its first batch, or for its end if it
// had none.
func (j *Job) Queue() time.Duration {
	if j.Batches == 0 {
		return j.Ended.Sub(j.Arrived)
	}
	return j.Started.Sub(j.Arrived)
}

// Total is the time from the job's arrival to its end.
func (j *Job) Total() time.Duration { return j.Ended.Sub(j.Arrived) }

// Margin is by how much a job that ran is expected to be more accurate than it
// had to be.
func (j *Job) Margin() slo.Accuracy { return j.End.Expected - j.Objective.Floor }

// Slack is the time left to the deadline at the job's end, negative if it was
// late.
func (j *Job) Slack() time.Duration { return j.Objective.Deadline.Sub(j.Ended) }

// share records a part of a batch.
func (j *Job) share(p sched.Part, d *sched.Dispatch, now slo.Instant) {
	if n := len(j.Shares); n > 0 && j.Shares[n-1].Batch == d.Batch { // it may have several parts in one
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

// ran records items that have run to their end.
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
	sched.Dispatch // Parts are the driver's
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
	BatchDone             // all of it, or the parts that did not fail
	BatchFailed           // all of it
	BatchLost             // its instance went away
	BatchAborted          // nobody wanted anything of it any more
	BatchUnknown          // it ended and nobody saw how: a follower of the core had missed it
)

// Queue is what is unfinished.
type Queue struct {
	Waiting int   // items not dispatched
	Running int   // items in batches
	Jobs    int   //
	Bytes   int64 // that the jobs' payloads hold
}

// Sink is told what has happened, in the order of the core's actions.
type Sink interface {
	// Arrived is called before the core's answer to the arrival is recorded.
	Arrived(j *Job)
	// Started and Ended are called at a batch's two ends. The record must not be
	// kept.
	Started(b *Batch)
	Ended(b *Batch)
	// Finished is called at a job's end. The record is the sink's from then on,
	// which hands it back with Recycle when it is done with it.
	Finished(j *Job)
	// Changed is called at the end of a step for every model of which something
	// has arrived, started or ended.
	Changed(model int, q Queue)
}
