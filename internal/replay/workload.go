package replay

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Process is how arrivals follow each other.
type Process string

// The arrival processes. A job of n items is followed by a gap that is n/rate
// long in the mean, so that the rate always counts items.
const (
	Poisson  Process = "poisson"  // exponential gaps
	Constant Process = "constant" // gaps of exactly n/rate
	Paper    Process = "paper"    // constant gaps and the paper's job sizes
)

// ParseProcess reads "poisson", "constant" or "paper".
func ParseProcess(s string) (Process, error) {
	switch p := Process(s); p {
	case Poisson, Constant, Paper:
		return p, nil
	}
	return "", fmt.Errorf("arrival process %q is none of poisson, constant, paper", s)
}

// PaperSize as a Workload's JobSize draws sizes as the MOSEL paper does: whole
// parts of a normal distribution with mean 1 and standard deviation 6, at least
// 1, until they sum to the second's rate.
const PaperSize = -1

// Bounds of one workload, for the memory its records take: about 1 GB at both.
const (
	jobsMax  = 4_000_000
	itemsMax = 16_000_000
	// RateMax is beyond what one generator process can send.
	RateMax = 1_000_000
	// JobSizeMax is the largest fixed job size: one request carries a job's items.
	JobSizeMax = 1024
)

// Workload describes a load. Everything it draws follows from Seed.
type Workload struct {
	Process   Process
	Rate      float64       // items per second, > 0; not with Trace
	Trace     []float64     // items per second, second by second; nil for a constant Rate
	Duration  time.Duration // > 0; a trace that ends earlier ends the load
	JobSize   int           // items per job, or PaperSize
	Floors    Spread        // min_accuracy of each job as a share, 0 = none
	Deadlines Spread        // of each job, in seconds, 0 = none
	Late      slo.LateRule
	Seed      uint64
}

// Job is one job of a workload: one request.
type Job struct {
	At       time.Duration // when it is meant to be sent, from the start of the run
	Floor    slo.Accuracy  // 0: none asked for
	Deadline time.Duration // from At; 0: none
	Late     slo.LateRule
	Samples  []int32 // the rows of the sample set it carries, one per item
	First    int     // how many items the jobs before it carry
}

// Validate says what is wrong with the workload, in the words of the command's flags.
func (w Workload) Validate() error {
	switch {
	case w.Trace == nil && !(w.Rate > 0 && w.Rate <= RateMax):
		return fmt.Errorf("a rate of %v items per second is not between 0 and %d", w.Rate, RateMax)
	case w.Duration <= 0:
		return fmt.Errorf("a duration of %v is not positive", w.Duration)
	case w.JobSize != PaperSize && (w.JobSize < 1 || w.JobSize > JobSizeMax):
		return fmt.Errorf("a job size of %d is not between 1 and %d", w.JobSize, JobSizeMax)
	case w.Process == Paper && w.JobSize != PaperSize:
		return fmt.Errorf("the paper's process has the paper's job sizes, not %d", w.JobSize)
	case w.Floors.Low < 0 || w.Floors.High > 1:
		return fmt.Errorf("a min_accuracy of %v is not between 0 and 1", w.Floors)
	case w.Deadlines.Low < 0:
		return fmt.Errorf("a deadline of %v seconds is negative", w.Deadlines)
	}
	if _, err := ParseProcess(string(w.Process)); err != nil {
		return err
	}
	if items := w.items(); items > itemsMax {
		return fmt.Errorf("about %.0f items are more than one run keeps (%d): lower the rate or the duration", items, itemsMax)
	}
	return nil
}

// items is the expected number of items.
func (w Workload) items() float64 {
	if w.Trace == nil {
		return w.Rate * w.Duration.Seconds()
	}
	sum := 0.0
	for _, rate := range w.Trace[:min(len(w.Trace), int(math.Ceil(w.Duration.Seconds())))] {
		sum += rate
	}
	return sum
}

// Jobs draws the jobs of the workload over a set of so many samples. Samples
// are taken in shuffled passes over the set, so all are used equally often.
func (w Workload) Jobs(samples int) ([]Job, error) {
	if err := w.Validate(); err != nil {
		return nil, err
	}
	if samples < 1 {
		return nil, fmt.Errorf("the sample set is empty")
	}
	const gaps, sizes, floors, deadlines, order = 1, 2, 3, 4, 5 // independent streams: one knob moves one thing
	stream := func(i uint64) *rand.Rand { return rand.New(rand.NewPCG(w.Seed, i)) }
	gap, floor, deadline := stream(gaps), stream(floors), stream(deadlines)
	size := sizer{w: w, rng: stream(sizes)}
	pass := passes{rng: stream(order), samples: samples}
	clock := timeline{w: w}
	var jobs []Job
	first := 0
	work := 0.0 // items of all jobs so far, as drawn: where the timeline stands
	if w.Process == Poisson {
		work = gap.ExpFloat64() * size.mean()
	}
	for {
		at, ok := clock.at(work)
		if !ok {
			return jobs, nil
		}
		n := size.next(clock.rate())
		if len(jobs) == jobsMax || first+n > itemsMax {
			return nil, fmt.Errorf("more than %d jobs or %d items: lower the rate or the duration", jobsMax, itemsMax)
		}
		accuracy, err := slo.AccuracyOf(w.Floors.draw(floor))
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, Job{At: at, Floor: accuracy, Late: w.Late, First: first, Samples: pass.take(n),
			Deadline: time.Duration(w.Deadlines.draw(deadline) * float64(time.Second))})
		first += n
		step := float64(n)
		if w.Process == Poisson {
			step *= gap.ExpFloat64()
		}
		work += step
	}
}

// timeline maps work (a number of items) to the time at which that many items
// are due. Calls come with growing work.
type timeline struct {
	w      Workload
	second int     // of the trace
	before float64 // items due before that second
}

// at returns the time at which work items are due; false past the end.
func (t *timeline) at(work float64) (time.Duration, bool) {
	seconds := 0.0
	if t.w.Trace == nil {
		seconds = work / t.w.Rate
	} else {
		for t.second < len(t.w.Trace) && t.before+t.w.Trace[t.second] <= work {
			t.before += t.w.Trace[t.second]
			t.second++
		}
		if t.second == len(t.w.Trace) {
			return 0, false
		}
		seconds = float64(t.second) + (work-t.before)/t.w.Trace[t.second]
	}
	if seconds >= t.w.Duration.Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// rate is the rate at the time that at returned last.
func (t *timeline) rate() float64 {
	if t.w.Trace == nil {
		return t.w.Rate
	}
	return t.w.Trace[t.second]
}

// sizer draws job sizes.
type sizer struct {
	w    Workload
	rng  *rand.Rand
	left int // items the current second still has to get, for PaperSize
}

// next draws a size where the rate is so many items per second.
func (s *sizer) next(rate float64) int {
	if s.w.JobSize != PaperSize {
		return s.w.JobSize
	}
	if s.left <= 0 {
		s.left = max(1, int(math.Round(rate)))
	}
	n := min(max(1, int(s.rng.NormFloat64()*6+1)), s.left)
	s.left -= n
	return n
}

// mean is the mean size, about: it places the first arrival only.
func (s *sizer) mean() float64 {
	if s.w.JobSize == PaperSize {
		return 3
	}
	return float64(s.w.JobSize)
}

// passes hands out samples in shuffled passes over the whole set.
type passes struct {
	rng     *rand.Rand
	samples int
	order   []int32
	next    int
}

// take returns the next n samples.
func (p *passes) take(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		if p.next == len(p.order) {
			p.shuffle()
		}
		out[i] = p.order[p.next]
		p.next++
	}
	return out
}

// shuffle begins a new pass.
func (p *passes) shuffle() {
	if p.order == nil {
		p.order = make([]int32, p.samples)
		for i := range p.order {
			p.order[i] = int32(i)
		}
	}
	p.rng.Shuffle(len(p.order), func(i, j int) { p.order[i], p.order[j] = p.order[j], p.order[i] })
	p.next = 0
}
