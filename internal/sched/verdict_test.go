package sched_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestOptionsFollowFailedItems fails items that run, which raises what the others must
// score: the options of a policy that replans are then other ones.
func TestOptionsFollowFailedItems(t *testing.T) {
	m := scriptModel(t, "m", false, false)
	m.BatchItemsMax = 2
	c := newCore(t, plan.PolicyGreedy, m)
	step(t, c, 0, sched.InstanceUp{Instance: 0})
	step(t, c, 0, arrive(1, 0, 5, want(935_000, 50*ms, slo.LateDrop)))
	step(t, c, 35*ms, sched.Done{Batch: 1, Took: 35 * ms, Verdicts: []sched.Verdict{sched.Fail, sched.Fail}})
}

// TestSomeItemsAreAnsweredEarly has four items that go on, of which three are in time for
// the second step. The floor allows one to be answered early, so the job is not shed.
func TestSomeItemsAreAnsweredEarly(t *testing.T) {
	c := newCore(t, plan.PolicyAggressive, scriptModel(t, "m", true, false))
	step(t, c, 0, sched.InstanceUp{Instance: 0})
	step(t, c, 0, arrive(1, 0, 12, want(960_000, 67*ms, slo.LateDrop)))               // 40.5 ms are expected, 66 if six items go on
	step(t, c, 25*ms, sched.Done{Batch: 1, Took: 5 * ms, Verdicts: verdicts("naaa")}) // 20 ms late
	step(t, c, 30*ms, sched.Done{Batch: 2, Took: 5 * ms, Verdicts: verdicts("naaa")})
	for _, a := range step(t, c, 35*ms, sched.Done{Batch: 3, Took: 5 * ms, Verdicts: verdicts("nnaa")}) {
		if f, ok := a.(sched.FinishJob); ok {
			t.Errorf("the job ends %v (%v); three items take 26 ms of the 32 that are left, and with one early answer it scores 0.9658, its floor is 0.96", f.Outcome, f.Reason)
		}
	}
}

// TestLossIsChargedToTheBatchThatCausedIt loses an instance three times with the same
// batch. Only the job of that batch fails; those in the other slots run again.
func TestLossIsChargedToTheBatchThatCausedIt(t *testing.T) {
	m := scriptModel(t, "m", false, false)
	m.BatchItemsMax = 1
	c := newCore(t, plan.PolicyAggressive, m)
	c.Step(0, sched.InstanceUp{Instance: 0, Slots: 3}, nil)
	for i := range 3 {
		c.Step(0, arrive(sched.JobID(i+1), 0, 1, want(950_000, 0, slo.LateRun)), nil)
	}
	killer := sched.BatchID(1) // of job 1
	var failed []sched.JobID
	for i := range 3 {
		now := time.Duration(i+1) * time.Second
		for _, a := range step(t, c, now, sched.InstanceDown{Instance: 0, By: killer}) {
			if f, ok := a.(sched.FinishJob); ok && f.Outcome == slo.Failed {
				failed = append(failed, f.Job)
			}
		}
		for _, a := range step(t, c, now, sched.InstanceUp{Instance: 0, Slots: 3}) {
			if d, ok := a.(sched.Dispatch); ok && d.Parts[0].Job == 1 {
				killer = d.Batch
			}
		}
	}
	if len(failed) != 1 || failed[0] != 1 {
		t.Errorf("jobs %v fail because job 1 loses the instance", failed)
	}
}

// TestFloorAfterFailedItems is the same with items left that cannot make up for those
// that were planned below the floor: the job does not end below it.
func TestFloorAfterFailedItems(t *testing.T) {
	m := scriptModel(t, "m", false, false)
	m.BatchItemsMax = 2
	c := newCore(t, plan.PolicyGreedy, m)
	step(t, c, 0, sched.InstanceUp{Instance: 0})
	step(t, c, 0, arrive(1, 0, 4, want(930_000, 40*ms, slo.LateDrop)))
	step(t, c, 30*ms, sched.Done{Batch: 1, Took: 30 * ms, Verdicts: []sched.Verdict{sched.Fail, sched.Fail}})
	if n := c.Counts().Running; n > 0 {
		t.Errorf("%d items run: two at 0.99 would be late, and at 0.9 they would end below the floor of 0.93", n)
	}
}

// TestAdmissionLeavesTimeForItemsThatGoOn has jobs with a gate. One item needs time for both
// steps. Of twelve items three are expected to go on, and there must be time for six; of
// 100 items 25, and there must be time for 34.
func TestAdmissionLeavesTimeForItemsThatGoOn(t *testing.T) {
	for _, c := range []struct {
		items    int
		deadline time.Duration
		want     bool
	}{
		{1, 11 * ms, false}, {1, 12 * ms, true}, // 2 ms, and 10 ms for the second step
		{12, 65 * ms, false}, {12, 66 * ms, true}, // 15 ms, and 8.5 ms for each that goes on
		{100, 410 * ms, false}, {100, 415 * ms, true}, // 125 ms, and 8.5 ms for 33.7 items
	} {
		core := newCore(t, plan.PolicyAggressive, scriptModel(t, "m", true, false))
		step(t, core, 0, sched.InstanceUp{Instance: 0})
		admitted := false
		for _, a := range step(t, core, 0, arrive(1, 0, c.items, want(970_000, c.deadline, slo.LateDrop))) {
			_, ran := a.(sched.Dispatch)
			admitted = admitted || ran
		}
		if admitted != c.want {
			t.Errorf("%d items within %v: admitted %v", c.items, c.deadline, admitted)
		}
	}
}
