package sched_test

import (
	"testing"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestBackgroundWithDeadline: while jobs are always waiting, a job in the background
// without a deadline does not start, and one with a deadline runs on its route, in time
// and without making one of the others late.
func TestBackgroundWithDeadline(t *testing.T) {
	m := scriptModel(t, "m", false, false)
	c := newCore(t, plan.PolicyMosel, m)
	step(t, c, 0, sched.InstanceUp{Instance: 0})
	const idles, due, jobs = sched.JobID(1), sched.JobID(2), 60
	dear := len(m.Planner.Variants()) - 1
	variants := map[sched.JobID]int{}
	ended := map[sched.JobID]sched.FinishJob{}
	var running []sched.Dispatch
	see := func(actions []sched.Action) {
		for _, a := range actions {
			switch a := a.(type) {
			case sched.Dispatch:
				running = append(running, a)
				for _, p := range a.Parts {
					variants[p.Job] = a.Variant
				}
			case sched.FinishJob:
				ended[a.Job] = a
			}
		}
	}
	now := 0 * ms
	request := func(id sched.JobID) {
		see(step(t, c, now, arrive(id, 0, 2, want(m.Planner.Variants()[dear].Accuracy, now+60*ms, slo.LateDrop))))
	}
	for id := due + 1; id < due+4; id++ {
		request(id)
	}
	for _, b := range []struct {
		id       sched.JobID
		deadline slo.Instant
	}{{idles, slo.Never}, {due, slo.Instant(300 * ms)}} {
		see(step(t, c, now, sched.Arrive{Job: b.id, Items: 1, Present: 3, Background: true, Route: 0,
			Objective: slo.Objective{Deadline: b.deadline, Late: slo.LateDrop}}))
	}
	for id := due + 4; id < due+jobs; id++ {
		b := running[0]
		running = running[1:]
		now += b.Predicted
		see(step(t, c, now, sched.Done{Batch: b.Batch, Took: b.Predicted}))
		request(id)
	}
	if f, done := ended[due]; !done || f.Outcome != slo.OnTime || variants[due] != 0 {
		t.Errorf("the job with a deadline ended as %+v, on variant %d", f, variants[due])
	}
	if f, done := ended[idles]; done {
		t.Errorf("the job that waits for idle time ended as %+v", f)
	}
	late := 0
	for _, f := range ended {
		if f.Outcome == slo.Late || f.Outcome == slo.Shed && f.Reason != slo.ReasonTooBusy {
			late++
		}
	}
	if late > 0 || len(ended) < jobs/2 {
		t.Errorf("of %d ended jobs, %d were late", len(ended), late)
	}
}
