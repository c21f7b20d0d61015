package scenario_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/scenario"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/workload"
)

// noisy is the shipped model on instances whose batches take times as on a busy machine:
// a log-normal factor and, now and then, a stall.
type noisy struct {
	model     scenario.Model
	instances int
	floor     float64
	length    time.Duration
	seed      uint64
}

// The noise: the factor's standard deviation, the share of batches with a stall, and a
// stall's mean time, which has an exponential distribution.
const (
	noiseDeviation = 0.2
	stallShare     = 0.005
	stallMean      = 20 * time.Millisecond
	noisySeeds     = 3
	noisyDeadline  = 95 * time.Millisecond
)

func newNoisy(t *testing.T, length time.Duration) noisy {
	t.Helper()
	s, err := scenario.Load("../../scenarios/digits.yaml", scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return noisy{model: s.Groups[0].Models[0], instances: 2, floor: 0.973, length: length, seed: 1}
}

// run sends single requests at random instants.
func (n noisy) run(t *testing.T, policy plan.Policy, rate float64) sim.Report {
	t.Helper()
	client := sim.Client{Planner: n.model.True, Load: workload.Load{Process: workload.Poisson, Seed: n.seed, Rate: workload.Steady(rate, n.length),
		Sizes: workload.FixedSize(1), Floors: workload.Spread{Low: n.floor, High: n.floor},
		Deadlines: workload.Spread{Low: noisyDeadline.Seconds(), High: noisyDeadline.Seconds()}}}
	rng := rand.New(rand.NewPCG(n.seed, 99))
	cfg := sim.Config{Instances: sim.Alike(n.instances), Seed: n.seed, Core: sched.Config{Policy: policy,
		QueueItemsMax: sched.DefaultQueueItemsMax, QueueJobsMax: sched.DefaultQueueJobsMax,
		Models: []sched.Model{{Name: n.model.Name, Planner: n.model.Profiled, BatchItemsMax: n.model.BatchItemsMax}}}}
	cfg.Batch = func(d sched.Dispatch) (time.Duration, bool) {
		items := 0
		for _, p := range d.Parts {
			items += p.Count
		}
		took := float64(n.model.True.Variants()[d.Variant].Curve.Batch(items)) * math.Exp(noiseDeviation*rng.NormFloat64())
		if rng.Float64() < stallShare {
			took += rng.ExpFloat64() * float64(stallMean)
		}
		return time.Duration(took), false
	}
	r, err := sim.Run(cfg, sim.Arrivals([]sim.Client{client}), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// capacity returns the highest rate, in steps of 5 %, up to which a share of items is
// on time under every seed.
func (n noisy) capacity(t *testing.T, policy plan.Policy, from, onTime float64) float64 {
	t.Helper()
	for rate := from; ; rate *= 1.05 {
		for n.seed = 1; n.seed <= noisySeeds; n.seed++ {
			if n.run(t, policy, rate).Items.LateShare() > 1-onTime {
				return rate / 1.05
			}
		}
	}
}

// TestBelowCapacity checks that no rate below the capacity has fewer items on time, and
// that accuracy is not bought up to the edge of the deadline: the 99th percentile is at
// most half way from that of policy aggressive, which buys none, to the deadline.
func TestBelowCapacity(t *testing.T) {
	n := newNoisy(t, 5*time.Second)
	capacity := n.capacity(t, plan.PolicyMosel, 3000, 0.995)
	t.Logf("capacity %.0f/s at 99.5 %% on time", capacity)
	for tenths := 1.0; tenths <= 10; tenths++ {
		rate := capacity * tenths / 10
		var late, accuracy, p99, cheapest float64 // means over the seeds
		for n.seed = 1; n.seed <= noisySeeds; n.seed++ {
			ours, other := n.run(t, plan.PolicyMosel, rate), n.run(t, plan.PolicyAggressive, rate)
			late += ours.Items.LateShare() / noisySeeds
			accuracy += ours.Accuracy().Float() / noisySeeds
			p99 += ms(ours.JCT.Quantile(0.99)) / noisySeeds
			cheapest += ms(other.JCT.Quantile(0.99)) / noisySeeds
		}
		limit := (cheapest + ms(noisyDeadline)) / 2
		t.Logf("%5.0f/s: %.2f %% late, accuracy %.4f, 99 %% within %4.1f ms; aggressive %4.1f ms, so at most %4.1f ms", rate, 100*late, accuracy, p99, cheapest, limit)
		if late > 0.005 {
			t.Errorf("at %.0f/s %.2f %% are late", rate, 100*late)
		}
		if p99 > limit {
			t.Errorf("at %.0f/s the 99th percentile is %.1f ms, above %.1f ms", rate, p99, limit)
		}
	}
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// TestNoisyOverload checks that at three times the capacity, with noisy batch times, the
// goodput is at least 0.95 of the capacity: batches must not shrink to what the most
// urgent job leaves time for.
func TestNoisyOverload(t *testing.T) {
	n := newNoisy(t, 5*time.Second)
	for policy, from := range map[plan.Policy]float64{plan.PolicyMosel: 3000, plan.PolicyAll: 150} {
		capacity := n.capacity(t, policy, from, 0.99)
		r := n.run(t, policy, 3*capacity)
		goodput := r.Goodput(n.length)
		t.Logf("%v: capacity %.0f/s, %.0f/s on time at three times that (%.3f), %.1f items a batch", policy, capacity, goodput, goodput/capacity, float64(r.Batched)/float64(r.Batches))
		if goodput < 0.95*capacity {
			t.Errorf("%v: %.0f/s are on time at three times the capacity, %.0f/s", policy, goodput, capacity)
		}
	}
}
