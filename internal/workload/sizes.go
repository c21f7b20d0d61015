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

// SizeLaw is how job sizes are distributed.
type SizeLaw uint8

// The laws.
const (
	SizesUniform SizeLaw = iota // whole numbers between Low and High
	SizesLog                    // the same, their logarithm uniform: many small jobs, few large ones
	// SizesPaper is the MOSEL paper's: whole parts of a normal distribution with
	// mean 1 and standard deviation 6, at least 1, until they sum to the
	// second's rate.
	SizesPaper
)

// Sizes is a distribution of job sizes. Low and High are equal for a fixed
// size, and not used by the paper's law.
type Sizes struct {
	Law       SizeLaw
	Low, High int
}

// FixedSize is n items in every job.
func FixedSize(n int) Sizes { return Sizes{Low: n, High: n} }

// PaperSizes is the paper's law.
var PaperSizes = Sizes{Law: SizesPaper}

// ParseSizes reads "N", "uniform:N:N", "log:N:N" or "paper".
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

// Validate says what is wrong with the distribution.
func (s Sizes) Validate() error {
	if s.Law != SizesPaper && (s.Low < 1 || s.High < s.Low || s.High > JobItemsMax) {
		return fmt.Errorf("a job size of %v is not between 1 and %d", s, JobItemsMax)
	}
	return nil
}

// String prints the distribution as ParseSizes reads it.
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

// Mean is the mean size; for the paper's law about.
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
	left  int // items the current second still has to get, for the paper's law
}

// next draws a size where the rate is so many items per second.
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
