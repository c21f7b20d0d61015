package stats

import (
	"math/bits"
	"time"
)

// fineBits is how finely Durations tells durations apart: 2^fineBits classes for
// every doubling, so that a quantile is within 0.4 % of what it would be exactly.
const fineBits = 7

// Durations is a distribution of durations in constant space. The mean is exact.
type Durations struct {
	Count int
	sum   float64
	class []int // count by class, up to the largest there was
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

// AddAll counts everything that other has counted.
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

// Reset forgets everything and keeps the memory.
func (d *Durations) Reset() {
	clear(d.class)
	d.Count, d.sum = 0, 0
}

// Sum is the sum of all.
func (d *Durations) Sum() time.Duration { return time.Duration(d.sum) }

// classOf numbers the classes: single nanoseconds first, then 2^fineBits to the
// doubling.
func classOf(t uint64) int {
	shift := max(0, bits.Len64(t)-fineBits-1)
	return shift<<fineBits + int(t>>shift)
}

// middle is the middle of a class.
func middle(class int) float64 {
	shift := max(0, class>>fineBits-1)
	low := uint64(class-shift<<fineBits) << shift
	return float64(low) + float64(uint64(1)<<shift-1)/2
}

// Mean is the mean, 0 without any.
func (d *Durations) Mean() time.Duration {
	return time.Duration(d.sum / float64(max(1, d.Count)))
}

// Quantile is the quantile of all that were counted, 0 without any.
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
