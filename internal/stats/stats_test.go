package stats_test

import (
	"math"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/stats"
)

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]float64{0: 0, 499: 0, 500: 0.001, -500: -0.001, 1_499: 0.001, 736_149: 0.736, time.Second: 1000,
		86_400*time.Second + 1: 86_400_000, math.MaxInt64: 9.223372036854775e12} {
		if got := stats.Milliseconds(d); got != want {
			t.Errorf("%d ns are %v ms, want %v", d, got, want)
		}
	}
}

func TestFromMilliseconds(t *testing.T) {
	for ms, want := range map[float64]time.Duration{0: 0, 1e-7: 0, 9e-7: 1, 0.0009999995: 1000, 0.29: 290_000, -1.5: -1_500_000, 1000: time.Second} {
		if got := stats.FromMilliseconds(ms); got != want {
			t.Errorf("%v ms are %d ns, want %d", ms, got, want)
		}
	}
	for us := range 100_000 {
		d := time.Duration(us) * time.Microsecond
		if got := stats.FromMilliseconds(stats.Milliseconds(d)); got != d {
			t.Fatalf("%v is read back as %v", d, got)
		}
	}
}

func TestQuantile(t *testing.T) {
	ten := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for q, want := range map[float64]int{-1: 1, 0: 1, 0.1: 1, 0.11: 2, 0.5: 5, 0.9: 9, 0.99: 10, 1: 10, 2: 10} {
		if got := stats.Quantile(ten, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := stats.Quantile([]time.Duration{}, 0.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
	if got := stats.Quantile([]float64{1, 2, 4}, 0.5); got != 2 {
		t.Errorf("the median of three is %v", got)
	}
}
