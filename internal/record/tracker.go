package record

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Tracker builds the records of one core. It holds only the unfinished work and passes
// the rest to its sink. Use NewTracker.
type Tracker struct {
	sink    Sink
	jobs    map[sched.JobID]*Job
	running map[sched.BatchID]*running
	queues  []Queue // by model
	behind  Queue   // what is in the background, of all models
	changed []int   // models, in this step
	free    []*Job  // records to be reused
	batches []*running
	// In this step: the batches that have ended; the jobs of the last one, the first of
	// which probably finishes items next; and the job that finished items last.
	ended  []*running
	ending []*Job
	last   *Job
}

// running is a running batch.
type running struct {
	Batch
	jobs []*Job // by part
}

// NewTracker returns a tracker for a core that has seen no job yet.
func NewTracker(sink Sink) *Tracker {
	return &Tracker{sink: sink, jobs: map[sched.JobID]*Job{}, running: map[sched.BatchID]*running{}}
}

// Step records an event and the core's actions. It returns an error that names the
// invariant that the core or its driver has broken; the tracker must then not be used.
func (t *Tracker) Step(now slo.Instant, event sched.Event, actions []sched.Action) error {
	var err error
	switch e := event.(type) {
	case sched.Arrive:
		err = t.arrive(now, e)
	case sched.Done:
		err = t.done(e)
	case sched.InstanceDown:
		t.lose(e.Instance)
	}
	for _, action := range actions {
		if err != nil {
			return err
		}
		switch a := action.(type) {
		case sched.Dispatch:
			err = t.dispatch(now, a)
		case sched.Abort:
			err = t.abort(a)
		case sched.Finish:
			err = t.finish(a)
		case sched.FinishJob:
			err = t.finishJob(now, a)
		}
	}
	for _, model := range t.changed {
		t.sink.Changed(model, t.queues[model])
	}
	t.changed, t.last, t.ending = t.changed[:0], nil, nil
	for _, r := range t.ended {
		for _, j := range r.jobs {
			j.accepted = 0
		}
		clear(r.jobs)
		r.jobs = r.jobs[:0]
		t.batches = append(t.batches, r)
	}
	t.ended = t.ended[:0]
	return err
}

// Unfinished returns the number of unfinished jobs.
func (t *Tracker) Unfinished() int { return len(t.jobs) }

// Job returns an unfinished job, nil if there is none with that id. The tracker owns
// the record and changes it in the next step.
func (t *Tracker) Job(id sched.JobID) *Job { return t.jobs[id] }

// Batch returns a running batch, nil if there is none with that id. The tracker owns
// it, as in Job.
func (t *Tracker) Batch(id sched.BatchID) *Batch {
	if r := t.running[id]; r != nil {
		return &r.Batch
	}
	return nil
}

// Queue returns the unfinished work of a model.
func (t *Tracker) Queue(model int) Queue {
	if model >= len(t.queues) {
		return Queue{}
	}
	return t.queues[model]
}

// Recycle takes back the record of a finished job. Nothing may read the record
// afterwards.
func (t *Tracker) Recycle(j *Job) { t.free = append(t.free, j) }

// Background returns the unfinished work in the background, of all models. It is in no
// model's queue.
func (t *Tracker) Background() Queue { return t.behind }

// queueOf returns the queue that a job is in, to be changed.
func (t *Tracker) queueOf(j *Job) *Queue {
	if j.Background {
		return &t.behind
	}
	return t.queue(j.Model)
}

// queue returns a model's queue, to be changed.
func (t *Tracker) queue(model int) *Queue {
	for model >= len(t.queues) {
		t.queues = append(t.queues, Queue{})
	}
	if n := len(t.changed); n == 0 || t.changed[n-1] != model { // with several models, one may be in the list twice
		t.changed = append(t.changed, model)
	}
	return &t.queues[model]
}

func (t *Tracker) arrive(now slo.Instant, e sched.Arrive) error {
	j, before := t.record(), len(t.jobs)
	j.Arrive, j.Arrived, j.left = e, now, e.Items
	if t.jobs[e.Job] = j; len(t.jobs) == before {
		return fmt.Errorf("I-2: job %d arrived twice", e.Job)
	}
	q := t.queueOf(j)
	q.Jobs++
	q.Waiting += e.Items
	q.Bytes += e.Bytes
	t.sink.Arrived(j)
	return nil
}

// record returns an empty record for a job.
func (t *Tracker) record() *Job {
	n := len(t.free)
	if n == 0 {
		j := &Job{}
		j.Ran, j.Shares = j.ranRoom[:0], j.shareRoom[:0]
		return j
	}
	j := t.free[n-1]
	t.free = t.free[:n-1]
	*j = Job{Ran: j.Ran[:0], Shares: j.Shares[:0]}
	return j
}

func (t *Tracker) dispatch(now slo.Instant, d sched.Dispatch) error {
	var r *running
	if n := len(t.batches); n > 0 {
		r, t.batches = t.batches[n-1], t.batches[:n-1]
	} else {
		r = &running{}
	}
	if err := t.enter(r, d, now); err != nil {
		return err
	}
	t.sink.Started(&r.Batch)
	return nil
}

// enter makes a record of a starting batch and adds it to the running ones.
func (t *Tracker) enter(r *running, d sched.Dispatch, now slo.Instant) error {
	r.Batch = Batch{Dispatch: d, Started: now}
	for _, p := range d.Parts {
		j := t.jobs[p.Job]
		if j == nil {
			return fmt.Errorf("I-2: batch %d has items of unknown job %d", d.Batch, p.Job)
		}
		j.share(p, &r.Dispatch, now)
		r.jobs = append(r.jobs, j)
		r.Items += p.Count
	}
	q := t.queueOf(r.jobs[0]) // a batch in the background has no other jobs
	q.Waiting -= r.Items
	q.Running += r.Items
	t.running[d.Batch] = r
	return nil
}

// done records the end of a batch; the actions that follow end its items.
func (t *Tracker) done(e sched.Done) error {
	r := t.running[e.Batch]
	if r == nil {
		return fmt.Errorf("I-2: batch %d is not running", e.Batch)
	}
	r.Took, r.Batch.End = e.Took, BatchDone
	var last *Job
	item := 0
	for i, p := range r.Parts {
		j := r.jobs[i]
		accepted, alone := e.Count(p, item)
		item += p.Count
		if j != last {
			j.Compute += e.Took
			last = j
		}
		if e.PartFailed(i) {
			r.FailedItems += p.Count
			continue
		}
		r.FailedItems += alone
		if accepted > 0 {
			j.ran(r.Variant, accepted)
			j.accepted += accepted
		}
	}
	switch {
	case r.Aborted && r.FailedItems > 0:
		r.Batch.End, r.FailedItems = BatchAborted, 0
	case r.FailedItems == r.Items:
		r.Batch.End = BatchFailed
	}
	t.end(r)
	return nil
}

// lose records the loss of the batches that an instance was running.
func (t *Tracker) lose(instance sched.InstanceID) {
	var lost []*running
	for _, r := range t.running {
		if r.Instance == instance {
			lost = append(lost, r)
		}
	}
	slices.SortFunc(lost, func(a, b *running) int { return cmp.Compare(a.Dispatch.Batch, b.Dispatch.Batch) })
	for _, r := range lost {
		r.Batch.End = BatchLost
		t.end(r)
	}
}

// abort records that a batch may end early.
func (t *Tracker) abort(a sched.Abort) error {
	r := t.running[a.Batch]
	if r == nil {
		return fmt.Errorf("I-2: batch %d is aborted and does not run", a.Batch)
	}
	r.Aborted = true
	return nil
}

// end removes a batch from the running ones. Its items count as waiting until the
// actions that follow end them.
func (t *Tracker) end(r *running) {
	q := t.queueOf(r.jobs[0])
	q.Running -= r.Items
	q.Waiting += r.Items
	delete(t.running, r.Dispatch.Batch)
	t.sink.Ended(&r.Batch)
	t.ended, t.ending = append(t.ended, r), r.jobs
}

func (t *Tracker) finish(f sched.Finish) error {
	j := t.find(f.Job)
	if j == nil || j.left < f.Count {
		return fmt.Errorf("I-2: items of job %d ended twice", f.Job)
	}
	j.left -= f.Count
	t.last = j
	if f.Outcome.Ran() {
		if j.accepted >= f.Count {
			j.accepted -= f.Count
		} else { // answered by the previous step: there was no time for the next
			j.ran(f.Variant, f.Count)
		}
	}
	t.queueOf(j).Waiting -= f.Count
	return nil
}

// find returns an unfinished job; it looks at the most likely ones first.
func (t *Tracker) find(id sched.JobID) *Job {
	if t.last != nil && t.last.Job == id {
		return t.last
	}
	for i, j := range t.ending {
		if j.Job == id {
			t.ending = t.ending[i+1:]
			return j
		}
	}
	return t.jobs[id]
}

func (t *Tracker) finishJob(now slo.Instant, f sched.FinishJob) error {
	j := t.find(f.Job)
	if j == nil || j.left != 0 {
		return fmt.Errorf("I-2: job %d ended twice, or before its items", f.Job)
	}
	delete(t.jobs, f.Job)
	j.Ended, j.End, j.left, t.last = now, f, -1, nil
	q := t.queueOf(j)
	q.Jobs--
	q.Bytes -= j.Bytes
	t.sink.Finished(j)
	return nil
}
