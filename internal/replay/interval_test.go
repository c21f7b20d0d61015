package replay

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/score"
)

// wilson is the interval of a share of so many different samples.
func wilson(p, n float64) interval {
	low, high := score.Wilson(p, n)
	return interval{p, low, high}
}

// tenth is the score of a sample, of which every tenth is wrong.
func tenth(sample int32) float64 {
	if sample%10 == 0 {
		return 0
	}
	return 1
}

func TestTallyOfDifferentSamplesIsWilson(t *testing.T) {
	var once tally
	for s := range int32(1000) {
		once.add(s, tenth(s))
	}
	got, items := once.interval()
	want := wilson(0.9, 1000)
	if items != 1000 || once.right != 900 || math.Abs(got.low-want.low) > 1e-4 || math.Abs(got.high-want.high) > 1e-4 {
		t.Errorf("%+v of %d, want %+v", got, items, want)
	}
}

// TestRepeatsAreNoEvidence: sending each sample 20 times must not narrow the interval.
func TestRepeatsAreNoEvidence(t *testing.T) {
	var repeated tally
	for s := range int32(1000) {
		for range 20 {
			repeated.add(s, tenth(s))
		}
	}
	got, items := repeated.interval()
	want := wilson(0.9, 1000)
	if items != 20000 || math.Abs(got.low-want.low) > 1e-4 {
		t.Errorf("%+v, want %+v", got, want)
	}
	var perfect tally
	for range 50 {
		perfect.add(1, 1)
		perfect.add(2, 1)
	}
	if got, _ := perfect.interval(); got != wilson(1, 2) {
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
			right := 0.0
			if rng.Float64() < truth {
				right = 1
			}
			for range 1 + rng.IntN(5) {
				data.add(s, right)
			}
		}
		if got, _ := data.interval(); got.low <= truth && truth <= got.high {
			covered++
		}
	}
	if share := float64(covered) / trials; share < 0.92 {
		t.Errorf("the interval covers %.3f of the time, want about 0.95", share)
	}
}

// TestIntervalOfScoresCovers is the same for scores between 0 and 1, and checks that
// they are not taken for ones that are right or wrong.
func TestIntervalOfScoresCovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const trials, samples, truth = 300, 300, 0.75
	covered, width := 0, 0.0
	for range trials {
		var data tally
		for s := range int32(samples) {
			score := 0.5 + 0.5*rng.Float64()
			for range 1 + rng.IntN(5) {
				data.add(s, score)
			}
		}
		got, _ := data.interval()
		width += (got.high - got.low) / trials
		if got.low <= truth && truth <= got.high {
			covered++
		}
	}
	if share := float64(covered) / trials; share < 0.95 {
		t.Errorf("the interval covers %.3f of the time, want 0.95", share)
	}
	if bits := wilson(truth, samples); width > 0.6*(bits.high-bits.low) {
		t.Errorf("%.4f wide, of zeros and ones %.4f", width, bits.high-bits.low)
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
