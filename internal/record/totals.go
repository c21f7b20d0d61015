package record

import (
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
)

// Outcomes counts by outcome. Use a slo.Outcome as the index.
type Outcomes [slo.Failed + 1]int

// Total returns the sum over all outcomes.
func (o Outcomes) Total() int {
	sum := 0
	for _, n := range o {
		sum += n
	}
	return sum
}

// LateShare returns the share that was not on time: late, shed, infeasible, cancelled
// or failed.
func (o Outcomes) LateShare() float64 {
	return 1 - float64(o[slo.OnTime])/float64(max(1, o.Total()))
}

// Totals sums up jobs and batches. An item has the outcome of its job: the result of a
// job is there when its last item is.
type Totals struct {
	Items     Outcomes
	Jobs      Outcomes
	Score     slo.Score       // expected, over the items of jobs that ran
	Ran       int             // number of those items
	JCT       stats.Durations // completion times of jobs that ran, from arrival
	MinMargin slo.Accuracy    // lowest expected accuracy minus floor of a job that ran
	Batches   int
	Batched   int // items in batches
}

// Accuracy returns the expected mean over the items that ran.
func (t *Totals) Accuracy() slo.Accuracy { return t.Score.Mean(max(1, t.Ran)) }

// AddAll adds the counts of other.
func (t *Totals) AddAll(other *Totals) {
	for i := range t.Items {
		t.Items[i] += other.Items[i]
		t.Jobs[i] += other.Jobs[i]
	}
	if t.Ran == 0 || other.Ran > 0 && other.MinMargin < t.MinMargin {
		t.MinMargin = other.MinMargin
	}
	t.Score += other.Score
	t.Ran += other.Ran
	t.JCT.AddAll(&other.JCT)
	t.Batches += other.Batches
	t.Batched += other.Batched
}

// Reset clears all counts and keeps the memory.
func (t *Totals) Reset() {
	t.JCT.Reset()
	*t = Totals{JCT: t.JCT}
}

// Start counts the start of a batch.
func (t *Totals) Start(b *Batch) {
	t.Batches++
	t.Batched += b.Items
}

// Finish counts the end of a job.
func (t *Totals) Finish(j *Job) {
	t.Jobs[j.End.Outcome]++
	t.Items[j.End.Outcome] += j.Items
	if !j.End.Outcome.Ran() {
		return
	}
	if margin := j.Margin(); t.Ran == 0 || margin < t.MinMargin {
		t.MinMargin = margin
	}
	t.Ran += j.Items
	t.Score += j.End.Expected.Times(j.Items)
	t.JCT.Add(j.Total())
}
