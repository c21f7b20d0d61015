package sim_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/workload"
)

// TestOverloadKeepsGoodput sends three times what the server can serve. The goodput
// must be at least 0.95 of the capacity (at 1 % late), at the lowest accuracy that the
// floors allow, and no completion time may exceed the deadline. It covers the policies
// that do not replan.
func TestOverloadKeepsGoodput(t *testing.T) {
	p := fairModel(t)
	for _, policy := range []plan.Policy{plan.PolicyMosel, plan.PolicyAggressive} {
		capacity := 0.0
		for rate := 1600.0; rate < 2500; rate += 50 {
			r := offered(t, p, policy, rate)
			if r.Items.LateShare() > 0.01 {
				break
			}
			capacity = rate
		}
		r := offered(t, p, policy, 3*capacity)
		goodput := r.Goodput(overloadLength)
		t.Logf("%v: carries %.0f/s, %.0f/s are on time at three times that (%.3f), completion 99 %% below %v, accuracy %v",
			policy, capacity, goodput, goodput/capacity, r.JCT.Quantile(0.99), r.Accuracy())
		if goodput < 0.95*capacity {
			t.Errorf("%v: %.0f/s are on time at three times what it carries, %.0f/s", policy, goodput, capacity)
		}
		if at := r.JCT.Quantile(0.99); at > overloadDeadline {
			t.Errorf("%v: of what is served 99 %% take up to %v", policy, at)
		}
		if a := r.Accuracy(); a < 900_000 || a > 900_500 { // the first ones, on an idle server, score higher
			t.Errorf("%v: accuracy %v, least margin %v: it did not use the cheapest strategies that keep the floor", policy, r.Accuracy(), r.MinMargin)
		}
	}
}

const (
	overloadLength   = 5 * time.Second
	overloadDeadline = 50 * time.Millisecond
)

// offered runs single requests at a rate.
func offered(t *testing.T, p *plan.Planner, policy plan.Policy, rate float64) sim.Report {
	t.Helper()
	cfg := sim.Config{Instances: sim.Alike(1), Seed: 1, Core: sched.Config{Policy: policy, QueueItemsMax: 5000, QueueJobsMax: 5000,
		Models: []sched.Model{{Name: "m", Planner: p, BatchItemsMax: 16}}}}
	c := sim.Client{Planner: p, Load: workload.Load{Process: workload.Poisson, Rate: workload.Steady(rate, overloadLength), Seed: 3,
		Sizes: workload.Sizes{Low: 1, High: 1}, Floors: workload.Spread{Low: 0.85, High: 0.85},
		Deadlines: workload.Spread{Low: overloadDeadline.Seconds(), High: overloadDeadline.Seconds()}}}
	r, err := sim.Run(cfg, sim.Arrivals([]sim.Client{c}), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
