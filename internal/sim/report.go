package sim

import (
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Report is what came of the jobs.
type Report struct {
	record.Totals
	QueueMax int // most items queued
	End      slo.Instant
	Steps    int
	Bins     []Bin // of Config.BinWidth each

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
	r := Report{width: slo.Instant(cfg.BinWidth)}
	for _, m := range cfg.Core.Models {
		r.first = append(r.first, r.variants)
		r.variants += len(m.Planner.Variants())
	}
	return r
}

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

func (r *Report) arrive(j *record.Job) {
	if b := r.bin(j.Arrived); b != nil {
		b.Arrived += j.Items
	}
}

func (r *Report) start(b *record.Batch) {
	r.Totals.Start(b)
	if bin := r.bin(b.Started); bin != nil {
		bin.Variants[r.first[b.Model]+b.Variant] += b.Items
	}
}

func (r *Report) finish(j *record.Job) {
	r.Totals.Finish(j)
	if j.End.Outcome != slo.OnTime {
		r.late += j.Items
	}
	if b := r.bin(j.Ended); b != nil {
		b.Ended += j.Items
		if j.End.Outcome == slo.OnTime {
			b.OnTime += j.Items
		}
	}
}

// end closes the report.
func (r *Report) end(now slo.Instant) {
	r.End = now
	r.Bins = slices.Clip(r.Bins)
}
