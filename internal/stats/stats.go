// Package stats has the statistics of durations for all reports, so that they agree:
// one definition of a quantile, one distribution in constant space, one conversion to
// and from milliseconds.
package stats

import (
	"math"
	"time"
)

// Milliseconds converts a duration to milliseconds, rounded to the nearest
// microsecond.
func Milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// FromMilliseconds converts milliseconds to a duration, rounded to the nearest
// nanosecond. The value must fit a duration.
func FromMilliseconds(ms float64) time.Duration {
	return time.Duration(math.Round(ms * float64(time.Millisecond)))
}

// Quantile returns the q-quantile of values in ascending order, by nearest rank: the
// smallest value such that at least a share q of the values does not exceed it. It is
// 0 if there are no values.
func Quantile[T any](sorted []T, q float64) T {
	if len(sorted) == 0 {
		var none T
		return none
	}
	return sorted[rank(q, len(sorted))-1]
}

// rank returns the position, from 1, of a quantile among n >= 1 values.
func rank(q float64, n int) int {
	return min(max(int(math.Ceil(q*float64(n))), 1), n)
}
