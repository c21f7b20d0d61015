package obs

import (
	"slices"

	"github.com/mosel-serve/mosel/internal/account"
	"github.com/mosel-serve/mosel/internal/sched"
)

// optionsMax bounds the options that are kept of a decision: a full queue of a
// model of many variants has hundreds.
const optionsMax = 32

// kept are the finished jobs and the batches that are remembered, in rings.
// Nothing is indexed: whoever asks for an explanation can wait for a search,
// the jobs of a loaded server cannot wait for a map to be kept up to date.
type kept struct {
	jobs    []keptJob // the place of the next is next
	next    int
	asked   []asked // of requests with a name, in the order in which they came
	nextAsk int
	batches []keptBatch // by number, which counts from 1, modulo the length
	last    sched.BatchID
}

// keptJob is a finished job.
type keptJob struct {
	id      sched.JobID
	request uint64 // hash of its name; 0: it has none
	job     *account.Job
	model   *model
}

// asked is a job that came with a name.
type asked struct {
	id      sched.JobID
	request uint64
}

// keptBatch is a batch, running or ended.
type keptBatch struct {
	account.Batch
	model *model
}

func newKept(jobs int) kept {
	return kept{jobs: make([]keptJob, jobs), asked: make([]asked, jobs), batches: make([]keptBatch, 2*jobs)}
}

// ask remembers that a job has a name.
func (k *kept) ask(id sched.JobID, request uint64) {
	k.asked[k.nextAsk] = asked{id, request}
	k.nextAsk = (k.nextAsk + 1) % len(k.asked)
}

// job remembers a finished job and returns the one that is forgotten for it.
func (k *kept) job(j *account.Job, m *model, request uint64) *account.Job {
	at := &k.jobs[k.next]
	old := at.job
	*at = keptJob{id: j.Job, request: request, job: j, model: m}
	k.next = (k.next + 1) % len(k.jobs)
	return old
}

// start remembers a batch.
func (k *kept) start(b *account.Batch, m *model) {
	at := &k.batches[b.Batch%sched.BatchID(len(k.batches))]
	*at = keptBatch{Batch: *b, model: m}
	at.Parts = nil
	if b.Why != nil && len(b.Why.Options) > optionsMax {
		at.Why = shortened(b)
	}
	k.last = max(k.last, b.Batch)
}

// end remembers how a batch ended.
func (k *kept) end(b *account.Batch) {
	if at := k.find(b.Batch); at != nil {
		at.Took, at.End, at.FailedItems = b.Took, b.End, b.FailedItems
	}
}

// shortened is a batch's decision with optionsMax options: the first ones, which
// are the planned batch and the cheapest, and the one that was chosen.
func shortened(b *account.Batch) *sched.Decision {
	short := *b.Why
	short.Options = slices.Clone(b.Why.Options[:optionsMax])
	for _, o := range b.Why.Options[optionsMax:] {
		if o.Batch == b.Why.Chosen {
			short.Options[optionsMax-1] = o
		}
	}
	return &short
}

// find is the batch of this number, nil if it is forgotten.
func (k *kept) find(id sched.BatchID) *keptBatch {
	at := &k.batches[id%sched.BatchID(len(k.batches))]
	if at.model == nil || at.Dispatch.Batch != id {
		return nil
	}
	return at
}
