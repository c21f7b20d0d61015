package plan_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// drawn returns the planner for a profile of n samples that was drawn from variants of
// these true accuracies, each variant twice as expensive as the one before.
func drawn(t *testing.T, rng *rand.Rand, truth []float64, n int) *plan.Planner {
	t.Helper()
	var variants []plan.Variant
	for i, p := range truth {
		right := 0
		for range n {
			if rng.Float64() < p {
				right++
			}
		}
		a := modelpkg.MeasuredAccuracy(right, n)
		curve, err := plan.NewCurve([]plan.Point{{Items: 1, Time: time.Millisecond << i}})
		if err != nil {
			t.Fatal(err)
		}
		mean, err := slo.AccuracyOf(a.Mean)
		if err != nil {
			t.Fatal(err)
		}
		variants = append(variants, plan.Variant{Name: fmt.Sprint(i), Modalities: 1, Accuracy: mean, Low: a.Bounds(len(truth)), Curve: curve})
	}
	p, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFloorsHoldAtTheirConfidence draws a labelled set 1,000 times from a population that
// is known, and plans for many floors. A draw breaks a floor if the plan's true accuracy
// is below it. With bounds at 0.95 that may happen for any floor in at most 5 % of the
// draws; with plain means it happens much more often, which shows why there are bounds.
func TestFloorsHoldAtTheirConfidence(t *testing.T) {
	const draws, samples, items = 1000, 2000, 64
	truth := []float64{0.79, 0.93, 0.97, 0.988, 0.995}
	level, err := slo.ConfidenceOf(0.95)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	broken := map[slo.Confidence]int{}
	for range draws {
		expected := drawn(t, rng, truth, samples)
		for _, c := range []slo.Confidence{0, level} {
			p := expected.At(c)
			for floor := slo.Accuracy(790_000); floor < 995_000; floor += 2_500 {
				s, ok := p.Cheapest(items, floor.Times(items), p.All())
				if !ok {
					continue
				}
				true64 := 0.0
				for v, x := range s.Items {
					true64 += truth[v] * float64(x) / items
				}
				if true64 < floor.Float()-1e-9 {
					broken[c]++
					break
				}
			}
		}
	}
	t.Logf("some floor was broken in %.1f %% of draws with means, %.1f %% at a confidence of 0.95", float64(broken[0])/draws*100, float64(broken[level])/draws*100)
	if broken[level] > draws/20 {
		t.Errorf("at a confidence of 0.95, %d of %d draws broke a floor", broken[level], draws)
	}
	if broken[0] < draws/5 {
		t.Errorf("with plain means only %d of %d draws broke a floor: the test shows nothing", broken[0], draws)
	}
}

// TestBoundsAreOrdered checks that a higher confidence never gives a higher bound, and
// that no bound is above the mean.
func TestBoundsAreOrdered(t *testing.T) {
	for _, right := range []int{0, 1, 50, 99, 100} {
		a := modelpkg.MeasuredAccuracy(right, 100)
		last := slo.Accuracy(a.Mean * float64(slo.AccuracyUnit))
		for level, low := range a.Bounds(4) {
			if low > last {
				t.Errorf("%d of 100: level %d has %v after %v", right, level, low, last)
			}
			last = low
		}
	}
}

// TestAPlannerWithoutBoundsCertifiesNothing checks that unknown bounds keep no floor.
func TestAPlannerWithoutBoundsCertifiesNothing(t *testing.T) {
	curve, err := plan.NewCurve([]plan.Point{{Items: 1, Time: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New([]plan.Variant{{Name: "v", Modalities: 1, Accuracy: 990_000, Curve: curve}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.At(slo.ConfidenceShown).Cheapest(1, 1, p.All()); ok {
		t.Error("a floor is kept although no bound is known")
	}
}
