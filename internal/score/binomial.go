package score

import "math"

// LowerShare returns a lower bound for the probability of which right of n independent
// trials are one outcome: that of Clopper and Pearson (1934), which is exact. The
// probability that the share is below it is at most delta.
func LowerShare(right, n int, delta float64) float64 {
	if right <= 0 || n < 1 {
		return 0
	}
	// The bound is the p at which as many as were right are as unlikely as delta. The
	// tail grows with p.
	below, above := 0.0, float64(right)/float64(n)
	for range binomialSteps {
		p := (below + above) / 2
		if tail(right, n, p) < delta {
			below = p
		} else {
			above = p
		}
	}
	return below
}

// binomialSteps is how often the interval is halved, to a resolution far below a
// millionth, the unit of accuracies.
const binomialSteps = 40

// tail returns the probability of at least k of n with probability p each.
func tail(k, n int, p float64) float64 {
	if p <= 0 {
		return 0
	}
	if p >= 1 {
		return 1
	}
	// The terms are computed from their logarithm at k on, each from the one before. Above
	// the mean n*p they only fall, and k is above it: the bound is below k/n.
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	term := math.Exp(lg(n) - lg(k) - lg(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	sum := term
	for i := k + 1; i <= n && term > sum*1e-17; i++ {
		term *= float64(n-i+1) / float64(i) * p / (1 - p)
		sum += term
	}
	return min(1, sum)
}

// SamplesFor returns how many samples a lower bound needs to reach want, if as large a
// share p of them is right as now; 0 if no number of samples is enough, or more than a
// billion are needed.
func SamplesFor(p, want, delta float64) int {
	const most = 1 << 30
	if p <= want {
		return 0
	}
	// LowerShare is at least want where the tail at want is at most delta. To ask for the
	// tail is much quicker, which matters for millions of samples.
	enough := func(n int) bool {
		right := int(math.Round(p * float64(n)))
		return float64(right) > want*float64(n) && tail(right, n, want) <= delta
	}
	n := 1
	for n < most && !enough(n) {
		n *= 2
	}
	if n >= most {
		return 0
	}
	low, high := n/2, n
	for high-low > 1+high/1000 { // a person reads it: three digits are plenty
		if mid := (low + high) / 2; enough(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}
