package cascade

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

// madeGate is a labelled set of a gate with an answer of its own and of two larger
// variants. Each of the three is right with a probability of its own on each item, which
// the gate estimates, up to noise.
func madeGate(rng *rand.Rand, n int, noise float64) Options {
	o := Options{Variants: []Variant{{Name: "gate", Cost: 0.5}, {Name: "left", Cost: 2}, {Name: "right", Cost: 5}}, RoutesMax: 40,
		After: func(int, int) (float64, bool) { return 0, false }, Gates: []Gate{{Variant: 0, Choices: []int{0, 1, 2}}}}
	for range n {
		easy := rng.Float64()
		for v, p := range []float64{0.55 + 0.45*math.Sqrt(easy), 1 - 0.5*(1-easy)*(1-easy), 0.995} {
			score := 0.0
			if rng.Float64() < p {
				score = 1
			}
			o.Variants[v].Scores = append(o.Variants[v].Scores, score)
			o.Gates[0].Estimates = append(o.Gates[0].Estimates, p+noise*rng.NormFloat64())
		}
	}
	for i := range o.Variants {
		o.Variants[i].Low = modelpkg.MeasuredScore(o.Variants[i].Scores, 6).Bounds(6)
	}
	return o
}

// TestFindGates checks each point against the samples that certified it, and that points
// cost less than mixes of the variants.
func TestFindGates(t *testing.T) {
	o := madeGate(rand.New(rand.NewPCG(1, 1)), 5000, 0.01)
	c := Find(o)
	if c == nil || len(c.Gates) < 2 || len(c.Points) > 0 || c.Pilot != 1000 || c.Tested < len(c.Gates) {
		t.Fatalf("found %+v", c)
	}
	_, rest := divide(5000)
	base := []spot{}
	for _, v := range o.Variants {
		base = append(base, spot{v.Cost, mean(v.Scores, rest)})
	}
	saved := 0.0
	for i, p := range c.Gates {
		right, items, onGate := 0.0, make([]int, 3), make([]float64, 3)
		for _, s := range rest {
			way := modelpkg.ChooseWay(o.Gates[0].Estimates[3*s:3*s+3], p.Penalties())
			items[way]++
			right += o.Variants[way].Scores[s]
			onGate[way] += o.Variants[0].Scores[s]
		}
		if math.Abs(p.Accuracy.Mean-right/4000) > 1e-6 || p.Accuracy.Samples != 4000 {
			t.Errorf("point %d: %v of %d, want %v", i, p.Accuracy.Mean, p.Accuracy.Samples, right/4000)
		}
		then := 0.0
		for way, w := range p.Ways {
			if w.Items != items[way] || items[way] > 0 && math.Abs(w.OnGate-onGate[way]/float64(items[way])) > 1e-6 {
				t.Errorf("point %d, way %d is %+v, want %d items", i, way, w, items[way])
			}
			then += w.OnThen * p.Share(way)
		}
		if math.Abs(then-p.Accuracy.Mean) > 1e-5 || p.Cautious >= p.Accuracy.Mean || c.LowOf(&p)[slo.ConfidenceShown-1].Float() >= p.Cautious {
			t.Errorf("point %d: its ways score %v, it scores %v, planned with %v", i, then, p.Accuracy.Mean, p.Cautious)
		}
		if i > 0 && o.costOf(&p) <= o.costOf(&c.Gates[i-1]) {
			t.Errorf("point %d costs no more than the one before", i)
		}
		saved = max(saved, 1-o.costOf(&p)/costAt(hull(base), p.Accuracy.Mean))
	}
	if saved < 0.2 {
		t.Errorf("at best, a point saves %v of what a mix with its accuracy costs", saved)
	}
}

// TestUselessGate has estimates that say nothing: no point is worth offering.
func TestUselessGate(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	o := madeGate(rng, 3000, 0)
	for i := range o.Gates[0].Estimates {
		o.Gates[0].Estimates[i] = rng.Float64()
	}
	if c := Find(o); c == nil || len(c.Gates) > 0 {
		t.Errorf("offered %+v", c)
	}
}

// TestGateFloorsAreKept certifies gates on sets drawn anew: the accuracy that a point is
// certified for at 0.95 is above its true one in at most 5 % of the sets.
func TestGateFloorsAreKept(t *testing.T) {
	truth := madeGate(rand.New(rand.NewPCG(3, 3)), 50_000, 0.05)
	sets, broken := 100, 0
	rng := rand.New(rand.NewPCG(4, 4))
	everything := all(50_000)
	for range sets {
		o := truth
		o.Variants = append([]Variant{}, truth.Variants...)
		o.Gates = []Gate{{Variant: 0, Choices: []int{0, 1, 2}}}
		for v := range o.Variants {
			o.Variants[v].Scores = nil
		}
		for range 1500 {
			at := rng.IntN(50_000)
			for v := range o.Variants {
				o.Variants[v].Scores = append(o.Variants[v].Scores, truth.Variants[v].Scores[at])
			}
			o.Gates[0].Estimates = append(o.Gates[0].Estimates, truth.Gates[0].Estimates[3*at:3*at+3]...)
		}
		for i := range o.Variants {
			o.Variants[i].Low = modelpkg.MeasuredScore(o.Variants[i].Scores, 6).Bounds(6)
		}
		c, missed := Find(o), false
		for _, p := range c.Gates {
			scores, _ := truth.gateScores(gatePoint{penalties: p.Penalties()}, everything)
			missed = missed || mean(scores, everything) < c.LowOf(&p)[slo.ConfidenceShown-1].Float()
		}
		if missed {
			broken++
		}
	}
	if t.Logf("a point is below its bound in %d of %d sets", broken, sets); broken > sets/20 {
		t.Errorf("a point is below its bound in %d of %d sets", broken, sets)
	}
}
