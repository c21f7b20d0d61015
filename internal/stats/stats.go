// Package stats has the statistics of durations that mosel tells, so that two
// reports of the same durations have the same figures: one definition of a
// quantile, one distribution in constant space, one rounding to milliseconds and back.
package stats

import (
	"math"
	"time"
)

// Milliseconds is a duration in milliseconds as files and reports tell it: to the
// nearest microsecond.
func Milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// FromMilliseconds is the duration of so many milliseconds, to the nearest
// nanosecond. They are fewer than a duration can hold.
func FromMilliseconds(ms float64) time.Duration {
	return time.Duration(math.Round(ms * float64(time.Millisecond)))
}

// Quantile is the smallest of the values, which are in ascending order, that at
// least a share q of all do not exceed (the nearest rank): always one of the
// values. Of none it is the zero value.
func Quantile[T any](sorted []T, q float64) T {
	if len(sorted) == 0 {
		var none T
		return none
	}
	return sorted[rank(q, len(sorted))-1]
}

// rank is the place, from 1, of a quantile among n >= 1 values.
func rank(q float64, n int) int {
	return min(max(int(math.Ceil(q*float64(n))), 1), n)
}
