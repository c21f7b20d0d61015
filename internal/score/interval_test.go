package score

import (
	"math"
	"math/rand/v2"
	"testing"
)

// distributions are distributions of scores with known means.
var distributions = []struct {
	name string
	mean float64
	draw func(*rand.Rand) float64
}{
	{"uniform", 0.5, (*rand.Rand).Float64},
	{"high", 5. / 6, func(r *rand.Rand) float64 { return math.Pow(r.Float64(), 0.2) }},
	{"low", 1. / 6, func(r *rand.Rand) float64 { return 1 - math.Pow(r.Float64(), 0.2) }},
	{"constant", 0.9, func(*rand.Rand) float64 { return 0.9 }},
	{"nearly constant", 0.9 * 0.99, func(r *rand.Rand) float64 {
		if r.Float64() < 0.01 {
			return 0
		}
		return 0.9
	}},
	{"one in a hundred is half", 0.995, func(r *rand.Rand) float64 {
		if r.Float64() < 0.01 {
			return 0.5
		}
		return 1
	}},
	{"two ends and a middle", 0.6, func(r *rand.Rand) float64 {
		switch p := r.Float64(); {
		case p < 0.3:
			return 0
		case p < 0.5:
			return 0.5
		}
		return 1
	}},
	{"narrow", 0.75, func(r *rand.Rand) float64 { return 0.7 + 0.1*r.Float64() }},
	{"sample F1", 0.7, func(r *rand.Rand) float64 { return []float64{1, 2. / 3, 0.5, 0.8, 0.53333333333333333}[r.IntN(5)] }},
}

// TestBettingCovers draws scores many times: the interval must miss the true mean in at
// most 5 of 100 draws, for any distribution and number of samples.
func TestBettingCovers(t *testing.T) {
	for _, d := range distributions {
		for n, draws := range map[int]int{20: 400, 50: 400, 200: 300, 2000: 100} {
			rng := rand.New(rand.NewPCG(7, uint64(n)))
			missed, width := 0, 0.0
			scores := make([]float64, n)
			for range draws {
				for i := range scores {
					scores[i] = d.draw(rng)
				}
				low, high := Betting(scores)
				width += (high - low) / float64(draws)
				if d.mean < low-1e-9 || d.mean > high+1e-9 {
					missed++
				}
			}
			t.Logf("%s, n %d: %d of %d missed, width %.4f", d.name, n, missed, draws, width)
			if float64(missed) > 0.05*float64(draws) {
				t.Errorf("%s, n %d: %d of %d intervals miss the mean", d.name, n, missed, draws)
			}
		}
	}
}

// TestBettingIsNarrow compares with the interval of Maurer and Pontil, the usual one
// for bounded scores, and checks that scores that vary less have narrower intervals.
func TestBettingIsNarrow(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for _, d := range distributions {
		scores := make([]float64, 2000)
		sum, squares := 0.0, 0.0
		for i := range scores {
			scores[i] = d.draw(rng)
			sum += scores[i]
			squares += scores[i] * scores[i]
		}
		n := float64(len(scores))
		variance := max(0, squares-sum*sum/n) / (n - 1)
		bernstein := 2 * (math.Sqrt(2*variance*math.Log(2/0.025)/n) + 7*math.Log(2/0.025)/(3*(n-1)))
		if low, high := Betting(scores); high-low >= bernstein {
			t.Errorf("%s: %.4f wide, the empirical Bernstein interval %.4f", d.name, high-low, bernstein)
		}
	}
	width := func(spread float64) float64 {
		scores := make([]float64, 500)
		for i := range scores {
			scores[i] = 0.5 + spread*(rng.Float64()-0.5)
		}
		low, high := Betting(scores)
		return high - low
	}
	if a, b := width(0.1), width(1); a > b/3 {
		t.Errorf("%.4f wide where scores vary little, %.4f where they vary much", a, b)
	}
}

// TestBettingOfSortedScores checks that a sorted set has a similar interval.
func TestBettingOfSortedScores(t *testing.T) {
	scores := make([]float64, 1000)
	for i := range scores {
		scores[i] = float64(i) / 999
	}
	if low, high := Betting(scores); low > 0.5 || high < 0.5 || high-low > 0.1 {
		t.Errorf("[%v, %v]", low, high)
	}
}

func TestInterval(t *testing.T) {
	mean, low, high, by := Interval([]float64{1, 1, 1, 0})
	wantLow, wantHigh := Wilson(0.75, 4)
	if mean != 0.75 || low != wantLow || high != wantHigh || by != ByWilson {
		t.Errorf("of zeros and ones: %v [%v, %v] %q", mean, low, high, by)
	}
	mean, low, high, by = Interval([]float64{1, 1, 0.5, 0.5})
	if mean != 0.75 || low > 0.5 || high < 0.95 || high > 1 || by != ByBetting {
		t.Errorf("of others: %v [%v, %v] %q", mean, low, high, by)
	}
	if mean, low, high, _ = Interval(nil); mean != 0 || low != 0 || high != 1 {
		t.Errorf("of none: %v [%v, %v]", mean, low, high)
	}
	if mean, low, high, _ = Interval([]float64{0.25}); mean != 0.25 || low != 0 || high != 1 {
		t.Errorf("of one: %v [%v, %v]", mean, low, high)
	}
}
