package replay

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
)

// wilson is the interval of a share of so many different samples.
func wilson(p, n float64) interval {
	low, high := modelpkg.Wilson(p, n)
	return interval{p, low, high}
}

func TestTallyOfDifferentSamplesIsWilson(t *testing.T) {
	var once tally
	for s := range int32(1000) {
		once.add(s, s%10 != 0)
	}
	got, items, right := once.interval()
	want := wilson(0.9, 1000)
	if items != 1000 || right != 900 || math.Abs(got.low-want.low) > 1e-4 || math.Abs(got.high-want.high) > 1e-4 {
		t.Errorf("%+v of %d, want %+v", got, items, want)
	}
}

// TestRepeatsAreNoEvidence: sending each sample 20 times must not narrow the interval.
func TestRepeatsAreNoEvidence(t *testing.T) {
	var repeated tally
	for s := range int32(1000) {
		for range 20 {
			repeated.add(s, s%10 != 0)
		}
	}
	got, items, _ := repeated.interval()
	want := wilson(0.9, 1000)
	if items != 20000 || math.Abs(got.low-want.low) > 1e-4 {
		t.Errorf("%+v, want %+v", got, want)
	}
	var perfect tally
	for range 50 {
		perfect.add(1, true)
		perfect.add(2, true)
	}
	if got, _, _ := perfect.interval(); got != wilson(1, 2) {
		t.Errorf("two samples always right: %+v", got)
	}
}

// TestIntervalCovers draws many data sets with repeated samples and checks that
// 95 % intervals hold the truth about as often as they say.
func TestIntervalCovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const trials, samples, truth = 600, 300, 0.93
	covered := 0
	for range trials {
		var data tally
		for s := range int32(samples) {
			right := rng.Float64() < truth
			for range 1 + rng.IntN(5) {
				data.add(s, right)
			}
		}
		if got, _, _ := data.interval(); got.low <= truth && truth <= got.high {
			covered++
		}
	}
	if share := float64(covered) / trials; share < 0.92 {
		t.Errorf("the interval covers %.3f of the time, want about 0.95", share)
	}
}

func TestQuantiles(t *testing.T) {
	times := make([]time.Duration, 100)
	for i := range times {
		times[99-i] = time.Duration(i+1) * time.Millisecond
	}
	if got := jctOf(times); got != (JCT{Mean: 50.5, P50: 50, P90: 90, P99: 99, Max: 100}) {
		t.Errorf("%+v", got)
	}
	if got := jctOf([]time.Duration{time.Second}); got != (JCT{1000, 1000, 1000, 1000, 1000}) {
		t.Errorf("of one: %+v", got)
	}
	if got := jctOf(nil); got != (JCT{}) {
		t.Errorf("of none: %+v", got)
	}
}
