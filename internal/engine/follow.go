package engine

import (
	"context"
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

const (
	// observerBound and traceBound are how many events and actions may wait for a
	// subscriber. 15,000 requests per second make about 100,000 of them, so a
	// subscriber that gets no processor time misses none for half a second. They then
	// take about 10 MiB.
	observerBound = 1 << 16
	traceBound    = 1 << 16
	// feedCloseTime is how long a stopping engine waits for its subscribers. The
	// observer needs a tenth of it to work off a full queue.
	feedCloseTime = 200 * time.Millisecond
)

// follow creates the feed of the core's steps and subscribes the observer and
// Config.Trace.
func (e *Engine) follow() error {
	e.feed = feed.New(func() { e.post(func(l *loop) { e.feed.Resume(l.snapshot) }) })
	e.observing = e.feed.Subscribe("observer", observerBound)
	cfg := &e.cfg
	var tracing *feed.Subscriber
	if cfg.Trace != nil {
		tracing = e.feed.Subscribe("trace", traceBound)
	}
	var err error
	e.observer, err = obs.New(obs.Config{Registerer: cfg.Metrics, Recent: cfg.Recent, LogDropped: cfg.LogDropped, Epoch: e.epoch, IDs: e.ids, Policy: cfg.Policy,
		QueueItemsMax: cfg.QueueItemsMax, QueueJobsMax: cfg.QueueJobsMax, QueueBytesMax: cfg.QueueBytesMax, Log: cfg.Log,
		FeedDropped: e.feed.Dropped, KeptBytes: e.KeptBytes, Flush: e.observing.Flush})
	if err != nil {
		return slo.E("start engine", slo.KindInternal, "%w", err)
	}
	if cfg.Metrics != nil {
		if err := obs.Drift(cfg.Metrics, e.drifts); err != nil {
			return slo.E("start engine", slo.KindInternal, "%w", err)
		}
	}
	go e.observing.Run(e.observer)
	if tracing != nil {
		go tracing.Run(tracer{cfg.Trace})
	}
	return nil
}

// tracer calls a Config.Trace.
type tracer struct {
	trace func(now slo.Instant, event sched.Event, actions []sched.Action)
}

// Resume implements feed.Handler.
func (t tracer) Resume(*feed.Snapshot) {}

// Step implements feed.Handler.
func (t tracer) Step(s *feed.Step) { t.trace(s.At, s.Event, s.Actions) }

// observe runs a question in the observer's goroutine, after every step that led to an
// answer so far; false if the engine has drained.
func (e *Engine) observe(question func(o *obs.Observer)) bool {
	return e.observing.Ask(func() { question(e.observer) })
}

// closeFeed lets the subscribers finish.
func (l *loop) closeFeed() {
	ctx, cancel := context.WithTimeout(context.Background(), feedCloseTime)
	defer cancel()
	if err := l.engine.feed.Close(ctx); err != nil {
		l.engine.log.Warn("the last metrics may be missing", "error", err)
	}
}

// snapshot returns the unfinished work, for subscribers that missed steps of the core.
// It takes the core's goroutine about half a microsecond per unfinished job.
func (l *loop) snapshot() feed.Snapshot {
	s := feed.Snapshot{At: l.engine.Now(), Models: map[int]*feed.Model{}, Draining: l.ending}
	for _, d := range l.served() {
		s.Models[d.number] = d.told
	}
	for _, w := range l.engine.workers {
		in := feed.Instance{ID: w.id, Up: w.up}
		if w.up && !w.lost {
			in.Slots = w.size
		}
		s.Instances = append(s.Instances, in)
		for _, b := range w.slots {
			if b.occupied() {
				s.Batches = append(s.Batches, record.Batch{Dispatch: b.running.dispatch, Started: b.running.started, Aborted: b.running.aborted})
			}
		}
	}
	s.Jobs = make([]record.Unfinished, 0, len(l.calls))
	for _, c := range l.calls {
		s.Jobs = append(s.Jobs, record.Unfinished{Arrive: c.event.(sched.Arrive), Arrived: c.submitted, Begun: c.started != 0, Started: c.started,
			Compute: c.compute, Left: c.left, Request: c.ID, Sender: c.Client})
	}
	return s
}
