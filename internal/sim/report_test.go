package sim_test

import (
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/workload"
)

func steady(rate float64, length time.Duration) sim.Client {
	return sim.Client{Load: workload.Load{Process: workload.Poisson, Rate: workload.Steady(rate, length), Sizes: workload.FixedSize(1),
		Floors: workload.Spread{Low: 0.7, High: 0.74}, Deadlines: workload.Fixed(0.5), Seed: 5}}
}

func TestClientsAreMerged(t *testing.T) {
	planner := tvlt(t)
	one, two := steady(50, 20*time.Second), steady(100, 20*time.Second)
	one.Planner, two.Planner = planner, planner
	two.Model, two.Load.Client, two.AllFirst, two.Missing = 1, 1, true, []float64{0.5, 0}
	alone := slices.Collect(sim.Arrivals([]sim.Client{one}))
	var last slo.Instant
	var ones []sim.Arrival
	lacking, twos := 0, 0
	for i, a := range slices.Collect(sim.Arrivals([]sim.Client{one, two})) {
		if a.At < last || a.Job != sched.JobID(i+1) {
			t.Fatalf("arrival %d: %+v after %v", i, a, last)
		}
		last = a.At
		all := planner.AllTime(1, planner.Runnable(slo.Carried{Present: a.Present, Sizes: a.Sizes}))
		switch wait := a.Objective.Deadline.Sub(a.At); {
		case a.Model == 0 && wait == 500*time.Millisecond:
			ones = append(ones, a)
		case a.Model == 1 && wait == 500*time.Millisecond+all:
			twos++
			if a.Present == 2 {
				lacking++
			} else if a.Present != 3 {
				t.Fatalf("carries %b", a.Present)
			}
		default:
			t.Fatalf("%+v waits %v", a, wait)
		}
	}
	if len(ones) != len(alone) {
		t.Fatalf("another client changes how many jobs one offers: %d, alone %d", len(ones), len(alone))
	}
	for i := range ones {
		if ones[i].At != alone[i].At || ones[i].Objective != alone[i].Objective {
			t.Fatalf("another client changes job %d", i)
		}
	}
	if share := float64(lacking) / float64(twos); share < 0.45 || share > 0.55 {
		t.Errorf("%.2f of the jobs lack the modality", share)
	}
}

// TestBinsAddUp checks that the bins add up to the report's totals.
func TestBinsAddUp(t *testing.T) {
	cfg := single(t, plan.Policy(0))
	cfg.Core.Models[0].Planner, cfg.BinWidth = tvlt(t), 500*time.Millisecond
	client := steady(60, 10*time.Second)
	client.Planner = cfg.Core.Models[0].Planner
	r, err := sim.Run(cfg, sim.Arrivals([]sim.Client{client}), nil)
	if err != nil {
		t.Fatal(err)
	}
	arrived, ended, onTime, ran, queued := 0, 0, 0, 0, 0.0
	for _, b := range r.Bins {
		arrived, ended, onTime, queued = arrived+b.Arrived, ended+b.Ended, onTime+b.OnTime, queued+b.Queued
		for _, n := range b.Variants {
			ran += n
		}
	}
	if all := r.Items.Total(); arrived != all || ended != all || onTime != r.Items[slo.OnTime] || ran != r.Batched || ran < r.Ran {
		t.Errorf("bins have %d arrived, %d ended, %d on time, %d run; the report %+v of %d in batches", arrived, ended, onTime, ran, r.Items, r.Batched)
	}
	if queued == 0 || float64(r.QueueMax) < queued/float64(len(r.Bins)) {
		t.Errorf("%v queued in the mean, %d at most", queued/float64(len(r.Bins)), r.QueueMax)
	}
}

// TestFaults checks the effect of each fault on a lightly loaded instance.
func TestFaults(t *testing.T) {
	run := func(f sim.Faults) sim.Report {
		cfg := single(t, plan.Policy(0))
		cfg.Faults, cfg.Core.Models[0].Planner, cfg.Check = f, tvlt(t), true
		client := steady(5, 60*time.Second)
		client.Planner = cfg.Core.Models[0].Planner
		r, err := sim.Run(cfg, sim.Arrivals([]sim.Client{client}), nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	healthy := run(sim.Faults{})
	if share := healthy.Items.LateShare(); share > 0 {
		t.Errorf("%.3f are late without a fault", share)
	}
	if slow := run(sim.Faults{Slow: 2}); slow.JCT.Mean() < 3*healthy.JCT.Mean()/2 {
		t.Errorf("twice as slow: JCT %v, before %v", slow.JCT.Mean(), healthy.JCT.Mean())
	}
	if failing := run(sim.Faults{FailShare: 0.2}); failing.Jobs[slo.Failed] < 20 || failing.Jobs[slo.Failed] > 120 {
		t.Errorf("a fifth of the batches fail, and %d jobs of %d", failing.Jobs[slo.Failed], failing.Jobs.Total())
	}
	outage := sim.Faults{Outages: []sim.Outage{{At: 10e9, For: 12 * time.Second}}}
	if out := run(outage); out.Items.LateShare() < 0.1 || out.Items.LateShare() > 0.35 {
		t.Errorf("a fifth of the time nothing runs, and %.2f are late", out.Items.LateShare())
	}
	limp := sim.Faults{Slowdowns: []sim.Slowdown{{Factor: 20, From: 10e9, Til: 20e9}}}
	if r := run(limp); r.Items.LateShare() < 0.05 || r.Items.LateShare() > 0.4 {
		t.Errorf("a sixth of the time it is far too slow, and %.2f are late", r.Items.LateShare())
	}
	if r := run(sim.Faults{LoseEvery: 5 * time.Second, LoseFor: time.Second}); r.Items.LateShare() == 0 || r.Jobs.Total() != healthy.Jobs.Total() {
		t.Errorf("losses at random: %+v", r.Jobs)
	}
}

// TestFaultsHaveTheirStreams checks that one fault does not change the draws of
// another.
func TestFaultsHaveTheirStreams(t *testing.T) {
	times := func(f sim.Faults) (list []time.Duration) {
		cfg := single(t, plan.Policy(0))
		cfg.Faults, cfg.Core.Models[0].Planner = f, tvlt(t)
		client := steady(2, 20*time.Second)
		client.Planner = cfg.Core.Models[0].Planner
		if _, err := sim.Run(cfg, sim.Arrivals([]sim.Client{client}), func(_ slo.Instant, what any) {
			if d, ok := what.(sched.Done); ok && len(list) < 10 {
				list = append(list, d.Took)
			}
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if a, b := times(sim.Faults{Noise: 0.1}), times(sim.Faults{Noise: 0.1, FailShare: 0.3}); !slices.Equal(a, b) {
		t.Errorf("failures change the noise:\n%v\n%v", a, b)
	}
}
