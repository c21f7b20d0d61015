package replay

import "github.com/mosel-serve/mosel/internal/modelpkg"

// interval is a share with the ends of its 95 % confidence interval.
type interval struct {
	mean, low, high float64
}

// tally counts right answers by sample.
type tally struct {
	items, right map[int32]int
}

// add counts one answer for a sample.
func (t *tally) add(sample int32, right bool) {
	if t.items == nil {
		t.items, t.right = map[int32]int{}, map[int32]int{}
	}
	t.items[sample]++
	if right {
		t.right[sample]++
	}
}

// interval is the share of right answers with its interval as an estimate for
// samples never seen. A sample sent ten times is not ten observations: its
// answers are alike. So the variance is that of the samples' own totals (the
// usual one for clusters), turned into the number of independent observations
// that would have it, at most the number of different samples where answers
// all agree and at most the number of items always.
func (t *tally) interval() (share interval, items, right int) {
	for s, n := range t.items {
		items += n
		right += t.right[s]
	}
	if items == 0 {
		return interval{high: 1}, 0, 0
	}
	p := float64(right) / float64(items)
	squares := 0.0
	for s, n := range t.items {
		d := float64(t.right[s]) - p*float64(n)
		squares += d * d
	}
	samples := float64(len(t.items))
	effective := samples
	if squares > 0 && samples > 1 {
		n := float64(items)
		variance := squares * samples / (samples - 1) / (n * n)
		effective = p * (1 - p) / variance
	}
	low, high := modelpkg.Wilson(p, min(effective, float64(items)))
	return interval{p, low, high}, items, right
}
