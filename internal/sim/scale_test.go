package sim_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/workload"
)

// tvlt is a planner with the proportions of the paper's model.
func tvlt(t testing.TB) *plan.Planner {
	t.Helper()
	var variants []plan.Variant
	for i, v := range []struct{ acc, ms float64 }{{0.66, 25.5}, {0.7233, 6.93}, {0.7432, 36.6}} {
		curve, err := plan.NewCurve([]plan.Point{{Items: 1, Time: time.Duration((6 + v.ms) * 1e6)}, {Items: 32, Time: time.Duration((6 + 32*v.ms) * 1e6)}})
		if err != nil {
			t.Fatal(err)
		}
		acc, _ := slo.AccuracyOf(v.acc)
		variants = append(variants, plan.Variant{Modalities: slo.Modalities(i + 1), Accuracy: acc, Curve: curve})
	}
	p, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fleet is a run of many instances, with a burst in the middle of the load: about a
// thousand items for each instance in total, a hundred queued at the peak.
func fleet(t testing.TB, instances int, sizes workload.Sizes) (sim.Config, []sim.Client) {
	t.Helper()
	planner, n := tvlt(t), float64(instances)
	cfg := sim.Config{Instances: sim.Alike(instances), Seed: 1, Faults: sim.Faults{Noise: 0.05}, BinWidth: time.Second,
		Core: sched.Config{QueueItemsMax: 300 * instances, QueueJobsMax: 300 * instances,
			Models: []sched.Model{{Name: "tvlt", Planner: planner, BatchItemsMax: 32}}}}
	client := sim.Client{Planner: planner, Load: workload.Load{Process: workload.Poisson, Seed: 1,
		Rate:   []workload.Step{{Seconds: 10, Rate: 30 * n}, {Seconds: 1, Rate: 220 * n}, {Seconds: 16, Rate: 30 * n}},
		Sizes:  sizes,
		Floors: workload.Spread{Low: 0.66, High: 0.743}, Deadlines: workload.Spread{Low: 8, High: 12}}}
	return cfg, []sim.Client{client}
}

// BenchmarkFleet simulates 1,000 instances and a million items, of which 100,000 are
// queued at the peak. It reports the speed relative to real time.
func BenchmarkFleet(b *testing.B) {
	for _, sizes := range jobSizes {
		b.Run("size="+sizes.String(), func(b *testing.B) { benchFleet(b, sizes) })
	}
}

// jobSizes are small and large jobs, and single requests.
var jobSizes = []workload.Sizes{{Law: workload.SizesLog, Low: 1, High: 100}, workload.FixedSize(1)}

func benchFleet(b *testing.B, sizes workload.Sizes) {
	for b.Loop() {
		cfg, clients := fleet(b, 1000, sizes)
		began := time.Now()
		r, err := sim.Run(cfg, sim.Arrivals(clients), nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Duration(r.End).Seconds()/time.Since(began).Seconds(), "x-real-time")
		b.ReportMetric(float64(r.Items.Total()), "items")
		b.ReportMetric(float64(r.QueueMax), "queued-max")
		b.ReportMetric(100*r.Items.LateShare(), "%late")
		b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(r.Items.Total()), "ns/item")
	}
}

// TestMemoryFollowsTheQueue checks that the memory of a run grows with the queue, not
// with past or future jobs: ten times the load in ten times the time must not take
// more.
func TestMemoryFollowsTheQueue(t *testing.T) {
	peak := func(seconds float64) (bytes uint64, jobs int) {
		planner := tvlt(t)
		cfg := single(t, plan.Policy(0))
		cfg.Core.Models[0].Planner = planner
		client := sim.Client{Planner: planner, Load: workload.Load{Process: workload.Poisson, Seed: 1, Sizes: workload.FixedSize(1),
			Rate: []workload.Step{{Seconds: seconds, Rate: 40}}, Deadlines: workload.Spread{Low: 0.2, High: 0.2}}}
		steps := 0
		r, err := sim.Run(cfg, sim.Arrivals([]sim.Client{client}), func(slo.Instant, any) {
			if steps++; steps%20_000 != 0 {
				return
			}
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			bytes = max(bytes, m.HeapAlloc)
		})
		if err != nil {
			t.Fatal(err)
		}
		return bytes, r.Jobs.Total()
	}
	short, few := peak(300)
	long, many := peak(3000)
	if many < 9*few {
		t.Fatalf("%d and %d jobs", few, many)
	}
	// A job that stays in memory takes at least a hundred bytes.
	if more := int64(long) - int64(short); more > int64(many-few)*4 {
		t.Errorf("%d jobs: %d bytes; %d jobs: %d bytes", few, short, many, long)
	}
}

// TestFleet checks a smaller fleet: all jobs end, most of them on time.
func TestFleet(t *testing.T) {
	cfg, clients := fleet(t, 30, jobSizes[0])
	cfg.Check = false // visits all queued jobs after every step
	r, err := sim.Run(cfg, sim.Arrivals(clients), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Items.Total() < 25_000 || r.QueueMax < 2000 || r.Items.LateShare() > 0.02 || r.MinMargin < 0 {
		t.Errorf("%d items, %d queued at most, %.3f late, margin %v", r.Items.Total(), r.QueueMax, r.Items.LateShare(), r.MinMargin)
	}
}
