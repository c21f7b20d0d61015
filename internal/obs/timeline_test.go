package obs_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/status"
)

// at is an instant, in seconds after the start.
func at(s float64) slo.Instant { return slo.Instant(s * float64(time.Second)) }

// observed is an observer of an instance of one model.
func observed(t *testing.T) *obs.Observer {
	t.Helper()
	o, err := obs.New(obs.Config{Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	serving(o, &feed.Model{Name: "m", Version: "1", Modalities: []string{"image", "text"}, Planner: scriptPlanner(t)})
	o.Step(&feed.Step{Event: sched.InstanceUp{}})
	return o
}

// run lets a job run from one instant to another on the first variant.
func run(o *obs.Observer, id sched.JobID, from, to slo.Instant) {
	part := sched.Part{Job: id, Count: 2}
	o.Step(&feed.Step{At: from, Event: sched.Arrive{Job: id, Items: 2, Present: 3, Objective: slo.Objective{Floor: 800_000, Deadline: slo.Never}},
		Actions: []sched.Action{sched.Dispatch{Batch: sched.BatchID(id), Parts: []sched.Part{part}, Predicted: to.Sub(from)}}})
	o.Step(&feed.Step{At: to, Event: sched.Done{Batch: sched.BatchID(id), Took: to.Sub(from)},
		Actions: []sched.Action{sched.Finish{Part: part, Outcome: slo.OnTime}, sched.FinishJob{Job: id, Outcome: slo.OnTime, Expected: 900_000}}})
}

func TestTimeline(t *testing.T) {
	o := observed(t)
	run(o, 1, at(1), at(2))
	o.Step(&feed.Step{At: at(3), Event: sched.Arrive{Job: 2, Items: 1, Present: 3}, Actions: []sched.Action{
		sched.Finish{Part: sched.Part{Job: 2, Count: 1}, Variant: -1, Outcome: slo.Shed, Reason: slo.ReasonTooBusy}, sched.FinishJob{Job: 2, Outcome: slo.Shed, Reason: slo.ReasonTooBusy}}})
	if got := o.Timeline(at(4.9), time.Time{}); len(got) != 0 {
		t.Fatalf("the first interval has not ended: %+v", got)
	}
	run(o, 3, at(6), at(8.5)) // half of the second interval
	got := o.Timeline(at(16), time.Time{})
	if len(got) != 3 {
		t.Fatalf("%d samples, want 3: %+v", len(got), got)
	}
	for i, s := range got {
		if want := epoch.Add(time.Duration(i+1) * 5 * time.Second); !s.End.Equal(want) || s.Seconds != 5 {
			t.Errorf("sample %d is of %v s before %v, want %v", i, s.Seconds, s.End, want)
		}
	}
	m := got[0].Models[0]
	if m.Name != "m" || m.Items.OnTime != 2 || m.Jobs.OnTime != 1 || m.Items.Shed != 1 || m.Reasons["too_busy"] != 1 || *m.Accuracy != 0.9 || *m.Floor != 0.8 {
		t.Errorf("first sample: %+v", m)
	}
	if m.P50MS < 990 || m.P50MS > 1010 {
		t.Errorf("median %v ms, want 1000", m.P50MS)
	}
	total := 0
	for _, n := range m.Variants {
		total += n
	}
	if total != 2 || len(m.Variants) != 1 {
		t.Errorf("variants: %v", m.Variants)
	}
	if len(got[1].Models) != 1 || len(got[2].Models) != 0 {
		t.Errorf("models: %+v, %+v", got[1].Models, got[2].Models)
	}
	if later := o.Timeline(at(16), got[1].End); len(later) != 1 || !later[0].End.Equal(got[2].End) {
		t.Errorf("after the second: %+v", later)
	}
}

// TestTimelineForgets checks the bound, after much work and after a long silence.
func TestTimelineForgets(t *testing.T) {
	o := observed(t)
	const most = status.TimelineS / status.SampleS
	for i := range 2 * most {
		run(o, sched.JobID(i+1), at(float64(5*i)), at(float64(5*i)+1))
	}
	now := at(10 * most)
	if got := o.Timeline(now, time.Time{}); len(got) != most || !got[most-1].End.Equal(epoch.Add(10*most*time.Second)) || len(got[0].Models) != 1 {
		t.Fatalf("%d samples, want %d: %+v", len(got), most, got)
	}
	got := o.Timeline(now.Add(24*time.Hour), time.Time{})
	if len(got) != most {
		t.Fatalf("%d samples after a silence, want %d", len(got), most)
	}
	for _, s := range got {
		if len(s.Models) != 0 {
			t.Fatalf("a sample of yesterday is left: %+v", s)
		}
	}
}

// TestTimelineOfRetiredModel checks that what a model did before it was removed is not lost.
func TestTimelineOfRetiredModel(t *testing.T) {
	o := observed(t)
	run(o, 1, at(1), at(2))
	o.Step(&feed.Step{At: at(3), Event: sched.Retire{}})
	if got := o.Timeline(at(6), time.Time{}); len(got) != 1 || len(got[0].Models) != 1 || got[0].Models[0].Items.OnTime != 2 {
		t.Errorf("%+v", got)
	}
}
