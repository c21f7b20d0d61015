package stats

import (
	"math/bits"
	"time"
)

// fineBits is the resolution of Durations: 2^fineBits classes for every doubling, so
// that a quantile is within 0.4 % of the exact one.
const fineBits = 7

// Durations is a distribution of durations in constant space. The mean is exact.
type Durations struct {
	Count int
	sum   float64
	class []int // count by class, up to the largest class so far
}

// Add counts a duration >= 0.
func (d *Durations) Add(t time.Duration) {
	d.Count++
	d.sum += float64(t)
	c := classOf(uint64(max(0, t)))
	for c >= len(d.class) {
		d.class = append(d.class, 0)
	}
	d.class[c]++
}

// AddAll adds all durations of other.
func (d *Durations) AddAll(other *Durations) {
	d.Count += other.Count
	d.sum += other.sum
	for len(d.class) < len(other.class) {
		d.class = append(d.class, 0)
	}
	for c, n := range other.class {
		d.class[c] += n
	}
}

// Reset removes all durations and keeps the memory.
func (d *Durations) Reset() {
	clear(d.class)
	d.Count, d.sum = 0, 0
}

// Sum returns the sum of all durations.
func (d *Durations) Sum() time.Duration { return time.Duration(d.sum) }

// classOf returns the class of a duration: first one class per nanosecond, then
// 2^fineBits classes per doubling.
func classOf(t uint64) int {
	shift := max(0, bits.Len64(t)-fineBits-1)
	return shift<<fineBits + int(t>>shift)
}

// middle returns the middle of a class.
func middle(class int) float64 {
	shift := max(0, class>>fineBits-1)
	low := uint64(class-shift<<fineBits) << shift
	return float64(low) + float64(uint64(1)<<shift-1)/2
}

// Mean returns the mean, 0 if there are no durations.
func (d *Durations) Mean() time.Duration {
	return time.Duration(d.sum / float64(max(1, d.Count)))
}

// Quantile returns the q-quantile of all durations, 0 if there are none.
func (d *Durations) Quantile(q float64) time.Duration {
	if d.Count == 0 {
		return 0
	}
	below, at := 0, rank(q, d.Count)
	for c, n := range d.class {
		if below += n; below >= at {
			return time.Duration(middle(c))
		}
	}
	return 0
}
