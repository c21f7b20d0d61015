// Package recordtest makes snapshots for tests of subscribers that miss steps. It
// computes the unfinished work in its own way, so that a tracker is not compared with
// itself.
package recordtest

import (
	"cmp"
	"slices"

	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Unfinished follows a core without gaps. The zero value has seen no step.
type Unfinished struct {
	jobs    []record.Unfinished
	batches []record.Batch
}

// Step records a step.
func (u *Unfinished) Step(at slo.Instant, event sched.Event, actions []sched.Action) {
	switch e := event.(type) {
	case sched.Arrive:
		u.jobs = append(u.jobs, record.Unfinished{Arrive: e, Arrived: at, Left: e.Items})
	case sched.Done:
		i := slices.IndexFunc(u.batches, func(b record.Batch) bool { return b.Dispatch.Batch == e.Batch })
		for _, job := range jobsOf(u.batches[i]) {
			u.job(job).Compute += e.Took
		}
		u.batches = slices.Delete(u.batches, i, i+1)
	case sched.InstanceDown:
		u.batches = slices.DeleteFunc(u.batches, func(b record.Batch) bool { return b.Instance == e.Instance })
	}
	for _, action := range actions {
		switch a := action.(type) {
		case sched.Dispatch:
			b := record.Batch{Dispatch: a, Started: at}
			u.batches = append(u.batches, b)
			for _, job := range jobsOf(b) {
				if j := u.job(job); !j.Begun {
					j.Begun, j.Started = true, at
				}
			}
		case sched.Abort:
			i := slices.IndexFunc(u.batches, func(b record.Batch) bool { return b.Dispatch.Batch == a.Batch })
			u.batches[i].Aborted = true
		case sched.Finish:
			u.job(a.Job).Left -= a.Count
		case sched.FinishJob:
			u.jobs = slices.DeleteFunc(u.jobs, func(j record.Unfinished) bool { return j.Job == a.Job })
		}
	}
}

// job returns an unfinished job. Its items finish before it ends.
func (u *Unfinished) job(id sched.JobID) *record.Unfinished {
	i, _ := slices.BinarySearchFunc(u.jobs, id, func(j record.Unfinished, id sched.JobID) int { return cmp.Compare(j.Job, id) })
	return &u.jobs[i]
}

// jobsOf lists the jobs of a batch, each once.
func jobsOf(b record.Batch) (ids []sched.JobID) {
	for _, p := range b.Parts {
		if !slices.Contains(ids, p.Job) {
			ids = append(ids, p.Job)
		}
	}
	return ids
}

// Snapshot returns the unfinished work.
func (u *Unfinished) Snapshot() record.Snapshot {
	return record.Snapshot{Jobs: slices.Clone(u.jobs), Batches: slices.Clone(u.batches)}
}

// Queue returns the unfinished work of a model.
func (u *Unfinished) Queue(model int) (q record.Queue) {
	for _, j := range u.jobs {
		if j.Model == model {
			q.Jobs++
			q.Waiting += j.Left
			q.Bytes += j.Bytes
		}
	}
	for _, b := range u.batches {
		if b.Model == model {
			for _, p := range b.Parts {
				q.Running += p.Count
				q.Waiting -= p.Count
			}
		}
	}
	return q
}
