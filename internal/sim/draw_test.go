package sim_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
)

// planner draws a model with 1 to 3 modalities and a variant for each subset. A third of
// the models have a variant for each of two sizes of the first modality.
func planner(t testing.TB, rng *rand.Rand) *plan.Planner {
	t.Helper()
	modalities := 1 + rng.IntN(3)
	var variants []plan.Variant
	for set := 1; set < 1<<modalities; set++ {
		cost, acc := 0.2, 0.6
		for m := range modalities {
			if set&(1<<m) != 0 {
				cost += []float64{0.4, 1, 4}[m]
				acc += []float64{0.08, 0.13, 0.15}[m]
			}
		}
		var points []plan.Point
		for b := 1; b <= 16; b *= 2 {
			points = append(points, plan.Point{Items: b, Time: time.Duration(1e6 * (0.5 + cost*float64(b)*(0.9+0.2*rng.Float64())))})
		}
		curve, err := plan.NewCurve(points)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := slo.AccuracyOf(acc + 0.02*rng.Float64())
		variants = append(variants, plan.Variant{Name: fmt.Sprint("v", set), Modalities: slo.Modalities(set), Accuracy: a, Low: bounds(rng, a), Curve: curve, Recovers: rng.IntN(4) == 0})
	}
	if rng.IntN(3) == 0 {
		variants = sized(t, variants)
	}
	p, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// bounds draws lower bounds of an accuracy, the lower the higher the confidence.
func bounds(rng *rand.Rand, a slo.Accuracy) (b slo.Bounds) {
	for i := range b {
		a -= min(a, slo.Accuracy(rng.IntN(10_000)))
		b[i] = a
	}
	return b
}

// sized makes two of each variant that reads the first modality: one for small items,
// and one for large items, which takes twice the time.
func sized(t testing.TB, variants []plan.Variant) (all []plan.Variant) {
	t.Helper()
	for _, v := range variants {
		if !v.Modalities.Has(1) {
			all = append(all, v)
			continue
		}
		v.Sizes = v.Sizes.With(0, 0)
		large := v
		large.Name, large.Sizes = v.Name+"@2", slo.Sizes(0).With(0, 1)
		var points []plan.Point
		for b := 1; b <= v.Curve.Max(); b++ {
			points = append(points, plan.Point{Items: b, Time: 2 * v.Curve.Batch(b)})
		}
		var err error
		if large.Curve, err = plan.NewCurve(points); err != nil {
			t.Fatal(err)
		}
		all = append(all, v, large)
	}
	return all
}

// wrong returns a planner with the same variants, which take half to twice the time.
func wrong(t testing.TB, rng *rand.Rand, p *plan.Planner) *plan.Planner {
	t.Helper()
	variants := slices.Clone(p.Variants())
	for i, v := range variants {
		var points []plan.Point
		factor := math.Exp2(2*rng.Float64() - 1)
		for b := 1; b <= v.Curve.Max(); b++ {
			points = append(points, plan.Point{Items: b, Time: time.Duration(float64(v.Curve.Batch(b)) * factor)})
		}
		var err error
		if variants[i].Curve, err = plan.NewCurve(points); err != nil {
			t.Fatal(err)
		}
	}
	other, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// scenario draws everything from one seed: models, instances, bounds, faults, jobs of 1
// to 200 items, feasible and infeasible floors, near, distant and past deadlines.
func scenario(t testing.TB, seed uint64) (sim.Config, []sim.Arrival) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	cfg := sim.Config{Seed: seed, Check: true, Instances: sim.Alike(1 + rng.IntN(8)),
		Faults: sim.Faults{Noise: 0.3 * rng.Float64(), Slow: 0.7 + rng.Float64()}}
	cfg.Core = sched.Config{Policy: plan.Policy(rng.IntN(len(plan.Policies()))), QueueItemsMax: 50 + rng.IntN(2000), QueueJobsMax: 20 + rng.IntN(500)}
	if rng.IntN(4) == 0 {
		cfg.Core.QueueBytesMax = int64(1000 + rng.IntN(20_000))
	}
	for i := range 1 + rng.IntN(3) {
		cfg.Core.Models = append(cfg.Core.Models, sched.Model{Name: fmt.Sprint("m", i), Planner: planner(t, rng), BatchItemsMax: 1 + rng.IntN(16)})
	}
	if rng.IntN(3) == 0 {
		cfg.Faults.LoseEvery = time.Duration(20+rng.IntN(400)) * time.Millisecond
		cfg.Faults.LoseFor = cfg.Faults.LoseEvery / 10
	}
	if rng.IntN(4) == 0 {
		cfg.Faults.FailShare = 0.05
	}
	if rng.IntN(4) == 0 {
		cfg.Faults.FailItemShare = 0.1 * rng.Float64()
	}
	if rng.IntN(4) == 0 {
		cfg.Faults.Slowdowns = []sim.Slowdown{{Instance: sched.InstanceID(rng.IntN(len(cfg.Instances))), Factor: 1 + 5*rng.Float64(),
			From: slo.Instant(rng.IntN(1e8)), Til: slo.Instant(1e8 + rng.IntN(1e9))}}
	}
	if rng.IntN(4) == 0 {
		cfg.Faults.Outages = []sim.Outage{{Instance: sched.InstanceID(rng.IntN(len(cfg.Instances))), At: slo.Instant(rng.IntN(2e8)), For: time.Duration(1 + rng.IntN(3e8))}}
	}
	if rng.IntN(4) == 0 { // a profile that is far from the truth
		for _, m := range cfg.Core.Models {
			cfg.True = append(cfg.True, wrong(t, rng, m.Planner))
		}
	}
	if rng.IntN(3) == 0 {
		drawFleet(t, rng, &cfg)
	}
	if rng.IntN(3) == 0 {
		for i, m := range cfg.Core.Models {
			if slices.ContainsFunc(m.Planner.Variants(), func(v plan.Variant) bool { return v.Sizes != 0 }) {
				continue // most routes would be for no size
			}
			cfg.Core.Models[i].Planner = withRoutes(t, rng, m.Planner, cfg.True == nil && m.Classes == nil)
		}
	}
	jobs := arrivals(rng, cfg, 150+rng.IntN(250))
	if rng.IntN(3) == 0 {
		drawReplans(rng, &cfg)
	}
	return cfg, jobs
}

// drawReplans draws falls and recoveries of accuracies while jobs wait and run.
func drawReplans(rng *rand.Rand, cfg *sim.Config) {
	for range 1 + rng.IntN(6) {
		r := sim.Replan{At: slo.Instant(rng.IntN(6e8)), Model: rng.IntN(len(cfg.Core.Models))}
		for _, v := range cfg.Core.Models[r.Model].Planner.Variants() {
			most := v.Accuracy
			if rng.IntN(2) == 0 {
				most = slo.Accuracy(float64(most) * (1 - rng.Float64()*rng.Float64()))
			}
			r.Most = append(r.Most, most)
		}
		cfg.Faults.Replans = append(cfg.Faults.Replans, r)
	}
}

// drawFleet draws instances of up to three classes with their own slots, models that
// only some classes have or that have other latencies there, and resizes.
func drawFleet(t testing.TB, rng *rand.Rand, cfg *sim.Config) {
	t.Helper()
	classes := 1 + rng.IntN(3)
	for i := range cfg.Instances {
		cfg.Instances[i] = sim.Instance{Class: sched.ClassID(rng.IntN(classes)), Slots: rng.IntN(5)}
		for range rng.IntN(3) {
			cfg.Faults.Resizes = append(cfg.Faults.Resizes, sim.Resize{Instance: sched.InstanceID(i), At: slo.Instant(rng.IntN(4e8)), Slots: rng.IntN(5)})
		}
		// At the end every instance has a slot, so all jobs end.
		cfg.Faults.Resizes = append(cfg.Faults.Resizes, sim.Resize{Instance: sched.InstanceID(i), At: 5e8, Slots: 1 + rng.IntN(3)})
	}
	for i, m := range cfg.Core.Models {
		if rng.IntN(4) == 0 {
			continue
		}
		for class := range classes {
			r := sched.Residence{Variants: m.Planner.All()}
			if class > 0 && rng.IntN(2) == 0 {
				r.Variants &= plan.Set(rng.Uint64())
			}
			if rng.IntN(2) == 0 {
				for _, v := range wrong(t, rng, m.Planner).Variants() {
					r.Curves = append(r.Curves, v.Curve)
				}
			}
			cfg.Core.Models[i].Classes = append(cfg.Core.Models[i].Classes, r)
		}
	}
	cfg.Instances[0].Class = 0 // which has all variants
}

// withRoutes adds routes of two and three steps; some are only reached through gates.
// With inner, some of the steps run what is left of a variant.
func withRoutes(t testing.TB, rng *rand.Rand, p *plan.Planner, inner bool) *plan.Planner {
	t.Helper()
	variants := p.Variants()
	if inner {
		variants = append(slices.Clone(variants), leftOf(t, rng, variants[rng.IntN(len(variants))]))
	}
	var routes []plan.RouteSpec
	for i := range 1 + rng.IntN(4) {
		s := plan.RouteSpec{Name: fmt.Sprint("r", i), Variant: rng.IntN(len(variants)), Inner: rng.IntN(4) == 0}
		left := 1.0
		for range 1 + rng.IntN(2) {
			b := plan.Branch{Route: rng.IntN(len(variants) + i), Share: left * rng.Float64()}
			if slices.ContainsFunc(s.Next, func(other plan.Branch) bool { return other.Route == b.Route }) {
				continue
			}
			left -= b.Share
			s.Next = append(s.Next, b)
		}
		if s.Silent = rng.IntN(5) == 0; s.Silent {
			s.Next[0].Share += left
		}
		s.Accuracy = min(999_999, variants[s.Next[0].Route%len(variants)].Accuracy+slo.Accuracy(rng.IntN(20_000)))
		for b := range s.Next {
			if s.Next[b].Loss = slo.Accuracy(rng.IntN(20_000)); rng.IntN(4) == 0 {
				s.Next[b].Loss = slo.Accuracy(rng.IntN(int(s.Accuracy)))
			}
		}
		s.Low = bounds(rng, s.Accuracy)
		routes = append(routes, s)
	}
	if rng.IntN(2) == 0 {
		routes = append(routes, points(rng, variants)...)
	}
	p, err := plan.New(variants, routes...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// points draws the points of a cascade of two variants: the more items go on, the more
// accurate they are.
func points(rng *rand.Rand, variants []plan.Variant) (list []plan.RouteSpec) {
	first, then := rng.IntN(len(variants)), rng.IntN(len(variants))
	low, high := variants[first].Accuracy, variants[then].Accuracy
	if variants[first].Inner || low >= high {
		return nil
	}
	share := 0.0
	for i := range 1 + rng.IntN(6) {
		share += (1 - share) * 0.4 * rng.Float64()
		left := 1 - share
		a := high - slo.Accuracy(float64(high-low)*left*left*left)
		list = append(list, plan.RouteSpec{Name: fmt.Sprint("c", i), Variant: first, Accuracy: a, Low: bounds(rng, a),
			Next: []plan.Branch{{Route: then, Share: share, Loss: min(a, slo.Accuracy(rng.IntN(600_000)))}}})
	}
	return list
}

// leftOf draws what is left of a variant after others: the same in less time.
func leftOf(t testing.TB, rng *rand.Rand, v plan.Variant) plan.Variant {
	t.Helper()
	share := 0.05 + 0.9*rng.Float64()
	var points []plan.Point
	for b := 1; b <= v.Curve.Max(); b++ {
		points = append(points, plan.Point{Items: b, Time: time.Duration(share * float64(v.Curve.Batch(b)))})
	}
	curve, err := plan.NewCurve(points)
	if err != nil {
		t.Fatal(err)
	}
	v.Name, v.Curve, v.Inner = v.Name+" after others", curve, true
	return v
}

func arrivals(rng *rand.Rand, cfg sim.Config, jobs int) []sim.Arrival {
	gap := (0.2 + 3*rng.Float64()) * 1e6 / float64(len(cfg.Instances))
	background := rng.IntN(4) == 0
	var at float64
	var list []sim.Arrival
	for id := range jobs {
		at += rng.ExpFloat64() * gap
		m := rng.IntN(len(cfg.Core.Models))
		mods := slo.Modalities(0)
		for _, v := range cfg.Core.Models[m].Planner.Variants() {
			mods |= v.Modalities
		}
		a := sim.Arrival{At: slo.Instant(at)}
		a.Arrive = sched.Arrive{Job: sched.JobID(id), Model: m, Items: 1, Present: mods, Sizes: size(rng), Bytes: int64(rng.IntN(200))}
		if rng.IntN(3) == 0 { // the rest is a flood from one client
			a.Client = sched.ClientID(1 + rng.IntN(4))
		}
		if rng.IntN(4) == 0 {
			a.Present = slo.Modalities(rng.IntN(int(mods) + 1))
		}
		if rng.IntN(10) == 0 {
			a.Choice = slo.Modalities(1 + rng.IntN(int(mods)))
		}
		if rng.IntN(5) == 0 {
			a.Items = 1 + rng.IntN(200)
		}
		a.Objective = slo.Objective{Floor: slo.Accuracy(rng.IntN(1_000_000)), Deadline: slo.Never, Late: slo.LateRule(rng.IntN(2))}
		if rng.IntN(4) == 0 {
			a.Objective.Confidence = slo.Confidence(1 + rng.IntN(slo.ConfidenceLevels))
		}
		a.Objective.NoRecovery = rng.IntN(6) == 0
		if rng.IntN(5) > 0 {
			a.Objective.Deadline = a.At.Add(time.Duration(rng.IntN(100)-2) * time.Millisecond)
		}
		if a.Items > 1 && rng.IntN(2) == 0 {
			a.Mixed = mixed(rng, a.Items, mods)
		}
		if rng.IntN(4) == 0 {
			a.Expires = a.Objective.Deadline.Add(time.Duration(rng.IntN(10)) * time.Millisecond)
		}
		if rng.IntN(12) == 0 {
			a.Cancel = a.At.Add(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
		if background && rng.IntN(6) == 0 {
			a.Items, a.Mixed, a.Objective, a.Background, a.Route = 1, nil, slo.Objective{Deadline: slo.Never}, true, rng.IntN(len(cfg.Core.Models[m].Planner.Variants()))
			if rng.IntN(3) == 0 {
				a.Objective = slo.Objective{Deadline: a.At.Add(time.Duration(rng.IntN(100)-2) * time.Millisecond), Late: slo.LateDrop}
			}
		}
		list = append(list, a)
	}
	return list
}

// size draws an item's size of the first modality, for models where that matters.
func size(rng *rand.Rand) slo.Sizes { return slo.Sizes(0).With(0, rng.IntN(2)) }

// mixed draws what the items of a job carry: at most four different sets, in runs of
// any length.
func mixed(rng *rand.Rand, items int, all slo.Modalities) (runs []slo.Carried) {
	var kinds []slo.Carried
	for range 1 + rng.IntN(4) {
		k := slo.Carried{Present: all, Sizes: size(rng)}
		if rng.IntN(2) == 0 {
			k.Present = slo.Modalities(rng.IntN(int(all) + 1))
		}
		if rng.IntN(8) == 0 {
			k.Choice = slo.Modalities(1 + rng.IntN(int(all)))
		}
		kinds = append(kinds, k)
	}
	for items > 0 {
		r := kinds[rng.IntN(len(kinds))]
		r.Items = 1 + rng.IntN(min(items, 1+rng.IntN(20)))
		runs, items = append(runs, r), items-r.Items
	}
	return runs
}
