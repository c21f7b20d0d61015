package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// trial sends a rate for some time and returns the share of items on time.
type trial func(ctx context.Context, rate float64, length time.Duration) (onTime float64, err error)

// search finds the highest rate with at least Target of the items on time.
type search struct {
	target    float64       // share of items on time at which a rate holds
	guess     float64       // where to begin, items per second
	probe     time.Duration // length of a short run, to find the approximate rate
	confirm   time.Duration // length of the run that confirms a rate
	budget    time.Duration // time for a search in which no confirmation fails
	limit     time.Duration // time if confirmations fail and are repeated, >= budget
	clock     func() time.Time
	precision float64 // bracket ratio at which probing ends, e.g. 1.05
}

// Steps of the search. If a rate was much too high, the server sheds what is beyond its
// capacity, so the number of items on time is a good next rate.
const (
	grow       = 1.6  // while nothing has failed
	backOff    = 0.94 // of what an overloaded run had on time, and of a rate that a confirmation refuted
	modest     = 0.97 // of the best probe: where confirming begins, for short runs pass by luck
	steadily   = 0.85 // the least part of a refuted rate to try next, where a probe has held
	blindly    = 0.5  // and where none has
	rateMin    = 0.5  // items per second below which there is no capacity to speak of
	confirms   = 2    // confirmations that time is kept for: the first may be refuted
	trialSlack = 700 * time.Millisecond
)

// errNoCapacity is the error if no rate was confirmed.
var errNoCapacity = errors.New("no rate could be confirmed")

// bracket is what the search knows: low held, high did not hold; 0 is unknown.
type bracket struct {
	low, high float64
}

// run returns the confirmed rate. Only a rate that held for the whole length of a
// confirmation counts, because short runs near the capacity may succeed by chance.
func (s search) run(ctx context.Context, try trial) (float64, error) {
	start := s.clock()
	spent := func() time.Duration { return s.clock().Sub(start) }
	b := bracket{}
	rate := s.guess
	for rate >= rateMin && spent()+s.probe+trialSlack+confirms*(s.confirm+trialSlack) < s.budget && !b.tight(s.precision) {
		onTime, err := try(ctx, rate, s.probe)
		if err != nil {
			return 0, err
		}
		rate = b.learn(rate, onTime, s.target)
	}
	least := blindly
	if b.low > 0 {
		rate, least = b.low*modest, steadily
	}
	return s.confirmed(ctx, try, rate, func(onTime float64) (float64, bool) {
		return min(backOff, max(onTime, least)), spent()+s.confirm+trialSlack < s.limit
	})
}

// confirmed tries rates for the length of a confirmation, until one holds. After a
// failure, next returns the factor for the next rate; false ends the search.
func (s search) confirmed(ctx context.Context, try trial, rate float64, next func(onTime float64) (float64, bool)) (float64, error) {
	for {
		onTime, err := try(ctx, rate, s.confirm)
		if err != nil {
			return 0, err
		}
		if onTime >= s.target {
			return rate, nil
		}
		factor, more := next(onTime)
		if !more || rate*factor < rateMin {
			return 0, fmt.Errorf("%w: the last attempt had %.1f %% on time at %.1f items per second; do other programs use the processor?",
				errNoCapacity, 100*onTime, rate)
		}
		rate *= factor
	}
}

// tight reports whether the bracket is as narrow as the search's precision.
func (b *bracket) tight(precision float64) bool {
	return b.low > 0 && b.high > 0 && b.high <= b.low*precision
}

// learn records the result of a rate and returns the next rate to try.
func (b *bracket) learn(rate, onTime, target float64) float64 {
	if onTime >= target {
		b.low = max(b.low, rate)
	} else if b.high == 0 || rate < b.high {
		b.high = rate
	}
	if b.high > 0 && b.low >= b.high { // noise: a rate that held before did not hold now
		b.low = 0
	}
	switch {
	case b.high == 0:
		return b.low * grow
	case b.low == 0:
		return rate * min(backOff, max(onTime*backOff, 0.2))
	}
	return math.Sqrt(b.low * b.high)
}
