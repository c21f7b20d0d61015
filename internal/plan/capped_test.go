package plan_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestCapped caps the accuracies of random planners: nothing is above its cap or above
// what it was, a planner with its own accuracies as caps stays as it is, and a route of
// several steps falls by what its variants fall together.
func TestCapped(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	curve, err := plan.NewCurve([]plan.Point{{Items: 1, Time: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		var variants []plan.Variant
		var own, most []slo.Accuracy
		for i := range 3 {
			a := slo.Accuracy(600_000 + rng.IntN(399_000))
			v := plan.Variant{Modalities: slo.Modalities(i + 1), Accuracy: a, Curve: curve}
			for level := range v.Low {
				v.Low[level] = a - slo.Accuracy(1000*(level+1))
			}
			variants, own, most = append(variants, v), append(own, a), append(most, a-slo.Accuracy(rng.IntN(50_000)*rng.IntN(2)))
		}
		p, err := plan.New(variants, plan.RouteSpec{Name: "r", Variant: 0, Accuracy: 950_000, Low: slo.Bounds{940_000}, Next: []plan.Branch{{Route: 2, Share: 0.1}}})
		if err != nil {
			t.Fatal(err)
		}
		same, c := p.Capped(own), p.Capped(most)
		for i, r := range p.Routes() {
			if s := same.Routes()[i]; s.Accuracy != r.Accuracy || s.Low != r.Low {
				t.Fatalf("route %d: %v %v, before %v %v", i, s.Accuracy, s.Low, r.Accuracy, r.Low)
			}
			if i == 3 {
				continue
			}
			now := c.Routes()[i]
			if now.Accuracy != most[i] || now.Accuracy != c.Variants()[i].Accuracy {
				t.Fatalf("variant %d: %v, the cap is %v", i, now.Accuracy, most[i])
			}
			for level := range now.Low {
				if at := c.At(slo.Confidence(level + 1)).Routes()[i].Accuracy; at != min(r.Low[level], most[i]) || at != now.Low[level] {
					t.Fatalf("variant %d at level %d: %v of %v, the cap is %v", i, level, at, r.Low[level], most[i])
				}
			}
		}
		fall := own[0] - most[0] + own[2] - most[2]
		if r := c.Routes()[3]; r.Accuracy != 950_000-fall || r.Low[0] != 940_000-fall {
			t.Fatalf("the route of two steps has %v and %v, its variants fall by %v", r.Accuracy, r.Low[0], fall)
		}
	}
}
