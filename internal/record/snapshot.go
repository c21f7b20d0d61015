package record

import (
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Snapshot is the unfinished work of a core at one instant. A tracker that has missed
// steps continues from it.
type Snapshot struct {
	Jobs    []Unfinished
	Batches []Batch // that run; of each, Dispatch, Started and Aborted count
}

// Unfinished is a job that has not ended.
type Unfinished struct {
	sched.Arrive
	Arrived slo.Instant
	Begun   bool          // a batch has had a share of it
	Started slo.Instant   // start of the first such batch
	Compute time.Duration // time of the batches with its items
	Left    int           // items not finished

	Request, Sender string // as in Job
}

// Resume replaces the unfinished work with that of a snapshot. It does not call the
// sink. For a job that has begun, its earlier batches and what they ran are unknown. It
// returns an error if the snapshot contradicts itself; the tracker must then not be
// used.
func (t *Tracker) Resume(s Snapshot) error {
	t.jobs, t.running = make(map[sched.JobID]*Job, len(s.Jobs)), make(map[sched.BatchID]*running, len(s.Batches))
	t.changed, t.last, t.ending, t.ended = t.changed[:0], nil, nil, nil
	clear(t.queues)
	t.behind = Queue{}
	for i := range s.Jobs {
		u := &s.Jobs[i]
		j := t.record()
		j.Arrive, j.Arrived, j.Compute, j.left, j.Request, j.Sender = u.Arrive, u.Arrived, u.Compute, u.Left, u.Request, u.Sender
		t.jobs[u.Job] = j
		q := t.queueOf(j)
		q.Jobs++
		q.Waiting += u.Left
		q.Bytes += u.Bytes
	}
	for i := range s.Batches {
		b := &s.Batches[i]
		r := &running{}
		if err := t.enter(r, b.Dispatch, b.Started); err != nil {
			return err
		}
		r.Aborted = b.Aborted
	}
	for i := range s.Jobs {
		if u := &s.Jobs[i]; u.Begun {
			j := t.jobs[u.Job]
			j.Started, j.Batches = u.Started, max(1, j.Batches)
		}
	}
	t.changed = t.changed[:0]
	for model, q := range t.queues {
		if q.Waiting < 0 {
			return fmt.Errorf("I-1: of model %d more items run than are unfinished", model)
		}
	}
	return nil
}
