package plan_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// linear returns a curve with a time per batch and a time per item, for up to 8 items.
func linear(t testing.TB, base, each time.Duration) plan.Curve {
	t.Helper()
	c, err := plan.NewCurve([]plan.Point{{Items: 1, Time: base + each}, {Items: 8, Time: base + 8*each}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func twoVariants(t testing.TB) []plan.Variant {
	return []plan.Variant{
		{Name: "a", Modalities: 1, Accuracy: 900_000, Curve: linear(t, 8*time.Millisecond, time.Millisecond)},
		{Name: "ab", Modalities: 3, Accuracy: 990_000, Curve: linear(t, 16*time.Millisecond, 8*time.Millisecond)},
	}
}

// TestRoutesOfOneStepAreTheVariants checks that each variant is a route with the same
// index, accuracy, time and modalities.
func TestRoutesOfOneStepAreTheVariants(t *testing.T) {
	p := randomPlanner(t, rand.New(rand.NewPCG(1, 1)), 5)
	if len(p.Routes()) != len(p.Variants()) {
		t.Fatalf("%d routes of %d variants", len(p.Routes()), len(p.Variants()))
	}
	for i, r := range p.Routes() {
		v := p.Variants()[i]
		if r.Variant != i || r.Name != v.Name || r.Accuracy != v.Accuracy || r.Modalities != v.Modalities || r.Next != nil || r.TailPerItem() != 0 ||
			r.Curve.Time(7) != v.Curve.Time(7) || !p.All().Has(i) {
			t.Errorf("variant %d is route %+v", i, r)
		}
	}
}

// TestRoute checks the figures that a planner derives from a route's steps.
func TestRoute(t *testing.T) {
	p, err := plan.New(twoVariants(t),
		plan.RouteSpec{Name: "last", Variant: 1, Accuracy: 980_000, Inner: true},
		plan.RouteSpec{Name: "a, then last", Variant: 0, Accuracy: 970_000, Next: []plan.Branch{{Route: 2, Share: 0.25, Loss: 50_000}}},
		plan.RouteSpec{Name: "a, then that", Variant: 0, Accuracy: 960_000, Next: []plan.Branch{{Route: 3, Share: 0.5}, {Route: 1, Share: 0.5}}, Silent: true})
	if err != nil {
		t.Fatal(err)
	}
	r := p.Routes()
	// In batches of 8 an item of `ab` takes 10 ms; one of the cascade takes 2 ms plus a
	// quarter of that.
	if r[3].Modalities != 3 || r[3].TailPerItem() != 2.5e6 || r[3].Curve.Batch(4) != 22*time.Millisecond || r[3].Curve.Max() != 8 {
		t.Errorf("%+v: a batch of 4 takes %v", r[3], r[3].Curve.Batch(4))
	}
	if want := 0.5*4.5e6 + 0.5*10e6; r[4].TailPerItem() != want {
		t.Errorf("behind its first step an item takes %v ns, want %v", r[4].TailPerItem(), want)
	}
	if all := p.All(); all.Has(2) || !all.Has(3) || !all.Has(4) {
		t.Errorf("jobs start on %b", all)
	}
	for present, want := range map[slo.Modalities]plan.Set{1: 1, 2: 0, 3: 0b11011} {
		if got := p.Runnable(slo.Carried{Present: present}); got != want {
			t.Errorf("with %b a job may start on %b, want %b", present, got, want)
		}
	}
	if got := p.Runnable(slo.Carried{Present: 3, Choice: 3}); got != 2 {
		t.Errorf("a job that chose both modalities may start on %b", got)
	}
	if b, ok := r[3].Branch(2); !ok || b.Loss != 50_000 {
		t.Errorf("from the gate: %+v, %v", b, ok)
	}
	if _, ok := r[3].Branch(1); ok {
		t.Error("the gate has a branch that was not declared")
	}
	// For a floor between the two variants, the cascade is cheaper than any mix of
	// them.
	s, ok := p.Cheapest(16, slo.Accuracy(965_000).Times(16), p.All())
	if !ok || s.Items[3] < 12 || s.Items[2] > 0 {
		t.Errorf("16 items at .965: %v", s.Items)
	}
}

func TestRoutesAreRefused(t *testing.T) {
	for want, s := range map[string]plan.RouteSpec{
		"runs variant 2 of 2":              {Variant: 2},
		"not one of the 2 before it":       {Next: []plan.Branch{{Route: 2, Share: 1}}},
		"goes on for a share of 1.5":       {Next: []plan.Branch{{Route: 0, Share: 0.5}, {Route: 1, Share: 1}}},
		"for a share of -0.1":              {Next: []plan.Branch{{Route: 1, Share: -0.1}}},
		"at a loss of 0.95":                {Accuracy: 900_000, Next: []plan.Branch{{Route: 1, Share: 0.1, Loss: 950_000}}},
		"goes on for a share of 0.5 of it": {Silent: true, Next: []plan.Branch{{Route: 1, Share: 0.5}}},
	} {
		if _, err := plan.New(twoVariants(t), s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", s, err, want)
		}
	}
	if _, err := plan.New(twoVariants(t), make([]plan.RouteSpec, plan.RoutesMax-1)...); err == nil {
		t.Errorf("more than %d routes are taken", plan.RoutesMax)
	}
}

// TestCheapestWithRoutes compares plans over routes of several steps with those of a
// planner that has a variant with the same accuracy and time for each route.
func TestCheapestWithRoutes(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 5))
		variants := randomPlanner(t, rng, 2+rng.IntN(3)).Variants()
		var specs []plan.RouteSpec
		for range 1 + rng.IntN(3) {
			specs = append(specs, plan.RouteSpec{Variant: rng.IntN(len(variants)), Accuracy: slo.Accuracy(500_000 + rng.IntN(500_000)),
				Next: []plan.Branch{{Route: rng.IntN(len(variants)), Share: rng.Float64()}}})
		}
		p, err := plan.New(variants, specs...)
		if err != nil {
			t.Fatal(err)
		}
		flat := variants
		for _, r := range p.Routes()[len(variants):] {
			flat = append(slices.Clip(flat), plan.Variant{Modalities: r.Modalities, Accuracy: r.Accuracy, Curve: r.Curve})
		}
		q, err := plan.New(flat)
		if err != nil {
			t.Fatal(err)
		}
		n := 1 + rng.IntN(12)
		target := slo.Accuracy(400_000 + rng.IntN(600_000)).Times(n)
		got, ok := p.Cheapest(n, target, p.All())
		want, feasible := q.Cheapest(n, target, q.All())
		if ok != feasible || ok && (got.Time != want.Time || got.Score < target) {
			t.Fatalf("seed %d: %d items at %d: %+v %v, want %+v %v", seed, n, target, got, ok, want, feasible)
		}
	}
}
