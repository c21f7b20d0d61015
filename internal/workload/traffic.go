package workload

import (
	"math"
	"math/rand/v2"
)

// Traffic draws counts of requests per second that are bursty on every time scale,
// like real traffic, with a mean of about rate. It is the sum of many on/off sources
// with heavy-tailed on and off times (Pareto, alpha 1.4). The sum is self-similar:
// unlike those of a Poisson process, its bursts do not average out over longer windows.
// Sometimes an additional crowd arrives, up to three times the mean, and decays
// exponentially. The counts are Poisson around that rate.
func Traffic(seconds int, rate float64, seed uint64) []float64 {
	const (
		sources     = 24
		alpha       = 1.4
		onMin       = 1.2 // seconds; with alpha 1.4 the mean is 3.5 times that
		offMin      = 3.6
		crowdEvery  = 75.0
		crowdLeaves = 6.0
	)
	rng := rand.New(rand.NewPCG(seed, 0x74726166666963))
	pareto := func(least float64) float64 { return least * math.Pow(1-rng.Float64(), -1/alpha) }
	busy := make([]float64, seconds)
	for range sources {
		on := rng.Float64() < onMin/(onMin+offMin)
		for at := -100 * rng.Float64(); at < float64(seconds); on = !on {
			end := at + pareto(offMin)
			if on {
				end = at + pareto(onMin)
				cover(busy, at, end)
			}
			at = end
		}
	}
	crowds := make([]float64, seconds)
	for at := crowdEvery * rng.ExpFloat64(); at < float64(seconds); at += crowdEvery * rng.ExpFloat64() {
		height := 3 * rng.Float64()
		for s := int(at); s < seconds; s++ {
			crowds[s] += height * math.Exp(-(float64(s)-at)/crowdLeaves)
		}
	}
	counts := make([]float64, seconds)
	for s := range counts {
		share := busy[s]/(sources*onMin/(onMin+offMin)) + crowds[s]
		counts[s] = poisson(rng, rate*share)
	}
	return counts
}

// cover adds to each second the part of it that lies between from and to.
func cover(seconds []float64, from, to float64) {
	for s := max(0, int(from)); s < len(seconds) && float64(s) < to; s++ {
		seconds[s] += max(0, min(to, float64(s+1))-max(from, float64(s)))
	}
}

// poisson draws a Poisson number by counting exponential gaps. That is fast enough,
// because the means are at most hundreds.
func poisson(rng *rand.Rand, mean float64) float64 {
	n := 0.0
	for sum := rng.ExpFloat64(); sum < mean; sum += rng.ExpFloat64() {
		n++
	}
	return n
}
