// Package workload draws loads: when jobs arrive, how many items they have, what
// they ask for. The load generator sends what is drawn here to real servers and
// the simulator feeds it to the core, so that both speak of the same load.
// Everything follows from the seed, and every purpose has a random stream of
// its own, so that changing one setting does not reshuffle the others.
package workload

import (
	"fmt"
	"iter"
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

// RateMax is beyond what one generator process can send, in items per second.
const RateMax = 1_000_000

// Load describes a load. Everything it draws follows from Seed and Client.
type Load struct {
	Process   Process
	Rate      []Step // the load ends with the last step
	Sizes     Sizes
	Floors    Spread // min_accuracy of each job as a share, 0 = none
	Deadlines Spread // of each job, in seconds, 0 = none
	Seed      uint64
	Client    uint64 // tells apart clients of one seed, which draw independently
}

// Job is one job as it is drawn.
type Job struct {
	At       time.Duration // from the start of the load
	Items    int
	Floor    slo.Accuracy  // 0: none asked for
	Deadline time.Duration // from At; 0: none
}

// Validate says what is wrong with the load, in the words of the commands' flags.
func (l Load) Validate() error {
	if _, err := ParseProcess(string(l.Process)); err != nil {
		return err
	}
	if l.Process == Paper && l.Sizes.Law != SizesPaper {
		return fmt.Errorf("the paper's process has the paper's job sizes, not %v", l.Sizes)
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

// The purposes that have random streams of their own.
const (
	gapStream      = 1
	sizeStream     = 2
	floorStream    = 3
	deadlineStream = 4
	// SampleStream is for the load generator's choice of samples.
	SampleStream = 5
	// ModalityStream is for the simulator's choice of missing modalities.
	ModalityStream = 6
	// streams is how many numbers a client has.
	streams = 16
)

// Stream is the random stream of one purpose.
func (l Load) Stream(purpose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(l.Seed, l.Client*streams+purpose))
}

// Jobs draws the jobs in order of time, one by one: what has been drawn is not
// kept. The load must be valid.
func (l Load) Jobs() iter.Seq[Job] {
	return func(yield func(Job) bool) {
		gap, floor, deadline := l.Stream(gapStream), l.Stream(floorStream), l.Stream(deadlineStream)
		size := sizer{sizes: l.Sizes, rng: l.Stream(sizeStream)}
		clock := timeline{steps: l.Rate}
		work := 0.0 // items of all jobs so far, as drawn: where the timeline stands
		if l.Process == Poisson {
			work = gap.ExpFloat64() * l.Sizes.Mean()
		}
		for {
			at, ok := clock.at(work)
			if !ok {
				return
			}
			n := size.next(clock.rate())
			accuracy, _ := slo.AccuracyOf(l.Floors.draw(floor)) // Validate has seen the bounds
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

// timeline maps work (a number of items) to the time at which that many items
// are due. Calls come with growing work.
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

// rate is the rate at the time that at returned last.
func (t *timeline) rate() float64 { return t.steps[t.step].Rate }

// Step is a rate that holds for a while.
type Step struct {
	Seconds float64
	Rate    float64 // items per second
}

func (s Step) items() float64 { return s.Rate * s.Seconds }

// Items is how many items are due in all steps.
func Items(steps []Step) float64 {
	sum := 0.0
	for _, s := range steps {
		sum += s.items()
	}
	return sum
}

// Steady is one rate for all the time.
func Steady(rate float64, length time.Duration) []Step {
	return []Step{{Seconds: length.Seconds(), Rate: rate}}
}

// Seconds is a rate for each second, at most as long as length.
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

// Mean returns the steps scaled so that their mean rate is rate. Steps without
// any items stay as they are.
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

// Diurnal is a day, or several, of a sine: period long, from 1-swing at its
// start to 1+swing in its middle, in a hundred steps to the period.
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

// Bursts says how a load switches between two rates at random (a Markov-modulated
// process): calm for an exponential time, then Ratio times as much for another.
type Bursts struct {
	Ratio       float64
	Calm, Burst time.Duration // mean lengths
}

// Steps draws the switching. The calm rate is 1.
func (b Bursts) Steps(length time.Duration, seed uint64) []Step {
	const stream = 1 << 32 // apart from those of clients
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
