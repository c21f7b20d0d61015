package stats_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/stats"
)

// TestDurations compares quantiles with those of the sorted list.
func TestDurations(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var d stats.Durations
	var list []time.Duration
	var sum float64
	for range 10_000 {
		v := time.Duration(math.Exp(4 + 4*rng.NormFloat64()))
		d.Add(v)
		list = append(list, v)
		sum += float64(v)
	}
	slices.Sort(list)
	if got, want := float64(d.Mean()), sum/float64(len(list)); math.Abs(got-want) > 1 {
		t.Errorf("mean %v, want %v", got, want)
	}
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 1} {
		want := float64(stats.Quantile(list, q))
		if got := float64(d.Quantile(q)); math.Abs(got-want) > 0.004*want+0.5 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	var none stats.Durations
	if none.Mean() != 0 || none.Quantile(0.5) != 0 {
		t.Error("nothing has a mean or a median")
	}
}
