package replay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Answer is the result of one job, set by its sender. A worker reuses the slices for
// its next job.
type Answer struct {
	Outcome  slo.Outcome  // OnTime for any result, since Run decides by its own clock whether it was late; default Failed
	Expected slo.Accuracy // of its mean over the items; only with a result
	Low      slo.Accuracy // a lower bound of it; 0: not known
	Scores   []float32    // per item: how right the answer is, 0 to 1; only with a result, none where the metric is external
	Mix      []VariantItems
	Failure  string // why there is no result; short, and without details of this job, so that equal reasons can be counted
}

// VariantItems is the number of items that ran on a variant.
type VariantItems struct {
	Variant string `json:"variant"`
	Items   int    `json:"items"`
}

// Send sends one job and fills in the answer. The job's deadline is the time that is
// left when the job is sent. Run calls it from many goroutines.
type Send func(ctx context.Context, job Job, answer *Answer)

// Options configure Run.
type Options struct {
	Concurrency int           // most jobs in flight
	Warmup      time.Duration // jobs before that time are sent but not counted
	Grace       time.Duration // how long answers may take after the last arrival
	Progress    func(Progress)
}

// Bounds and defaults of Options.
const (
	ConcurrencyMax     = 20_000 // each needs a socket; below the usual limit on open files
	ConcurrencyDefault = 2_048
	GraceDefault       = 30 * time.Second
	progressEvery      = 200 * time.Millisecond
	failuresMax        = 20 // different messages kept
)

// Progress is the progress of a run.
type Progress struct {
	Elapsed time.Duration
	Length  time.Duration // until the last arrival
	Sent    int           // jobs
	Done    int           // jobs answered
	Good    int           // jobs answered with a result on time
	Counted int           // of Done: those after the warm-up
	Missed  int           // of Counted: those without a result on time
}

// record is Run's record of one job.
type record struct {
	sent     bool
	scored   bool // the items have scores
	outcome  slo.Outcome
	lag      time.Duration // how late it was sent
	latency  time.Duration // from when it was meant to be sent to its answer
	expected slo.Accuracy
	low      slo.Accuracy
	variant  uint16 // that ran all its items: an index into Log.names, plus 1; 0: see Log.mixes
}

// Log is the result of Run. Index i is the workload's job i.
type Log struct {
	jobs    []Job
	records []record
	scores  []float32 // by item, at Job.First
	warmup  time.Duration
	length  time.Duration // from the start to the last answer
	peak    int           // most jobs in flight
	cpu     time.Duration // of this process, meanwhile
	bound   int           // Options.Concurrency
	early   bool          // the run was ended before its last arrival

	mu       sync.Mutex
	names    []string               // of the variants that ran
	mixes    map[int][]VariantItems // by job: of those that ran on no or several variants, or not all their items
	failures map[string]int
}

var errGrace = errors.New("no answer when the run ended")

// run is the state of one Run.
type run struct {
	log      *Log
	send     Send
	start    time.Time
	hand     chan int // jobs that are due, for free workers
	workers  sync.WaitGroup
	inFlight atomic.Int64
	peak     atomic.Int64
	sent     atomic.Int64
	done     atomic.Int64
	good     atomic.Int64
	counted  atomic.Int64
	missed   atomic.Int64
}

// Run sends each job at its time. It returns when all jobs are answered, when the grace
// time after the last arrival is over, or soon after ctx ends.
func Run(ctx context.Context, jobs []Job, send Send, o Options) *Log {
	items := 0
	if len(jobs) > 0 {
		last := jobs[len(jobs)-1]
		items = last.First + len(last.Samples)
	}
	log := &Log{jobs: jobs, records: make([]record, len(jobs)), scores: make([]float32, items), warmup: o.Warmup,
		bound: o.Concurrency, mixes: map[int][]VariantItems{}, failures: map[string]int{}}
	r := &run{log: log, send: send, start: time.Now(), hand: make(chan int)}
	before := ProcessCPU()
	// Answers may come at most the grace time after the last arrival.
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	grace := time.AfterFunc(r.span()+o.Grace, func() { stop(errGrace) })
	defer grace.Stop()
	r.workers.Go(func() { r.pace(working, o.Concurrency) })
	r.watch(o.Progress)
	log.cpu = ProcessCPU() - before
	log.length = time.Since(r.start)
	log.peak = int(r.peak.Load())
	log.early = int(r.sent.Load()) < len(jobs)
	return log
}

// span returns the time of the last arrival.
func (r *run) span() time.Duration {
	if len(r.log.jobs) == 0 {
		return 0
	}
	return r.log.jobs[len(r.log.jobs)-1].At
}

// watch reports progress until all is done.
func (r *run) watch(progress func(Progress)) {
	if progress == nil {
		r.workers.Wait()
		return
	}
	finished := make(chan struct{})
	go func() {
		r.workers.Wait()
		close(finished)
	}()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-finished:
			return
		case <-tick.C:
			progress(Progress{Elapsed: time.Since(r.start), Length: r.span(),
				Sent: int(r.sent.Load()), Done: int(r.done.Load()), Good: int(r.good.Load()),
				Counted: int(r.counted.Load()), Missed: int(r.missed.Load())})
		}
	}
}

// pace gives each job at its time to a free worker or to a new one. If the maximum
// number of workers is busy, it waits for one; jobs are then sent late, and their lag
// shows it.
func (r *run) pace(ctx context.Context, most int) {
	defer close(r.hand)
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	workers := 0
	for i, job := range r.log.jobs {
		if wait := job.At - time.Since(r.start); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return
		}
		select {
		case r.hand <- i:
			continue
		default:
		}
		if workers < most {
			workers++
			r.workers.Go(func() { r.work(ctx, i) })
			continue
		}
		select {
		case r.hand <- i:
		case <-ctx.Done():
			return
		}
	}
}

// work sends a first job, then the jobs that it receives.
func (r *run) work(ctx context.Context, first int) {
	var answer Answer
	r.one(ctx, first, &answer)
	for i := range r.hand {
		r.one(ctx, i, &answer)
	}
}

// one sends job i and records its answer.
func (r *run) one(ctx context.Context, i int, answer *Answer) {
	job, rec := r.log.jobs[i], &r.log.records[i]
	rec.sent = true
	rec.lag = time.Since(r.start) - job.At
	deadline := job.Deadline
	if deadline > 0 {
		job.Deadline = max(deadline-rec.lag, time.Millisecond)
	}
	r.sent.Add(1)
	r.enter()
	*answer = Answer{Outcome: slo.Failed, Scores: answer.Scores[:0], Mix: answer.Mix[:0]}
	r.send(ctx, job, answer)
	r.inFlight.Add(-1)
	rec.latency = time.Since(r.start) - job.At
	rec.outcome, rec.expected, rec.low = answer.Outcome, answer.Expected, answer.Low
	switch {
	case rec.outcome.Ran():
		rec.outcome = slo.OnTime
		if deadline > 0 && rec.latency > deadline {
			rec.outcome = slo.Late
		}
	case ctx.Err() != nil:
		rec.outcome, answer.Failure = slo.Cancelled, context.Cause(ctx).Error()
	}
	if rec.outcome == slo.OnTime {
		r.good.Add(1)
	}
	r.done.Add(1)
	rec.scored = len(answer.Scores) > 0
	copy(r.log.scores[job.First:job.First+len(job.Samples)], answer.Scores)
	counts := job.At >= r.log.warmup
	if counts {
		r.counted.Add(1)
		if rec.outcome != slo.OnTime {
			r.missed.Add(1)
		}
	}
	switch {
	case rec.outcome.Ran():
		r.log.ran(i, answer.Mix)
	case counts:
		r.log.fail(answer.Failure)
	}
}

// enter increments the number of jobs in flight.
func (r *run) enter() {
	n := r.inFlight.Add(1)
	for {
		peak := r.peak.Load()
		if n <= peak || r.peak.CompareAndSwap(peak, n) {
			return
		}
	}
}

// ran keeps which variants job i ran on.
func (l *Log) ran(i int, mix []VariantItems) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(mix) != 1 || mix[0].Items != len(l.jobs[i].Samples) {
		l.mixes[i] = slices.Clone(mix)
		return
	}
	at := slices.Index(l.names, mix[0].Variant)
	if at < 0 {
		at, l.names = len(l.names), append(l.names, mix[0].Variant)
	}
	l.records[i].variant = uint16(at + 1)
}

// mix returns which variants job i ran on.
func (l *Log) mix(i int) []VariantItems {
	if at := l.records[i].variant; at > 0 {
		return []VariantItems{{Variant: l.names[at-1], Items: len(l.jobs[i].Samples)}}
	}
	return l.mixes[i]
}

// fail counts a reason why a job has no result.
func (l *Log) fail(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.failures[reason]; known || len(l.failures) < failuresMax {
		l.failures[reason]++
	}
}
