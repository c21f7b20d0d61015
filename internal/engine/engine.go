// Package engine drives the scheduling core in real time. It holds the requests'
// tensors, sends the core arrivals and ends of batches as events, and runs dispatched
// batches on instances. One goroutine owns the core and all requests in progress; each
// slot of an instance has a goroutine that runs batches; callers wait; subscribers,
// such as the observer, get the core's steps through a feed. Only the entry to the
// inbox needs a lock, because values are handed over and not shared. Models can change
// while it runs: the catalogue of served models is replaced as a whole, and a request
// holds its model until it has ended.
package engine

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/drift"
	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/media"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/pending"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/mosel-serve/mosel/status"
	"github.com/prometheus/client_golang/prometheus"
)

// Config configures an engine.
type Config struct {
	Models        []Served // served from the start; names and versions are unique
	Policy        plan.Policy
	Instances     int // each runs batches of any model; other servers are not counted
	Threads       int // intra-op threads of each instance
	QueueItemsMax int
	QueueJobsMax  int
	QueueBytesMax int64                 // of the items' tensors; 0: no bound
	KeptBytesMax  int64                 // of what stages computed for items that go on; 0: KeptBytesMaxDefault, below 0: nothing is kept
	Shadow        float64               // share of the answered items that the most accurate variant runs again in idle time; 0: none
	OnDrift       drift.Policy          // what follows when variants score less than their profile says
	Metrics       prometheus.Registerer // for the engine's metrics; nil: none
	Recent        int                   // finished jobs to remember for Explain; 0: obs.RecentDefault
	// LogDropped, if not nil, returns the number of dropped log lines, for a metric.
	LogDropped func() uint64
	// BatchTimeMax is how long a batch may run. Then it is aborted, and if that does
	// not end it, its instance is replaced. 0: BatchTimeMaxDefault.
	BatchTimeMax time.Duration
	// Vital, if not nil, is called with false when the engine can no longer do its work
	// (see Alive), and with true when it can again. It must not call the engine.
	Vital func(alive bool)
	// Work, if not nil, records work in progress that may hang, by name.
	Work *pending.Work
	Log  *slog.Logger
	// Trace, if not nil, gets the core's steps, in order, in a goroutine of its own. It
	// must not keep the actions. If it is too slow, steps are dropped.
	Trace func(now slo.Instant, event sched.Event, actions []sched.Action)
}

// Engine serves models. All its methods are safe for concurrent use.
type Engine struct {
	cfg                      Config
	runtime                  runtime.Runtime
	log                      *slog.Logger
	epoch                    time.Time
	catalogue                atomic.Pointer[catalogue]
	deploying                sync.Mutex   // held while the catalogue changes
	closed                   bool         // guarded by deploying: the catalogue may not change any more
	seed                     maphash.Seed // for the clients' ids
	ids                      *obs.JobIDs
	inbox                    chan message
	feed                     *feed.Feed
	observing                *feed.Subscriber
	observer                 *obs.Observer // of observing's goroutine
	decoder                  *media.Decoder
	workers                  []*worker
	kept                     atomic.Int64 // bytes of what is kept for items that go on; the loop changes it
	shadowItems, shadowBytes atomic.Int64 // of shadow runs that wait or run
	ready                    atomic.Bool
	gate                     sync.RWMutex  // held shared while posting, so that no message is lost when the loop ends
	ended                    bool          // guarded by gate: no message is handled any more
	stopped                  chan struct{} // closed when the loop has ended
	closing                  sync.Once
	left                     []*deployment   // what was loaded when the loop ended
	background               sync.WaitGroup  // reloads of lost instances, disposals of deployments
	life                     context.Context // ends when the engine drains; this cancels the loading of models
	endLife                  context.CancelFunc
	healing                  context.Context // ends when no work is left; this cancels the reloading of lost instances
	endHealing               context.CancelFunc
	dead                     atomic.Bool // see Alive
}

// inboxSize is how many messages may wait for the core's goroutine, which handles one
// in microseconds. If it is delayed, the bound makes callers wait, so memory does not
// grow.
const inboxSize = 1024

// message is work for the core's goroutine.
type message func(l *loop)

// New starts an engine and deploys the configured models. Errors are those of Deploy.
func New(ctx context.Context, cfg Config, rt runtime.Runtime) (*Engine, error) {
	if cfg.Instances < 1 || cfg.Threads < 1 {
		return nil, slo.E("start engine", slo.KindInvalid, "%d instances of %d threads: both must be at least 1", cfg.Instances, cfg.Threads)
	}
	cfg.BatchTimeMax = cmp.Or(cfg.BatchTimeMax, BatchTimeMaxDefault)
	cfg.KeptBytesMax = cmp.Or(cfg.KeptBytesMax, KeptBytesMaxDefault)
	if cfg.Work == nil {
		cfg.Work = new(pending.Work)
	}
	e := &Engine{cfg: cfg, runtime: rt, log: cfg.Log, seed: maphash.MakeSeed(), ids: obs.NewJobIDs(),
		inbox: make(chan message, inboxSize), stopped: make(chan struct{}), decoder: media.NewDecoder()}
	e.life, e.endLife = context.WithCancel(context.Background())
	e.healing, e.endHealing = context.WithCancel(context.Background())
	core := sched.Config{Explain: true, Policy: cfg.Policy, QueueItemsMax: cfg.QueueItemsMax, QueueJobsMax: cfg.QueueJobsMax, QueueBytesMax: cfg.QueueBytesMax}
	var served []*deployment
	for i, s := range cfg.Models {
		d, err := e.prepare(ctx, s)
		if err != nil {
			e.free(served)
			return nil, err
		}
		d.number = i
		served = append(served, d)
	}
	c, err := e.begin(core, served)
	if err != nil {
		e.free(served)
		for _, w := range e.workers {
			w.dismiss()
		}
		return nil, err
	}
	e.catalogue.Store(newCatalogue(slices.Clone(served))) // which it sorts
	e.ready.Store(true)
	go newLoop(e, c, served).run()
	return e, nil
}

// begin makes the workers, the core and the feed.
func (e *Engine) begin(core sched.Config, served []*deployment) (*sched.Core, error) {
	for i := range e.cfg.Instances {
		e.workers = append(e.workers, e.hire(sched.InstanceID(i), 0))
	}
	for _, d := range served {
		if err := e.station(d); err != nil {
			return nil, err
		}
	}
	for _, d := range served {
		core.Models = append(core.Models, d.spec(e.workers))
	}
	c, err := sched.New(core)
	if err != nil {
		return nil, slo.E("start engine", slo.KindInvalid, "%w", err)
	}
	e.epoch = time.Now()
	return c, e.follow()
}

// Now returns the time on the engine's clock, which deadlines refer to.
func (e *Engine) Now() slo.Instant { return slo.Instant(time.Since(e.epoch)) }

// Ready reports whether the engine accepts requests. It does until it drains.
func (e *Engine) Ready() bool { return e.ready.Load() }

// Infer calls Use, Lease.Infer and Release.
func (e *Engine) Infer(ctx context.Context, name, version string, r Request) (Response, error) {
	l, err := e.Use(name, version)
	if err != nil {
		return Response{}, err
	}
	defer l.Release()
	return l.Infer(ctx, r)
}

// post sends a message to the core's goroutine. It returns false if that has ended;
// otherwise the message will be handled.
func (e *Engine) post(m message) bool {
	e.gate.RLock()
	defer e.gate.RUnlock()
	if e.ended {
		return false
	}
	e.inbox <- m
	return true
}

// ask runs a question in the core's goroutine and waits for it. It returns false if
// that has ended.
func (e *Engine) ask(question message) bool {
	answered := make(chan struct{})
	if !e.post(func(l *loop) { defer close(answered); question(l) }) {
		return false
	}
	<-answered
	return true
}

// Counts returns the core's running totals, and how long the instances would take to
// finish all queued and running work.
func (e *Engine) Counts() (counts sched.Counts, waiting time.Duration) {
	e.ask(func(l *loop) { counts, waiting = l.core.Counts(), l.core.Waiting() })
	return counts, waiting
}

// Status returns the state of the engine; false once it has drained. The caller must
// add the server's name and version, and models that are not served.
func (e *Engine) Status() (s status.Status, ok bool) {
	var waiting time.Duration
	e.ask(func(l *loop) { waiting = l.core.Waiting() })
	ok = e.observe(func(o *obs.Observer) {
		s = o.Status(e.Now())
		s.Queue.WaitingMS = stats.Milliseconds(waiting)
		s.Server.Ready = e.Ready()
	})
	for i := range s.Models {
		m := &s.Models[i]
		if d, err := e.catalogue.Load().find(m.Name, m.Version); err == nil && m.Version == d.Model.Version {
			m.Drift = e.drift(d)
		}
	}
	return s, ok
}

// Timeline returns what the engine did in the last status.TimelineS seconds, in intervals
// that ended after an instant, oldest first.
func (e *Engine) Timeline(after time.Time) (list []status.Sample) {
	e.observe(func(o *obs.Observer) { list = o.Timeline(e.Now(), after) })
	return list
}

// Explain returns why a recent job ran and ended as it did. The id is the engine's, see
// Response.Job. The error has kind not found.
func (e *Engine) Explain(id string) (x status.Explanation, err error) {
	found := false
	e.observe(func(o *obs.Observer) { x, found = o.Explain(id) })
	if !found {
		return x, slo.E("", slo.KindNotFound, "no request with the server's id %.80q is known: unfinished ones are, and the last %d that ended; those with an id of the client's own are listed by client_id", id, cmp.Or(e.cfg.Recent, obs.RecentDefault))
	}
	return x, nil
}

// Requests lists the recent jobs with this id of the client's own.
func (e *Engine) Requests(clientID string) (list status.Requests) {
	e.observe(func(o *obs.Observer) { list = o.Requests(clientID) })
	return list
}

// FilesDecoded is how many files of requests were read so far to make inputs of them, and
// how many bytes they had.
func (e *Engine) FilesDecoded() (files, bytes int64) { return e.decoder.Decoded() }

// Statistics are what a version of a model has done since it was deployed.
func (l Lease) Statistics() (s obs.Statistics) {
	l.engine.observe(func(o *obs.Observer) { s = o.Statistics(l.deployment.number) })
	return s
}

// Drain stops admission, waits until all admitted jobs have ended, and frees the
// instances. If ctx ends first, the remaining jobs are answered as draining, and Drain
// returns ctx's error within a second. It does not wait for code that hangs, such as
// the runtime's. Drain may be called more than once.
func (e *Engine) Drain(ctx context.Context) error {
	e.ready.Store(false)
	e.endLife()
	e.post((*loop).drain)
	var err error
	select {
	case <-e.stopped:
	case <-ctx.Done():
		err = ctx.Err()
		e.post((*loop).abandon)
		<-e.stopped
	}
	late, cancel := pending.Grace(ctx, freeTime)
	defer cancel()
	if left := e.cfg.Work.Do(late, "freeing the instances", e.close); left != nil {
		err = errors.Join(err, slo.E("drain", slo.KindInternal, "the instances are not free: %w", left))
	}
	return err
}

// freeTime is how long, after ctx has ended, a drain waits for instances to be freed.
const freeTime = 800 * time.Millisecond

// close frees everything that is loaded, after all loading has ended.
func (e *Engine) close() {
	e.closing.Do(func() {
		e.deploying.Lock()
		defer e.deploying.Unlock()
		e.closed = true
		e.background.Wait()
		e.free(e.left)
	})
}

// free closes the instances of deployments that are no longer, or not yet, served.
func (e *Engine) free(list []*deployment) {
	for _, d := range list {
		e.closeAll(d.all())
	}
}
