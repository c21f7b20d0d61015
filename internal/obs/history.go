package obs

import (
	"slices"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
)

// optionsMax bounds the options that are kept of a decision. A full queue of a model
// with many variants has hundreds.
const optionsMax = 32

// history holds the finished jobs and the batches that are remembered, in rings. There
// is no index: a caller of Explain can wait for a search, but updating an index would
// delay the jobs of a loaded server.
type history struct {
	jobs    []jobRecord // next is the index of the next one
	next    int
	asked   []asked // jobs of requests with a name, in order of arrival
	nextAsk int
	batches []batchRecord // by number, which counts from 1, modulo the length
	last    sched.BatchID
}

// jobRecord is a finished job.
type jobRecord struct {
	id      sched.JobID
	request uint64 // hash of the request's name; 0: it has none
	job     *record.Job
	model   *model
}

// asked is a job whose request has a name.
type asked struct {
	id      sched.JobID
	request uint64
}

// batchRecord is a running or ended batch.
type batchRecord struct {
	record.Batch
	model    *model
	runnable plan.Set // for the job that leads it
}

func newHistory(jobs int) history {
	return history{jobs: make([]jobRecord, jobs), asked: make([]asked, jobs), batches: make([]batchRecord, 2*jobs)}
}

// ask records that a job's request has a name.
func (h *history) ask(id sched.JobID, request uint64) {
	h.asked[h.nextAsk] = asked{id, request}
	h.nextAsk = (h.nextAsk + 1) % len(h.asked)
}

// job adds a finished job and returns the one that it replaces.
func (h *history) job(j *record.Job, m *model, request uint64) *record.Job {
	at := &h.jobs[h.next]
	old := at.job
	*at = jobRecord{id: j.Job, request: request, job: j, model: m}
	h.next = (h.next + 1) % len(h.jobs)
	return old
}

// start adds a batch, with the routes that could run the job that leads it.
func (h *history) start(b *record.Batch, m *model, runnable plan.Set) {
	at := &h.batches[b.Batch%sched.BatchID(len(h.batches))]
	*at = batchRecord{Batch: *b, model: m, runnable: runnable}
	at.Parts = nil
	if b.Why != nil && len(b.Why.Options) > optionsMax {
		at.Why = shortened(b)
	}
	h.last = max(h.last, b.Batch)
}

// end records how a batch ended.
func (h *history) end(b *record.Batch) {
	if at := h.find(b.Batch); at != nil {
		at.Took, at.End, at.FailedItems = b.Took, b.End, b.FailedItems
	}
}

// shortened returns a batch's decision with optionsMax options: the first ones, which
// are the planned batch and the cheapest ones, and the chosen one.
func shortened(b *record.Batch) *sched.Decision {
	short := *b.Why
	short.Options = slices.Clone(b.Why.Options[:optionsMax])
	for _, o := range b.Why.Options[optionsMax:] {
		if o.Batch == b.Why.Chosen {
			short.Options[optionsMax-1] = o
		}
	}
	return &short
}

// find returns the batch with this number, or nil if it was forgotten.
func (h *history) find(id sched.BatchID) *batchRecord {
	at := &h.batches[id%sched.BatchID(len(h.batches))]
	if at.model == nil || at.Dispatch.Batch != id {
		return nil
	}
	return at
}
