package obs_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/prometheus/client_golang/prometheus"
)

// moment is a recorded step of a core.
type moment struct {
	now     slo.Instant
	event   sched.Event
	actions []sched.Action
	request string
}

// recorded lets a core serve single-item jobs, batch of them in every batch, and
// records its steps.
func recorded(b *testing.B, jobs, batch int) (moments []moment, end slo.Instant) {
	core, err := sched.New(sched.Config{QueueItemsMax: 1000, QueueJobsMax: 1000, Explain: true, Policy: plan.PolicyMosel,
		Models: []sched.Model{{Name: "digits", Planner: scriptPlanner(b), BatchItemsMax: 4}}})
	if err != nil {
		b.Fatal(err)
	}
	var now slo.Instant
	var running []sched.Dispatch
	step := func(e sched.Event, request string) {
		actions := slices.Clone(core.Step(now, e, nil))
		for _, a := range actions {
			if d, ok := a.(sched.Dispatch); ok {
				running = append(running, d)
			}
		}
		moments = append(moments, moment{now, e, actions, request})
	}
	step(sched.InstanceUp{}, "")
	for id := range jobs {
		now += slo.Instant(100 * time.Microsecond)
		step(sched.Arrive{Job: sched.JobID(id + 1), Client: sched.ClientID(id % 7), Items: 1, Present: 3, Bytes: 1000,
			Objective: slo.Objective{Floor: 880_000, Deadline: now.Add(time.Second)}}, "request-"+strconv.Itoa(id))
		for (id+1)%batch == 0 && len(running) > 0 {
			d := running[0]
			running = running[1:]
			now += slo.Instant(d.Predicted)
			step(sched.Done{Batch: d.Batch, Took: d.Predicted}, "")
		}
	}
	return moments, now
}

// BenchmarkStep measures an observer's cost for one job of one item: its arrival, its
// share of the start and the end of a batch, and its end.
func BenchmarkStep(b *testing.B) {
	for _, batch := range []int{1, 4} {
		b.Run("batch="+strconv.Itoa(batch), func(b *testing.B) {
			const jobs = 4096
			moments, end := recorded(b, jobs, batch)
			o, err := obs.New(obs.Config{Registerer: prometheus.NewRegistry()})
			if err != nil {
				b.Fatal(err)
			}
			o.Resume(&feed.Snapshot{Models: map[int]*feed.Model{0: {Name: "digits", Version: "1", Modalities: []string{"image", "text"}, Planner: scriptPlanner(b)}}})
			play := func(from slo.Instant, moments []moment) {
				var step feed.Step
				for _, m := range moments {
					step = feed.Step{At: from + m.now, Event: m.event, Actions: m.actions, Took: 3 * time.Microsecond, Request: m.request, Client: "somebody"}
					o.Step(&step)
				}
			}
			var from slo.Instant
			play(from, moments)
			b.ReportAllocs()
			for b.Loop() {
				from += end
				play(from, moments[1:])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/jobs, "ns/job")
		})
	}
}
