package record_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// journal is a sink that records its calls as text and keeps the jobs.
type journal struct {
	text   strings.Builder
	jobs   []*record.Job
	totals record.Totals
}

func (j *journal) Arrived(job *record.Job) { fmt.Fprintf(&j.text, "arrived %d; ", job.Job) }

func (j *journal) Started(b *record.Batch) {
	j.totals.Start(b)
	fmt.Fprintf(&j.text, "started %d of %d; ", b.Batch, b.Items)
}

func (j *journal) Ended(b *record.Batch) {
	fmt.Fprintf(&j.text, "ended %d: %d, %d failed; ", b.Batch, b.End, b.FailedItems)
}

func (j *journal) Finished(job *record.Job) {
	j.jobs = append(j.jobs, job)
	j.totals.Finish(job)
	fmt.Fprintf(&j.text, "finished %d; ", job.Job)
}

func (j *journal) Changed(model int, q record.Queue) {
	fmt.Fprintf(&j.text, "model %d: %d waiting, %d running, %d jobs, %d bytes; ", model, q.Waiting, q.Running, q.Jobs, q.Bytes)
}

// told returns what was recorded since the last call.
func (j *journal) told() string {
	text := strings.TrimSuffix(j.text.String(), "; ")
	j.text.Reset()
	return text
}

// part returns items of a job: count of them from first.
func part(job sched.JobID, first, count int) sched.Part {
	return sched.Part{Job: job, First: first, Count: count}
}

// TestJobOfManyBatches follows a job whose items run on two variants, in more batches
// than its record holds. One batch is lost and one fails in part.
func TestJobOfManyBatches(t *testing.T) {
	var j journal
	tracker := record.NewTracker(&j)
	step := func(at slo.Instant, e sched.Event, actions ...sched.Action) {
		t.Helper()
		if err := tracker.Step(at, e, actions); err != nil {
			t.Fatal(err)
		}
	}
	const batches = record.SharesMax + 4
	now := slo.Instant(1000)
	dispatch := func(batch sched.BatchID, variant int, parts ...sched.Part) sched.Dispatch {
		return sched.Dispatch{Batch: batch, Instance: 3, Model: 1, Variant: variant, Parts: parts}
	}
	step(now, sched.Arrive{Job: 9, Model: 1, Items: 2 * batches, Bytes: 77, Objective: slo.Objective{Floor: 500_000, Deadline: 100_000}},
		dispatch(1, 0, part(9, 0, 1), part(9, 1, 1)))
	if got, want := j.told(), "arrived 9; started 1 of 2; model 1: 38 waiting, 2 running, 1 jobs, 77 bytes"; got != want {
		t.Errorf("told\n%s, want\n%s", got, want)
	}
	step(now+1, sched.InstanceDown{Instance: 3})
	if got, want := j.told(), "ended 1: 3, 0 failed; model 1: 40 waiting, 0 running, 1 jobs, 77 bytes"; got != want {
		t.Errorf("told\n%s, want\n%s", got, want)
	}
	step(now+2, sched.InstanceUp{Instance: 3}, dispatch(2, 0, part(9, 0, 1), part(9, 1, 1)))
	for batch := sched.BatchID(2); batch <= batches; batch++ {
		now += 100
		first := 2 * int(batch-2)
		step(now, sched.Done{Batch: batch, Took: 50}, sched.Finish{Part: part(9, first, 1), Outcome: slo.OnTime},
			sched.Finish{Part: part(9, first+1, 1), Outcome: slo.OnTime}, dispatch(batch+1, int(batch%2), part(9, first+2, 1), part(9, first+3, 1)))
	}
	j.told()
	step(now+100, sched.Done{Batch: batches + 1, Took: 50, FailedParts: []bool{false, true}},
		sched.Finish{Part: part(9, 2*batches-2, 1), Outcome: slo.OnTime}, sched.Finish{Part: part(9, 2*batches-1, 1), Outcome: slo.Failed},
		sched.FinishJob{Job: 9, Outcome: slo.Failed, Reason: slo.ReasonRuntime})
	if got, want := j.told(), "ended 21: 1, 1 failed; finished 9; model 1: 0 waiting, 0 running, 0 jobs, 0 bytes"; got != want {
		t.Errorf("told\n%s, want\n%s", got, want)
	}
	job := j.jobs[0]
	if job.Batches != batches+1 || len(job.Shares) != record.SharesMax || job.Shares[0] != (record.Share{Batch: 1, Items: 2}) ||
		job.Shares[record.SharesMax-2].Batch != record.SharesMax-1 || job.Shares[record.SharesMax-1].Batch != batches+1 {
		t.Errorf("%d batches, shares %v", job.Batches, job.Shares)
	}
	if fmt.Sprint(job.Ran) != "[{0 21} {1 18}]" {
		t.Errorf("ran %v of %d items, of which one failed", job.Ran, job.Items)
	}
	if job.Compute != 50*batches || job.Queue() != 0 || job.Total() != 100*batches || job.Slack() != time.Duration(100_000-job.Ended) {
		t.Errorf("compute %d, queue %d, total %d, slack %d", job.Compute, job.Queue(), job.Total(), job.Slack())
	}
	if tracker.Unfinished() != 0 || tracker.Job(9) != nil || j.totals.Jobs[slo.Failed] != 1 || j.totals.Items[slo.Failed] != 2*batches || j.totals.Ran != 0 {
		t.Errorf("%d unfinished; %+v", tracker.Unfinished(), j.totals)
	}
}

// TestRecordsAreUsedAnew checks that a recycled record holds nothing of the old job.
func TestRecordsAreUsedAnew(t *testing.T) {
	var j journal
	tracker := record.NewTracker(&j)
	serve := func(at slo.Instant, id sched.JobID) *record.Job {
		for _, s := range []struct {
			event   sched.Event
			actions []sched.Action
		}{
			{sched.Arrive{Job: id, Items: 1, Objective: slo.Objective{Deadline: slo.Never}}, []sched.Action{sched.Dispatch{Batch: sched.BatchID(id), Parts: []sched.Part{part(id, 0, 1)}}}},
			{sched.Done{Batch: sched.BatchID(id), Took: 5}, []sched.Action{sched.Finish{Part: part(id, 0, 1), Outcome: slo.OnTime}, sched.FinishJob{Job: id, Outcome: slo.OnTime, Expected: 900_000}}},
		} {
			if err := tracker.Step(at, s.event, s.actions); err != nil {
				t.Fatal(err)
			}
			at += 5
		}
		return j.jobs[len(j.jobs)-1]
	}
	first := serve(10, 1)
	first.Request, first.Sender = "request", "sender"
	tracker.Recycle(first)
	second := serve(20, 2)
	if second != first {
		t.Error("the record is not reused")
	}
	if second.Job != 2 || second.Request != "" || second.Sender != "" || second.Compute != 5 || second.Batches != 1 || len(second.Shares) != 1 ||
		len(second.Ran) != 1 || second.Ran[0].Items != 1 || second.Arrived != 20 {
		t.Errorf("%+v", second)
	}
}

// TestWhatCannotBe checks that a tracker reports impossible steps.
func TestWhatCannotBe(t *testing.T) {
	arrive := sched.Arrive{Job: 1, Items: 2}
	dispatch := sched.Dispatch{Batch: 1, Parts: []sched.Part{part(1, 0, 2)}}
	end := sched.FinishJob{Job: 1, Outcome: slo.Shed}
	all := sched.Finish{Part: part(1, 0, 2), Variant: -1, Outcome: slo.Shed}
	for _, c := range []struct {
		want  string
		steps [][]any // an event and its actions
	}{
		{"job 1 arrived twice", [][]any{{arrive}, {arrive}}},
		{"batch 1 is not running", [][]any{{sched.Done{Batch: 1}}}},
		{"batch 1 is not running", [][]any{{arrive, dispatch}, {sched.Done{Batch: 1}}, {sched.Done{Batch: 1}}}},
		{"batch 1 is aborted and does not run", [][]any{{sched.Tick{}, sched.Abort{Batch: 1}}}},
		{"batch 1 has items of unknown job 1", [][]any{{sched.Tick{}, dispatch}}},
		{"items of job 1 ended twice", [][]any{{arrive, all, all}}},
		{"items of job 1 ended twice", [][]any{{sched.Tick{}, all}}},
		{"job 1 ended twice, or before its items", [][]any{{arrive, end}}},
		{"job 1 ended twice, or before its items", [][]any{{arrive, all, end, end}}},
	} {
		tracker := record.NewTracker(&journal{})
		var err error
		for _, s := range c.steps {
			var actions []sched.Action
			for _, a := range s[1:] {
				actions = append(actions, a.(sched.Action))
			}
			err = tracker.Step(0, s[0].(sched.Event), actions)
		}
		if err == nil || !strings.Contains(err.Error(), "I-2: "+c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestTotalsAddUp checks that the totals of two halves add up to those of the whole.
func TestTotalsAddUp(t *testing.T) {
	var whole, sum record.Totals
	var halves [2]record.Totals
	for i := range 200 {
		job := &record.Job{Arrive: sched.Arrive{Items: 1 + i%3, Objective: slo.Objective{Floor: slo.Accuracy(1000 * i)}}, Ended: slo.Instant(i * i * 1000),
			End: sched.FinishJob{Outcome: slo.Outcomes()[i%6], Expected: slo.Accuracy(300_000 + i)}}
		batch := &record.Batch{Items: i % 5}
		for _, t := range []*record.Totals{&whole, &halves[i%2]} {
			t.Finish(job)
			t.Start(batch)
		}
	}
	sum.AddAll(&halves[0])
	sum.AddAll(&halves[1])
	if fmt.Sprint(sum) != fmt.Sprint(whole) {
		t.Errorf("the halves have\n%v, the whole\n%v", sum, whole)
	}
	sum.Reset()
	if sum.JCT.Count != 0 || sum.JCT.Quantile(1) != 0 || sum.Jobs.Total() != 0 || sum.Ran != 0 || sum.MinMargin != 0 {
		t.Errorf("after a reset %+v", sum)
	}
}
