package account

import (
	"fmt"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Books follow one core. They hold what is unfinished and nothing else; the
// rest is the sink's. Use NewBooks.
type Books struct {
	sink    Sink
	jobs    map[sched.JobID]*Job
	running map[sched.BatchID]*running
	queues  []Queue // by model
	changed []int   // models, in this step
	free    []*Job  // records to be used anew
	batches []*running
	// Of this step: the batch that has ended, its jobs, the first of which is
	// likely the next to finish items, and the job that was the last to.
	ended  *running
	ending []*Job
	last   *Job
}

// running is a batch that runs.
type running struct {
	Batch
	jobs    []*Job // by part
	aborted bool
}

// NewBooks begins the books of a core that has seen no job yet.
func NewBooks(sink Sink) *Books {
	return &Books{sink: sink, jobs: map[sched.JobID]*Job{}, running: map[sched.BatchID]*running{}}
}

// Step books an event and what the core did about it. An error says which
// invariant the core or its driver has broken; the books are of no use then.
func (b *Books) Step(now slo.Instant, event sched.Event, actions []sched.Action) error {
	var err error
	switch e := event.(type) {
	case sched.Arrive:
		err = b.arrive(now, e)
	case sched.Done:
		err = b.done(e)
	case sched.InstanceDown:
		b.lose(e.Instance)
	}
	for _, action := range actions {
		if err != nil {
			return err
		}
		switch a := action.(type) {
		case sched.Dispatch:
			err = b.dispatch(now, a)
		case sched.Abort:
			err = b.abort(a)
		case sched.Finish:
			err = b.finish(a)
		case sched.FinishJob:
			err = b.finishJob(now, a)
		}
	}
	for _, model := range b.changed {
		b.sink.Changed(model, b.queues[model])
	}
	b.changed, b.last, b.ending = b.changed[:0], nil, nil
	if r := b.ended; r != nil {
		clear(r.jobs)
		r.jobs, b.ended = r.jobs[:0], nil
		b.batches = append(b.batches, r)
	}
	return err
}

// Unfinished is the number of jobs that have not ended.
func (b *Books) Unfinished() int { return len(b.jobs) }

// Job is an unfinished job, nil if there is none of that id. The record is the
// books' and changes with the next step.
func (b *Books) Job(id sched.JobID) *Job { return b.jobs[id] }

// Queue is what is unfinished of a model.
func (b *Books) Queue(model int) Queue {
	if model >= len(b.queues) {
		return Queue{}
	}
	return b.queues[model]
}

// Recycle takes back the record of a finished job, which nobody may read any
// more.
func (b *Books) Recycle(j *Job) { b.free = append(b.free, j) }

// queue is a model's, to be changed.
func (b *Books) queue(model int) *Queue {
	for model >= len(b.queues) {
		b.queues = append(b.queues, Queue{})
	}
	if n := len(b.changed); n == 0 || b.changed[n-1] != model { // of several models one may be told twice
		b.changed = append(b.changed, model)
	}
	return &b.queues[model]
}

func (b *Books) arrive(now slo.Instant, e sched.Arrive) error {
	j, before := b.record(), len(b.jobs)
	j.Arrive, j.Arrived, j.left = e, now, e.Items
	if b.jobs[e.Job] = j; len(b.jobs) == before {
		return fmt.Errorf("I-2: job %d arrived twice", e.Job)
	}
	q := b.queue(e.Model)
	q.Jobs++
	q.Waiting += e.Items
	q.Bytes += e.Bytes
	b.sink.Arrived(j)
	return nil
}

// record is an empty record of a job.
func (b *Books) record() *Job {
	n := len(b.free)
	if n == 0 {
		j := &Job{}
		j.Ran, j.Shares = j.ranRoom[:0], j.shareRoom[:0]
		return j
	}
	j := b.free[n-1]
	b.free = b.free[:n-1]
	*j = Job{Ran: j.Ran[:0], Shares: j.Shares[:0]}
	return j
}

func (b *Books) dispatch(now slo.Instant, d sched.Dispatch) error {
	var r *running
	if n := len(b.batches); n > 0 {
		r, b.batches = b.batches[n-1], b.batches[:n-1]
	} else {
		r = &running{}
	}
	r.Batch, r.aborted = Batch{Dispatch: d, Started: now}, false
	for _, p := range d.Parts {
		j := b.jobs[p.Job]
		if j == nil {
			return fmt.Errorf("I-2: batch %d has items of job %d, which is not there", d.Batch, p.Job)
		}
		j.share(p, &r.Dispatch, now)
		r.jobs = append(r.jobs, j)
		r.Items += p.Count
	}
	q := b.queue(d.Model)
	q.Waiting -= r.Items
	q.Running += r.Items
	b.running[d.Batch] = r
	b.sink.Started(&r.Batch)
	return nil
}

// done books the end of a batch; its items' ends are actions that follow.
func (b *Books) done(e sched.Done) error {
	r := b.running[e.Batch]
	if r == nil {
		return fmt.Errorf("I-2: batch %d is not running", e.Batch)
	}
	r.Took, r.Batch.End = e.Took, BatchDone
	var last *Job
	item := 0
	for i, p := range r.Parts {
		j := r.jobs[i]
		alone := e.FailedItems(p, item)
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
		if ran := p.Count - alone; ran > 0 {
			j.ran(r.Variant, ran)
		}
	}
	switch {
	case r.aborted && r.FailedItems > 0:
		r.Batch.End, r.FailedItems = BatchAborted, 0
	case r.FailedItems == r.Items:
		r.Batch.End = BatchFailed
	}
	b.end(r)
	return nil
}

// lose books the loss of the batch that an instance was running, if it was.
func (b *Books) lose(instance sched.InstanceID) {
	for _, r := range b.running {
		if r.Instance == instance {
			r.Batch.End = BatchLost
			b.end(r)
			return
		}
	}
}

// abort books that a batch may end early.
func (b *Books) abort(a sched.Abort) error {
	r := b.running[a.Batch]
	if r == nil {
		return fmt.Errorf("I-2: batch %d is aborted and does not run", a.Batch)
	}
	r.aborted = true
	return nil
}

// end takes a batch out of what runs. Its items wait again until the actions
// that follow say what becomes of them.
func (b *Books) end(r *running) {
	q := b.queue(r.Model)
	q.Running -= r.Items
	q.Waiting += r.Items
	delete(b.running, r.Dispatch.Batch)
	b.sink.Ended(&r.Batch)
	b.ended, b.ending = r, r.jobs
}

func (b *Books) finish(f sched.Finish) error {
	j := b.find(f.Job)
	if j == nil || j.left < f.Count {
		return fmt.Errorf("I-2: items of job %d ended twice", f.Job)
	}
	j.left -= f.Count
	b.last = j
	b.queue(j.Model).Waiting -= f.Count
	return nil
}

// find is an unfinished job, where it likely is.
func (b *Books) find(id sched.JobID) *Job {
	if b.last != nil && b.last.Job == id {
		return b.last
	}
	for i, j := range b.ending {
		if j.Job == id {
			b.ending = b.ending[i+1:]
			return j
		}
	}
	return b.jobs[id]
}

func (b *Books) finishJob(now slo.Instant, f sched.FinishJob) error {
	j := b.find(f.Job)
	if j == nil || j.left != 0 {
		return fmt.Errorf("I-2: job %d ended twice, or before its items", f.Job)
	}
	delete(b.jobs, f.Job)
	j.Ended, j.End, j.left, b.last = now, f, -1, nil
	q := b.queue(j.Model)
	q.Jobs--
	q.Bytes -= j.Bytes
	b.sink.Finished(j)
	return nil
}
