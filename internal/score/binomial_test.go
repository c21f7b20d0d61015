package score

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestLowerShare compares with bounds from scipy.stats.beta.ppf(delta, k, n-k+1).
func TestLowerShare(t *testing.T) {
	for _, c := range []struct {
		right, n    int
		delta, want float64
	}{
		{1960, 2000, 0.05, 0.97404}, {1960, 2000, 0.01, 0.97145}, {1960, 2000, 0.001, 0.96836}, {1960, 2000, 0.0005, 0.96751},
		{0, 10, 0.05, 0}, {10, 10, 0.05, math.Pow(0.05, 0.1)}, {1, 1, 0.05, 0.05}, {1, 10, 0.05, 0.0051162},
	} {
		if got := LowerShare(c.right, c.n, c.delta); math.Abs(got-c.want) > 6e-6 {
			t.Errorf("%d of %d at %g: %.7f, want %.7f", c.right, c.n, c.delta, got, c.want)
		}
	}
}

// TestLowerShareHolds draws labelled sets: the bound is above the truth in at most delta
// of them, as the plain share is in half.
func TestLowerShareHolds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const draws, n, delta = 4000, 400, 0.05
	for _, p := range []float64{0.5, 0.9, 0.97, 0.999} {
		broken := 0
		for range draws {
			right := 0
			for range n {
				if rng.Float64() < p {
					right++
				}
			}
			if LowerShare(right, n, delta) > p {
				broken++
			}
		}
		// four standard deviations of a share of delta
		if most := delta + 4*math.Sqrt(delta*(1-delta)/draws); float64(broken) > most*draws {
			t.Errorf("p = %v: broken in %d of %d draws", p, broken, draws)
		}
	}
}

func TestLowerMeanHolds(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const draws, n, delta = 400, 300, 0.05
	broken, mean := 0, 0.0
	for range draws {
		scores := make([]float64, n)
		for i := range scores {
			scores[i] = math.Sqrt(rng.Float64()) // mean 2/3
		}
		low := LowerMean(scores, delta)
		mean += low / draws
		if low > 2.0/3 {
			broken++
		}
	}
	if float64(broken) > draws*(delta+4*math.Sqrt(delta*(1-delta)/draws)) {
		t.Errorf("broken in %d of %d draws", broken, draws)
	}
	if mean < 0.62 {
		t.Errorf("the mean bound is %.4f, far below 2/3", mean)
	}
}

func TestSamplesFor(t *testing.T) {
	for _, c := range []struct {
		p, want float64
		n       int
	}{{0.98, 0.97, 810}, {0.98, 0.975, 2660}, {0.98, 0.9775, 9889}, {0.97, 0.97, 0}, {0.96, 0.97, 0}} {
		got := SamplesFor(c.p, c.want, 0.05)
		if math.Abs(float64(got-c.n)) > 0.06*float64(c.n) {
			t.Errorf("%v above %v: %d samples, want about %d", c.p, c.want, got, c.n)
		}
	}
}

// TestSamplesForIsWhereTheBoundIsReached holds SamplesFor against LowerShare itself.
func TestSamplesForIsWhereTheBoundIsReached(t *testing.T) {
	for _, c := range []struct{ p, want, delta float64 }{{0.98, 0.97, 0.05}, {0.935, 0.93, 0.001}, {0.5, 0.4, 0.01}, {1, 0.999, 0.05}, {0.3, 0, 0.05}} {
		n := SamplesFor(c.p, c.want, c.delta)
		low := func(n int) float64 { return LowerShare(int(math.Round(c.p*float64(n))), n, c.delta) }
		if low(n) < c.want-1e-9 {
			t.Errorf("%v: %d samples reach %v", c, n, low(n))
		}
		if fewer := n - n/100; n > 1000 && low(fewer) >= c.want {
			t.Errorf("%v: %d samples would do, not %d", c, fewer, n)
		}
	}
}
