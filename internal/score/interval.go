package score

import (
	"math"
	"math/rand/v2"
)

// miss is the probability that the mean is outside an interval at one given end. With
// both ends these are 95 % intervals.
const miss = 0.025

// The names of intervals in profiles. Wilson's is "".
const (
	ByWilson  = ""
	ByBetting = "betting"
)

// Interval returns a 95 % interval for the mean of scores: Wilson's if all are 0 or 1,
// else one by betting.
func Interval(scores []float64) (mean, low, high float64, by string) {
	if len(scores) == 0 {
		return 0, 0, 1, ByWilson
	}
	sum, whole := 0.0, true
	for _, s := range scores {
		sum += s
		whole = whole && isBit(s)
	}
	mean = min(sum/float64(len(scores)), 1) // only rounding can exceed 1
	if whole {
		low, high = Wilson(mean, float64(len(scores)))
		return mean, low, high, ByWilson
	}
	low, high = Betting(scores)
	return mean, min(low, mean), max(high, mean), ByBetting
}

// Wilson returns the 95 % Wilson score interval of a share p of n observations. It is
// correct also for shares near 0 and 1, as of good models. n need not be an integer: it
// may be the effective number of dependent observations.
func Wilson(p, n float64) (low, high float64) {
	if n <= 0 {
		return 0, 1
	}
	const z = 1.959963984540054 // 97.5 % quantile of the standard normal distribution
	center := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return max(0, min(center-half, p)), min(1, max(center+half, p))
}

// betMax bounds a bet, so that no single score takes all capital: 3/4, as Waudby-Smith
// and Ramdas (2024) advise for a sample of known size.
const betMax = 0.75

// bettingSteps is how often the unit interval is halved, to a resolution below a
// millionth, the unit of accuracies.
const bettingSteps = 22

// Betting returns a 95 % interval for the mean of independent scores in [0, 1] by
// betting (Waudby-Smith and Ramdas, Estimating means of bounded random variables by
// betting, 2024). It holds for every distribution on [0, 1] and every number of
// samples. A normal or bootstrap interval is too narrow if nearly all scores are equal;
// Hoeffding's interval and the empirical Bernstein interval of Maurer and Pontil are
// wider.
//
// For each possible mean m, a gambler bets that every next score is above m. If m is
// the true mean, the bets are fair, and the probability that the capital ever grows by
// 1/miss is at most miss. So a mean for which it grows that much is excluded. The size
// of a bet depends on the variance of the previous scores, so it is small if scores
// vary. Sets may be sorted, so scores are taken in an order that is drawn once and for
// all.
func Betting(scores []float64) (low, high float64) {
	x, bets := shuffled(scores, miss)
	low = lowest(x, bets, miss)
	for i := range x {
		x[i] = 1 - x[i]
	}
	return low, 1 - lowest(x, bets, miss)
}

// LowerMean returns a lower bound for the mean of independent scores in [0, 1] by
// betting, as Betting does. The probability that the mean is below it is at most delta.
func LowerMean(scores []float64, delta float64) float64 {
	x, bets := shuffled(scores, delta)
	return lowest(x, bets, delta)
}

// shuffled returns the scores in a random order, and the bets on them.
func shuffled(scores []float64, miss float64) (x, bets []float64) {
	order := rand.New(rand.NewPCG(1, 1)).Perm(len(scores))
	x, bets = make([]float64, len(scores)), make([]float64, len(scores))
	sum, squares, variance := 0.5, 0.25, 0.25 // as if one score of one half had been seen
	for i, from := range order {
		x[i] = scores[from]
		bets[i] = math.Sqrt(2 * math.Log(1/miss) / (float64(len(scores)) * variance))
		n := float64(i + 2)
		sum += x[i]
		squares += (x[i] - sum/n) * (x[i] - sum/n)
		variance = squares / n
	}
	return x, bets
}

// lowest returns the lowest mean that the bets do not exclude.
func lowest(x, bets []float64, miss float64) float64 {
	below, above := 0.0, 1.0
	for range bettingSteps {
		m := (below + above) / 2
		if grows(x, bets, m, miss) {
			below = m
		} else {
			above = m
		}
	}
	return below
}

// grows reports whether betting against the mean m ever multiplies the capital by
// 1/miss. If it does for m, it does for every lower mean.
func grows(x, bets []float64, m, miss float64) bool {
	capital := 1.0
	for i, v := range x {
		capital *= 1 + min(bets[i], betMax/m)*(v-m)
		if capital >= 1/miss {
			return true
		}
	}
	return false
}
