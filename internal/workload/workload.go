// Package workload draws random loads: when jobs arrive, how many items they have,
// and their floors and deadlines. The load generator sends them to real servers and the
// simulator gives them to the core, so that both use the same loads. The seed
// determines everything. Every purpose has its own random stream, so that changing one
// setting does not change the others.
package workload

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Process is an arrival process.
type Process string

// The arrival processes. The mean gap after a job of n items is n/rate, so that the
// rate always counts items.
const (
	Poisson  Process = "poisson"  // exponential gaps
	Constant Process = "constant" // gaps of exactly n/rate
	Paper    Process = "paper"    // equal gaps, and the paper's job sizes
)

// ParseProcess reads "poisson", "constant" or "paper".
func ParseProcess(s string) (Process, error) {
	switch p := Process(s); p {
	case Poisson, Constant, Paper:
		return p, nil
	}
	return "", fmt.Errorf("arrival process %q is none of poisson, constant, paper", s)
}

// RateMax bounds rates, in items per second. One generator process cannot send more.
const RateMax = 1_000_000

// Load describes a load. Seed and Client determine all random numbers.
type Load struct {
	Process   Process
	Rate      []Step // the load ends with the last step
	Sizes     Sizes
	Floors    Spread // floor of each job, 0 to 1; 0: none
	Deadlines Spread // of each job, in seconds; 0: none
	Seed      uint64
	Client    uint64 // clients with the same seed have independent random streams
}

// Job is one random job.
type Job struct {
	At       time.Duration // from the start of the load
	Items    int
	Floor    slo.Accuracy  // 0: none asked for
	Deadline time.Duration // from At; 0: none
}

// Validate returns an error if the load is invalid, in terms of the commands' flags.
func (l Load) Validate() error {
	if _, err := ParseProcess(string(l.Process)); err != nil {
		return err
	}
	if l.Process == Paper && l.Sizes.Law != SizesPaper {
		return fmt.Errorf("the process paper has the paper's job sizes, not %v", l.Sizes)
	}
	switch {
	case !(l.Floors.Low >= 0 && l.Floors.High <= 1):
		return fmt.Errorf("a min_accuracy of %v is not between 0 and 1", l.Floors)
	case !(l.Deadlines.Low >= 0):
		return fmt.Errorf("a deadline of %v seconds is negative", l.Deadlines)
	}
	for _, s := range l.Rate {
		if !(s.Rate >= 0 && s.Rate <= RateMax) || !(s.Seconds > 0) {
			return fmt.Errorf("a rate of %v items per second over %v s is not between 0 and %d", s.Rate, s.Seconds, RateMax)
		}
	}
	return l.Sizes.Validate()
}

// The purposes, each with its own random stream.
const (
	gapStream      = 1
	sizeStream     = 2
	floorStream    = 3
	deadlineStream = 4
	// SampleStream is for the load generator's choice of samples.
	SampleStream = 5
	// ModalityStream is for the simulator's choice of missing modalities.
	ModalityStream = 6
	// streams is the number of streams of a client.
	streams = 16
)

// Stream is the random stream of one purpose.
func (l Load) Stream(purpose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(l.Seed, l.Client*streams+purpose))
}

// Jobs draws the jobs in order of time, one by one, without keeping them in memory.
// The load must be valid.
func (l Load) Jobs() iter.Seq[Job] {
	return func(yield func(Job) bool) {
		gap, floor, deadline := l.Stream(gapStream), l.Stream(floorStream), l.Stream(deadlineStream)
		size := sizer{sizes: l.Sizes, rng: l.Stream(sizeStream)}
		clock := timeline{steps: l.Rate}
		work := 0.0 // items of all jobs so far: the position on the timeline
		if l.Process == Poisson {
			work = gap.ExpFloat64() * l.Sizes.Mean()
		}
		for {
			at, ok := clock.at(work)
			if !ok {
				return
			}
			n := size.next(clock.rate())
			accuracy, _ := slo.AccuracyOf(l.Floors.draw(floor)) // Validate has checked the bounds
			if !yield(Job{At: at, Items: n, Floor: accuracy, Deadline: time.Duration(l.Deadlines.draw(deadline) * float64(time.Second))}) {
				return
			}
			step := float64(n)
			if l.Process == Poisson {
				step *= gap.ExpFloat64()
			}
			work += step
		}
	}
}

// timeline maps work (a number of items) to the time at which that many items are
// due. Work must grow from call to call.
type timeline struct {
	steps  []Step
	step   int
	start  float64 // of the step, in seconds
	before float64 // items due before the step
}

// at returns the time at which work items are due; false past the end.
func (t *timeline) at(work float64) (time.Duration, bool) {
	for t.step < len(t.steps) && t.before+t.steps[t.step].items() <= work {
		t.before += t.steps[t.step].items()
		t.start += t.steps[t.step].Seconds
		t.step++
	}
	if t.step == len(t.steps) {
		return 0, false
	}
	seconds := t.start + (work-t.before)/t.rate()
	return time.Duration(seconds * float64(time.Second)), true
}

// rate returns the rate at the time that at returned last.
func (t *timeline) rate() float64 { return t.steps[t.step].Rate }

// Step is a constant rate for some time.
type Step struct {
	Seconds float64
	Rate    float64 // items per second
}

func (s Step) items() float64 { return s.Rate * s.Seconds }

// Items returns the number of items in all steps.
func Items(steps []Step) float64 {
	sum := 0.0
	for _, s := range steps {
		sum += s.items()
	}
	return sum
}

// Steady returns a constant rate.
func Steady(rate float64, length time.Duration) []Step {
	return []Step{{Seconds: length.Seconds(), Rate: rate}}
}

// Seconds returns steps of one second with the given rates, for at most length.
func Seconds(rates []float64, length time.Duration) []Step {
	var steps []Step
	for i, rate := range rates {
		left := length.Seconds() - float64(i)
		if left <= 0 {
			break
		}
		steps = append(steps, Step{Seconds: min(1, left), Rate: rate})
	}
	return steps
}

// Mean returns the steps scaled to the mean rate. Steps without any items are returned
// unchanged.
func Mean(steps []Step, rate float64) []Step {
	items, seconds := Items(steps), 0.0
	for _, s := range steps {
		seconds += s.Seconds
	}
	if items == 0 {
		return steps
	}
	scaled := make([]Step, len(steps))
	for i, s := range steps {
		scaled[i] = Step{Seconds: s.Seconds, Rate: s.Rate * (rate * seconds / items)}
	}
	return scaled
}

// Diurnal returns a sine with the given period, from 1-swing at its start to 1+swing in
// its middle, in a hundred steps per period.
func Diurnal(length, period time.Duration, swing float64) []Step {
	const parts = 100
	width := period.Seconds() / parts
	var steps []Step
	for i := 0; float64(i)*width < length.Seconds(); i++ {
		phase := 2 * math.Pi * (float64(i%parts) + 0.5) / parts
		steps = append(steps, Step{Seconds: min(width, length.Seconds()-float64(i)*width), Rate: 1 - swing*math.Cos(phase)})
	}
	return steps
}

// Bursts describes a load that switches between two rates at random (a
// Markov-modulated process): a calm rate for an exponential time, then Ratio times that
// rate for another.
type Bursts struct {
	Ratio       float64
	Calm, Burst time.Duration // mean lengths
}

// Steps draws the switching times. The calm rate is 1.
func (b Bursts) Steps(length time.Duration, seed uint64) []Step {
	const stream = 1 << 32 // differs from the streams of clients
	rng := rand.New(rand.NewPCG(seed, stream))
	var steps []Step
	for at, burst := 0.0, false; at < length.Seconds(); burst = !burst {
		s := Step{Seconds: rng.ExpFloat64() * b.Calm.Seconds(), Rate: 1}
		if burst {
			s = Step{Seconds: rng.ExpFloat64() * b.Burst.Seconds(), Rate: b.Ratio}
		}
		s.Seconds = min(max(s.Seconds, 1e-3), length.Seconds()-at)
		steps = append(steps, s)
		at += s.Seconds
	}
	return steps
}
