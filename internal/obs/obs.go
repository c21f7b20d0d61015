// Package obs observes a running server: from the events and actions
// of the core it makes Prometheus metrics, the Status that a server tells of
// itself, the Explanation of any recent job, and Triton's statistics. All of it
// is one computation, the one of package record, which the simulator's report
// shares, so no two of them can disagree.
//
// The observer is told of the core's steps by package feed, so the core never waits
// for it. A step costs it about a microsecond, and what is kept is bounded. That is Config.Recent finished jobs (some 400 bytes
// each, and the names of request and client, cut to NameMax), twice as many batches (112 bytes
// each, and the options of the decision behind it, cut to optionsMax of 32
// bytes), and 300 KiB of distributions for every model: 10 to 40 MB in all by
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

// Config is what an observer is made from. The zero value of every field will do.
type Config struct {
	// Registerer gets the metrics. Nil: they are counted and nobody sees them.
	Registerer prometheus.Registerer
	// Recent is how many finished jobs are kept for explaining; 0: RecentDefault.
	Recent int
	// LogDropped is how many lines of the log were dropped. Nil: none.
	LogDropped func() uint64
	// FeedDropped is how many steps of the core each subscriber of its feed has
	// missed. Nil: there is no feed.
	FeedDropped func() map[string]uint64
	// Flush waits until the observer has been told of all that has happened, or ctx
	// ends. It is called before the metrics are read. Nil: it always has been.
	Flush func(ctx context.Context)
	// Epoch is the wall-clock time of instant 0.
	Epoch time.Time
	// Policy and the bounds of the queue are the core's, to be told.
	Policy plan.Policy
	// IDs are by what name a job is told of and asked for.
	IDs           *JobIDs
	QueueItemsMax int
	QueueJobsMax  int
	QueueBytesMax int64
	Log           *slog.Logger
}

const (
	// RecentDefault is some seconds of a busy server, and days of a quiet one.
	RecentDefault = 10_000
	// NameMax is where the names that clients give to requests and to themselves
	// are cut, in bytes.
	NameMax = 128
	// recentSpan is the least time that is called recent; the most is twice that.
	recentSpan = 30 * time.Second
	// retiredMax is how many retired models, each in one version, keep their
	// series: until they have been scraped for the last time, and not for ever.
	retiredMax = 16
)

// Observer follows one core, as a handler of its feed. All its methods are called by
// one goroutine; the metrics may be scraped by any other meanwhile.
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
	seed      maphash.Seed
	arriving  *feed.Step // the one that is being recorded
	now       slo.Instant
	draining  bool
	broken    bool // the tracker is of no use any more

	// The two stretches of time of which the later one is being counted.
	current int // index into every recent pair
	began   [2]slo.Instant
}

// label names the series of a model.
type label struct{ model, version string }

func (l label) labels() prometheus.Labels {
	return prometheus.Labels{"model": l.model, "version": l.version}
}

// client is who has unfinished jobs.
type client struct {
	name        string
	jobs, items int
}

// New makes the observer of a core that has not taken its first step. Its error
// is the registerer's.
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

// serve begins to count what a model does, before the first job for it arrives.
func (o *Observer) serve(number int, m *feed.Model) {
	fresh := newModel(m, o.metrics)
	for _, n := range o.servedAs(fresh.label()) {
		fresh.shared, o.models[n].shared = true, true
	}
	o.models[number] = fresh
	o.retired = slices.DeleteFunc(o.retired, func(l label) bool { return l == fresh.label() })
}

// retire forgets a model that the core has forgotten. What was counted of it stays
// to be seen, as counters must not go back, until retiredMax others have gone
// after it; what is only true while it is served goes at once.
func (o *Observer) retire(number int) {
	m := o.models[number]
	if m == nil {
		return
	}
	delete(o.models, number)
	others := o.servedAs(m.label()) // the same version again
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

// servedAs lists the numbers under which a model is served.
func (o *Observer) servedAs(l label) (numbers []int) {
	for n, m := range o.models {
		if m.label() == l {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// cut bounds a name. What is cut is copied, so that it does not hold the memory
// of a whole header.
func cut(name string) string {
	if len(name) <= NameMax {
		return name
	}
	return strings.ToValidUTF8(strings.Clone(name[:NameMax]), "")
}

// Step records what has happened and what the core did about it.
func (o *Observer) Step(s *feed.Step) {
	o.now = max(o.now, s.At) // Status may have looked at a later clock
	o.rotate(o.now)
	o.metrics.step.Observe(s.Took.Seconds())
	switch e := s.Event.(type) {
	case sched.InstanceUp:
		o.instance(e.Instance).rise(max(1, e.Slots))
	case sched.InstanceResize:
		o.instance(e.Instance).resize(e.Slots)
	case sched.Serve:
		o.serve(e.Model, s.Model)
	case sched.Drain:
		o.draining = true
	}
	if o.broken {
		return
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

// fail notes that nothing is counted any more.
func (o *Observer) fail(err error) {
	o.broken = true
	o.log.Error("the records of this server are wrong: its metrics and its status end here", "error", err)
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
		turns = 2 // all of it is long ago
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

// since is when recent time begins.
func (o *Observer) since() slo.Instant { return min(o.began[0], o.began[1]) }

// sink is the observer as the tracker sees it.
type sink Observer

// Arrived implements record.Sink.
func (s *sink) Arrived(j *record.Job) {
	j.Request, j.Sender = cut(s.arriving.Request), cut(s.arriving.Client)
	(*Observer)(s).enter(j)
}

// enter counts an unfinished job of a client.
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

// remember remembers a batch that starts.
func (o *Observer) remember(b *record.Batch, m *model) {
	var runnable plan.Set
	if b.Why != nil {
		if head := o.tracker.Job(b.Why.Head); head != nil {
			runnable = m.Planner.Runnable(head.Present, head.Choice)
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
