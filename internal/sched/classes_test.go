package sched_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

const ms = time.Millisecond

func at(d time.Duration) slo.Instant { return slo.Instant(d) }

func newCore(t testing.TB, policy plan.Policy, models ...sched.Model) *sched.Core {
	t.Helper()
	c, err := sched.New(sched.Config{Policy: policy, QueueItemsMax: 200_000, QueueJobsMax: 100_000, Models: models})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func classedModel(t *testing.T, routes bool, classes ...sched.Residence) sched.Model {
	m := scriptModel(t, "m", routes, false)
	m.Classes = classes
	return m
}

func arrive(id sched.JobID, model, items int, objective slo.Objective) sched.Arrive {
	return sched.Arrive{Job: id, Model: model, Items: items, Present: 3, Objective: objective}
}

// want returns an objective; deadline 0 means none.
func want(floor slo.Accuracy, deadline time.Duration, late slo.LateRule) slo.Objective {
	o := slo.Objective{Floor: floor, Deadline: slo.Never, Late: late}
	if deadline > 0 {
		o.Deadline = at(deadline)
	}
	return o
}

func step(t *testing.T, c *sched.Core, now time.Duration, e sched.Event) []sched.Action {
	t.Helper()
	out := c.Step(at(now), e, nil)
	for _, a := range out {
		t.Logf("%v %T: %+v", now, a, a)
	}
	if err := c.Check(); err != nil {
		t.Error(now, err)
	}
	return out
}

// TestHopelessJobBehindTheHead has a job behind one that no free slot can serve. Once it
// can no longer be on time, it must not start.
func TestHopelessJobBehindTheHead(t *testing.T) {
	m0 := classedModel(t, false, sched.Residence{}, sched.Residence{Variants: 3}) // class 1 only
	m1 := scriptModel(t, "n", false, false)
	c := newCore(t, plan.PolicyAggressive, m0, m1)
	step(t, c, 0, sched.InstanceUp{Instance: 0, Class: 0})
	step(t, c, 0, arrive(1, 1, 1, want(950_000, 0, slo.LateRun)))       // runs, 10 ms expected
	step(t, c, 0, arrive(2, 0, 1, want(0, 100*ms, slo.LateDrop)))       // only class 1 has it: `a`, 2 ms
	step(t, c, 0, arrive(3, 1, 1, want(950_000, 101*ms, slo.LateDrop))) // `a+b`, 10 ms
	for _, a := range step(t, c, 95*ms, sched.Done{Batch: 1, Took: 95 * ms}) {
		if d, ok := a.(sched.Dispatch); ok {
			t.Errorf("I-7: at 95ms job %d is started for %v, its deadline is 101ms", d.Parts[0].Job, d.Predicted)
		}
	}
}

// TestJobForAClassThatIsDown has a job with late rule run whose class is down. Jobs
// behind it must still be shed as soon as they are hopeless.
func TestJobForAClassThatIsDown(t *testing.T) {
	m0 := classedModel(t, false, sched.Residence{}, sched.Residence{Variants: 3})
	m1 := classedModel(t, false, sched.Residence{Variants: 3})
	c := newCore(t, plan.PolicyAggressive, m0, m1)
	step(t, c, 0, sched.InstanceUp{Instance: 0, Class: 0})
	step(t, c, 0, arrive(1, 1, 1, want(950_000, 0, slo.LateRun))) // keeps the slot until 95 ms
	step(t, c, 0, arrive(2, 0, 1, want(0, 50*ms, slo.LateRun)))   // its class is down
	step(t, c, 0, arrive(3, 1, 1, want(950_000, 90*ms, slo.LateDrop)))
	if _, ok := c.Next(); !ok {
		t.Error("the core wants no tick for job 3, which cannot be on time after 80 ms")
	}
	step(t, c, 95*ms, sched.Done{Batch: 1, Took: 95 * ms})
	step(t, c, time.Hour, sched.Tick{})
	if n := c.Counts().Jobs; n != 1 {
		t.Errorf("%d jobs after an hour: job 3 was due at 90 ms and is to be dropped when late", n)
	}
}

// TestManyJobsForAnotherClass has many such jobs. A free slot of another class must serve
// the jobs behind them.
func TestManyJobsForAnotherClass(t *testing.T) {
	m0 := classedModel(t, false, sched.Residence{}, sched.Residence{Variants: 3})
	m1 := classedModel(t, false, sched.Residence{Variants: 3})
	c := newCore(t, plan.PolicyAggressive, m0, m1)
	c.Step(0, sched.InstanceUp{Instance: 0, Class: 0}, nil)
	for i := range 64 {
		c.Step(0, arrive(sched.JobID(i+1), 0, 1, want(0, 50*ms, slo.LateRun)), nil)
	}
	if out := step(t, c, 0, arrive(100, 1, 1, want(950_000, 900*ms, slo.LateDrop))); len(out) != 1 {
		t.Errorf("a job for the free slot is answered by %+v", out)
	}
}

// TestPlannedVariantIsOnNoClassThatIsUp has jobs whose cheapest variant is on no class
// that is up. Another variant serves them above their floor.
func TestPlannedVariantIsOnNoClassThatIsUp(t *testing.T) {
	curve := func(each time.Duration) plan.Curve {
		k, err := plan.NewCurve([]plan.Point{{Items: 1, Time: each}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	p, err := plan.New([]plan.Variant{{Name: "gpu", Modalities: 1, Accuracy: 950_000, Curve: curve(ms)}, {Name: "cpu", Modalities: 1, Accuracy: 900_000, Curve: curve(5 * ms)}})
	if err != nil {
		t.Fatal(err)
	}
	c := newCore(t, plan.PolicyMosel, sched.Model{Name: "m", Planner: p, BatchItemsMax: 1, Classes: []sched.Residence{{Variants: 2}, {Variants: 1}}})
	step(t, c, 0, sched.InstanceUp{Instance: 0, Class: 0}) // has cpu; gpu is down
	step(t, c, 0, arrive(1, 0, 1, want(800_000, 1000*ms, slo.LateDrop)))
	step(t, c, 0, arrive(2, 0, 1, want(800_000, 0, slo.LateRun)))
	step(t, c, 5*ms, sched.Done{Batch: 1, Took: 5 * ms})
	step(t, c, 10*ms, sched.Done{Batch: 2, Took: 5 * ms})
	if n := c.Counts().Jobs; n > 0 {
		t.Errorf("%d jobs wait, a slot that can serve them in 5 ms at 0.9, above their floor of 0.8, is free", n)
	}
}

// TestGoalsOfAMixedJobWhileAClassIsDown has a job of two kinds of items, of which the second
// would make up for the first most cheaply on a class that is down. The first can make up
// for the second as well: nothing waits, whether the class goes down before or after the
// job's arrival.
func TestGoalsOfAMixedJobWhileAClassIsDown(t *testing.T) {
	curve := func(each time.Duration) plan.Curve {
		k, err := plan.NewCurve([]plan.Point{{Items: 1, Time: each}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	p, err := plan.New([]plan.Variant{{Name: "cheap", Modalities: 1, Accuracy: 800_000, Curve: curve(ms)},
		{Name: "here", Modalities: 3, Accuracy: 950_000, Curve: curve(20 * ms)}, {Name: "there", Modalities: 5, Accuracy: 950_000, Curve: curve(2 * ms)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, early := range []bool{true, false} {
		c := newCore(t, plan.PolicyMosel, sched.Model{Name: "m", Planner: p, BatchItemsMax: 1, Classes: []sched.Residence{{Variants: 3}, {Variants: 4}}})
		job := arrive(1, 0, 4, want(875_000, 0, slo.LateRun))
		job.Present, job.Mixed = 7, []slo.Carried{{Items: 2, Present: 3}, {Items: 2, Present: 5}}
		up := sched.InstanceUp{Instance: 0, Class: 0}
		var out []sched.Action
		if early {
			step(t, c, 0, up)
			out = step(t, c, 0, job)
		} else {
			step(t, c, 0, sched.InstanceUp{Instance: 1, Class: 1})
			blocker := arrive(9, 0, 1, want(950_000, 0, slo.LateRun))
			blocker.Present = 5
			step(t, c, 0, blocker) // keeps the class busy until it goes down
			step(t, c, 0, job)
			step(t, c, 0, sched.InstanceDown{Instance: 1})
			step(t, c, 0, sched.Cancel{Job: 9})
			out = step(t, c, 0, up)
		}
		if c.Needs(1, 1<<2) {
			t.Errorf("early %v: the job needs the class that is down", early)
		}
		for now := 20 * ms; len(out) > 0; now += 20 * ms {
			last, runs := out[len(out)-1].(sched.Dispatch)
			if !runs {
				break
			}
			out = step(t, c, now, sched.Done{Batch: last.Batch, Took: 20 * ms})
		}
		if n := c.Counts(); n.Jobs > 0 || n.Queued > 0 {
			t.Errorf("early %v: items wait for the class that is down: %+v", early, n)
		}
	}
}

// TestLateBatchOfASlowClass has a job that the fast class can serve in time. It must not
// join a batch of the slow class that ends too late for it.
func TestLateBatchOfASlowClass(t *testing.T) {
	m := scriptModel(t, "m", false, true)
	c := newCore(t, plan.PolicyAggressive, m)
	step(t, c, 0, sched.InstanceUp{Instance: 0, Class: 0})
	step(t, c, 0, arrive(1, 0, 1, want(950_000, 0, slo.LateRun))) // fast, until 10 ms
	step(t, c, 0, sched.InstanceUp{Instance: 1, Class: 1})
	step(t, c, 0, arrive(2, 0, 1, want(950_000, 0, slo.LateRun)))        // slow, until 30 ms
	step(t, c, 1*ms, arrive(3, 0, 1, want(950_000, 2*ms, slo.LateRun)))  // late in any case
	step(t, c, 1*ms, arrive(4, 0, 1, want(950_000, 40*ms, slo.LateRun))) // on time on the fast one, in 10 ms
	// The slow one is free first.
	for _, a := range step(t, c, 5*ms, sched.Done{Batch: 2, Took: 5 * ms}) {
		if d, ok := a.(sched.Dispatch); ok && len(d.Parts) > 1 {
			t.Errorf("job 4, due at 40ms, is in a batch that ends at %v; the fast class is free at 10ms and serves it in 10ms", 5*ms+d.Predicted)
		}
	}
}

// TestRouteWithAStepOnNoClassThatIsUp has a job that a more accurate route could serve
// whose second step is on no class that is up. It does not start that route.
func TestRouteWithAStepOnNoClassThatIsUp(t *testing.T) {
	m := classedModel(t, true, sched.Residence{Variants: 1}, sched.Residence{Variants: 3})
	c := newCore(t, plan.PolicyMosel, m)
	step(t, c, 0, sched.InstanceUp{Instance: 0, Class: 0}) // only `a`
	out := step(t, c, 0, arrive(1, 0, 1, want(0, 0, slo.LateRun)))
	d := out[0].(sched.Dispatch)
	done := sched.Done{Batch: 1, Took: 2 * ms}
	if d.Routes != nil {
		done.Verdicts = []sched.Verdict{sched.Next(1)}
	}
	step(t, c, 2*ms, done)
	step(t, c, time.Hour, sched.Tick{})
	if n := c.Counts().Jobs; n > 0 {
		t.Errorf("the job of floor 0, which `a` answers in 2 ms, waits for `a+b`, which is nowhere")
	}
}

// TestSpeedOfAClassFollowsMeasurements has a class that is measured to be ten times
// slower than planned. Estimates must then be as if it had started with that speed.
func TestSpeedOfAClassFollowsMeasurements(t *testing.T) {
	busy := func(refresh bool) (waiting time.Duration, reason slo.Reason) {
		m := scriptModel(t, "m", false, false)
		var err error
		if m.Planner, err = plan.New(m.Planner.Variants()[1:]); err != nil {
			t.Fatal(err)
		}
		m.Classes = []sched.Residence{{Variants: 3}, {Variants: 3}}
		c := newCore(t, plan.PolicyAll, m)
		c.Step(0, sched.InstanceUp{Instance: 1, Class: 1}, nil)
		now, id := time.Duration(0), sched.JobID(0)
		for range 300 { // class 1 takes ten times as long as planned
			id++
			out := c.Step(at(now), arrive(id, 0, 1, want(950_000, 0, slo.LateRun)), nil)
			now += 100 * ms
			c.Step(at(now), sched.Done{Batch: out[0].(sched.Dispatch).Batch, Took: 100 * ms}, nil)
		}
		id++
		c.Step(at(now), arrive(id, 0, 4, want(950_000, 0, slo.LateRun)), nil) // the slow one runs four items, 340 ms
		c.Step(at(now), sched.InstanceUp{Instance: 0, Class: 0}, nil)
		if !refresh { // learnt while both are up, as in a server that runs
			c = newCore(t, plan.PolicyAll, m)
			c.Step(0, sched.InstanceUp{Instance: 0, Class: 0}, nil)
			c.Step(0, sched.InstanceUp{Instance: 1, Class: 1}, nil)
			now, id = 0, 0
			for range 300 {
				id++
				a := c.Step(at(now), arrive(id, 0, 1, want(950_000, 0, slo.LateRun)), nil)[0].(sched.Dispatch)
				id++
				b := c.Step(at(now), arrive(id, 0, 1, want(950_000, 0, slo.LateRun)), nil)[0].(sched.Dispatch)
				took := map[sched.InstanceID]time.Duration{0: 10 * ms, 1: 100 * ms}
				now += 200 * ms
				c.Step(at(now), sched.Done{Batch: a.Batch, Took: took[a.Instance]}, nil)
				c.Step(at(now), sched.Done{Batch: b.Batch, Took: took[b.Instance]}, nil)
			}
			id++
			x := c.Step(at(now), arrive(id, 0, 1, want(950_000, 0, slo.LateRun)), nil)[0].(sched.Dispatch)
			id++
			c.Step(at(now), arrive(id, 0, 4, want(950_000, 0, slo.LateRun)), nil)
			c.Step(at(now), sched.Done{Batch: x.Batch, Took: 10 * ms}, nil)
		}
		waiting = c.Waiting()
		id++
		for _, a := range c.Step(at(now), arrive(id, 0, 1, want(950_000, now+80*ms, slo.LateDrop)), nil) {
			if f, ok := a.(sched.FinishJob); ok {
				reason = f.Reason
			}
		}
		return waiting, reason
	}
	fw, fr := busy(true)
	sw, sr := busy(false)
	t.Logf("fleet changed after the measurements: waiting %v, a job of 10 ms due in 80 ms: %v", fw, fr)
	t.Logf("learnt while both are up:             waiting %v, a job of 10 ms due in 80 ms: %v", sw, sr)
	if sw > 2*fw || sr != fr {
		t.Error("the busy time counts the slow class as fast")
	}
}

// TestItemsPlannedForTwoClasses has a job that is planned in parts for two classes. Both
// parts must start at once.
func TestItemsPlannedForTwoClasses(t *testing.T) {
	m := classedModel(t, false, sched.Residence{Variants: 1}, sched.Residence{Variants: 2})
	c := newCore(t, plan.PolicyAggressive, m)
	step(t, c, 0, sched.InstanceUp{Instance: 0, Class: 0})
	step(t, c, 0, sched.InstanceUp{Instance: 1, Class: 1})
	out := step(t, c, 0, arrive(1, 0, 40, want(950_000, 0, slo.LateRun))) // some 18 on `a`, 22 on `a+b`
	on := map[sched.InstanceID]int{}
	for _, a := range out {
		if d, ok := a.(sched.Dispatch); ok {
			on[d.Instance]++
		}
	}
	if on[0] == 0 {
		t.Errorf("the class that has `a` stands idle, %d items wait", c.Counts().Queued)
	}
}

// TestVirtualTimeOfAnotherClass has a client that floods one class and sends a single job
// to another. That does not move the virtual time past what it has queued: the next
// client's job does not wait behind the flood.
func TestVirtualTimeOfAnotherClass(t *testing.T) {
	position := func(leap bool) int {
		flood := classedModel(t, false, sched.Residence{}, sched.Residence{Variants: 3})
		other := classedModel(t, false, sched.Residence{Variants: 3})
		flood.BatchItemsMax = 1
		c := newCore(t, plan.PolicyAggressive, flood, other)
		c.Step(0, sched.InstanceUp{Instance: 0, Class: 0}, nil)
		c.Step(0, sched.InstanceUp{Instance: 1, Class: 1}, nil)
		send := func(id sched.JobID, client sched.ClientID, model int) []sched.Action {
			a := arrive(id, model, 1, want(950_000, 0, slo.LateRun))
			a.Client = client
			return c.Step(0, a, nil)
		}
		for i := range 50 {
			send(sched.JobID(i+1), 1, 0)
		}
		if leap {
			send(60, 1, 1) // of the same client, for the class that is free
		}
		send(100, 2, 0)
		batch := sched.BatchID(1)
		for n := 1; ; n++ {
			for _, a := range c.Step(at(time.Duration(n)*10*ms), sched.Done{Batch: batch, Took: 10 * ms}, nil) {
				if d, ok := a.(sched.Dispatch); ok && d.Instance == 1 {
					if batch = d.Batch; d.Parts[0].Job == 100 {
						return n
					}
				}
			}
		}
	}
	if a, b := position(false), position(true); b > a+2 {
		t.Errorf("the other client's job is number %d, and number %d after one job for another class", a, b)
	}
}

// TestWorkForAnotherClass has much work for a class that is down. A job that another,
// idle class serves is admitted.
func TestWorkForAnotherClass(t *testing.T) {
	m0 := classedModel(t, false, sched.Residence{}, sched.Residence{Variants: 3})
	m1 := classedModel(t, false, sched.Residence{Variants: 3})
	c := newCore(t, plan.PolicyAggressive, m0, m1)
	c.Step(0, sched.InstanceUp{Instance: 0, Class: 0}, nil)
	c.Step(0, arrive(1, 0, 200, want(950_000, 50*ms, slo.LateRun)), nil)
	for _, a := range step(t, c, 0, arrive(2, 1, 1, want(950_000, 500*ms, slo.LateDrop))) {
		if f, ok := a.(sched.FinishJob); ok {
			t.Errorf("%v (%v) with an idle slot that serves it in 10 ms of 500", f.Outcome, f.Reason)
		}
	}
}

// TestDriverRefuses has the driver refuse a job on its arrival, and give up one that
// waits, because no class that could serve it is expected. Both are shed.
func TestDriverRefuses(t *testing.T) {
	c := newCore(t, plan.PolicyMosel, classedModel(t, false, sched.Residence{}, sched.Residence{Variants: 3}))
	step(t, c, 0, sched.InstanceUp{Instance: 0, Class: 0})
	refused := arrive(1, 0, 2, want(0, 0, slo.LateRun))
	refused.Refused = slo.ReasonAway
	ends := func(out []sched.Action) {
		t.Helper()
		if len(out) != 2 {
			t.Fatalf("%d actions", len(out))
		}
		f, ok := out[0].(sched.Finish)
		if j, all := out[1].(sched.FinishJob); !ok || !all || f.Count != 2 || f.Variant != -1 || f.Outcome != slo.Shed || j.Outcome != slo.Shed || j.Reason != slo.ReasonAway {
			t.Errorf("it ends as %+v, %+v", out[0], out[1])
		}
	}
	ends(step(t, c, 0, refused))
	if out := step(t, c, 0, arrive(2, 0, 2, want(0, 0, slo.LateRun))); len(out) != 0 {
		t.Errorf("a job whose class is down is answered by %+v", out)
	}
	ends(step(t, c, 0, sched.Cancel{Job: 2, Reason: slo.ReasonAway}))
	if n := c.Counts(); n.Jobs != 0 || n.Arrived != 4 || n.Finished != 4 {
		t.Errorf("the counts are %+v", n)
	}
}
