package sched_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

var (
	firstSeed = flag.Uint64("seed", 1, "the first seed of TestRandomEvents")
	seeds     = flag.Uint64("seeds", 150, "how many seeds of TestRandomEvents to run")
)

// TestRandomEvents drives cores directly, in ways that the simulator does not: parts of
// batches fail, models are added and removed, slots fall to 0, servers drain. The
// invariants are checked after every step, and a tracker follows.
func TestRandomEvents(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		if err := randomEvents(t, seed); err != nil {
			t.Fatalf("%v\nrepeat: go test ./internal/sched -run TestRandomEvents -seeds 1 -seed %d", err, seed)
		}
	}
}

// discard is a sink that keeps nothing.
type discard struct{ tracker *record.Tracker }

func (discard) Arrived(*record.Job)       {}
func (discard) Started(*record.Batch)     {}
func (discard) Ended(*record.Batch)       {}
func (d *discard) Finished(j *record.Job) { d.tracker.Recycle(j) }
func (discard) Changed(int, record.Queue) {}

// driver is a core with its driver's state.
type driver struct {
	rng     *rand.Rand
	c       *sched.Core
	now     slo.Instant
	models  map[int]sched.Model
	running map[sched.BatchID]sched.Dispatch
	up      map[sched.InstanceID]int
	jobs    map[sched.JobID]sched.Arrive
	tracker *record.Tracker
	next    sched.JobID
	log     []string
}

// randomModel draws a model with routes of several steps, and with classes.
func randomModel(t testing.TB, rng *rand.Rand) sched.Model {
	n := 1 + rng.IntN(4)
	var vs []plan.Variant
	for i := range n {
		var pts []plan.Point
		base, each := time.Duration(rng.IntN(3e6)), time.Duration(1e5+rng.IntN(5e6))
		for b := 1; b <= 1+rng.IntN(16); b++ {
			pts = append(pts, plan.Point{Items: b, Time: base + time.Duration(b)*each})
		}
		k, err := plan.NewCurve(pts)
		if err != nil {
			t.Fatal(err)
		}
		vs = append(vs, plan.Variant{Name: fmt.Sprint(i), Modalities: slo.Modalities(1 + rng.IntN(3)), Accuracy: slo.Accuracy(500_000 + rng.IntN(499_000)), Curve: k, Recovers: rng.IntN(4) == 0})
	}
	var routes []plan.RouteSpec
	for i := range rng.IntN(8) {
		s := plan.RouteSpec{Name: fmt.Sprint("r", i), Variant: rng.IntN(n), Inner: rng.IntN(5) == 0, Accuracy: slo.Accuracy(500_000 + rng.IntN(499_000))}
		left := 1.0
		for range 1 + rng.IntN(3) {
			b := plan.Branch{Route: rng.IntN(n + i), Share: left * rng.Float64(), Loss: slo.Accuracy(rng.IntN(int(s.Accuracy) / (1 + rng.IntN(50))))}
			dup := false
			for _, o := range s.Next {
				dup = dup || o.Route == b.Route
			}
			if dup {
				continue
			}
			left -= b.Share
			s.Next = append(s.Next, b)
		}
		if s.Silent = rng.IntN(5) == 0; s.Silent {
			s.Next[0].Share += left
		}
		routes = append(routes, s)
	}
	p, err := plan.New(vs, routes...)
	if err != nil {
		t.Fatal(err)
	}
	m := sched.Model{Name: "f", Planner: p, BatchItemsMax: 1 + rng.IntN(16)}
	if rng.IntN(3) > 0 {
		for range 3 {
			r := sched.Residence{Variants: plan.Set(1)<<n - 1}
			if rng.IntN(2) == 0 {
				r.Variants &= plan.Set(rng.Uint64())
			}
			if rng.IntN(2) == 0 {
				for _, v := range vs {
					var pts []plan.Point
					f := 0.2 + 3*rng.Float64()
					for b := 1; b <= v.Curve.Max(); b++ {
						pts = append(pts, plan.Point{Items: b, Time: time.Duration(float64(v.Curve.Batch(b)) * f)})
					}
					k, _ := plan.NewCurve(pts)
					r.Curves = append(r.Curves, k)
				}
			}
			m.Classes = append(m.Classes, r)
		}
	}
	return m
}

// step sends the core an event and checks its actions.
func (d *driver) step(e sched.Event) error {
	d.log = append(d.log, fmt.Sprintf("%v %+v", time.Duration(d.now), e))
	if len(d.log) > 12 {
		d.log = d.log[1:]
	}
	out := d.c.Step(d.now, e, nil)
	if err := d.c.Check(); err != nil {
		return err
	}
	if err := d.tracker.Step(d.now, e, out); err != nil {
		return err
	}
	for _, a := range out {
		switch a := a.(type) {
		case sched.Dispatch:
			d.running[a.Batch] = a
		case sched.Abort:
			if _, ok := d.running[a.Batch]; !ok {
				return fmt.Errorf("abort of %d", a.Batch)
			}
		case sched.FinishJob:
			j := d.jobs[a.Job]
			delete(d.jobs, a.Job)
			if a.Outcome.Ran() && a.Expected < j.Objective.Floor {
				return fmt.Errorf("I-5: job %d %v below %v", a.Job, a.Expected, j.Objective.Floor)
			}
		}
	}
	if next, ok := d.c.Next(); ok && next <= d.now {
		return fmt.Errorf("next %v at %v", next, d.now)
	}
	return nil
}

// finish ends a batch; clean: without failures.
func (d *driver) finish(id sched.BatchID, clean bool) error {
	b := d.running[id]
	delete(d.running, id)
	rng := d.rng
	took := time.Duration(float64(b.Predicted) * (0.3 + 1.5*rng.Float64()))
	done := sched.Done{Batch: id, Took: took}
	n := 0
	for _, p := range b.Parts {
		n += p.Count
	}
	if !clean && rng.IntN(12) == 0 {
		done.Failed = true
	}
	if !clean && rng.IntN(10) == 0 {
		done.FailedParts = make([]bool, len(b.Parts))
		done.FailedParts[rng.IntN(len(b.Parts))] = true
	}
	failing := !clean && rng.IntN(5) == 0
	if b.Routes != nil || failing {
		routes := d.models[b.Model].Planner.Routes()
		for i, p := range b.Parts {
			var next []plan.Branch
			silent := false
			if b.Routes != nil {
				next, silent = routes[b.Routes[i]].Next, routes[b.Routes[i]].Silent
			}
			for range p.Count {
				v := sched.Accept
				if len(next) > 0 && (silent || rng.IntN(2) == 0) {
					v = sched.Next(next[rng.IntN(len(next))].Route)
				}
				if failing && rng.IntN(3) == 0 {
					v = sched.Fail
				}
				done.Verdicts = append(done.Verdicts, v)
			}
		}
	}
	return d.step(done)
}

// arrive draws a job.
func (d *driver) arrive() error {
	rng := d.rng
	ms := slices.Sorted(maps.Keys(d.models))
	if len(ms) == 0 {
		return nil
	}
	d.next++
	a := sched.Arrive{Job: d.next, Client: sched.ClientID(rng.IntN(4)), Model: ms[rng.IntN(len(ms))], Items: 1, Present: 3, Bytes: int64(rng.IntN(100)),
		Objective: slo.Objective{Floor: slo.Accuracy(rng.IntN(950_000)), Deadline: slo.Never, Late: slo.LateRule(rng.IntN(2)), NoRecovery: rng.IntN(6) == 0}}
	if rng.IntN(3) > 0 {
		a.Items = 1 + rng.IntN(40)
	}
	if rng.IntN(4) > 0 {
		a.Objective.Deadline = d.now.Add(time.Duration(rng.IntN(60e6)) - 1e6)
		if rng.IntN(2) == 0 {
			a.Expires = a.Objective.Deadline.Add(time.Duration(rng.IntN(20e6)))
		}
	}
	if a.Items > 1 && rng.IntN(3) == 0 {
		for left := a.Items; left > 0; {
			k := 1 + rng.IntN(left)
			a.Mixed = append(a.Mixed, slo.Carried{Items: k, Present: slo.Modalities(1 + rng.IntN(3))})
			left -= k
		}
	}
	if rng.IntN(12) == 0 {
		a.Items, a.Mixed, a.Background, a.Route = 1, nil, true, rng.IntN(len(d.models[a.Model].Planner.Variants()))
		a.Objective.Floor = 0
	}
	d.jobs[a.Job] = a
	return d.step(a)
}

// newDriver draws a core and its models.
func newDriver(t testing.TB, seed uint64) (*driver, error) {
	rng := rand.New(rand.NewPCG(seed, 9))
	d := &driver{rng: rng, models: map[int]sched.Model{}, running: map[sched.BatchID]sched.Dispatch{}, up: map[sched.InstanceID]int{}, jobs: map[sched.JobID]sched.Arrive{}}
	policy := plan.Policy(rng.IntN(len(plan.Policies())))
	if rng.IntN(2) == 0 {
		policy = plan.PolicyMosel
	}
	cfg := sched.Config{Policy: policy, QueueItemsMax: 50 + rng.IntN(400), QueueJobsMax: 5 + rng.IntN(100), QueueBytesMax: int64(rng.IntN(2) * 1500), Explain: rng.IntN(2) == 0}
	for i := range 1 + rng.IntN(3) {
		d.models[i] = randomModel(t, rng)
		cfg.Models = append(cfg.Models, d.models[i])
	}
	sink := &discard{}
	d.tracker = record.NewTracker(sink)
	sink.tracker = d.tracker
	var err error
	d.c, err = sched.New(cfg)
	return d, err
}

func randomEvents(t testing.TB, seed uint64) (err error) {
	d, err := newDriver(t, seed)
	if err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic %v\n%s", p, debug.Stack())
		}
		if err != nil {
			err = fmt.Errorf("%w\nthe last events: %s", err, fmt.Sprintln(d.log))
		}
	}()
	for range 600 {
		d.now += slo.Instant(d.rng.IntN(3e6))
		if next, ok := d.c.Next(); ok && next <= d.now && d.rng.IntN(4) > 0 {
			d.now = next
			err = d.step(sched.Tick{})
		} else {
			err = d.happen(t)
		}
		if err != nil {
			return err
		}
	}
	return d.drain()
}

// happen draws and sends an event.
func (d *driver) happen(t testing.TB) error {
	switch k := d.rng.IntN(21); {
	case k < 7:
		return d.arrive()
	case k < 14:
		if ids := slices.Sorted(maps.Keys(d.running)); len(ids) > 0 {
			return d.finish(ids[d.rng.IntN(len(ids))], false)
		}
	case k < 17:
		return d.instance(sched.InstanceID(d.rng.IntN(instances)), k)
	case k == 17:
		if ids := slices.Sorted(maps.Keys(d.jobs)); len(ids) > 0 {
			reasons := []slo.Reason{slo.ReasonNone, slo.ReasonDraining, slo.ReasonRuntime, slo.ReasonAway}
			e := sched.Cancel{Job: ids[d.rng.IntN(len(ids))], Reason: reasons[d.rng.IntN(len(reasons))]}
			if e.Reason == slo.ReasonAway {
				e.Without = plan.Set(d.rng.Uint64())
			}
			return d.step(e)
		}
	case k == 18:
		return d.replace(t)
	case k == 19:
		return d.replan()
	}
	return d.step(sched.Tick{})
}

// instances are numbered from 0; each third belongs to a class.
const instances = 6

func classOf(id sched.InstanceID) sched.ClassID { return sched.ClassID(id % 3) }

// instance takes an instance down, brings it up or resizes it.
func (d *driver) instance(id sched.InstanceID, what int) error {
	_, up := d.up[id]
	switch {
	case what == 14 && up && d.rng.IntN(3) == 0:
		delete(d.up, id)
		e := sched.InstanceDown{Instance: id}
		for _, b := range slices.Sorted(maps.Keys(d.running)) {
			if d.running[b].Instance == id {
				delete(d.running, b)
				if d.rng.IntN(3) == 0 {
					e.By = b
				}
			}
		}
		return d.step(e)
	case what == 15 && !up:
		slots := d.rng.IntN(4)
		d.up[id] = max(1, slots)
		return d.step(sched.InstanceUp{Instance: id, Class: classOf(id), Slots: slots})
	case what == 16 && up:
		d.up[id] = d.rng.IntN(5)
		return d.step(sched.InstanceResize{Instance: id, Slots: d.up[id]})
	}
	return nil
}

// replace replaces a model without jobs by another model.
func (d *driver) replace(t testing.TB) error {
	numbers := slices.Sorted(maps.Keys(d.models))
	number := numbers[d.rng.IntN(len(numbers))]
	for _, j := range d.jobs {
		if j.Model == number {
			return nil
		}
	}
	if err := d.step(sched.Retire{Model: number}); err != nil {
		return err
	}
	d.models[number] = randomModel(t, d.rng)
	return d.step(sched.Serve{Model: number, Spec: d.models[number]})
}

// replan lowers the accuracies of a model or raises them again.
func (d *driver) replan() error {
	numbers := slices.Sorted(maps.Keys(d.models))
	number := numbers[d.rng.IntN(len(numbers))]
	p := d.models[number].Planner
	var most []slo.Accuracy
	for _, v := range p.Variants() {
		most = append(most, slo.Accuracy(float64(v.Accuracy)*(1-d.rng.Float64()*d.rng.Float64()*float64(d.rng.IntN(2)))))
	}
	return d.step(sched.Replan{Model: number, Planner: p.Capped(most)})
}

// drain lets all jobs end (I-13).
func (d *driver) drain() error {
	err := d.step(sched.Drain{})
	for id := range sched.InstanceID(instances) {
		if slots, up := d.up[id]; err == nil && !up {
			err = d.step(sched.InstanceUp{Instance: id, Class: classOf(id), Slots: 2})
		} else if err == nil && slots == 0 {
			err = d.step(sched.InstanceResize{Instance: id, Slots: 1})
		}
	}
	for n := 0; err == nil && !d.c.Idle(); n++ {
		d.now += 1e6
		ids := slices.Sorted(maps.Keys(d.running))
		next, due := d.c.Next()
		switch {
		case n > 50_000 || len(ids) == 0 && !due:
			return fmt.Errorf("I-13: it does not end: %+v, %d batches run", d.c.Counts(), len(ids))
		case len(ids) > 0:
			err = d.finish(ids[0], true)
		default:
			d.now = max(d.now, next)
			err = d.step(sched.Tick{})
		}
	}
	return err
}
