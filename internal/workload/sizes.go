package workload

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// JobItemsMax is the largest job that is drawn.
const JobItemsMax = 100_000

// SizeLaw is a kind of distribution of job sizes.
type SizeLaw uint8

// The laws.
const (
	SizesUniform SizeLaw = iota // whole numbers between Low and High
	SizesLog                    // the same, with a uniform logarithm: many small jobs, few large ones
	// SizesPaper is the MOSEL paper's: values of a normal distribution with mean 1 and
	// standard deviation 6, rounded down, at least 1, until they sum to the second's
	// rate.
	SizesPaper
)

// Sizes is a distribution of job sizes. Low and High are equal for a fixed size, and
// unused for SizesPaper.
type Sizes struct {
	Law       SizeLaw
	Low, High int
}

// FixedSize returns the distribution with n items in every job.
func FixedSize(n int) Sizes { return Sizes{Low: n, High: n} }

// PaperSizes returns the paper's distribution.
var PaperSizes = Sizes{Law: SizesPaper}

// ParseSizes parses "N", "uniform:N:N", "log:N:N" or "paper".
func ParseSizes(s string) (Sizes, error) {
	if s == "paper" {
		return PaperSizes, nil
	}
	sizes, low, high := Sizes{}, s, s
	if law, rest, ok := strings.Cut(s, ":"); ok {
		if law == "log" {
			sizes.Law = SizesLog
		}
		if low, high, ok = strings.Cut(rest, ":"); !ok || law != "log" && law != "uniform" {
			return Sizes{}, fmt.Errorf("%q is none of N, uniform:LOW:HIGH, log:LOW:HIGH, paper", s)
		}
	}
	var err, err2 error
	sizes.Low, err = strconv.Atoi(low)
	sizes.High, err2 = strconv.Atoi(high)
	if err != nil || err2 != nil {
		return Sizes{}, fmt.Errorf("%q is none of N, uniform:LOW:HIGH, log:LOW:HIGH, paper", s)
	}
	return sizes, sizes.Validate()
}

// Validate returns an error if the distribution is invalid.
func (s Sizes) Validate() error {
	if s.Law != SizesPaper && (s.Low < 1 || s.High < s.Low || s.High > JobItemsMax) {
		return fmt.Errorf("a job size of %v is not between 1 and %d", s, JobItemsMax)
	}
	return nil
}

// String returns the form that ParseSizes reads.
func (s Sizes) String() string {
	switch {
	case s.Law == SizesPaper:
		return "paper"
	case s.Low == s.High:
		return strconv.Itoa(s.Low)
	case s.Law == SizesLog:
		return fmt.Sprintf("log:%d:%d", s.Low, s.High)
	}
	return fmt.Sprintf("uniform:%d:%d", s.Low, s.High)
}

// Mean returns the mean size, approximate for SizesPaper.
func (s Sizes) Mean() float64 {
	switch {
	case s.Law == SizesPaper:
		return 3
	case s.Law == SizesLog && s.Low < s.High:
		return float64(s.High-s.Low) / math.Log(float64(s.High)/float64(s.Low))
	}
	return float64(s.Low+s.High) / 2
}

// sizer draws job sizes.
type sizer struct {
	sizes Sizes
	rng   *rand.Rand
	left  int // for SizesPaper: items that the current second still needs
}

// next draws a size. rate is in items per second.
func (s *sizer) next(rate float64) int {
	low, high := s.sizes.Low, s.sizes.High
	switch {
	case s.sizes.Law == SizesPaper:
		if s.left <= 0 {
			s.left = max(1, int(math.Round(rate)))
		}
		n := min(max(1, int(s.rng.NormFloat64()*6+1)), s.left)
		s.left -= n
		return n
	case low == high:
		return low
	case s.sizes.Law == SizesLog:
		return min(high, int(float64(low)*math.Pow(float64(high+1)/float64(low), s.rng.Float64())))
	}
	return low + s.rng.IntN(high-low+1)
}
