// Package engine drives the scheduling core in real time: it holds the requests'
// tensors, tells the core what arrives and what ends, and runs on instances what
// the core dispatches. One goroutine owns the core and everything about requests
// that are under way; one goroutine per instance runs batches; callers wait;
// whoever follows the core, as the observer does, hears of its steps through a feed.
// Nothing but the way in is locked, because nothing is shared: values are handed
// over. Models come and go while it runs: what is served is a catalogue that is
// replaced as a whole, and a request holds the model it uses until it has ended.
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

// Config is what an engine serves and how.
type Config struct {
	Models        []Served // served from the beginning; names and versions are unique
	Policy        plan.Policy
	Instances     int // each runs one batch at a time, of any model
	Threads       int // intra-op threads of each instance
	QueueItemsMax int
	QueueJobsMax  int
	QueueBytesMax int64                 // of the items' tensors; 0: no bound
	Metrics       prometheus.Registerer // gets the engine's metrics; nil: none
	Recent        int                   // finished jobs that are kept for explaining; 0: obs.RecentDefault
	// LogDropped, if not nil, is how many lines of the log were dropped, for a metric.
	LogDropped func() uint64
	// BatchTimeMax is how long a batch may run: then it is aborted, and its instance
	// replaced if that does not end it. 0: BatchTimeMaxDefault.
	BatchTimeMax time.Duration
	// Vital, if not nil, is told when the engine is as good as dead, see Alive, and
	// when it lives again. It must not call the engine.
	Vital func(alive bool)
	// Work, if not nil, gets what is under way that may hang, by name.
	Work *pending.Work
	Log  *slog.Logger
	// Trace, if not nil, is told of the core's steps, in order, by a goroutine of its
	// own. It must not keep actions. Steps are dropped while it is far too slow.
	Trace func(now slo.Instant, event sched.Event, actions []sched.Action)
}

// Engine serves models. All its methods are safe for concurrent use.
type Engine struct {
	cfg        Config
	runtime    runtime.Runtime
	log        *slog.Logger
	epoch      time.Time
	catalogue  atomic.Pointer[catalogue]
	deploying  sync.Mutex   // held while the catalogue changes
	closed     bool         // guarded by deploying: it changes no more
	seed       maphash.Seed // of the clients' ids
	ids        *obs.JobIDs
	inbox      chan message
	feed       *feed.Feed
	observing  *feed.Subscriber
	observer   *obs.Observer // of observing's goroutine
	decoder    *media.Decoder
	workers    []*worker
	ready      atomic.Bool
	gate       sync.RWMutex  // posting holds it shared, so that no message is lost when the loop ends
	ended      bool          // guarded by gate: nothing is handled any more
	stopped    chan struct{} // closed when the loop has ended
	closing    sync.Once
	left       []*deployment   // what was loaded when the loop ended
	background sync.WaitGroup  // reloads of lost instances, disposals of deployments
	life       context.Context // ends when the engine drains, and with it the loading of models
	endLife    context.CancelFunc
	healing    context.Context // ends when nothing is left to run, and with it the loading of lost instances
	endHealing context.CancelFunc
	dead       atomic.Bool // see Alive
}

// inboxSize is how many messages may wait for the core's goroutine. It handles
// one in microseconds; the bound makes callers wait, not memory grow, while it
// is held up.
const inboxSize = 1024

// message is something for the core's goroutine to do.
type message func(l *loop)

// New starts an engine and deploys the models it is given. Errors are those of
// Deploy.
func New(ctx context.Context, cfg Config, rt runtime.Runtime) (*Engine, error) {
	if cfg.Instances < 1 || cfg.Threads < 1 {
		return nil, slo.E("start engine", slo.KindInvalid, "%d instances of %d threads: both must be at least 1", cfg.Instances, cfg.Threads)
	}
	cfg.BatchTimeMax = cmp.Or(cfg.BatchTimeMax, BatchTimeMaxDefault)
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
		core.Models = append(core.Models, d.spec())
	}
	c, err := sched.New(core)
	if err != nil {
		e.free(served)
		return nil, slo.E("start engine", slo.KindInvalid, "%w", err)
	}
	e.epoch = time.Now()
	if err := e.follow(); err != nil {
		e.free(served)
		return nil, err
	}
	e.catalogue.Store(newCatalogue(slices.Clone(served))) // which it sorts
	for i := range cfg.Instances {
		e.workers = append(e.workers, e.hire(sched.InstanceID(i)))
	}
	e.ready.Store(true)
	go newLoop(e, c, served).run()
	return e, nil
}

// Now is the engine's clock, on which deadlines are given.
func (e *Engine) Now() slo.Instant { return slo.Instant(time.Since(e.epoch)) }

// Ready reports whether the engine takes requests: it does until it drains.
func (e *Engine) Ready() bool { return e.ready.Load() }

// Infer is Use, Lease.Infer and Release in one.
func (e *Engine) Infer(ctx context.Context, name, version string, r Request) (Response, error) {
	l, err := e.Use(name, version)
	if err != nil {
		return Response{}, err
	}
	defer l.Release()
	return l.Infer(ctx, r)
}

// post hands a message to the core's goroutine; false when that has ended.
// What is posted is handled.
func (e *Engine) post(m message) bool {
	e.gate.RLock()
	defer e.gate.RUnlock()
	if e.ended {
		return false
	}
	e.inbox <- m
	return true
}

// ask lets the core's goroutine answer a question; false when it has ended.
func (e *Engine) ask(question message) bool {
	answered := make(chan struct{})
	if !e.post(func(l *loop) { defer close(answered); question(l) }) {
		return false
	}
	<-answered
	return true
}

// Counts returns the core's running totals, and how long the instances would
// take to work off what is queued.
func (e *Engine) Counts() (counts sched.Counts, waiting time.Duration) {
	e.ask(func(l *loop) { counts, waiting = l.core.Counts(), l.core.Waiting() })
	return counts, waiting
}

// Status is what the engine does now; false once it has drained. What only its
// surroundings know is not in it: name and version of the server, models that are
// not served.
func (e *Engine) Status() (s status.Status, ok bool) {
	var waiting time.Duration
	e.ask(func(l *loop) { waiting = l.core.Waiting() })
	ok = e.observe(func(o *obs.Observer) {
		s = o.Status(e.Now())
		s.Queue.WaitingMS = stats.Milliseconds(waiting)
		s.Server.Ready = e.Ready()
	})
	return s, ok
}

// Explain says why a recent job ended as it did and ran as it ran. The id is the
// engine's, see Response.Job. The error has kind not found.
func (e *Engine) Explain(id string) (x status.Explanation, err error) {
	found := false
	e.observe(func(o *obs.Observer) { x, found = o.Explain(id) })
	if !found {
		return x, slo.E("", slo.KindNotFound, "no request with the server's id %.80q is known: unfinished ones are, and the last %d that ended; those with an id of the client's own are listed by client_id", id, cmp.Or(e.cfg.Recent, obs.RecentDefault))
	}
	return x, nil
}

// Requests lists the recent jobs whose requests have this id of the client's own.
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

// Drain stops admitting, waits until all that was admitted has ended, and frees
// the instances. When ctx ends before, what is left is answered as draining and
// ctx's error returned, a second later at the latest: what does not end, such as
// code of the runtime that hangs, is left behind. Drain may be called more than
// once.
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

// freeTime is how long, after its limit, a drain waits for the instances to be free.
const freeTime = 800 * time.Millisecond

// close frees all that is loaded, once nothing is loaded any more.
func (e *Engine) close() {
	e.closing.Do(func() {
		e.deploying.Lock()
		defer e.deploying.Unlock()
		e.closed = true
		e.background.Wait()
		e.free(e.left)
	})
}

// free closes the instances of deployments that are not served any more, or yet.
func (e *Engine) free(list []*deployment) {
	for _, d := range list {
		e.closeAll(d.instances)
	}
}
