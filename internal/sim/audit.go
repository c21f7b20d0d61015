package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// audit checks the core's actions against the invariants. It uses only the actions and
// the arrivals, not the core's own records. Its memory grows with the number of items,
// so it is for tests.
type audit struct {
	models    []sched.Model
	instances map[sched.InstanceID]sched.InstanceUp
	jobs      map[sched.JobID]*audited
	running   map[sched.BatchID]sched.Dispatch
}

// audited is the state of a job after its actions so far.
type audited struct {
	Arrival
	items   []itemState
	unsent  slo.Score // highest possible score of items never dispatched, or lost
	score   slo.Score // of items that have started a route
	expects slo.Score // of items that finished after running
	means   slo.Score // the same by expected accuracies
	ran     int
	failed  int // items that failed alone
}

// itemState is the state of an item.
type itemState struct {
	running  bool
	started  bool // on a route, and not lost since
	finished bool
	variant  int // that it runs on, or last ran on
	route    int // that it takes
	carried  slo.Carried
	best     slo.Accuracy // of the routes that it may take
	credit   slo.Accuracy // of the route that it started
	mean     slo.Accuracy // the expected accuracy of that route
	onward   bool         // a gate has sent it on to its route; then:
	answered int          // the variant of the step before
	silent   bool         // that step gave no answer
	loss     slo.Accuracy // by how much that step's answer is less accurate
	meanLoss slo.Accuracy // the same by expected accuracies
}

func newAudit(cfg Config) *audit {
	return &audit{models: slices.Clone(cfg.Core.Models), instances: map[sched.InstanceID]sched.InstanceUp{}, jobs: map[sched.JobID]*audited{},
		running: map[sched.BatchID]sched.Dispatch{}}
}

// step checks the core's actions for an event.
func (a *audit) step(now slo.Instant, e sched.Event, out []sched.Action) error {
	switch e := e.(type) {
	case sched.Done:
		if !e.Failed {
			a.judge(a.running[e.Batch], e)
		}
		a.end(a.running[e.Batch], e.Failed)
	case sched.Replan:
		a.replan(e)
	case sched.InstanceUp:
		e.Slots = max(e.Slots, 1)
		a.instances[e.Instance] = e
	case sched.InstanceResize:
		in := a.instances[e.Instance]
		in.Slots = e.Slots
		a.instances[e.Instance] = in
	case sched.InstanceDown:
		delete(a.instances, e.Instance)
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
	p := a.models[j.Model].Planner.At(j.Objective.Confidence)
	job := &audited{Arrival: j}
	runs := j.Mixed
	if runs == nil {
		runs = []slo.Carried{{Items: j.Items, Present: j.Present, Choice: j.Choice, Sizes: j.Sizes}}
	}
	for _, r := range runs {
		r.NoRecovery = j.Objective.NoRecovery
		best := p.MaxAccuracy(p.Runnable(r))
		for range r.Items {
			job.items = append(job.items, itemState{carried: r, best: best})
		}
		job.unsent += best.Times(r.Items)
	}
	a.jobs[j.Job] = job
}

// replan gives the items that have not started, or are lost later, the best score by new
// accuracies.
func (a *audit) replan(e sched.Replan) {
	a.models[e.Model].Planner = e.Planner
	for _, j := range a.jobs {
		if j.Model != e.Model {
			continue
		}
		p := e.Planner.At(j.Objective.Confidence)
		for i := range j.items {
			s := &j.items[i]
			best := p.MaxAccuracy(p.Runnable(s.carried))
			if !s.started {
				j.unsent += slo.Score(best) - slo.Score(s.best)
			}
			s.best = best
		}
	}
}

// dispatch checks a batch: its bounds (I-4), floors (I-5) and modalities (I-6), that
// each of its jobs should be on time or has late rule run (I-7), and that it is not
// slower than several batches (I-15).
func (a *audit) dispatch(d sched.Dispatch, now slo.Instant) error {
	m := a.models[d.Model]
	v := m.Planner.Variants()[d.Variant]
	in, up := a.instances[d.Instance]
	slots := in.Slots
	for _, other := range a.running {
		if other.Instance == d.Instance {
			slots--
		}
	}
	if !up || slots < 1 {
		return fmt.Errorf("I-4: instance %d has no slot for batch %d", d.Instance, d.Batch)
	}
	if m.Classes != nil {
		if int(in.Class) >= len(m.Classes) || !m.Classes[in.Class].Variants.Has(d.Variant) {
			return fmt.Errorf("I-6: batch %d runs variant %d, which class %d does not have", d.Batch, d.Variant, in.Class)
		}
		if c := m.Classes[in.Class].Curves; c != nil {
			v.Curve = c[d.Variant]
		}
	}
	a.running[d.Batch] = d
	total := 0
	for _, p := range d.Parts {
		total += p.Count
	}
	for i, p := range d.Parts {
		j := a.jobs[p.Job]
		if j == nil || j.Model != d.Model || p.Count < 1 || p.First < 0 || p.First+p.Count > len(j.items) {
			return fmt.Errorf("I-2: batch %d has unknown items %+v", d.Batch, p)
		}
		route := d.Variant
		if d.Routes != nil {
			route = d.Routes[i]
		}
		if err := a.send(j, p, d.Variant, route); err != nil {
			return err
		}
		if j.idles() && a.waits() {
			return fmt.Errorf("I-14: batch %d runs in the background while other items wait", d.Batch)
		}
		if j.Objective.Late == slo.LateDrop && now.Add(min(d.Predicted, v.Curve.Batch(total))) > j.Objective.Deadline {
			return fmt.Errorf("I-7: batch %d should end at %v, job %d is due at %v", d.Batch, time.Duration(now.Add(d.Predicted)), p.Job,
				time.Duration(j.Objective.Deadline))
		}
	}
	if most := min(m.BatchItemsMax, v.Curve.Max()); total > most || total < 1 {
		return fmt.Errorf("I-4: batch %d has %d items of %d", d.Batch, total, most)
	}
	if v.Curve.Time(total) < v.Curve.Batch(total) {
		return fmt.Errorf("I-15: batch %d of %d items takes %v, in several batches they take %v", d.Batch, total, v.Curve.Batch(total), v.Curve.Time(total))
	}
	return nil
}

// idles reports whether the job starts only while no other waits.
func (j *audited) idles() bool { return j.Background && j.Objective.Deadline == slo.Never }

// waits reports whether an item waits that need not wait for idle time.
func (a *audit) waits() bool {
	for _, j := range a.jobs {
		if !j.idles() && slices.ContainsFunc(j.items, func(s itemState) bool { return !s.running && !s.finished }) {
			return true
		}
	}
	return false
}

// send records items as running. A batch without gates does not say which routes its
// items take. Then an item's route must have the variant as its first step and no gate:
// it is the variant itself, or the route that the item was sent on to.
func (a *audit) send(j *audited, p sched.Part, variant, route int) error {
	planner := a.models[j.Model].Planner
	routes := planner.At(j.Objective.Confidence).Routes()
	sizes := planner.Variants()[variant].Sizes
	for i := p.First; i < p.First+p.Count; i++ {
		s := &j.items[i]
		r := &routes[route]
		if s.onward && r.Next == nil { // a batch without gates does not say which routes its items take
			r = &routes[s.route]
		}
		switch {
		case s.running || s.finished:
			return fmt.Errorf("I-2: item %d of job %d runs twice", i, p.Job)
		case r.Variant != variant:
			return fmt.Errorf("I-6: item %d of job %d takes route %s, which starts with variant %d; it runs on %d", i, p.Job, r.Name, r.Variant, variant)
		case s.onward && r != &routes[s.route]:
			return fmt.Errorf("I-6: item %d of job %d was sent on with route %s and takes %s", i, p.Job, routes[s.route].Name, r.Name)
		case !s.carried.Present.Has(r.Modalities) || s.carried.Choice != 0 && s.carried.Choice != r.Modalities ||
			!s.carried.Sizes.Suits(sizes) || !s.onward && r.Inner || s.carried.NoRecovery && planner.Recovers(route):
			return fmt.Errorf("I-6: item %d of job %d carries %b, chose %b and has sizes %x; it takes route %s", i, p.Job, s.carried.Present, s.carried.Choice, s.carried.Sizes, r.Name)
		}
		s.running, s.variant = true, variant
		if !s.onward {
			s.started, s.route, s.credit, s.mean = true, route, r.Accuracy, planner.Routes()[route].Accuracy
			j.unsent -= slo.Score(s.best)
			j.score += slo.Score(s.credit)
		}
	}
	return j.reachable(p.Job)
}

// reachable checks that the floor can be reached (I-5).
func (j *audited) reachable(id sched.JobID) error {
	n := len(j.items) - j.failed
	if best := j.score + j.unsent; best < j.Objective.Floor.Times(n) {
		return fmt.Errorf("I-5: job %d can score %d at best, its floor is %d", id, best, j.Objective.Floor.Times(n))
	}
	return nil
}

// judge records which items go on to another route.
func (a *audit) judge(d sched.Dispatch, e sched.Done) {
	at := 0
	for i, p := range d.Parts {
		for k := p.First; k < p.First+p.Count; k++ {
			if e.Verdicts == nil || e.PartFailed(i) {
				continue
			}
			if to, ok := e.Verdicts[at+k-p.First].Next(); ok {
				s := &a.jobs[p.Job].items[k]
				from := a.models[d.Model].Planner.Routes()[d.Routes[i]]
				branch, _ := from.Branch(to)
				certain, _ := a.models[d.Model].Planner.At(a.jobs[p.Job].Objective.Confidence).Routes()[d.Routes[i]].Branch(to)
				s.onward, s.running, s.route, s.loss, s.meanLoss, s.silent, s.answered = true, false, to, certain.Loss, branch.Loss, from.Silent, d.Variant
			}
		}
		at += p.Count
	}
}

// end records the end of a batch. If it was lost or failed, its items count as not run.
func (a *audit) end(d sched.Dispatch, lost bool) {
	delete(a.running, d.Batch)
	if !lost {
		return
	}
	for _, p := range d.Parts {
		j := a.jobs[p.Job]
		for i := p.First; i < p.First+p.Count; i++ {
			s := &j.items[i]
			s.running = false
			if s.onward {
				s.variant = s.answered
			} else {
				s.started = false
				j.unsent += slo.Score(s.best)
				j.score -= slo.Score(s.credit)
			}
		}
	}
}

// finish checks that each item ends once, and on time only if it is (I-3).
func (a *audit) finish(f sched.Finish, now slo.Instant) error {
	j := a.jobs[f.Job]
	if j == nil {
		return fmt.Errorf("I-2: items of unknown job %d end", f.Job)
	}
	if f.Outcome.Ran() != (f.Reason == slo.ReasonNone) || !f.Outcome.Ran() && f.Outcome != f.Reason.Outcome() {
		return fmt.Errorf("I-2: items of job %d end %v for the reason %v", f.Job, f.Outcome, f.Reason)
	}
	late := now > j.Objective.Deadline
	if f.Outcome == slo.OnTime && late || f.Outcome == slo.Late && !late {
		return fmt.Errorf("I-3: items of job %d end %v at %v, they were due at %v", f.Job, f.Outcome, time.Duration(now), time.Duration(j.Objective.Deadline))
	}
	anyEarly := false
	for i := f.First; i < f.First+f.Count; i++ {
		s := &j.items[i]
		early := s.onward && !s.running && !s.silent // with the answer of the step before
		if s.finished || f.Outcome.Ran() && (!s.running && !early || s.variant != f.Variant) {
			return fmt.Errorf("I-2: item %d of job %d ends %v on variant %d; it was %+v", i, f.Job, f.Outcome, f.Variant, *s)
		}
		s.finished = true
		if f.Outcome.Ran() {
			if early {
				anyEarly = true
				s.credit -= s.loss
				s.mean -= s.meanLoss
				j.score -= slo.Score(s.loss)
			}
			j.expects += slo.Score(s.credit)
			j.means += slo.Score(s.mean)
			j.ran++
		}
		if f.Outcome == slo.Failed && s.running { // it failed alone: its job goes on without it
			j.failed++
			j.score -= slo.Score(s.credit)
		}
	}
	if anyEarly {
		return j.reachable(f.Job)
	}
	return nil
}

// finishJob checks the floor of a job that ran (I-5).
func (a *audit) finishJob(f sched.FinishJob) error {
	j := a.jobs[f.Job]
	delete(a.jobs, f.Job)
	if !f.Outcome.Ran() {
		return nil
	}
	var certified slo.Accuracy
	if j.Objective.Confidence != 0 {
		certified = max(0, j.expects.Mean(j.ran))
	}
	if j.ran != len(j.items)-j.failed || f.Expected != max(0, j.means.Mean(j.ran)) || f.Certified != certified || j.expects < j.Objective.Floor.Times(j.ran) {
		return fmt.Errorf("I-5: job %d of %d items ends %v with %d run, %v expected and %v certified; they score %d, its floor is %v",
			f.Job, len(j.items), f.Outcome, j.ran, f.Expected, f.Certified, j.expects, j.Objective.Floor)
	}
	return nil
}
