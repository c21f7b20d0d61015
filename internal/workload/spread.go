package workload

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Spread is a distribution of floors or deadlines: uniform between Low and
// High, which are equal for a fixed value.
type Spread struct {
	Low, High float64
}

// Fixed returns the spread with one value.
func Fixed(v float64) Spread { return Spread{Low: v, High: v} }

// draw draws a value.
func (s Spread) draw(rng *rand.Rand) float64 {
	return s.Low + rng.Float64()*(s.High-s.Low)
}

// String returns the form that ParseSpread reads.
func (s Spread) String() string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	if s.Low == s.High {
		return number(s.Low)
	}
	return "uniform:" + number(s.Low) + ":" + number(s.High)
}

// ParseSpread parses "V" or "uniform:V:V"; parse reads V.
func ParseSpread(s string, parse func(string) (float64, error)) (Spread, error) {
	low, high := s, s
	if rest, ok := strings.CutPrefix(s, "uniform:"); ok {
		if low, high, ok = strings.Cut(rest, ":"); !ok {
			return Spread{}, fmt.Errorf("%q has one bound; write uniform:LOW:HIGH", s)
		}
	}
	var spread Spread
	var err error
	if spread.Low, err = parse(low); err != nil {
		return Spread{}, err
	}
	if spread.High, err = parse(high); err != nil {
		return Spread{}, err
	}
	if !(spread.Low <= spread.High) {
		return Spread{}, fmt.Errorf("the lower bound of %q is above its upper bound", s)
	}
	return spread, nil
}

// ParseShare parses a floor such as "0.97", like slo.ParseAccuracy.
func ParseShare(s string) (float64, error) {
	a, err := slo.ParseAccuracy(s)
	return a.Float(), err
}

// ParseSeconds parses a duration such as "100ms" and returns seconds; "0" means no
// deadline.
func ParseSeconds(s string) (float64, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > time.Hour {
		return 0, fmt.Errorf("%q is not a duration up to an hour, such as 100ms", s)
	}
	return d.Seconds(), nil
}
