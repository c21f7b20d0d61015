// Package obs observes a running server. From the core's events and actions it makes
// the Prometheus metrics, the server's Status, the Explanation of any recent job, and
// Triton's statistics. All of them use the records of package record, as the
// simulator's report does, so they cannot disagree.
//
// Package feed passes the core's steps to the observer, so the core never waits for it.
// A step costs the observer about a microsecond, and its memory is bounded. It keeps
// Config.Recent finished jobs (about 400 bytes each, and the names of request and
// client, cut to NameMax), twice as many batches (112 bytes each, and up to optionsMax
// options of 32 bytes), and 300 KiB of distributions per model: 10 to 40 MB in all by
// default.
package obs

import (
	"context"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/prometheus/client_golang/prometheus"
)

// Config configures an observer. The zero value of every field is valid.
type Config struct {
	// Registerer gets the metrics. Nil: they are counted but not exported.
	Registerer prometheus.Registerer
	// Recent is how many finished jobs are kept for Explain; 0: RecentDefault.
	Recent int
	// LogDropped returns the number of dropped log lines. Nil: none.
	LogDropped func() uint64
	// KeptBytes returns the memory of what stages computed for later steps. Nil: none.
	KeptBytes func() int64
	// FeedDropped returns how many steps each subscriber of the feed has missed. Nil:
	// there is no feed.
	FeedDropped func() map[string]uint64
	// Flush waits until the observer has seen all published steps, or ctx ends. It is
	// called before the metrics are read. Nil: there is nothing to wait for.
	Flush func(ctx context.Context)
	// Epoch is the wall-clock time of instant 0.
	Epoch time.Time
	// Policy and the bounds of the queue are the core's, for display.
	Policy plan.Policy
	// IDs converts job numbers to the ids that clients see.
	IDs           *JobIDs
	QueueItemsMax int
	QueueJobsMax  int
	QueueBytesMax int64
	Log           *slog.Logger
}

const (
	// RecentDefault covers some seconds of a busy server, and days of a quiet one.
	RecentDefault = 10_000
	// NameMax is the length in bytes to which clients' names for requests and
	// themselves are cut.
	NameMax = 128
	// recentSpan is the shortest interval that counts as recent; the longest is twice
	// that.
	recentSpan = 30 * time.Second
	// retiredMax is how many retired versions of models keep their series, so that
	// these are scraped once more. Older ones are removed.
	retiredMax = 16
)

// Observer follows one core, as a handler of its feed. One goroutine calls all its
// methods; other goroutines may scrape the metrics at any time.
type Observer struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics
	tracker   *record.Tracker
	models    map[int]*model
	retired   []label // oldest first
	instances map[sched.InstanceID]*instance
	clients   map[sched.ClientID]*client
	history   history
	timeline  timeline
	seed      maphash.Seed
	arriving  *feed.Step // the step that is being recorded
	now       slo.Instant
	draining  bool
	broken    bool // the tracker failed and is no longer used

	// The starts of the two intervals of recent time, one of which is current.
	current int // index into every recent pair
	began   [2]slo.Instant
}

// label identifies the series of a model.
type label struct{ model, version string }

func (l label) labels() prometheus.Labels {
	return prometheus.Labels{"model": l.model, "version": l.version}
}

// client is a client with unfinished jobs.
type client struct {
	name        string
	jobs, items int
}

// New returns an observer for a core that has not taken its first step. The error is
// the registerer's.
func New(cfg Config) (*Observer, error) {
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	if cfg.Recent <= 0 {
		cfg.Recent = RecentDefault
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(cfg)
	if err != nil {
		return nil, err
	}
	m.itemsMax.Set(float64(cfg.QueueItemsMax))
	m.jobsMax.Set(float64(cfg.QueueJobsMax))
	m.bytesMax.Set(float64(cfg.QueueBytesMax))
	o := &Observer{cfg: cfg, log: cfg.Log, metrics: m, models: map[int]*model{}, instances: map[sched.InstanceID]*instance{},
		clients: map[sched.ClientID]*client{}, history: newHistory(cfg.Recent), seed: maphash.MakeSeed()}
	o.tracker = record.NewTracker((*sink)(o))
	return o, nil
}

// serve starts to count a model, before its first job arrives.
func (o *Observer) serve(number int, m *feed.Model) {
	fresh := newModel(m, o.metrics)
	for _, n := range o.servedAs(fresh.label()) {
		fresh.shared, o.models[n].shared = true, true
	}
	o.models[number] = fresh
	o.retired = slices.DeleteFunc(o.retired, func(l label) bool { return l == fresh.label() })
}

// retire removes a model that the core has removed. Its counters stay, because counters
// must not go back, until retiredMax later versions have retired. Its gauges go at
// once.
func (o *Observer) retire(number int) {
	m := o.models[number]
	if m == nil {
		return
	}
	o.timeline.leave(m)
	delete(o.models, number)
	others := o.servedAs(m.label()) // the same version under another number
	if !slices.ContainsFunc(others, func(n int) bool { return o.models[n].Digest == m.Digest }) {
		o.metrics.modelInfo.DeleteLabelValues(m.Name, m.Version, m.Digest)
	}
	if others != nil {
		return
	}
	o.metrics.dropGauges(m.label().labels())
	o.retired = append(o.retired, m.label())
	if len(o.retired) > retiredMax {
		o.metrics.drop(o.retired[0].labels())
		o.retired = slices.Delete(o.retired, 0, 1)
	}
}

// servedAs lists the numbers under which a version of a model is served.
func (o *Observer) servedAs(l label) (numbers []int) {
	for n, m := range o.models {
		if m.label() == l {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// cut bounds the length of a name. A cut name is copied, so that it does not hold the
// memory of a whole header.
func cut(name string) string {
	if len(name) <= NameMax {
		return name
	}
	return strings.ToValidUTF8(strings.Clone(name[:NameMax]), "")
}

// Step records an event and the core's actions.
func (o *Observer) Step(s *feed.Step) {
	o.now = max(o.now, s.At) // Status may have looked at a later clock
	o.rotate(o.now)
	o.sample(o.now)
	o.metrics.step.Observe(s.Took.Seconds())
	switch e := s.Event.(type) {
	case sched.InstanceUp:
		o.instance(e.Instance).rise(max(1, e.Slots))
	case sched.InstanceResize:
		o.instance(e.Instance).resize(e.Slots)
	case sched.Serve:
		o.serve(e.Model, s.Model)
	case sched.Replan:
		if m := o.models[e.Model]; m != nil && s.Model != nil {
			m.Model = s.Model
		}
	case sched.Drain:
		o.draining = true
	}
	if o.broken {
		return
	}
	if done, ok := s.Event.(sched.Done); ok && done.Verdicts != nil {
		o.judge(done, s.Confidence)
	}
	if done, ok := s.Event.(sched.Done); ok && s.Primaries != nil {
		o.weigh(done, s.Primaries)
	}
	o.arriving = s
	if err := o.tracker.Step(s.At, s.Event, s.Actions); err != nil {
		o.fail(err)
	}
	o.arriving = nil
	switch e := s.Event.(type) {
	case sched.InstanceDown:
		o.instance(e.Instance).fall()
	case sched.Retire:
		o.retire(e.Model)
	}
}

// fail stops all counting after an error.
func (o *Observer) fail(err error) {
	o.broken = true
	o.log.Error("recording jobs failed: the metrics and the status are no longer updated", "error", err)
}

// rotate begins a new stretch of recent time when the current one has lasted.
func (o *Observer) rotate(now slo.Instant) {
	age := now.Sub(o.began[o.current])
	if age < recentSpan {
		return
	}
	for _, i := range o.instances {
		i.credit(now, o.current)
	}
	turns := 1
	if age >= 2*recentSpan {
		turns = 2 // all of it is old
	}
	for range turns {
		o.current ^= 1
		o.began[o.current] = now
		for _, m := range o.models {
			m.forget(o.current)
		}
		for _, i := range o.instances {
			i.recent[o.current] = 0
		}
	}
}

// since returns the start of recent time.
func (o *Observer) since() slo.Instant { return min(o.began[0], o.began[1]) }

// sink is the observer as the tracker's sink.
type sink Observer

// Arrived implements record.Sink.
func (s *sink) Arrived(j *record.Job) {
	if j.Background {
		return // no request of a client
	}
	j.Request, j.Sender = cut(s.arriving.Request), cut(s.arriving.Client)
	(*Observer)(s).enter(j)
}

// enter counts an unfinished job for its client.
func (o *Observer) enter(j *record.Job) {
	if j.Request != "" {
		o.history.ask(j.Job, maphash.String(o.seed, j.Request))
	}
	c := o.clients[j.Client]
	if c == nil {
		c = &client{name: j.Sender}
		o.clients[j.Client] = c
	}
	c.jobs++
	c.items += j.Items
}

// Started implements record.Sink.
func (s *sink) Started(b *record.Batch) {
	m := s.models[b.Model]
	m.start(b, s.current)
	(*Observer)(s).instance(b.Instance).start(b.Batch, s.now, s.current)
	(*Observer)(s).remember(b, m)
}

// remember adds a starting batch to the history.
func (o *Observer) remember(b *record.Batch, m *model) {
	var runnable plan.Set
	if b.Why != nil {
		if head := o.tracker.Job(b.Why.Head); head != nil {
			runnable = runnableBy(m.Planner, head)
		}
	}
	o.history.start(b, m, runnable)
}

// Ended implements record.Sink.
func (s *sink) Ended(b *record.Batch) {
	m := s.models[b.Model]
	m.end(b, s.current, s.now)
	(*Observer)(s).instance(b.Instance).end(b.Batch, s.now, s.current)
	s.history.end(b)
}

// Finished implements record.Sink.
func (s *sink) Finished(j *record.Job) {
	if j.Background {
		s.tracker.Recycle(j)
		return
	}
	m := s.models[j.Model]
	m.finish(j, s.current)
	c := s.clients[j.Client]
	c.items -= j.Items
	if c.jobs--; c.jobs == 0 {
		delete(s.clients, j.Client)
	}
	request := uint64(0)
	if j.Request != "" {
		request = maphash.String(s.seed, j.Request)
	}
	if old := s.history.job(j, m, request); old != nil {
		s.tracker.Recycle(old)
	}
}

// Changed implements record.Sink.
func (s *sink) Changed(number int, q record.Queue) {
	m := s.models[number]
	if m.shared {
		q = record.Queue{}
		for _, n := range (*Observer)(s).servedAs(m.label()) {
			other := s.tracker.Queue(n)
			q.Waiting, q.Running, q.Jobs, q.Bytes = q.Waiting+other.Waiting, q.Running+other.Running, q.Jobs+other.Jobs, q.Bytes+other.Bytes
		}
	}
	m.queue(q)
}
