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
			{Accuracy: 988500, Low: 983000, Agreement: 0.99, AgreementLow: 0.985, Confidence: math.NaN()},
			{Accuracy: 997000, Low: 994000, Agreement: 1, AgreementLow: 1, Confidence: 0.981},
		},
		Reference: 1,
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

// TestLive checks the estimate from labels and shadow runs together: in how many runs it
// misses the truth, and that it is narrower than that of the labels alone.
func TestLive(t *testing.T) {
	const runs, truth = 400, 0.9
	rng, missed, narrower := rand.New(rand.NewPCG(7, 7)), 0, 0
	for range runs {
		m := New(two())
		// Wrong answers agree as often as in the profile: 0.99 - 0.9885.
		for i := range 1500 {
			m.Shadow(0, bit(rng, truth+0.0015), math.NaN())
			if i%10 == 0 {
				m.Label(0, bit(rng, truth))
			}
		}
		v := m.State().Variants[0]
		if v.Live.Low > truth || v.Live.High < truth {
			missed++
		}
		if v.Live.High-v.Live.Low < v.Labels.High-v.Labels.Low {
			narrower++
		}
	}
	t.Logf("the interval misses in %d of %d runs, is narrower than that of labels in %d", missed, runs, narrower)
	if missed > runs/10 || narrower < runs*9/10 {
		t.Errorf("it misses in %d of %d runs, is narrower in %d", missed, runs, narrower)
	}
}

// TestLiveOfOneSource: one source alone is the estimate, and labels count where both
// exclude each other.
func TestLiveOfOneSource(t *testing.T) {
	m := New(two())
	if v := m.State().Variants[0]; v.Live != (Live{}) {
		t.Errorf("of nothing: %+v", v.Live)
	}
	for range 400 {
		m.Shadow(0, 1, 0.98)
	}
	if l := m.State().Variants[0].Live; l.Items != 400 || l.Mean < 0.998 || l.Low < 0.985 || l.High != 0.9985 {
		t.Errorf("of agreement alone: %+v", l)
	}
	if l := m.State().Variants[1].Live; l != (Live{}) {
		t.Errorf("of the reference, which is compared with itself: %+v", l)
	}
	for range 400 {
		m.Label(0, 0)
		m.Label(1, 1)
	}
	if l := m.State().Variants[0].Live; l.Mean > 0.01 || l.High > 0.02 {
		t.Errorf("all labelled answers are wrong: %+v", l)
	}
	if l := m.State().Variants[1].Live; l.Items != 400 || l.Mean != 1 {
		t.Errorf("of the reference's labels: %+v", l)
	}
}
