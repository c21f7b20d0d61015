package sched_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// capped returns the event that gives model 0 other accuracies.
func capped(m sched.Model, most ...slo.Accuracy) sched.Replan {
	return sched.Replan{Planner: m.Planner.Capped(most)}
}

func ends(actions []sched.Action) (list []sched.FinishJob) {
	for _, a := range actions {
		if f, ok := a.(sched.FinishJob); ok {
			list = append(list, f)
		}
	}
	return list
}

// TestReplan lowers the accuracy of the cheap variant while a job waits: the job then
// runs on the dear one, whose accuracy its floor needs.
func TestReplan(t *testing.T) {
	m := scriptModel(t, "m", false, false)
	m.BatchItemsMax = 2
	c := newCore(t, plan.PolicyAggressive, m)
	cheap, dear := m.Planner.Variants()[0].Accuracy, m.Planner.Variants()[1].Accuracy
	step(t, c, 0, arrive(1, 0, 1, want(cheap, 0, slo.LateRun)))
	step(t, c, 0, capped(m, cheap-50_000, dear))
	var ran []int
	for _, a := range step(t, c, 0, sched.InstanceUp{Instance: 0}) {
		if d, ok := a.(sched.Dispatch); ok {
			ran = append(ran, d.Variant)
		}
	}
	if len(ran) != 1 || ran[0] != 1 {
		t.Fatalf("variants %v run; the cheap one no longer reaches the floor", ran)
	}
	f := ends(step(t, c, ms, sched.Done{Batch: 1, Took: ms}))
	for n := 2; len(f) == 0; n++ {
		f = ends(step(t, c, time.Duration(n)*ms, sched.Done{Batch: sched.BatchID(n), Took: ms}))
	}
	if f[0].Expected < cheap {
		t.Errorf("expected %v, the floor is %v", f[0].Expected, cheap)
	}
}

// TestReplanEndsJobs lowers both variants below the floor: a waiting job ends for that
// reason, with the best that is left, a new one is refused for it, and both are accepted
// again after the accuracies are restored.
func TestReplanEndsJobs(t *testing.T) {
	m := scriptModel(t, "m", false, false)
	c := newCore(t, plan.PolicyAggressive, m)
	floor := m.Planner.Variants()[0].Accuracy
	step(t, c, 0, arrive(1, 0, 3, want(floor, 0, slo.LateRun)))
	check := func(actions []sched.Action, job sched.JobID) {
		t.Helper()
		f := ends(actions)
		if len(f) != 1 || f[0].Job != job || f[0].Outcome != slo.Infeasible || f[0].Reason != slo.ReasonDrift || f[0].Best != 600_000 {
			t.Errorf("ends %+v", f)
		}
	}
	check(step(t, c, ms, capped(m, 500_000, 600_000)), 1)
	check(step(t, c, ms, arrive(2, 0, 1, want(floor, 0, slo.LateRun))), 2)
	if f := ends(step(t, c, ms, arrive(3, 0, 1, want(999_999, 0, slo.LateRun)))); f[0].Reason != slo.ReasonFloor {
		t.Errorf("a floor that the profile does not reach either: %v", f[0].Reason)
	}
	step(t, c, 2*ms, sched.Replan{Planner: m.Planner})
	if f := ends(step(t, c, 2*ms, arrive(4, 0, 1, want(floor, 0, slo.LateRun)))); len(f) != 0 {
		t.Errorf("after the accuracies are restored: %+v", f)
	}
}

// TestReplanThenLoss loses the items of a job that started before the accuracies fell:
// they keep the credit only if they end.
func TestReplanThenLoss(t *testing.T) {
	for _, lost := range []bool{false, true} {
		m := scriptModel(t, "m", false, false)
		c := newCore(t, plan.PolicyAggressive, m)
		floor := m.Planner.Variants()[0].Accuracy
		step(t, c, 0, sched.InstanceUp{Instance: 0})
		step(t, c, 0, arrive(1, 0, 1, want(floor, 0, slo.LateRun)))
		if f := ends(step(t, c, ms, capped(m, 500_000, 600_000))); len(f) != 0 {
			t.Fatalf("a job without waiting items ends: %+v", f)
		}
		var f []sched.FinishJob
		if lost {
			f = ends(step(t, c, 2*ms, sched.InstanceDown{Instance: 0}))
		} else {
			f = ends(step(t, c, 2*ms, sched.Done{Batch: 1, Took: 2 * ms}))
		}
		switch {
		case len(f) != 1:
			t.Errorf("lost %v: ends %+v", lost, f)
		case lost && f[0].Reason != slo.ReasonDrift, !lost && (f[0].Outcome != slo.OnTime || f[0].Expected != floor):
			t.Errorf("lost %v: ends %+v", lost, f[0])
		}
	}
}
