package sched

import "math"

// scatter is how much measured times of batches differ from expected ones. It counts
// stalls in full, other than the mean deviation, because a stall delays all queued work.
type scatter struct {
	batches  int
	expected float64 // mean expected time of a batch, ns
	square   float64 // mean squared difference, ns^2
}

// scatterShare is the weight of one batch in the scatter: stalls are rare.
const scatterShare = 1.0 / 256

// scatterPrior is how many batches without any difference the first ones are averaged
// with, so that one of them does not decide alone.
const scatterPrior = 16

// scatterDeviations is how many standard deviations longer than expected work may take
// without making a job late because of accuracy that its floor does not ask for.
const scatterDeviations = 3

// see learns from a batch. No difference counts for more than most.
func (s *scatter) see(took, expected, most float64) {
	s.batches++
	share := max(scatterShare, 1/float64(s.batches)) // a plain mean at first
	s.expected += share * (expected - s.expected)
	by := min(math.Abs(took-expected), most)
	s.square += max(scatterShare, 1/float64(s.batches+scatterPrior)) * (by*by - s.square)
}

// reserve returns how much longer than expected work of some length may take, ns. The
// differences of its batches are independent, so their squares add up.
func (s *scatter) reserve(work float64) float64 {
	if s.batches == 0 || work <= 0 {
		return 0
	}
	return scatterDeviations * math.Sqrt(s.square*max(1, work/s.expected))
}
