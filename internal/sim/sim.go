// Package sim runs the scheduling core with a virtual clock. It reimplements nothing of
// the core: the Step that serves requests in real time gets drawn arrivals, and ends of
// batches after their profiled time, modified by faults. So hours of load take seconds;
// policies can be compared, and the invariants checked after every step. Memory is
// proportional to the queue: arrivals are drawn when they are due, and results are
// summed as they come.
package sim

import (
	"container/heap"
	"fmt"
	"iter"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Config describes one run.
type Config struct {
	Core      sched.Config
	Instances []Instance // by InstanceID
	Seed      uint64
	Faults    Faults
	// True is the real latencies, by model, for classes that use the planner's
	// latencies; other classes deviate by the same factor. Nil: the latencies are what
	// the core believes.
	True []*plan.Planner
	// Batch, if not nil, returns a batch's time and whether it fails, instead of True
	// and Faults.
	Batch func(d sched.Dispatch) (took time.Duration, failed bool)
	// Gate, if not nil, decides instead of the shares of the planner's branches: it
	// returns the verdict on an item of a route with a gate.
	Gate func(d sched.Dispatch, route int, job sched.JobID, item int) sched.Verdict
	// Abort, if not nil, returns the time until an aborted batch ends; nil: it ends at
	// once.
	Abort func(a sched.Abort) time.Duration
	// LateItemsMax ends the run once more than this number of items were not on time,
	// for callers that ask only this; 0: never.
	LateItemsMax int
	// BinWidth is the resolution of Report.Bins; 0: no bins.
	BinWidth time.Duration
	// Check verifies the invariants after every step, both from the core's state and
	// from its actions alone.
	Check bool
}

// Instance is an instance that is up from the start.
type Instance struct {
	Class sched.ClassID
	Slots int // 0: one
}

// Alike returns n instances of class 0 with one slot each.
func Alike(n int) []Instance { return make([]Instance, n) }

// Arrival is a job that will arrive.
type Arrival struct {
	At     slo.Instant
	Cancel slo.Instant // the client gives up then, if that is after At
	sched.Arrive
}

// event is a scheduled event in virtual time.
type event struct {
	at   slo.Instant
	rank int // order within one instant, as declared
	seq  int
	what sched.Event

	instance sched.InstanceID // for Done
	away     time.Duration    // for InstanceDown: the time until it comes back
	random   bool             // for InstanceDown: a random one, after which the next is drawn
}

func (e event) before(f event) bool {
	if e.at != f.at {
		return e.at < f.at
	}
	if e.rank != f.rank {
		return e.rank < f.rank
	}
	return e.seq < f.seq
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].before(e[j]) }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// server is an instance as the driver sees it.
type server struct {
	up      bool
	slots   int
	running map[sched.BatchID]slo.Instant // start of each batch
}

// run is the state of one simulation.
type run struct {
	cfg     Config
	core    *sched.Core
	events  events
	seq     int
	draw    draws
	coming  func() (Arrival, bool)
	next    Arrival // the next arrival, if more
	more    bool
	tracker *record.Tracker
	servers []server
	report  Report
	audit   *audit // nil: not wanted
	trace   func(at slo.Instant, what any)
	now     slo.Instant
}

// Run simulates until every job has ended. The arrivals must be in order of time.
// trace, if not nil, gets every event and action. A broken invariant ends the run with
// an error.
func Run(cfg Config, arrivals iter.Seq[Arrival], trace func(at slo.Instant, what any)) (Report, error) {
	core, err := sched.New(cfg.Core)
	if err != nil {
		return Report{}, err
	}
	if cfg.True == nil {
		for _, m := range cfg.Core.Models {
			cfg.True = append(cfg.True, m.Planner)
		}
	}
	coming, stop := iter.Pull(arrivals)
	defer stop()
	r := &run{cfg: cfg, core: core, draw: newDraws(cfg.Seed), trace: trace, coming: coming,
		servers: make([]server, len(cfg.Instances)), report: newReport(cfg)}
	r.tracker = record.NewTracker(r)
	if cfg.Check {
		r.audit = newAudit(cfg)
	}
	for i, in := range cfg.Instances {
		r.servers[i] = server{slots: max(in.Slots, 1), running: map[sched.BatchID]slo.Instant{}}
		r.push(event{what: sched.InstanceUp{Instance: sched.InstanceID(i), Class: in.Class, Slots: in.Slots}})
	}
	for _, z := range cfg.Faults.Resizes {
		r.push(event{at: z.At, what: sched.InstanceResize{Instance: z.Instance, Slots: z.Slots}})
	}
	for _, p := range cfg.Faults.Replans {
		r.push(event{at: p.At, what: sched.Replan{Model: p.Model, Planner: cfg.Core.Models[p.Model].Planner.Capped(p.Most)}})
	}
	for _, o := range cfg.Faults.Outages {
		r.push(event{at: o.At, what: sched.InstanceDown{Instance: o.Instance}, away: o.For})
	}
	r.scheduleLoss()
	r.next, r.more = coming()
	err = r.loop()
	r.report.end(r.now)
	return r.report, err
}

func (r *run) push(e event) {
	r.seq++
	e.seq, e.rank = r.seq, rank(e.what)
	heap.Push(&r.events, e)
}

const arriveRank = 8

// rank returns the order of an event within one instant, as declared in sched.
func rank(e sched.Event) int {
	switch e.(type) {
	case sched.Done:
		return 0
	case sched.InstanceDown:
		return 1
	case sched.InstanceUp:
		return 2
	case sched.InstanceResize:
		return 3
	case sched.Serve:
		return 4
	case sched.Replan:
		return 5
	case sched.Retire:
		return 6
	case sched.Cancel:
		return 7
	case sched.Arrive:
		return arriveRank
	case sched.Drain:
		return 9
	default:
		return 10
	}
}

func (r *run) loop() error {
	var out []sched.Action
	for (r.tracker.Unfinished() > 0 || r.more) && !r.lateEnough() {
		e, ok := r.take()
		if !ok {
			return fmt.Errorf("I-13: %d jobs never ended", r.tracker.Unfinished())
		}
		if e.at < r.now {
			return fmt.Errorf("I-3: an arrival at %v comes after %v", time.Duration(e.at), time.Duration(r.now))
		}
		r.report.pass(r.core.Counts().Queued, e.at)
		r.now = e.at
		if !r.happens(&e) {
			continue
		}
		r.see(e.what)
		out = r.core.Step(e.at, e.what, out[:0])
		r.report.Steps++
		err := r.check(e.what, out)
		for _, a := range out {
			r.see(a)
		}
		if err == nil {
			err = r.track(e, out)
		}
		for _, a := range out { // after the tracker has recorded the start of the batch
			if a, ok := a.(sched.Abort); ok {
				r.abort(a)
			}
		}
		if err != nil {
			return fmt.Errorf("at %v after %#v: %w", time.Duration(e.at), e.what, err)
		}
	}
	return nil
}

// abort ends a batch early.
func (r *run) abort(a sched.Abort) {
	at := r.now
	if r.cfg.Abort != nil {
		at = at.Add(r.cfg.Abort(a))
	}
	took := at.Sub(r.servers[a.Instance].running[a.Batch])
	r.push(event{at: at, what: sched.Done{Batch: a.Batch, Took: took, Failed: true}, instance: a.Instance})
}

// track records a step, and compares the tracker's numbers with the core's.
func (r *run) track(e event, out []sched.Action) error {
	if err := r.tracker.Step(e.at, e.what, out); err != nil || r.audit == nil {
		return err
	}
	sum := r.tracker.Background()
	for model := range r.cfg.Core.Models {
		q := r.tracker.Queue(model)
		sum.Waiting, sum.Running, sum.Jobs = sum.Waiting+q.Waiting, sum.Running+q.Running, sum.Jobs+q.Jobs
	}
	if c := r.core.Counts(); sum.Waiting != c.Queued || sum.Running != c.Running || sum.Jobs != c.Jobs || sum.Jobs != r.tracker.Unfinished() {
		return fmt.Errorf("I-1: the tracker has %+v, the core %+v", sum, c)
	}
	return nil
}

// lateEnough reports whether more than LateItemsMax items were not on time.
func (r *run) lateEnough() bool {
	return r.cfg.LateItemsMax > 0 && r.report.late > r.cfg.LateItemsMax
}

// check verifies the invariants after a step, if Config.Check is set.
func (r *run) check(e sched.Event, out []sched.Action) error {
	if r.audit == nil {
		return nil
	}
	if err := r.audit.step(r.now, e, out); err != nil {
		return err
	}
	return r.core.Check()
}

// take returns the earliest of the next arrival, the scheduled events, and the tick
// that the core asks for. Any other event of the same instant replaces the tick.
func (r *run) take() (event, bool) {
	first, scheduled := event{at: slo.Never}, len(r.events) > 0
	if scheduled {
		first = r.events[0]
	}
	arrival := event{at: r.next.At, rank: arriveRank}
	arrives := r.more && (!scheduled || arrival.before(first))
	if arrives {
		first = arrival
	}
	tick, wants := r.core.Next()
	switch {
	case wants && (tick < first.at || !scheduled && !arrives):
		return event{at: tick, what: sched.Tick{}}, true
	case arrives:
		first.what = r.next.Arrive
		r.arrive()
		return first, true
	case scheduled:
		return heap.Pop(&r.events).(event), true
	}
	return event{}, false
}

// arrive delivers the next arrival and draws the following one.
func (r *run) arrive() {
	a := r.next
	if r.audit != nil {
		r.audit.arrive(a)
	}
	if a.Cancel > a.At {
		r.push(event{at: a.Cancel, what: sched.Cancel{Job: a.Job}})
	}
	r.next, r.more = r.coming()
}

// happens reports whether the event is still valid: the batch of a lost instance does
// not end, and an instance that is down cannot be lost.
func (r *run) happens(e *event) bool {
	switch what := e.what.(type) {
	case sched.Done:
		s := &r.servers[e.instance]
		if _, runs := s.running[what.Batch]; !runs {
			return false
		}
		delete(s.running, what.Batch)
	case sched.InstanceUp:
		s := &r.servers[what.Instance]
		s.up, what.Class, what.Slots = true, r.cfg.Instances[what.Instance].Class, max(s.slots, 1)
		e.what = what
	case sched.InstanceResize:
		s := &r.servers[what.Instance]
		s.slots = what.Slots
		return s.up // otherwise it comes back in this state
	case sched.InstanceDown:
		if e.random {
			r.scheduleLoss()
		}
		s := &r.servers[what.Instance]
		if !s.up {
			return false
		}
		s.up = false
		clear(s.running)
		r.push(event{at: r.now.Add(e.away), what: sched.InstanceUp{Instance: what.Instance}})
	}
	return true
}

func (r *run) see(what any) {
	if r.trace != nil {
		r.trace(r.now, what)
	}
}

// Arrived implements record.Sink.
func (r *run) Arrived(j *record.Job) {
	if !j.Background {
		r.report.arrive(j)
	}
}

// Started implements record.Sink: it schedules the end of the batch.
func (r *run) Started(b *record.Batch) {
	r.report.start(b)
	r.servers[b.Instance].running[b.Batch] = r.now
	var took time.Duration
	var failed bool
	if r.cfg.Batch != nil {
		took, failed = r.cfg.Batch(b.Dispatch)
	} else {
		took, failed = r.draw.batch(&r.cfg.Faults, r.nominal(b), b.Instance, r.now)
	}
	done := sched.Done{Batch: b.Batch, Took: took, Failed: failed}
	if r.cfg.Gate == nil {
		done.Verdicts = r.draw.verdicts(&r.cfg.Faults, b, r.cfg.Core.Models[b.Model].Planner)
	} else if !failed {
		done.Verdicts = r.verdicts(b.Dispatch)
	}
	r.push(event{at: r.now.Add(took), what: done, instance: b.Instance})
}

// verdicts returns what Config.Gate decides on the items of a batch. Nil: all items are
// answered.
func (r *run) verdicts(d sched.Dispatch) (list []sched.Verdict) {
	if d.Routes == nil {
		return nil
	}
	routes := r.cfg.Core.Models[d.Model].Planner.Routes()
	for i, part := range d.Parts {
		for item := part.First; item < part.First+part.Count; item++ {
			verdict := sched.Accept
			if route := d.Routes[i]; routes[route].Next != nil {
				verdict = r.cfg.Gate(d, route, part.Job, item)
			}
			list = append(list, verdict)
		}
	}
	return list
}

// nominal returns how long a batch should take.
func (r *run) nominal(b *record.Batch) time.Duration {
	m := r.cfg.Core.Models[b.Model]
	truth := r.cfg.True[b.Model].Variants()[b.Variant].Curve.Batch(b.Items)
	class := r.cfg.Instances[b.Instance].Class
	if m.Classes == nil || m.Classes[class].Curves == nil {
		return truth
	}
	own := m.Classes[class].Curves[b.Variant].Batch(b.Items)
	return time.Duration(float64(own) * float64(truth) / float64(m.Planner.Variants()[b.Variant].Curve.Batch(b.Items)))
}

// Ended implements record.Sink.
func (r *run) Ended(*record.Batch) {}

// Finished implements record.Sink.
func (r *run) Finished(j *record.Job) {
	if !j.Background {
		r.report.finish(j)
	}
	r.tracker.Recycle(j)
}

// Changed implements record.Sink.
func (r *run) Changed(int, record.Queue) {}
