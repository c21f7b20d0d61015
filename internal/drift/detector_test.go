package drift

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// alarmAt returns how many numbers a detector sees until its alarm; most: none.
func alarmAt(mean float64, most int, draw func() float64) int {
	d := newDetector(mean)
	for i := 1; i <= most; i++ {
		if d.step(draw(), math.NaN()) >= 1/alarmRate {
			return i
		}
	}
	return most
}

// TestFalseAlarms runs detectors where nothing has changed. The stated rate, one in 10,000,
// would allow two alarms in each run of 20,000.
func TestFalseAlarms(t *testing.T) {
	const items, mean = 20_000, 0.973
	for _, c := range []struct {
		name       string
		runs, most int
		draw       func(*rand.Rand) float64
	}{
		{"at the mean", 200, 20, func(rng *rand.Rand) float64 { return bit(rng, mean) }},
		{"above it", 20, 1, func(rng *rand.Rand) float64 { return bit(rng, 0.985) }},
		{"fractional", 20, 0, func(rng *rand.Rand) float64 { return 1 - 2*(1-mean)*rng.Float64() }},
	} {
		rng, alarms := rand.New(rand.NewPCG(1, 2)), 0
		for range c.runs {
			if alarmAt(mean, items, func() float64 { return c.draw(rng) }) < items {
				alarms++
			}
		}
		t.Logf("%s: alarms in %d of %d runs", c.name, alarms, c.runs)
		if alarms > c.most {
			t.Errorf("%s: alarms in %d of %d runs, at most %d are expected", c.name, alarms, c.runs, c.most)
		}
	}
}

// TestFalseAlarmsOfDependentData: numbers that depend on each other keep the rate as long
// as each is as promised given those before.
func TestFalseAlarmsOfDependentData(t *testing.T) {
	const runs, items, mean = 40, 20_000, 0.9
	rng, alarms := rand.New(rand.NewPCG(3, 2)), 0
	for range runs {
		last := 1.0
		draw := func() float64 {
			if last == 0 { // what follows a wrong answer is sure to be as promised
				last = mean
			} else {
				last = bit(rng, mean)
			}
			return last
		}
		if alarmAt(mean, items, draw) < items {
			alarms++
		}
	}
	if alarms > runs/5 {
		t.Errorf("alarms in %d of %d runs", alarms, runs)
	}
}

// TestDetectionDelays checks how soon falls of several sizes are noticed.
func TestDetectionDelays(t *testing.T) {
	const runs, mean = 200, 0.973
	for _, c := range []struct{ truth, median float64 }{{0.96, 2990}, {0.95, 1177}, {0.92, 262}, {0.85, 68}} {
		rng := rand.New(rand.NewPCG(4, 5))
		var delays []int
		for range runs {
			delays = append(delays, alarmAt(mean, 100_000, func() float64 { return bit(rng, c.truth) }))
		}
		slices.Sort(delays)
		median := float64(delays[runs/2])
		t.Logf("%v: median %v, 90 %% %v", c.truth, median, delays[runs*9/10])
		if median > 1.5*c.median || median < c.median/1.5 {
			t.Errorf("a fall to %v is noticed after a median of %v, not about %v", c.truth, median, c.median)
		}
	}
}

// TestFallAfterALongTime: what was right before must not delay an alarm.
func TestFallAfterALongTime(t *testing.T) {
	d := newDetector(0.973)
	for range 100_000 {
		d.step(1, math.NaN())
	}
	n := 0
	for d.step(0, math.NaN()) < 1/alarmRate {
		n++
	}
	if n > 6 {
		t.Errorf("all are wrong, and it takes %d to notice", n)
	}
	if r := d.longest(); r.n != n+1 || r.sum != 0 {
		t.Errorf("the change is said to begin %d observations ago with a sum of %v, not %d with 0", r.n, r.sum, n+1)
	}
}

func TestExtremeMeans(t *testing.T) {
	for _, mean := range []float64{0, 1e-9, 0.5, 1 - 1e-9, 1} {
		d := newDetector(mean)
		if d.size < 1 {
			t.Fatalf("mean %v: no bets", mean)
		}
		for i := range 10_000 {
			if v := d.step(float64(i%2), math.NaN()); math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
				t.Fatalf("mean %v: capital %v", mean, v)
			} else if v >= 1/alarmRate {
				break
			}
		}
	}
	if n := alarmAt(0, 10_000, func() float64 { return 0 }); n != 10_000 {
		t.Errorf("a mean of 0 cannot fall, alarm after %d", n)
	}
}
