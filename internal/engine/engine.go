// Package engine drives the scheduling core in real time: it holds the requests'
// tensors, tells the core what arrives and what ends, and runs on instances what
// the core dispatches. One goroutine owns the core and everything about requests
// that are under way; one goroutine per instance runs batches; callers wait.
// Nothing but the way in is locked, because nothing is shared: values are handed
// over.
package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Config is what an engine serves and how.
type Config struct {
	Models        []Served // at least one; names are unique
	Policy        plan.Policy
	Instances     int // each runs one batch at a time, of any model
	Threads       int // intra-op threads of each instance
	QueueItemsMax int
	QueueJobsMax  int
	Log           *slog.Logger
	// Trace, if not nil, sees every step of the core. It is called by the one
	// goroutine that owns the core, which waits for it, and must not keep actions.
	Trace func(now slo.Instant, event sched.Event, actions []sched.Action)
}

// Served is a model with the profile it is planned by.
type Served struct {
	Model   *modelpkg.Model
	Profile *modelpkg.Profile
}

// Engine serves models. All its methods are safe for concurrent use.
type Engine struct {
	cfg     Config
	runtime runtime.Runtime
	log     *slog.Logger
	epoch   time.Time
	planner []*plan.Planner // by model
	inbox   chan message
	workers []*worker
	ready   atomic.Bool
	gate    sync.RWMutex  // posting holds it shared, so that no message is lost when the loop ends
	ended   bool          // guarded by gate: nothing is handled any more
	stopped chan struct{} // closed when the loop has ended
	closing sync.Once
	reloads sync.WaitGroup
}

// inboxSize is how many messages may wait for the core's goroutine. It handles
// one in microseconds; the bound makes callers wait, not memory grow, while it
// is held up.
const inboxSize = 1024

// message is something for the core's goroutine to do.
type message func(l *loop)

// New loads every model on every instance, runs each variant to warm it up and
// to see how fast this machine is, and starts serving. It takes seconds. Errors
// are those of the runtime's Load and of the first runs.
func New(cfg Config, rt runtime.Runtime) (*Engine, error) {
	if cfg.Instances < 1 || cfg.Threads < 1 {
		return nil, slo.E("start engine", slo.KindInvalid, "%d instances of %d threads: both must be at least 1", cfg.Instances, cfg.Threads)
	}
	e := &Engine{cfg: cfg, runtime: rt, log: cfg.Log, inbox: make(chan message, inboxSize), stopped: make(chan struct{})}
	core := sched.Config{Policy: cfg.Policy, QueueItemsMax: cfg.QueueItemsMax, QueueJobsMax: cfg.QueueJobsMax}
	for _, s := range cfg.Models {
		planner, err := plan.FromProfile(s.Model, s.Profile)
		if err != nil {
			return nil, err
		}
		e.planner = append(e.planner, planner)
		core.Models = append(core.Models, sched.Model{Name: s.Model.Name, Planner: planner, BatchItemsMax: s.Model.Limits.BatchItemsMax})
	}
	if err := e.load(); err != nil {
		e.unload()
		return nil, err
	}
	if err := e.warmUp(core.Models); err != nil {
		e.unload()
		return nil, err
	}
	c, err := sched.New(core)
	if err != nil {
		e.unload()
		return nil, err
	}
	e.epoch = time.Now()
	for _, w := range e.workers {
		go w.run(e)
	}
	e.ready.Store(true)
	go newLoop(e, c).run()
	return e, nil
}

// load makes the instances: every one has every model.
func (e *Engine) load() error {
	for i := range e.cfg.Instances {
		instances, err := e.loadAll()
		if err != nil {
			return fmt.Errorf("instance %d: %w", i, err)
		}
		e.workers = append(e.workers, &worker{id: sched.InstanceID(i), batches: make(chan *running, 1), instances: instances, models: e.cfg.Models, log: e.log})
	}
	return nil
}

// loadAll loads every model once.
func (e *Engine) loadAll() ([]runtime.Instance, error) {
	var instances []runtime.Instance
	for _, s := range e.cfg.Models {
		instance, err := e.runtime.Load(s.Model, runtime.Options{Threads: e.cfg.Threads})
		if err != nil {
			e.closeAll(instances)
			return nil, err
		}
		instances = append(instances, instance)
	}
	return instances, nil
}

func (e *Engine) unload() {
	for _, w := range e.workers {
		e.closeAll(w.instances)
	}
}

func (e *Engine) closeAll(instances []runtime.Instance) {
	for _, instance := range instances {
		if err := instance.Close(); err != nil {
			e.log.Warn("closing an instance", "error", err)
		}
	}
}

// Now is the engine's clock, on which deadlines are given.
func (e *Engine) Now() slo.Instant { return slo.Instant(time.Since(e.epoch)) }

// Ready reports whether the engine is warm and not draining.
func (e *Engine) Ready() bool { return e.ready.Load() }

// List is every served model, in the order of the configuration.
func (e *Engine) List() []Served { return e.cfg.Models }

// Served finds a model by name and, unless empty, version. The error has kind
// not found.
func (e *Engine) Served(name, version string) (Served, error) {
	i, err := e.find(name, version)
	if err != nil {
		return Served{}, err
	}
	return e.cfg.Models[i], nil
}

func (e *Engine) find(name, version string) (int, error) {
	for i, s := range e.cfg.Models {
		if s.Model.Name != name {
			continue
		}
		if version != "" && version != s.Model.Version {
			return 0, slo.E("", slo.KindNotFound, "model %q has no version %q, it is served as version %q", name, version, s.Model.Version)
		}
		return i, nil
	}
	return 0, slo.E("", slo.KindNotFound, "no model %q is served here", name)
}

// Infer runs a job and returns its results in the items' order. When it returns,
// the request's items are read no more, also after ctx was cancelled (which
// frees the job's place in the queue; a batch that is running ends first).
//
// Errors are *slo.Error: not found (model), invalid (no variant runs on the
// modalities present), infeasible (with Best), overloaded (with RetryAfter and
// Best), deadline exceeded, cancelled, unavailable (draining), internal.
func (e *Engine) Infer(ctx context.Context, r Request) (Response, error) {
	model, err := e.find(r.Model, r.Version)
	if err != nil {
		return Response{}, err
	}
	if len(r.Items) == 0 {
		return Response{}, slo.E("", slo.KindInvalid, "a request without items")
	}
	c := &call{Request: r, model: model, served: e.cfg.Models[model], arrived: e.Now(), done: make(chan struct{})}
	if !e.post(func(l *loop) { l.submit(c) }) {
		return Response{}, slo.E("", slo.KindUnavailable, "the server has shut down")
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		e.post(func(l *loop) { l.cancel(c) })
		<-c.done
	}
	return c.result()
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

// Counts returns the core's running totals, and how long the instances would
// take to work off what is queued.
func (e *Engine) Counts() (sched.Counts, time.Duration) {
	var counts sched.Counts
	var waiting time.Duration
	answered := make(chan struct{})
	if e.post(func(l *loop) { counts, waiting = l.core.Counts(), l.core.Waiting(); close(answered) }) {
		<-answered
	}
	return counts, waiting
}

// Drain stops admitting, waits until all that was admitted has ended, and frees
// the instances. When ctx ends before, what is still queued is cancelled and
// ctx's error returned. Drain may be called more than once.
func (e *Engine) Drain(ctx context.Context) error {
	e.ready.Store(false)
	e.post((*loop).drain)
	var err error
	select {
	case <-e.stopped:
	case <-ctx.Done():
		err = ctx.Err()
		e.post((*loop).abandon)
		<-e.stopped
	}
	e.closing.Do(func() {
		e.reloads.Wait()
		e.unload()
	})
	return err
}
