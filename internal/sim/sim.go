// Package sim drives the scheduling core under a virtual clock. It re-implements
// nothing of the core: the same Step that serves requests in real time is fed
// with drawn arrivals and with the ends of batches that take the time their
// profile says, times a drawn disturbance. So policies can be compared, and the
// core's invariants checked after every step, over hours of load in seconds.
package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Config describes one run.
type Config struct {
	Core      sched.Config
	Instances int
	Seed      uint64
	// Noise is the largest relative disturbance of a batch's time, e.g. 0.1.
	Noise float64
	// Slow is the true time of batches relative to the profile; 0 means 1.
	Slow float64
	// LoseEvery is the mean time between losses of an instance; 0 = never. A
	// lost instance comes back after a tenth of it.
	LoseEvery time.Duration
	// FailShare is the share of batches that fail.
	FailShare float64
	// Check verifies the core's invariants after every step.
	Check bool
}

// Arrival is a job to come.
type Arrival struct {
	At     slo.Instant
	Cancel slo.Instant // 0: never
	sched.Arrive
}

// Report is what came of the jobs, by item.
type Report struct {
	Items     map[slo.Outcome]int
	Jobs      map[slo.Outcome]int
	Score     slo.Score // expected, over the items that ran
	Ran       int
	JCT       []time.Duration // of jobs that ran, in order of their end
	MinMargin slo.Accuracy    // least expected accuracy minus floor of a job that ran
	End       slo.Instant
	Steps     int
}

// event is something that will happen in virtual time.
type event struct {
	at   slo.Instant
	rank int // declared order within one instant
	seq  int
	what sched.Event
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	a, b := e[i], e[j]
	if a.at != b.at {
		return a.at < b.at
	}
	if a.rank != b.rank {
		return a.rank < b.rank
	}
	return a.seq < b.seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// run is the state of one simulation.
type run struct {
	cfg     Config
	core    *sched.Core
	events  events
	seq     int
	rng     *rand.Rand
	arrived map[sched.JobID]Arrival
	running map[sched.InstanceID]sched.BatchID
	report  Report
	trace   func(at slo.Instant, what any)
	now     slo.Instant
}

// Run simulates until every job has ended. The arrivals must be in order of
// time. Trace, if not nil, sees every event and action. A broken invariant ends
// the run with an error.
func Run(cfg Config, arrivals []Arrival, trace func(at slo.Instant, what any)) (Report, error) {
	core, err := sched.New(cfg.Core)
	if err != nil {
		return Report{}, err
	}
	if cfg.Slow == 0 {
		cfg.Slow = 1
	}
	r := &run{cfg: cfg, core: core, rng: rand.New(rand.NewPCG(cfg.Seed, 0x6d6f73656c)), trace: trace,
		arrived: map[sched.JobID]Arrival{}, running: map[sched.InstanceID]sched.BatchID{},
		report: Report{Items: map[slo.Outcome]int{}, Jobs: map[slo.Outcome]int{}, MinMargin: slo.AccuracyUnit}}
	for i := range cfg.Instances {
		r.push(0, sched.InstanceUp{Instance: sched.InstanceID(i)})
	}
	for _, a := range arrivals {
		r.arrived[a.Job] = a
		r.push(a.At, a.Arrive)
		if a.Cancel > 0 {
			r.push(a.Cancel, sched.Cancel{Job: a.Job})
		}
	}
	r.scheduleLoss()
	return r.report, r.loop()
}

func (r *run) push(at slo.Instant, what sched.Event) {
	r.seq++
	heap.Push(&r.events, event{at: at, rank: rank(what), seq: r.seq, what: what})
}

// rank is the declared order of events within one instant.
func rank(e sched.Event) int {
	switch e.(type) {
	case sched.Done:
		return 0
	case sched.InstanceDown:
		return 1
	case sched.InstanceUp:
		return 2
	case sched.Cancel:
		return 3
	case sched.Arrive:
		return 4
	case sched.Drain:
		return 5
	default:
		return 6
	}
}

func (r *run) loop() error {
	var out []sched.Action
	for len(r.arrived) > 0 {
		e, ok := r.next()
		if !ok {
			return fmt.Errorf("I-13: %d jobs never ended", len(r.arrived))
		}
		r.now = e.at
		if r.stale(e.what) {
			continue
		}
		r.see(e.what)
		out = r.core.Step(e.at, e.what, out[:0])
		r.report.Steps++
		for _, a := range out {
			r.see(a)
			r.act(a)
		}
		if r.cfg.Check {
			if err := r.core.Check(); err != nil {
				return fmt.Errorf("at %v after %#v: %w", time.Duration(e.at), e.what, err)
			}
		}
	}
	r.report.End = r.now
	return nil
}

// next is the earliest of what is scheduled and the tick the core asks for.
func (r *run) next() (event, bool) {
	tick, wants := r.core.Next()
	if wants && (len(r.events) == 0 || tick < r.events[0].at) {
		return event{at: tick, what: sched.Tick{}}, true
	}
	if len(r.events) == 0 {
		return event{}, false
	}
	return heap.Pop(&r.events).(event), true
}

// stale reports an end of a batch whose instance was lost before.
func (r *run) stale(e sched.Event) bool {
	switch e := e.(type) {
	case sched.Done:
		for i, b := range r.running {
			if b == e.Batch {
				delete(r.running, i)
				return false
			}
		}
		return true
	case sched.InstanceDown:
		delete(r.running, e.Instance)
		r.push(r.now.Add(r.cfg.LoseEvery/10), sched.InstanceUp{Instance: e.Instance})
		r.scheduleLoss()
	}
	return false
}

func (r *run) scheduleLoss() {
	if r.cfg.LoseEvery > 0 {
		// Longer than the instance stays away, so that it is up when it is lost.
		gap := r.cfg.LoseEvery/5 + time.Duration(r.rng.ExpFloat64()*float64(r.cfg.LoseEvery))
		r.push(r.now.Add(gap), sched.InstanceDown{Instance: sched.InstanceID(r.rng.IntN(r.cfg.Instances))})
	}
}

func (r *run) see(what any) {
	if r.trace != nil {
		r.trace(r.now, what)
	}
}

func (r *run) act(a sched.Action) {
	switch a := a.(type) {
	case sched.Dispatch:
		items := 0
		for _, p := range a.Parts {
			items += p.Count
		}
		r.running[a.Instance] = a.Batch
		nominal := r.cfg.Core.Models[a.Model].Planner.Variants()[a.Variant].Curve.Batch(items)
		took := time.Duration(float64(nominal) * r.cfg.Slow * (1 + r.cfg.Noise*(2*r.rng.Float64()-1)))
		r.push(r.now.Add(took), sched.Done{Batch: a.Batch, Took: took, Failed: r.rng.Float64() < r.cfg.FailShare})
	case sched.Finish:
		r.report.Items[a.Outcome] += a.Count
	case sched.FinishJob:
		r.finishJob(a)
	}
}

func (r *run) finishJob(f sched.FinishJob) {
	a, ok := r.arrived[f.Job]
	if !ok {
		panic(fmt.Sprintf("sim: I-2: job %d ended twice", f.Job))
	}
	delete(r.arrived, f.Job)
	r.report.Jobs[f.Outcome]++
	if f.Outcome.Ran() {
		r.report.Ran += a.Items
		r.report.Score += f.Expected.Times(a.Items)
		r.report.JCT = append(r.report.JCT, r.now.Sub(a.At))
		r.report.MinMargin = min(r.report.MinMargin, f.Expected-a.Objective.Floor)
	}
}

// Accuracy is the expected mean over the items that ran.
func (r Report) Accuracy() slo.Accuracy { return r.Score.Mean(r.Ran) }

// LateShare is the share of items that were not on time.
func (r Report) LateShare() float64 {
	all := 0
	for _, n := range r.Items {
		all += n
	}
	return 1 - float64(r.Items[slo.OnTime])/float64(max(1, all))
}
