package record_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/record/recordtest"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// driver drives a real core at random: two models, three instances with one to three
// slots, cancelled jobs, failing batches, lost instances.
type driver struct {
	rng     *rand.Rand
	core    *sched.Core
	now     slo.Instant
	last    sched.JobID
	running []sched.Dispatch
	down    []sched.InstanceID
}

func newDriver(t *testing.T, seed uint64) *driver {
	t.Helper()
	curve, err := plan.NewCurve([]plan.Point{{Items: 1, Time: time.Millisecond}, {Items: 4, Time: 3 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	planner, err := plan.New([]plan.Variant{{Name: "text", Modalities: 1, Accuracy: 900_000, Curve: curve}})
	if err != nil {
		t.Fatal(err)
	}
	m := sched.Model{Planner: planner, BatchItemsMax: 4}
	core, err := sched.New(sched.Config{Models: []sched.Model{m, m}, QueueItemsMax: 60, QueueJobsMax: 20, QueueBytesMax: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return &driver{rng: rand.New(rand.NewPCG(seed, 1)), core: core, down: []sched.InstanceID{0, 1, 2}}
}

// event draws the next event; with ending set, nothing new begins.
func (d *driver) event(ending bool) sched.Event {
	d.now += slo.Instant(d.rng.IntN(int(2 * time.Millisecond)))
	draw := d.rng.IntN(20)
	switch {
	case len(d.down) > 0 && (ending || draw < 3):
		up := d.down[0]
		d.down = d.down[1:]
		return sched.InstanceUp{Instance: up, Slots: 1 + int(up)}
	case !ending && draw < 10:
		d.last++
		e := sched.Arrive{Job: d.last, Client: sched.ClientID(draw % 3), Model: d.rng.IntN(2), Items: 1 + d.rng.IntN(12), Bytes: 100, Present: 1,
			Objective: slo.Objective{Floor: 800_000, Deadline: slo.Never}}
		if draw < 5 {
			e.Objective.Deadline = d.now.Add(time.Duration(d.rng.IntN(int(30 * time.Millisecond))))
		}
		return e
	case !ending && draw < 12 && d.last > 0:
		return sched.Cancel{Job: d.last - sched.JobID(d.rng.IntN(min(10, int(d.last))))}
	}
	for i, b := range d.running {
		if !ending && d.rng.IntN(2) == 0 {
			continue
		}
		if !ending && draw == 19 {
			d.running = slices.DeleteFunc(d.running, func(r sched.Dispatch) bool { return r.Instance == b.Instance })
			d.down = append(d.down, b.Instance)
			return sched.InstanceDown{Instance: b.Instance}
		}
		d.running = slices.Delete(d.running, i, i+1)
		done := sched.Done{Batch: b.Batch, Took: b.Predicted, Failed: draw == 18}
		if draw == 17 {
			done.FailedParts = []bool{true}
		}
		return done
	}
	return sched.Tick{}
}

// step makes a step of the core.
func (d *driver) step(e sched.Event) []sched.Action {
	actions := d.core.Step(d.now, e, nil)
	for _, a := range actions {
		if a, ok := a.(sched.Dispatch); ok {
			d.running = append(d.running, a)
		}
	}
	return actions
}

// TestResume follows a real core with gaps: right after each gap the unfinished work is
// right, later ends are reported, and at the end nothing is left.
func TestResume(t *testing.T) {
	gaps, resumed := 0, 0
	for seed := range uint64(60) {
		d := newDriver(t, seed)
		var truth recordtest.Unfinished
		var j journal
		tracker := record.NewTracker(&j)
		gap := false
		for n := 0; n < 400 || d.core.Counts().Jobs > 0; n++ {
			e := d.event(n >= 400)
			actions := d.step(e)
			truth.Step(d.now, e, actions)
			if gap = n < 390 && (gap && d.rng.IntN(12) > 0 || !gap && d.rng.IntN(25) == 0); gap {
				gaps++
				continue
			}
			if gaps > 0 {
				snapshot := truth.Snapshot()
				if err := tracker.Resume(snapshot); err != nil {
					t.Fatal(err)
				}
				gaps = 0
				resumed += len(snapshot.Jobs)
			} else if err := tracker.Step(d.now, e, actions); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, n, err)
			}
			check(t, tracker, &truth, d.core.Counts())
		}
		if tracker.Unfinished() != 0 || tracker.Queue(0) != (record.Queue{}) || tracker.Queue(1) != (record.Queue{}) {
			t.Errorf("seed %d: in the end %d jobs, %+v, %+v", seed, tracker.Unfinished(), tracker.Queue(0), tracker.Queue(1))
		}
		for _, job := range j.jobs {
			if job.Queue() < 0 || job.Total() < 0 || job.End.Outcome.Ran() && job.Started < job.Arrived {
				t.Fatalf("seed %d: %+v", seed, job)
			}
		}
	}
	if resumed < 500 {
		t.Errorf("%d jobs were taken from snapshots: the test shows little", resumed)
	}
}

// check compares a tracker with the truth.
func check(t *testing.T, tracker *record.Tracker, truth *recordtest.Unfinished, counts sched.Counts) {
	t.Helper()
	var sum record.Queue
	for model := range 2 {
		q := tracker.Queue(model)
		if q != truth.Queue(model) {
			t.Fatalf("of model %d there are %+v, the tracker has %+v", model, truth.Queue(model), q)
		}
		sum.Waiting, sum.Running, sum.Jobs = sum.Waiting+q.Waiting, sum.Running+q.Running, sum.Jobs+q.Jobs
	}
	if sum.Waiting != counts.Queued || sum.Running != counts.Running || sum.Jobs != counts.Jobs || tracker.Unfinished() != counts.Jobs {
		t.Fatalf("the core has %+v, the tracker %+v", counts, sum)
	}
	now := truth.Snapshot()
	for _, j := range now.Jobs {
		if got := tracker.Job(j.Job); got == nil || !slices.Equal(got.Mixed, j.Mixed) || got.Arrived != j.Arrived || got.Compute != j.Compute || (got.Batches > 0) != j.Begun || j.Begun && got.Started != j.Started {
			t.Fatalf("job %+v is known as %+v", j, got)
		}
	}
	for _, b := range now.Batches {
		if got := tracker.Batch(b.Dispatch.Batch); got == nil || got.Instance != b.Instance || got.Started != b.Started || got.Aborted != b.Aborted {
			t.Fatalf("batch %+v is known as %+v", b, got)
		}
	}
}

// TestResumeForgets checks that what is not in a snapshot is forgotten, that the sink
// is not called, and that an impossible snapshot is an error.
func TestResumeForgets(t *testing.T) {
	var j journal
	tracker := record.NewTracker(&j)
	if err := tracker.Step(0, sched.Arrive{Job: 1, Items: 2, Bytes: 5}, []sched.Action{sched.Dispatch{Batch: 1, Parts: []sched.Part{part(1, 0, 2)}}}); err != nil {
		t.Fatal(err)
	}
	j.told()
	next := record.Snapshot{Jobs: []record.Unfinished{{Arrive: sched.Arrive{Job: 7, Items: 3, Bytes: 9}, Arrived: 4, Left: 2, Begun: true, Started: 5, Compute: 6, Request: "r"}},
		Batches: []record.Batch{{Dispatch: sched.Dispatch{Batch: 4, Parts: []sched.Part{part(7, 1, 1)}}, Started: 8}}}
	if err := tracker.Resume(next); err != nil {
		t.Fatal(err)
	}
	if told := j.told(); told != "" {
		t.Errorf("told %q", told)
	}
	if tracker.Job(1) != nil || tracker.Batch(1) != nil || tracker.Queue(0) != (record.Queue{Waiting: 1, Running: 1, Jobs: 1, Bytes: 9}) {
		t.Errorf("known: %+v, %+v, %+v", tracker.Job(1), tracker.Batch(1), tracker.Queue(0))
	}
	if err := tracker.Step(20, sched.Done{Batch: 4, Took: 10}, []sched.Action{sched.Finish{Part: part(7, 1, 1), Outcome: slo.OnTime},
		sched.Finish{Part: part(7, 2, 1), Variant: -1, Outcome: slo.Cancelled}, sched.FinishJob{Job: 7, Outcome: slo.Cancelled}}); err != nil {
		t.Fatal(err)
	}
	if job := j.jobs[0]; job.Request != "r" || job.Queue() != 1 || job.Total() != 16 || job.Compute != 16 || job.Batches != 1 || tracker.Unfinished() != 0 {
		t.Errorf("%+v", job)
	}
	next.Jobs[0].Left = 0
	if err := tracker.Resume(next); err == nil || !strings.Contains(err.Error(), "I-1: of model 0") {
		t.Errorf("more runs than is left: %v", err)
	}
	next.Jobs = nil
	if err := tracker.Resume(next); err == nil || !strings.Contains(err.Error(), "I-2: batch 4 has items of unknown job 7") {
		t.Errorf("a batch of an unknown job: %v", err)
	}
}

// TestResumeKnowsAbortedBatches checks that a batch which was aborted before a
// snapshot has not failed when it ends after it.
func TestResumeKnowsAbortedBatches(t *testing.T) {
	for _, aborted := range []bool{true, false} {
		var truth recordtest.Unfinished
		actions := []sched.Action{sched.Dispatch{Batch: 1, Parts: []sched.Part{part(1, 0, 2)}}}
		truth.Step(0, sched.Arrive{Job: 1, Items: 2}, actions)
		if aborted {
			truth.Step(1, sched.Cancel{Job: 1}, []sched.Action{sched.GiveUp{FinishJob: sched.FinishJob{Job: 1, Outcome: slo.Cancelled}}, sched.Abort{Batch: 1}})
		}
		var j journal
		tracker := record.NewTracker(&j)
		if err := tracker.Resume(truth.Snapshot()); err != nil {
			t.Fatal(err)
		}
		if err := tracker.Step(2, sched.Done{Batch: 1, Failed: true}, nil); err != nil {
			t.Fatal(err)
		}
		end, failed := record.BatchFailed, 2
		if aborted {
			end, failed = record.BatchAborted, 0
		}
		if got, want := j.told(), fmt.Sprintf("ended 1: %d, %d failed; ", end, failed); !strings.HasPrefix(got, want) {
			t.Errorf("aborted %v: told %q, want %q", aborted, got, want)
		}
	}
}
