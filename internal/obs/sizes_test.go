package obs_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/prometheus/client_golang/prometheus"
)

// TestExplainsSizes explains jobs of a model with a variant for each of two sizes.
func TestExplainsSizes(t *testing.T) {
	curve, err := plan.NewCurve([]plan.Point{{Items: 1, Time: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	small, large := slo.Sizes(0).With(0, 0), slo.Sizes(0).With(0, 1)
	p, err := plan.New([]plan.Variant{
		{Name: "text@4", Modalities: 1, Sizes: small, Accuracy: 900_000, Curve: curve},
		{Name: "text@16", Modalities: 1, Sizes: large, Accuracy: 900_000, Curve: curve},
	})
	if err != nil {
		t.Fatal(err)
	}
	core, err := sched.New(sched.Config{QueueItemsMax: 20, QueueJobsMax: 10, QueueBytesMax: 1 << 20, Explain: true})
	if err != nil {
		t.Fatal(err)
	}
	ids := obs.NewJobIDs()
	observer, err := obs.New(obs.Config{Registerer: prometheus.NewRegistry(), Recent: 8, Epoch: epoch, IDs: ids,
		FeedDropped: func() map[string]uint64 { return nil }, QueueItemsMax: 20, QueueJobsMax: 10, QueueBytesMax: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	step := func(e sched.Event, m *feed.Model) {
		observer.Step(&feed.Step{Event: e, Model: m, Actions: core.Step(0, e, nil)})
	}
	step(sched.Serve{Spec: sched.Model{Name: "lines", Planner: p, BatchItemsMax: 1}}, &feed.Model{Name: "lines", Modalities: []string{"text"}, Planner: p})
	arrive := func(job sched.JobID, sizes slo.Sizes, mixed []slo.Carried) {
		step(sched.Arrive{Job: job, Items: max(1, len(mixed)), Present: 1, Sizes: sizes, Mixed: mixed, Objective: slo.Objective{Deadline: slo.Never}}, nil)
	}
	arrive(1, large, nil)
	arrive(2, 0, []slo.Carried{{Items: 1, Present: 1, Sizes: large}, {Items: 1, Present: 1, Sizes: small}})
	for job, want := range map[sched.JobID][2]string{
		1: {"is for items of other sizes", "has not run any of it so far"},
		2: {"has not run any of it so far", "has not run any of it so far"},
	} {
		told, found := observer.Explain(ids.Of(job))
		if !found || len(told.Alternatives) != 2 {
			t.Fatalf("job %d: %+v", job, told)
		}
		for _, a := range told.Alternatives {
			k := map[string]int{"text@4": 0, "text@16": 1}[a.Variant]
			if a.Why != want[k] || a.Runnable != (want[k] != "is for items of other sizes") {
				t.Errorf("job %d on %s: %q, runnable %v", job, a.Variant, a.Why, a.Runnable)
			}
		}
	}
}
