package sim_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
)

// times returns the curves of the planner's variants, multiplied by a factor.
func times(t testing.TB, p *plan.Planner, factor float64) (curves []plan.Curve) {
	t.Helper()
	for _, v := range p.Variants() {
		var points []plan.Point
		for b := 1; b <= v.Curve.Max(); b++ {
			points = append(points, plan.Point{Items: b, Time: time.Duration(float64(v.Curve.Batch(b)) * factor)})
		}
		c, err := plan.NewCurve(points)
		if err != nil {
			t.Fatal(err)
		}
		curves = append(curves, c)
	}
	return curves
}

// twoClasses is a server with an instance of four slots and a three times slower
// instance of one slot, or with the given instances.
func twoClasses(t testing.TB, instances ...sim.Instance) sim.Config {
	cfg := single(t, plan.PolicyMosel)
	cfg.Instances = instances
	cfg.Check = true
	m := &cfg.Core.Models[0]
	m.Classes = []sched.Residence{{Variants: m.Planner.All()}, {Variants: m.Planner.All(), Curves: times(t, m.Planner, 3)}}
	return cfg
}

var (
	fourSlots = sim.Instance{Class: 0, Slots: 4}
	threeSlow = sim.Instance{Class: 1}
)

// capacity returns the highest rate, in steps of 5 %, at which 99 % are on time.
func capacity(t testing.TB, cfg sim.Config, from float64) float64 {
	t.Helper()
	for rate := from; ; rate *= 1.05 {
		if r := mustRun(t, cfg, poisson(1, rate, 4, slo.LateDrop)); r.Items.LateShare() > 0.01 {
			return rate / 1.05
		}
	}
}

// TestTwoClasses checks that both classes work in proportion to their speed, and that a
// slow instance beside fast ones adds capacity and makes no jobs late.
func TestTwoClasses(t *testing.T) {
	cfg := twoClasses(t, fourSlots, threeSlow)
	items, running, most := map[sched.InstanceID]int{}, map[sched.InstanceID]int{}, map[sched.InstanceID]int{}
	where := map[sched.BatchID]sched.InstanceID{}
	late := 0
	jobs := map[sched.JobID]sched.Arrive{}
	r, err := sim.Run(cfg, slices.Values(poisson(1, 4000, 2, slo.LateDrop)), func(at slo.Instant, what any) {
		switch a := what.(type) {
		case sched.Arrive:
			jobs[a.Job] = a
		case sched.Dispatch:
			where[a.Batch] = a.Instance
			running[a.Instance]++
			most[a.Instance] = max(most[a.Instance], running[a.Instance])
			for _, p := range a.Parts {
				items[a.Instance] += p.Count
				if at.Add(a.Predicted) > jobs[p.Job].Objective.Deadline {
					late++
				}
			}
		case sched.Done:
			running[where[a.Batch]]--
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Items.LateShare() > 0.01 || late > 0 {
		t.Errorf("%.4f of the items are late or refused; %d were started where they could not be on time", r.Items.LateShare(), late)
	}
	// The slow instance's share of the work is 1/13: a third of one slot beside four.
	if share := float64(items[1]) / float64(items[0]+items[1]); share < 1.0/13/2 || share > 1.0/13*1.5 || most[0] != 4 || most[1] != 1 {
		t.Errorf("the slow instance ran %.3f of the items; batches at a time: %v", share, most)
	}
	if testing.Short() {
		return
	}
	cfg.Check = false
	alone := twoClasses(t, fourSlots)
	alone.Check = false
	fast, both := capacity(t, alone, 4000), capacity(t, cfg, 4000)
	t.Logf("capacity: four slots %.0f/s, with the slow instance %.0f/s", fast, both)
	if both < fast {
		t.Errorf("four slots hold %.0f/s, with a slow instance beside them %.0f/s", fast, both)
	}
}

// TestSlowClassIsLeftOut checks that jobs that only the fast class can serve in time
// wait for it while the slow one is free. With deadlines of 12 ms, the slow one can
// serve only the cheap variants.
func TestSlowClassIsLeftOut(t *testing.T) {
	cfg := twoClasses(t, sim.Instance{}, threeSlow)
	list := poisson(2, 400, 5, slo.LateDrop)
	for i := range list {
		list[i].Objective.Deadline = list[i].At.Add(12 * time.Millisecond)
		if i%4 == 0 {
			list[i].Objective.Floor = 990_000 // all modalities: 6 ms, or 18 ms
		}
	}
	ran := [2]map[int]int{{}, {}}
	if _, err := sim.Run(cfg, slices.Values(list), func(_ slo.Instant, what any) {
		if a, ok := what.(sched.Dispatch); ok {
			ran[a.Instance][a.Variant]++
		}
	}); err != nil {
		t.Fatal(err)
	}
	p := cfg.Core.Models[0].Planner
	all := p.Agnostic(p.All())
	t.Logf("batches by variant: of the fast instance %v, of the slow one %v", ran[0], ran[1])
	if ran[0][all] == 0 || ran[1][all] > 0 || len(ran[1]) == 0 {
		t.Errorf("batches of the fast instance %v, of the slow one %v", ran[0], ran[1])
	}
}

// TestResizeWhileLoaded gives an overloaded server four slots instead of one for some
// seconds, and then takes them away while all of them run.
func TestResizeWhileLoaded(t *testing.T) {
	cfg := twoClasses(t, sim.Instance{})
	cfg.BinWidth = time.Second
	cfg.Faults.Resizes = []sim.Resize{{At: slo.Instant(3 * time.Second), Slots: 4}, {At: slo.Instant(6 * time.Second), Slots: 1}}
	running, most, over := 0, 0, 0
	r, err := sim.Run(cfg, slices.Values(poisson(1, 3000, 9, slo.LateDrop)), func(at slo.Instant, what any) {
		switch what.(type) {
		case sched.Dispatch:
			running++
			if most = max(most, running); at >= slo.Instant(6*time.Second) && running > 1 {
				over++
			}
		case sched.Done:
			running--
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	share := func(from, to int) float64 {
		onTime, ended := 0, 0
		for _, b := range r.Bins[from:to] {
			onTime, ended = onTime+b.OnTime, ended+b.Ended
		}
		return float64(onTime) / float64(ended)
	}
	t.Logf("on time: one slot %.2f, four %.2f, one again %.2f", share(0, 3), share(4, 6), share(7, 9))
	if share(0, 3) > 0.8 || share(4, 6) < 0.99 || share(7, 9) > 0.8 || most != 4 || over > 0 {
		t.Errorf("on time: %.2f, %.2f, %.2f; %d batches at a time, %d started beyond the slots", share(0, 3), share(4, 6), share(7, 9), most, over)
	}
}

// cascade is the digits model with a route that runs the cheapest variant and sends
// three items in ten on to the most accurate one. Without the second step these lose
// that much accuracy.
func cascade(t testing.TB, loss slo.Accuracy) *plan.Planner {
	t.Helper()
	variants := digits(t).Variants()
	best, cheap := 0, 0
	for i, v := range variants {
		if v.Accuracy > variants[best].Accuracy {
			best = i
		}
		if v.Curve.PerItem() < variants[cheap].Curve.PerItem() {
			cheap = i
		}
	}
	p, err := plan.New(variants, plan.RouteSpec{Name: "cascade", Variant: cheap, Accuracy: variants[best].Accuracy - 2000,
		Next: []plan.Branch{{Route: best, Share: 0.3, Loss: loss}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// gated is a server with the cascade, under single requests at its floor.
func gated(t testing.TB, rate float64, noise float64) (sim.Config, []sim.Arrival, int) {
	cfg := single(t, plan.PolicyMosel)
	cfg.Core.Models[0].Planner = cascade(t, 4000)
	cfg.Faults.Noise = noise
	cfg.Check = true
	list := poisson(3, rate, 10, slo.LateDrop)
	routes := cfg.Core.Models[0].Planner.Routes()
	for i := range list {
		list[i].Objective.Floor = routes[len(routes)-1].Accuracy
	}
	return cfg, list, len(routes) - 1
}

// TestCascade checks that the gate's share of the items takes a second step, in batches
// together with items of other jobs, that floors are kept, and that the route serves a
// higher load than the most accurate variant, the only other way to reach the floor.
func TestCascade(t *testing.T) {
	cfg, list, route := gated(t, 400, 0.05)
	started, on, later, alone := 0, 0, 0, 0
	r, err := sim.Run(cfg, slices.Values(list), func(_ slo.Instant, what any) {
		switch a := what.(type) {
		case sched.Dispatch:
			for i, p := range a.Parts {
				switch {
				case a.Routes != nil && a.Routes[i] == route:
					started += p.Count
				case len(a.Parts) > 1:
					later += p.Count
				default:
					alone += p.Count
				}
			}
		case sched.Done:
			for _, v := range a.Verdicts {
				if _, ok := v.Next(); ok {
					on++
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d items start the route, %d go on, %d of the most accurate variant share their batch, %d do not; late %.4f, margin %v",
		started, len(list), on, later, alone, r.Items.LateShare(), r.MinMargin)
	if share := float64(on) / float64(started); share < 0.25 || share > 0.35 || started < len(list)/4 || later == 0 || r.MinMargin < 0 || r.Items.LateShare() > 0.01 {
		t.Errorf("%.2f of %d items go on; late %.4f, margin %v", share, started, r.Items.LateShare(), r.MinMargin)
	}
	if testing.Short() {
		return
	}
	floor := cfg.Core.Models[0].Planner.Routes()[route].Accuracy
	held := func(p *plan.Planner) float64 {
		cfg := single(t, plan.PolicyMosel)
		cfg.Core.Models[0].Planner = p
		for rate := 100.0; ; rate *= 1.1 {
			list := poisson(1, rate, 5, slo.LateDrop)
			for i := range list {
				list[i].Objective.Floor = floor
			}
			if r := mustRun(t, cfg, list); r.Items.LateShare() > 0.01 {
				return rate / 1.1
			}
		}
	}
	with, without := held(cascade(t, 0)), held(digits(t))
	t.Logf("capacity at the floor: with the route %.0f/s, without %.0f/s", with, without)
	if with < 1.5*without {
		t.Errorf("with the route %.0f/s, without %.0f/s", with, without)
	}
}

// TestNoTimeForTheSecondStep checks jobs of several items, some of which reach the gate
// too late for the next step. They are answered by the first step if the mean of their
// job stays at its floor, and otherwise not at all.
func TestNoTimeForTheSecondStep(t *testing.T) {
	cfg, list, route := gated(t, 60, 0.8)
	for s := range 10 { // nothing can be foreseen of these
		from := slo.Instant(s) * slo.Instant(time.Second)
		cfg.Faults.Slowdowns = append(cfg.Faults.Slowdowns, sim.Slowdown{Factor: 6, From: from, Til: from.Add(450 * time.Millisecond)})
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range list {
		list[i].Items = 1 + rng.IntN(12)
		list[i].Objective.Deadline = list[i].At.Add(time.Duration(15+rng.IntN(40)) * time.Millisecond)
		list[i].Objective.Floor -= slo.Accuracy(rng.IntN(20_000))
	}
	batches := map[sched.BatchID]sched.Dispatch{}
	var ends sched.Dispatch
	early, through := 0, 0
	r, err := sim.Run(cfg, slices.Values(list), func(_ slo.Instant, what any) {
		if _, happens := what.(sched.Event); happens {
			ends = sched.Dispatch{}
		}
		switch a := what.(type) {
		case sched.Dispatch:
			batches[a.Batch] = a
		case sched.Done:
			ends = batches[a.Batch]
		case sched.Finish:
			switch ended := slices.ContainsFunc(ends.Parts, func(p sched.Part) bool { return p.Job == a.Job }); {
			case !a.Outcome.Ran():
			case ended:
				through += a.Count
			default:
				early += a.Count
				if a.Variant != cfg.Core.Models[0].Planner.Routes()[route].Variant {
					t.Errorf("items are answered early by variant %d", a.Variant)
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d items were answered by their last step, %d early; late or refused %.3f, margin %v", through, early, r.Items.LateShare(), r.MinMargin)
	if early < 10 || through < 1000 || r.MinMargin < 0 {
		t.Errorf("%d items were answered by their last step, %d early; margin %v", through, early, r.MinMargin)
	}
}
