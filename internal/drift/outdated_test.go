package drift

import (
	"math/rand/v2"
	"testing"
)

// TestLabelsOutdated: labels lower the reference, so that no request may use it and no
// label comes any more. What shadow runs say then counts, if they had shown the change.
func TestLabelsOutdated(t *testing.T) {
	for _, c := range []struct {
		name     string
		during   float64 // confidence while the reference is wrong
		answers  bool    // it still answers requests afterwards
		restored bool
	}{
		{"shown", 0.94, false, true},
		{"never shown", 0.981, false, false},
		{"it answers", 0.94, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, rng := New(two()), rand.New(rand.NewPCG(21, 1))
			for range 1000 {
				m.Label(1, bit(rng, 0.9))
				m.Shadow(0, bit(rng, 0.989), c.during)
			}
			if s := m.State(); !s.Variants[1].Labels.Lowered {
				t.Fatalf("%+v", s)
			}
			n := 0
			for ; n < 5000 && m.State().Changed; n++ {
				if c.answers {
					m.Answered(1)
				}
				m.Shadow(0, bit(rng, 0.99), 0.981)
			}
			t.Logf("after %d shadow runs: changed %v", n, m.State().Changed)
			if m.State().Changed == c.restored {
				t.Errorf("%+v", m.State())
			}
			if c.restored && m.Caps(nil)[1] != 997000 {
				t.Errorf("caps %v", m.Caps(nil))
			}
		})
	}
}

// TestOthersAfterAChange: once one variant is lowered, the fall of another is noticed sooner.
func TestOthersAfterAChange(t *testing.T) {
	delay := func(changed bool) (sum int) {
		for seed := range uint64(50) {
			m, rng := New(two()), rand.New(rand.NewPCG(seed, 2))
			for changed && !m.State().Changed {
				m.Label(0, 0)
			}
			for !m.State().Variants[1].Labels.Lowered {
				m.Label(1, bit(rng, 0.95))
				sum++
			}
		}
		return sum / 50
	}
	first, other := delay(false), delay(true)
	t.Logf("noticed after %d labels, as the second one after %d", first, other)
	if other > first*2/3 {
		t.Errorf("noticed after %d labels, as the second one after %d", first, other)
	}
}

// TestSuspicionEnds: what was lowered only because another variant had fallen is restored
// with that one, though its own data are a little below what is promised.
func TestSuspicionEnds(t *testing.T) {
	m, rng := New(two()), rand.New(rand.NewPCG(31, 3))
	for !m.State().Variants[0].Shadows.Lowered {
		m.Shadow(0, bit(rng, 0.8), 0.981)
	}
	for n := 0; !m.State().Variants[1].Labels.Lowered; n++ {
		if m.Label(1, bit(rng, 0.985)); n == 100_000 {
			t.Fatal("a mean of 0.985 is not noticed where 0.994 is promised")
		}
	}
	if !m.variants[1].labels.suspected {
		t.Fatal("it is proven")
	}
	for m.State().Variants[0].Shadows.Lowered {
		m.Shadow(0, bit(rng, 0.99), 0.981)
	}
	if s := m.State(); s.Changed || m.Lowered(1) || m.Caps(nil)[1] != 997000 {
		t.Errorf("%+v", s)
	}
}

// TestSuspicionIsProven: with more of the same evidence, it is lowered in its own right.
func TestSuspicionIsProven(t *testing.T) {
	m, rng := New(two()), rand.New(rand.NewPCG(32, 3))
	for !m.State().Changed {
		m.Label(0, 0)
	}
	for range 2000 {
		m.Label(1, bit(rng, 0.95))
	}
	for m.State().Variants[0].Labels.Lowered {
		m.Label(0, bit(rng, 0.9885))
	}
	if s := m.State(); !s.Changed || !m.Lowered(1) {
		t.Errorf("%+v", s)
	}
}
