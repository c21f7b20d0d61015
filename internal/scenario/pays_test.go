package scenario_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/scenario"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/workload"
)

// TestBatchesPay checks on the shipped profile that a full queue runs at the rate of the best
// batch size. On all modalities that is 2 items: in batches of 32, an item
// takes a quarter longer.
func TestBatchesPay(t *testing.T) {
	s, err := scenario.Load("../../scenarios/digits.yaml", scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := s.Groups[0].Models[0]
	for name, floor := range map[string]slo.Accuracy{"all": 0, "aggressive": 991_000, "mosel": 991_000} {
		policy, err := plan.ParsePolicy(name)
		if err != nil {
			t.Fatal(err)
		}
		const length = 2 * time.Second
		client := sim.Client{Planner: m.True, Late: slo.LateRun, Load: workload.Load{Process: workload.Poisson, Seed: 1, Rate: workload.Steady(3000, length),
			Sizes: workload.FixedSize(1), Floors: workload.Spread{Low: floor.Float(), High: floor.Float()}, Deadlines: workload.Spread{Low: 0.1, High: 0.1}}}
		cfg := sim.Config{Instances: sim.Alike(1), Seed: 1, Check: true, Core: sched.Config{Policy: policy, QueueItemsMax: 200, QueueJobsMax: 200,
			Models: []sched.Model{{Name: m.Name, Planner: m.Profiled, BatchItemsMax: m.BatchItemsMax}}}}
		r, err := sim.Run(cfg, sim.Arrivals([]sim.Client{client}), nil)
		if err != nil {
			t.Fatal(err)
		}
		best := m.True.Frontier(m.True.All())
		for len(best) > 1 && best[0].Accuracy < floor {
			best = best[1:]
		}
		perItem := best[0].PerItem
		if policy == plan.PolicyAll {
			perItem = m.True.Variants()[m.True.Agnostic(m.True.All())].Curve.PerItem()
		}
		ran := r.Items[slo.OnTime] + r.Items[slo.Late]
		rate, most := float64(ran)/time.Duration(r.End).Seconds(), 1e9/perItem
		t.Logf("%s: %.0f items/s of %.0f in the best batches, %.1f items a batch", name, rate, most, float64(r.Batched)/float64(r.Batches))
		if rate < 0.98*most {
			t.Errorf("%s: a full queue runs at %.0f items/s; in the best batches it would run at %.0f", name, rate, most)
		}
	}
}
