package drift

import (
	"math/rand/v2"
	"testing"
)

// TestFallNoticesAFallAndNothingElse observes the mean that is given, and then a lower one.
func TestFallNoticesAFallAndNothingElse(t *testing.T) {
	const mean, n = 0.95, 20_000
	rng := rand.New(rand.NewPCG(5, 6))
	draw := func(p float64) float64 {
		if rng.Float64() < p {
			return 1
		}
		return 0
	}
	f, alarms := NewFall(mean), 0
	for range n {
		if f.Observe(draw(mean)) {
			alarms++
		}
	}
	if most := 3 * n * alarmRate; float64(alarms) > most {
		t.Errorf("%d false alarms in %d numbers, want at most %v", alarms, n, most)
	}
	late := 0
	for range 100 {
		f, n := NewFall(mean), 0
		for n = 1; !f.Observe(draw(0.8)); n++ {
		}
		if n > 150 {
			late++
		}
	}
	if late > 5 {
		t.Errorf("a fall to 0.8 took more than 150 numbers in %d of 100 runs", late)
	}
}
