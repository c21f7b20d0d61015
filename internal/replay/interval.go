package replay

import (
	"maps"
	"slices"

	"github.com/mosel-serve/mosel/internal/score"
)

// interval is a mean score with the ends of its 95 % confidence interval.
type interval struct {
	mean, low, high float64
}

// tally adds scores up by sample.
type tally struct {
	items map[int32]int
	score map[int32]float64
	right int  // scores that are 1
	parts bool // some scores are neither 0 nor 1
}

// add counts the score of one answer for a sample.
func (t *tally) add(sample int32, score float64) {
	if t.items == nil {
		t.items, t.score = map[int32]int{}, map[int32]float64{}
	}
	t.items[sample]++
	t.score[sample] += score
	switch score {
	case 0:
	case 1:
		t.right++
	default:
		t.parts = true
	}
}

// interval is the mean score with its interval as an estimate for samples never
// seen. A sample sent ten times is not ten observations: its answers are alike. Where
// scores are neither 0 nor 1, each sample's mean is one observation and the interval
// is by betting.
func (t *tally) interval() (mean interval, items int) {
	total := 0.0
	for _, s := range slices.Sorted(maps.Keys(t.items)) { // sums of a map would differ in the last digit
		items += t.items[s]
		total += t.score[s]
	}
	if items == 0 {
		return interval{high: 1}, 0
	}
	p := min(total/float64(items), 1)
	if !t.parts {
		low, high := score.Wilson(p, t.worth(p, float64(items)))
		return interval{p, low, high}, items
	}
	means := make([]float64, 0, len(t.items))
	for _, s := range slices.Sorted(maps.Keys(t.items)) {
		means = append(means, min(t.score[s]/float64(t.items[s]), 1))
	}
	low, high := score.Betting(means)
	return interval{p, min(low, p), max(high, p)}, items
}

// worth is the number of independent answers that would have the variance of these,
// which are right or wrong: that of the samples' own totals (the usual one for
// clusters). It is at most the number of different samples where answers all agree
// and at most the number of items always.
func (t *tally) worth(p, items float64) float64 {
	squares := 0.0
	for s, n := range t.items {
		d := t.score[s] - p*float64(n)
		squares += d * d
	}
	samples := float64(len(t.items))
	if squares == 0 || samples <= 1 {
		return min(samples, items)
	}
	variance := squares * samples / (samples - 1) / (items * items)
	return min(p*(1-p)/variance, items)
}
