package drift

import (
	"math"

	"github.com/mosel-serve/mosel/internal/score"
)

// The thresholds of the tests, as rates per observation.
const (
	// alarmRate is the rate of false alarms: at most one in 10,000 observations while the
	// mean is as promised.
	alarmRate = 1e-4
	// alarmRateChanged is the same for the other variants once one is lowered.
	alarmRateChanged = 1e-2
	// restoreRate is the rate of false recoveries: at most one in 1,000 observations while
	// the mean is below what is promised by restoreSlack.
	restoreRate = 1e-3
	// restoreSlack is how far below what is promised a mean may be that counts as recovered.
	// Without slack, a mean that is exactly as promised could never be told from a lower one.
	// Evidence of a fall at alarmRateChanged makes the test of recovery begin again.
	restoreSlack = 0.02
)

// climbFrom is the least number of observations whose estimate may be said to have risen,
// and climbMiss the probability that its upper bound is too low.
const (
	climbFrom = 100
	climbMiss = 0.01
)

// boundMiss is the probability that a mean is below the lower bound of its estimate, at any
// one time.
const boundMiss = 0.05

// window is about how many observations an estimate remembers.
const window = 2000

// source is what labels, or shadow runs, say of one variant.
type source struct {
	promised   float64
	fall       detector // of a fall below promised; while lowered, of a fall below low
	rise       detector // of recovery, while lowered
	climb      detector // of a rise above live, while lowered
	contest    detector // of a fall below promised, while lowered: it begins rise again
	live       estimate // of the mean: lately; while lowered, since the change began
	schedule   schedule
	next       float64 // observations in live at which climb begins again
	floor      float64 // the lower bound before the last rise, while lowered
	low        float64 // lower bound of live's mean and at least floor, while lowered
	lowered    bool
	suspected  bool     // while lowered: at the laxer rate only
	proof      detector // while suspected: of a fall below promised
	fractional bool     // some scores were neither 0 nor 1
	began      run      // what was seen since the last change, when it was noticed
	since      int64
	total      int64
	alarms     int
}

func newSource(promised float64) source {
	return source{promised: promised, fall: newDetector(promised)}
}

// observe observes a score, and a confidence that belongs to it or NaN, at a rate of false
// alarms. Moved means that the lower bound was computed again, and climbed that it was with
// the observations since a rise.
func (s *source) observe(x, confidence, rate float64) Change {
	s.total++
	s.fractional = s.fractional || x != 0 && x != 1
	s.live.add(x)
	if s.lowered {
		rate = alarmRate // of a further fall
	}
	if s.suspected {
		s.suspected = s.proof.step(x, math.NaN()) < 1/alarmRate
	}
	if capital := s.fall.step(x, confidence); capital >= 1/rate {
		if !s.lowered && capital < 1/alarmRate {
			s.suspected, s.proof = true, s.fall
		}
		s.lower()
		return Noticed
	}
	if !s.lowered {
		return None
	}
	s.since++
	if s.rise.step(1-x, math.NaN()) >= 1/restoreRate {
		s.restore()
		return Restored
	}
	if s.contest.step(x, math.NaN()) >= 1/alarmRateChanged {
		s.contest, s.rise = newDetector(s.promised), newDetector(s.rise.mean)
	}
	if s.climb.step(1-x, confidence) >= 1/alarmRate {
		s.began, s.since = s.climb.longest(), 0
		s.floor = s.low
		s.begin(estimate{})
		return climbed
	}
	if s.live.n >= s.next {
		s.watchRise()
	}
	if s.schedule.due(s.live.n) {
		s.low = max(s.floor, s.live.low(s.fractional, boundMiss))
		return Moved
	}
	return None
}

// proven reports whether the mean has fallen, beyond suspicion.
func (s *source) proven() bool { return s.lowered && !s.suspected }

// lower begins an estimate with what was observed since the change began.
func (s *source) lower() {
	s.began = s.fall.longest()
	s.lowered, s.since = true, int64(s.began.n)
	s.alarms++
	s.floor = 0
	s.rise, s.contest = newDetector(clip(1-s.promised+restoreSlack)), newDetector(s.promised)
	s.begin(estimate{n: float64(s.began.n), sum: s.began.sum})
}

// begin begins an estimate anew, after a fall with what was observed since it began, after
// a rise with nothing: what has shown a rise is more than the mean by luck. From then on a
// further fall, below that estimate, is an alarm too, and a rise above it begins the
// estimate anew: observations from before would hold it down for thousands more.
func (s *source) begin(e estimate) {
	s.live = e
	s.live.bound()
	s.low = max(s.floor, s.live.low(s.fractional, boundMiss))
	s.schedule = schedule{}
	s.fall = newDetector(min(s.low, s.promised))
	s.watchRise()
}

// watchRise begins the test of a rise above the estimate, as it is now. It is begun again
// when there are twice as many observations, and the estimate is narrower.
func (s *source) watchRise() {
	s.climb = newDetector(1 - s.live.high(s.fractional, climbMiss))
	s.next = max(climbFrom, 2*s.live.n)
}

// restore forgets everything but the totals.
func (s *source) restore() {
	fresh := newSource(s.promised)
	fresh.total, fresh.alarms = s.total, s.alarms
	*s = fresh
}

// estimate is a mean that forgets slowly: the weight of an observation falls exponentially
// once there are window of them.
type estimate struct{ n, sum float64 }

func (e *estimate) add(x float64) {
	e.n++
	e.sum += x
	e.bound()
}

// bound forgets so much that the weights sum to window.
func (e *estimate) bound() {
	if e.n > window {
		e.sum *= window / e.n
		e.n = window
	}
}

func (e *estimate) mean() float64 {
	if e.n == 0 {
		return 0
	}
	return min(1, e.sum/e.n)
}

// low returns a lower bound of the mean. With exponential weights that sum to n, the mean
// varies as one of 2n observations does, so the bound for n holds. The sum is rounded down
// and n up, so that rounding lowers the bound. A bound of a share holds for fractional
// scores too if its probability to miss is divided by e (Bentkus, On Hoeffding's
// inequalities, 2004): a sum of independent numbers in [0, 1] exceeds any whole number at
// most e times as often as a count with the same mean does.
func (e *estimate) low(fractional bool, miss float64) float64 {
	return lowMean(e.sum, e.n, fractional, miss)
}

// high returns an upper bound in the same way.
func (e *estimate) high(fractional bool, miss float64) float64 {
	return 1 - lowMean(e.n-e.sum, e.n, fractional, miss)
}

func lowMean(sum, n float64, fractional bool, miss float64) float64 {
	if fractional {
		miss /= math.E
	}
	// Sums have rounding errors of their own, far below a millionth.
	whole := math.Ceil(n - roundingError)
	return score.LowerShare(int(min(sum+roundingError, whole)), int(whole), miss)
}

// roundingError bounds the error of a sum of window numbers.
const roundingError = 1e-6

// schedule says when a bound is computed again: it takes as long as hundreds of
// observations, so it is done when there is an eighth more of them.
type schedule struct{ waited float64 }

// refreshShare is that part of the observations.
const refreshShare = 8

func (s *schedule) due(n float64) bool {
	if s.waited++; s.waited*refreshShare < n {
		return false
	}
	s.waited = 0
	return true
}
