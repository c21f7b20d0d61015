package sim

import (
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Report is the result of a run.
type Report struct {
	record.Totals
	QueueMax int // highest number of queued items
	End      slo.Instant
	Steps    int
	Bins     []Bin // each of Config.BinWidth

	late     int // items
	width    slo.Instant
	variants int         // of all models
	first    []int       // by model: index of its first variant in Bin.Variants
	seen     slo.Instant // instant up to which Bin.Queued is summed
}

// Bin counts the events of one time interval.
type Bin struct {
	Arrived  int     // items
	OnTime   int     // items whose job ended in the bin, on time
	Ended    int     // items whose job ended in the bin
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

// Goodput returns the items on time per second, for a load of the given length.
func (r *Report) Goodput(length time.Duration) float64 {
	return float64(r.Items[slo.OnTime]) / length.Seconds()
}

// bin returns the bin of an instant, nil if there are no bins.
func (r *Report) bin(at slo.Instant) *Bin {
	if r.width == 0 {
		return nil
	}
	for int(at/r.width) >= len(r.Bins) {
		r.Bins = append(r.Bins, Bin{Variants: make([]int, r.variants)})
	}
	return &r.Bins[at/r.width]
}

// pass advances time to now, with that many items queued.
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

// end completes the report.
func (r *Report) end(now slo.Instant) {
	r.End = now
	r.Bins = slices.Clip(r.Bins)
}
