package sim

import (
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// audit holds the core's actions against the invariants, from the actions and
// arrivals alone: it knows nothing of the core's own records. Its records are as
// large as the jobs, so it is for tests.
type audit struct {
	models  []sched.Model
	jobs    map[sched.JobID]*audited
	running map[sched.BatchID]sched.Dispatch
}

// audited is a job as its actions have made it.
type audited struct {
	Arrival
	items   []itemState
	unsent  slo.Score // the best that items can score which were never dispatched, or lost
	score   slo.Score // of items that run or have run
	expects slo.Score // of items that have finished after running
	ran     int
	failed  int // items that failed alone
}

// itemState is where an item is.
type itemState struct {
	running  bool
	finished bool
	variant  int
	present  slo.Modalities
	choice   slo.Modalities
	best     slo.Accuracy // of the variants it may run on
}

func newAudit(cfg Config) *audit {
	return &audit{models: cfg.Core.Models, jobs: map[sched.JobID]*audited{}, running: map[sched.BatchID]sched.Dispatch{}}
}

// step checks what the core did about an event.
func (a *audit) step(now slo.Instant, e sched.Event, out []sched.Action) error {
	switch e := e.(type) {
	case sched.Done:
		a.end(a.running[e.Batch], e.Failed)
	case sched.InstanceDown:
		for _, d := range a.running {
			if d.Instance == e.Instance {
				a.end(d, true)
			}
		}
	}
	for _, action := range out {
		var err error
		switch action := action.(type) {
		case sched.Dispatch:
			err = a.dispatch(action, now)
		case sched.Finish:
			err = a.finish(action, now)
		case sched.FinishJob:
			err = a.finishJob(action)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) arrive(j Arrival) {
	p := a.models[j.Model].Planner
	job := &audited{Arrival: j}
	runs := j.Mixed
	if runs == nil {
		runs = []slo.Carried{{Items: j.Items, Present: j.Present, Choice: j.Choice}}
	}
	for _, r := range runs {
		best := p.MaxAccuracy(p.Runnable(r.Present, r.Choice))
		for range r.Items {
			job.items = append(job.items, itemState{present: r.Present, choice: r.Choice, best: best})
		}
		job.unsent += best.Times(r.Items)
	}
	a.jobs[j.Job] = job
}

// dispatch checks a batch: bounds (I-4), floors (I-5), modalities (I-6) and that
// it is worth running for every job in it (I-7).
func (a *audit) dispatch(d sched.Dispatch, now slo.Instant) error {
	for _, other := range a.running {
		if other.Instance == d.Instance {
			return fmt.Errorf("I-4: instance %d runs batches %d and %d", d.Instance, other.Batch, d.Batch)
		}
	}
	a.running[d.Batch] = d
	m := a.models[d.Model]
	v := m.Planner.Variants()[d.Variant]
	total := 0
	for _, p := range d.Parts {
		total += p.Count
	}
	for _, p := range d.Parts {
		j := a.jobs[p.Job]
		if j == nil || j.Model != d.Model || p.Count < 1 || p.First < 0 || p.First+p.Count > len(j.items) {
			return fmt.Errorf("I-2: batch %d has items %+v that are not there", d.Batch, p)
		}
		if err := a.send(j, p, d.Variant, v); err != nil {
			return err
		}
		switch {
		case j.Objective.Late == slo.LateDrop && now.Add(min(d.Predicted, v.Curve.Batch(total))) > j.Objective.Deadline:
			return fmt.Errorf("I-7: batch %d should end at %v, job %d is due at %v", d.Batch, time.Duration(now.Add(d.Predicted)), p.Job,
				time.Duration(j.Objective.Deadline))
		}
	}
	if most := min(m.BatchItemsMax, v.Curve.Max()); total > most || total < 1 {
		return fmt.Errorf("I-4: batch %d has %d items of %d", d.Batch, total, most)
	}
	return nil
}

// send records items as running.
func (a *audit) send(j *audited, p sched.Part, variant int, v plan.Variant) error {
	for i := p.First; i < p.First+p.Count; i++ {
		s := &j.items[i]
		switch {
		case s.running || s.finished:
			return fmt.Errorf("I-2: item %d of job %d runs twice", i, p.Job)
		case !s.present.Has(v.Modalities) || s.choice != 0 && s.choice != v.Modalities:
			return fmt.Errorf("I-6: item %d of job %d carries %b and chose %b; it runs on %b", i, p.Job, s.present, s.choice, v.Modalities)
		}
		s.running, s.variant = true, variant
		j.unsent -= slo.Score(s.best)
	}
	j.score += v.Accuracy.Times(p.Count)
	n := len(j.items) - j.failed
	if best := j.score + j.unsent; best < j.Objective.Floor.Times(n) {
		return fmt.Errorf("I-5: job %d can score %d at best, its floor is %d", p.Job, best, j.Objective.Floor.Times(n))
	}
	return nil
}

// end records the end of a batch; when it was lost or failed, its items have not run.
func (a *audit) end(d sched.Dispatch, lost bool) {
	delete(a.running, d.Batch)
	if !lost {
		return
	}
	accuracy := a.models[d.Model].Planner.Variants()[d.Variant].Accuracy
	for _, p := range d.Parts {
		j := a.jobs[p.Job]
		for i := p.First; i < p.First+p.Count; i++ {
			j.items[i].running = false
			j.unsent += slo.Score(j.items[i].best)
		}
		j.score -= accuracy.Times(p.Count)
	}
}

// finish checks that items end once, and on time only when they are (I-3).
func (a *audit) finish(f sched.Finish, now slo.Instant) error {
	j := a.jobs[f.Job]
	if j == nil {
		return fmt.Errorf("I-2: items of job %d end, which is not there", f.Job)
	}
	if f.Outcome.Ran() != (f.Reason == slo.ReasonNone) || !f.Outcome.Ran() && f.Outcome != f.Reason.Outcome() {
		return fmt.Errorf("I-2: items of job %d end %v for the reason %v", f.Job, f.Outcome, f.Reason)
	}
	late := now > j.Objective.Deadline
	if f.Outcome == slo.OnTime && late || f.Outcome == slo.Late && !late {
		return fmt.Errorf("I-3: items of job %d end %v at %v, they were due at %v", f.Job, f.Outcome, time.Duration(now), time.Duration(j.Objective.Deadline))
	}
	for i := f.First; i < f.First+f.Count; i++ {
		s := &j.items[i]
		if s.finished || f.Outcome.Ran() && (!s.running || s.variant != f.Variant) {
			return fmt.Errorf("I-2: item %d of job %d ends %v on variant %d; it was %+v", i, f.Job, f.Outcome, f.Variant, *s)
		}
		s.finished = true
		if f.Outcome.Ran() {
			j.expects += a.accuracy(j, f.Variant)
			j.ran++
		}
		if f.Outcome == slo.Failed && s.running { // it failed alone: its job goes on without it
			j.failed++
			j.score -= a.accuracy(j, s.variant)
		}
	}
	return nil
}

func (a *audit) accuracy(j *audited, variant int) slo.Score {
	return slo.Score(a.models[j.Model].Planner.Variants()[variant].Accuracy)
}

// finishJob checks what a job that ran was promised (I-5).
func (a *audit) finishJob(f sched.FinishJob) error {
	j := a.jobs[f.Job]
	delete(a.jobs, f.Job)
	if !f.Outcome.Ran() {
		return nil
	}
	if j.ran != len(j.items)-j.failed || f.Expected != j.expects.Mean(j.ran) || j.expects < j.Objective.Floor.Times(j.ran) {
		return fmt.Errorf("I-5: job %d of %d items ends %v with %d run and %v expected; they score %d, its floor is %v",
			f.Job, len(j.items), f.Outcome, j.ran, f.Expected, j.expects, j.Objective.Floor)
	}
	return nil
}
