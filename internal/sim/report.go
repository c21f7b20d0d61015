package sim

import (
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Outcomes counts by outcome; index with slo.OnTime and its kind.
type Outcomes [slo.Failed + 1]int

// Total is the number of all.
func (o Outcomes) Total() int {
	sum := 0
	for _, n := range o {
		sum += n
	}
	return sum
}

// LateShare is the share that was not on time: late, shed, infeasible,
// cancelled or failed.
func (o Outcomes) LateShare() float64 {
	return 1 - float64(o[slo.OnTime])/float64(max(1, o.Total()))
}

// Report is what came of the jobs. An item counts as its job does: the result of
// a job is there when its last item is.
type Report struct {
	Items     Outcomes
	Jobs      Outcomes
	Score     slo.Score    // expected, over the items of jobs that ran
	Ran       int          // those items
	JCT       Durations    // of jobs that ran, from their submission
	MinMargin slo.Accuracy // least expected accuracy minus floor of a job that ran
	Batches   int
	Batched   int // items in them
	QueueMax  int // most items queued
	End       slo.Instant
	Steps     int
	Bins      []Bin // of Config.BinWidth each

	late     int // items
	width    slo.Instant
	variants int         // of all models
	first    []int       // by model: its first variant's place in Bin.Variants
	seen     slo.Instant // up to which Bin.Queued is summed
}

// Bin is what happened in a stretch of time.
type Bin struct {
	Arrived  int     // items
	OnTime   int     // items whose job ended then, on time
	Ended    int     // items whose job ended then
	Queued   float64 // mean number of queued items
	Variants []int   // items dispatched, by variant, models one after the other
}

func newReport(cfg Config) Report {
	r := Report{MinMargin: slo.AccuracyUnit, width: slo.Instant(cfg.BinWidth)}
	for _, m := range cfg.Core.Models {
		r.first = append(r.first, r.variants)
		r.variants += len(m.Planner.Variants())
	}
	return r
}

// Accuracy is the expected mean over the items that ran.
func (r *Report) Accuracy() slo.Accuracy { return r.Score.Mean(max(1, r.Ran)) }

// Goodput is the items on time in each second of a load that lasts so long.
func (r *Report) Goodput(length time.Duration) float64 {
	return float64(r.Items[slo.OnTime]) / length.Seconds()
}

// bin is the bin of an instant, nil without bins.
func (r *Report) bin(at slo.Instant) *Bin {
	if r.width == 0 {
		return nil
	}
	for int(at/r.width) >= len(r.Bins) {
		r.Bins = append(r.Bins, Bin{Variants: make([]int, r.variants)})
	}
	return &r.Bins[at/r.width]
}

// pass lets time go on with so many items queued.
func (r *Report) pass(queued int, now slo.Instant) {
	r.QueueMax = max(r.QueueMax, queued)
	if r.width == 0 {
		return
	}
	for r.seen < now {
		until := min(now, (r.seen/r.width+1)*r.width)
		r.bin(r.seen).Queued += float64(queued) * float64(until-r.seen) / float64(r.width)
		r.seen = until
	}
}

func (r *Report) arrive(a Arrival) {
	if b := r.bin(a.At); b != nil {
		b.Arrived += a.Items
	}
}

func (r *Report) dispatch(d sched.Dispatch, items int, now slo.Instant) {
	r.Batches++
	r.Batched += items
	if b := r.bin(now); b != nil {
		b.Variants[r.first[d.Model]+d.Variant] += items
	}
}

func (r *Report) finish(a Arrival, f sched.FinishJob, now slo.Instant) {
	r.Jobs[f.Outcome]++
	r.Items[f.Outcome] += a.Items
	if f.Outcome != slo.OnTime {
		r.late += a.Items
	}
	if b := r.bin(now); b != nil {
		b.Ended += a.Items
		if f.Outcome == slo.OnTime {
			b.OnTime += a.Items
		}
	}
	if f.Outcome.Ran() {
		r.Ran += a.Items
		r.Score += f.Expected.Times(a.Items)
		r.JCT.Add(now.Sub(a.At))
		r.MinMargin = min(r.MinMargin, f.Expected-a.Objective.Floor)
	}
}

// end closes the report.
func (r *Report) end(now slo.Instant) {
	r.End = now
	if r.Ran == 0 {
		r.MinMargin = 0
	}
	r.Bins = slices.Clip(r.Bins)
}
