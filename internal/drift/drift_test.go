package drift

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

// two is a model with a variant and its reference.
func two() Spec {
	return Spec{
		Variants: []Variant{
			{Accuracy: 988500, Low: 983000, Agreement: 0.99, AgreementLow: 0.985},
			{Accuracy: 997000, Low: 994000, Agreement: 1, AgreementLow: 1},
		},
		Reference:  1,
		Confidence: 0.981,
	}
}

// bit returns 1 with probability p.
func bit(rng *rand.Rand, p float64) float64 {
	if rng.Float64() < p {
		return 1
	}
	return 0
}

func TestNothingIsKnown(t *testing.T) {
	m := New(two())
	if got := m.Caps(nil); got[0] != 988500 || got[1] != 997000 {
		t.Errorf("caps %v", got)
	}
	for _, x := range []float64{math.NaN(), -0.1, 1.1, math.Inf(1)} {
		if m.Label(0, x) != None || m.Shadow(0, x, 1) != None {
			t.Errorf("%v was observed", x)
		}
	}
	if m.Label(2, 1) != None || m.Label(-1, 1) != None {
		t.Error("a variant that does not exist was observed")
	}
	if s := m.State(); s.Ignored != 10 || s.Variants[0].Labels.Total != 0 || s.Changed {
		t.Errorf("%+v", s)
	}
}

// TestLabelsLowerAndRestore lets the mean fall and come back.
func TestLabelsLowerAndRestore(t *testing.T) {
	m, rng := New(two()), rand.New(rand.NewPCG(1, 1))
	until := func(p float64, want Change, most int) {
		t.Helper()
		for range most {
			if m.Label(0, bit(rng, p)) == want {
				return
			}
		}
		t.Fatalf("%v was not told in %d labels: %+v", want, most, m.State().Variants[0].Labels)
	}
	until(0.83, Noticed, 300)
	for range 1000 {
		m.Label(0, bit(rng, 0.83))
	}
	caps := m.Caps(nil)
	if caps[0] > slo.Accuracy(830000) || caps[0] < 790000 || caps[1] != 997000 {
		t.Errorf("caps %v, the truth is 0.83", caps)
	}
	until(0.9885, Restored, 6000)
	if got := m.Caps(caps); got[0] != 988500 {
		t.Errorf("caps %v", got)
	}
	until(0.83, Noticed, 300)
}
