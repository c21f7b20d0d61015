package replay

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/workload"
)

// Process is an arrival process.
type Process = workload.Process

// Spread is a distribution of floors or deadlines.
type Spread = workload.Spread

// The arrival processes.
const (
	Poisson  = workload.Poisson
	Constant = workload.Constant
	Paper    = workload.Paper
)

// Fixed is the spread with one value.
func Fixed(v float64) Spread { return workload.Fixed(v) }

// PaperSize as a Workload's JobSize draws sizes as in the MOSEL paper: values of a
// normal distribution with mean 1 and standard deviation 6, rounded down, at least 1,
// until they sum to the second's rate.
const PaperSize = -1

// Bounds of one workload, for the memory its records take: about 1 GB at both.
const (
	jobsMax  = 4_000_000
	itemsMax = 16_000_000
	// JobSizeMax is the largest fixed job size: one request carries a job's items.
	JobSizeMax = 1024
)

// Workload describes a load. Seed determines all random numbers.
type Workload struct {
	Process   Process
	Rate      float64       // items per second, > 0; not with Trace
	Trace     []float64     // items per second, second by second; nil for a constant Rate
	Duration  time.Duration // > 0; a trace that ends earlier ends the load
	JobSize   int           // items per job, or PaperSize
	Floors    Spread        // floor of each job, 0 to 1; 0: none
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

// Validate returns an error if the workload is invalid, in terms of the command's flags.
func (w Workload) Validate() error {
	switch {
	case w.Trace == nil && !(w.Rate > 0 && w.Rate <= workload.RateMax):
		return fmt.Errorf("a rate of %v items per second is not between 0 and %d", w.Rate, workload.RateMax)
	case w.Duration <= 0:
		return fmt.Errorf("a duration of %v is not positive", w.Duration)
	case w.JobSize != PaperSize && (w.JobSize < 1 || w.JobSize > JobSizeMax):
		return fmt.Errorf("a job size of %d is not between 1 and %d", w.JobSize, JobSizeMax)
	}
	load := w.load()
	if items := workload.Items(load.Rate); items > itemsMax {
		return fmt.Errorf("the load has about %.0f items, and a run may have %d: lower the rate or the duration", items, itemsMax)
	}
	return load.Validate()
}

// load is what the simulator draws as well.
func (w Workload) load() workload.Load {
	l := workload.Load{Process: w.Process, Sizes: workload.FixedSize(w.JobSize), Floors: w.Floors, Deadlines: w.Deadlines, Seed: w.Seed}
	if w.JobSize == PaperSize {
		l.Sizes = workload.PaperSizes
	}
	if l.Rate = workload.Steady(w.Rate, w.Duration); w.Trace != nil {
		l.Rate = workload.Seconds(w.Trace, w.Duration)
	}
	return l
}

// Jobs draws the jobs of the workload for a set with the given number of samples.
// Samples are taken in shuffled passes over the set, so all are used equally often. Where
// samples have sizes, those of a job have the same: items of different sizes cannot always
// share a request. Then a pass over all samples says which sizes a job has, so that each
// size gets its share, and a pass over the samples of that size says which it carries.
// sizes is nil if all samples are alike.
func (w Workload) Jobs(samples int, sizes func(sample int) slo.Sizes) ([]Job, error) {
	if err := w.Validate(); err != nil {
		return nil, err
	}
	if samples < 1 {
		return nil, fmt.Errorf("the sample set is empty")
	}
	load := w.load()
	draw := newDraw(load.Stream(workload.SampleStream), samples, sizes)
	var jobs []Job
	first := 0
	for j := range load.Jobs() {
		if len(jobs) == jobsMax || first+j.Items > itemsMax {
			return nil, fmt.Errorf("more than %d jobs or %d items: lower the rate or the duration", jobsMax, itemsMax)
		}
		jobs = append(jobs, Job{At: j.At, Floor: j.Floor, Deadline: j.Deadline, Late: w.Late, First: first, Samples: draw.take(j.Items)})
		first += j.Items
	}
	return jobs, nil
}

// draw draws the samples of jobs.
type draw struct {
	all   *passes
	sizes func(sample int) slo.Sizes // nil: all samples are alike
	of    map[slo.Sizes]*passes
}

func newDraw(rng *rand.Rand, samples int, sizes func(sample int) slo.Sizes) *draw {
	d := &draw{all: &passes{rng: rng}, sizes: sizes, of: map[slo.Sizes]*passes{}}
	for i := range samples {
		d.all.order = append(d.all.order, int32(i))
		if sizes == nil {
			continue
		}
		p := d.of[sizes(i)]
		if p == nil {
			p = &passes{rng: rng}
			d.of[sizes(i)] = p
		}
		p.order = append(p.order, int32(i))
	}
	return d
}

// take returns the next n samples, which have the same sizes.
func (d *draw) take(n int) []int32 {
	if n == 1 || len(d.of) < 2 {
		return d.all.take(n)
	}
	return d.of[d.sizes(int(d.all.take(1)[0]))].take(n)
}

// passes returns samples in shuffled passes over a list of them.
type passes struct {
	rng   *rand.Rand
	order []int32
	left  int // of the pass
}

// take returns the next n samples.
func (p *passes) take(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		if p.left == 0 {
			p.shuffle()
		}
		out[i] = p.order[len(p.order)-p.left]
		p.left--
	}
	return out
}

// shuffle begins a new pass.
func (p *passes) shuffle() {
	p.rng.Shuffle(len(p.order), func(i, j int) { p.order[i], p.order[j] = p.order[j], p.order[i] })
	p.left = len(p.order)
}
