package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// trial offers a rate for a while and returns the share of items on time.
type trial func(ctx context.Context, rate float64, length time.Duration) (onTime float64, err error)

// search finds the highest rate with at least Target of the items on time.
type search struct {
	target    float64       // share of items on time that counts as held
	guess     float64       // where to begin, items per second
	probe     time.Duration // length of a short run, to find the neighbourhood
	confirm   time.Duration // length of the run that a result must survive
	budget    time.Duration // for a search without mishaps, on clock
	limit     time.Duration // for confirmations that were refuted and are tried again, >= budget
	clock     func() time.Time
	precision float64 // bracket ratio at which probing ends, e.g. 1.05
}

// Steps of the search. A rate that was too high by far sheds what is beyond the
// capacity, so what was on time in it tells where to look next.
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

// errNoCapacity says that no rate was confirmed.
var errNoCapacity = errors.New("no rate could be confirmed")

// bracket is what the search knows: low held, high did not; 0 is unknown.
type bracket struct {
	low, high float64
}

// run returns the confirmed rate. Only a rate that held for the whole length of
// a confirmation counts: short runs near the edge pass by luck.
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

// confirmed tries rates for the length of a confirmation, until one holds. next
// gives, after a try, the factor to the rate to try then; false ends it.
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
			return 0, fmt.Errorf("%w: the last try had %.1f %% on time at %.1f items per second; is something else keeping this machine busy?",
				errNoCapacity, 100*onTime, rate)
		}
		rate *= factor
	}
}

// tight reports whether the bracket is as narrow as asked for.
func (b *bracket) tight(precision float64) bool {
	return b.low > 0 && b.high > 0 && b.high <= b.low*precision
}

// learn notes what a rate did and returns the next to try.
func (b *bracket) learn(rate, onTime, target float64) float64 {
	if onTime >= target {
		b.low = max(b.low, rate)
	} else if b.high == 0 || rate < b.high {
		b.high = rate
	}
	if b.high > 0 && b.low >= b.high { // noise: what held before did not this time
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
