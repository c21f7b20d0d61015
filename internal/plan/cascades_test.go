package plan_test

import (
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// withPoints gives the profile of staged cascades.
func withPoints(p *modelpkg.Profile) {
	for i := range p.Variants {
		p.Variants[i].Accuracy = modelpkg.MeasuredAccuracy([]int{800, 990, 700}[i], 1000)
	}
	point := func(first, then string, threshold float64, correct, on int) modelpkg.CascadePoint {
		return modelpkg.CascadePoint{First: first, Then: then, Threshold: threshold, Accuracy: modelpkg.MeasuredAccuracy(correct, 800),
			Cautious: float64(correct)/800 - 0.01, WentOn: on, OnFirst: 0.4, OnThen: 0.9}
	}
	p.Cascades = &modelpkg.Cascades{Pilot: 200, Tested: 10, Points: []modelpkg.CascadePoint{point("a", "ab", 0.5, 760, 80), point("a", "ab", 0.9, 784, 240), point("a", "b", 0.5, 720, 80)}}
}

// TestFromProfileWithCascades checks that the points of a profile are routes, whose cost
// is what is left of the second variant.
func TestFromProfileWithCascades(t *testing.T) {
	m, p := staged()
	withPoints(p)
	planner, err := plan.FromProfile(m, p)
	if err != nil {
		t.Fatal(err)
	}
	routes := planner.Routes()
	if len(planner.Variants()) != 4 || planner.Variants()[3].Name != "ab after a" || len(routes) != 7 {
		t.Fatalf("variants %+v, %d routes", planner.Variants(), len(routes))
	}
	for i, want := range []struct {
		name  string
		next  int
		share float64
		tail  float64 // ns per item
	}{
		{"a>ab<0.5", 3, 0.1, 0.1 * 3e6}, // 24 ms for 8 items
		{"a>ab<0.9", 3, 0.3, 0.3 * 3e6},
		{"a>b<0.5", 2, 0.1, 0.1 * 2.5e6}, // shares no stage
	} {
		r := routes[4+i]
		if r.Name != want.name || r.Variant != 0 || len(r.Next) != 1 || r.Next[0].Route != want.next || r.Next[0].Share != want.share || r.Next[0].Loss != 500_000 {
			t.Errorf("route %d is %+v, want %+v", i, r, want)
		}
		if tail := r.TailPerItem(); tail < want.tail-1 || tail > want.tail+1 {
			t.Errorf("route %s: %v ns after the first step, want %v", r.Name, tail, want.tail)
		}
		point := &p.Cascades.Points[i]
		if r.Accuracy != point.Planned() || r.Low != p.Cascades.Low(point) || r.Low[0] >= r.Accuracy {
			t.Errorf("route %s has accuracy %v and bounds %v", r.Name, r.Accuracy, r.Low)
		}
	}
	// The bounds of variants leave half of the probability of a miss to the cascades.
	shared := routes[1].Low
	p.Cascades = nil
	alone, err := plan.FromProfile(m, p)
	if err != nil {
		t.Fatal(err)
	}
	if len(alone.Routes()) != 3 || alone.Routes()[1].Low[slo.ConfidenceShown-1] <= shared[slo.ConfidenceShown-1] {
		t.Errorf("without cascades: %d routes, bounds %v, with them %v", len(alone.Routes()), alone.Routes()[1].Low, shared)
	}
}

// TestCascadesOfBuckets checks that a cascade leads only to variants for items of the
// same sizes.
func TestCascadesOfBuckets(t *testing.T) {
	m, p := staged()
	withPoints(p)
	sized := func(name, base string, bucket int) modelpkg.Variant {
		return modelpkg.Variant{Name: name, Base: base, Sizes: slo.Sizes(0).With(0, bucket)}
	}
	m.Variants = []modelpkg.Variant{sized("a@1", "a", 0), sized("a@2", "a", 1), sized("ab@1", "ab", 0), sized("ab@2", "ab", 1), {Name: "b"}}
	var names []string
	for _, c := range plan.CascadesOf(m, p) {
		names = append(names, c.Name)
	}
	want := []string{"a@1>ab@1<0.5", "a@2>ab@2<0.5", "a@1>ab@1<0.9", "a@2>ab@2<0.9", "a@1>b<0.5", "a@2>b<0.5"}
	if len(names) != len(want) {
		t.Fatalf("cascades %v, want %v", names, want)
	}
	for i := range want {
		if names[i] != want[i] {
			t.Errorf("cascade %d is %s, want %s", i, names[i], want[i])
		}
	}
}

// TestCascadesMakeFloorsCheaper plans the same floor with and without cascades.
func TestCascadesMakeFloorsCheaper(t *testing.T) {
	m, p := staged()
	withPoints(p)
	with, err := plan.FromProfile(m, p)
	if err != nil {
		t.Fatal(err)
	}
	p.Cascades = nil
	without, err := plan.FromProfile(m, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []slo.Confidence{0, slo.ConfidenceShown} {
		for _, floor := range []slo.Accuracy{850_000, 900_000, 930_000} {
			a, ok := with.At(c).Cheapest(32, floor.Times(32), with.All())
			b, possible := without.At(c).Cheapest(32, floor.Times(32), without.All())
			if !ok || !possible || a.Time >= b.Time || a.Score < floor.Times(32) {
				t.Errorf("floor %v at %v: %v with cascades, %v without", floor, c.Float(), a.Time, b.Time)
			}
		}
	}
}
