// Package obs observes a running server: from the events and actions
// of the core it makes Prometheus metrics, the Status that a server tells of
// itself, the Explanation of any recent job, and Triton's statistics. All of it
// is one computation, the one of package record, which the simulator's report
// shares, so no two of them can disagree.
//
// The core never waits for an observer: a step costs about a microsecond, and
// what is kept is bounded. That is Config.Recent finished jobs (some 400 bytes
// each, and the names of request and client, cut to NameMax), twice as many batches (112 bytes
// each, and the options of the decision behind it, cut to optionsMax of 32
// bytes), and 300 KiB of distributions for every model: 10 to 40 MB in all by
// default.
package obs

import (
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"time"

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

// Info is what is told of a model.
type Info struct {
	Name       string
	Version    string
	Digest     string
	Modalities []string // in the order of their bits
	Planner    *plan.Planner
	Scale      []float64 // as in sched.Model
}

// Observer follows one core. All its methods are called by the goroutine that
// owns the core; the metrics may be scraped by any other meanwhile.
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
	next      names // of the job that arrives next
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

// names are what the core does not see of a job.
type names struct {
	job             sched.JobID
	request, client string
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
	m, err := newMetrics(cfg.Registerer)
	if err == nil {
		err = registerLog(cfg.Registerer, cfg.LogDropped)
	}
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

// Serve tells of a model before the first job for it arrives, with its number
// in the core.
func (o *Observer) Serve(number int, m Info) {
	fresh := newModel(m, o.metrics)
	for _, n := range o.servedAs(fresh.label()) {
		fresh.shared, o.models[n].shared = true, true
	}
	o.models[number] = fresh
	o.retired = slices.DeleteFunc(o.retired, func(l label) bool { return l == fresh.label() })
}

// Retire tells that the core has forgotten a model. What was counted of it stays
// to be seen, as counters must not go back, until retiredMax others have gone
// after it; what is only true while it is served goes at once.
func (o *Observer) Retire(number int) {
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

// Admitted tells what the core does not see of the job that arrives next: what
// the client calls the request, and who the client is. Either may be empty.
func (o *Observer) Admitted(job sched.JobID, request, client string) {
	o.next = names{job: job, request: cut(request), client: cut(client)}
}

// cut bounds a name. What is cut is copied, so that it does not hold the memory
// of a whole header.
func cut(name string) string {
	if len(name) <= NameMax {
		return name
	}
	return strings.ToValidUTF8(strings.Clone(name[:NameMax]), "")
}

// Step records what has happened at now and what the core, which took so long to
// find out, did about it.
func (o *Observer) Step(now slo.Instant, event sched.Event, actions []sched.Action, took time.Duration) {
	o.now = now
	o.turn(now)
	o.metrics.step.Observe(took.Seconds())
	switch e := event.(type) {
	case sched.InstanceUp:
		o.instance(e.Instance).rise()
	case sched.Drain:
		o.draining = true
	}
	if o.broken {
		return
	}
	if err := o.tracker.Step(now, event, actions); err != nil {
		o.broken = true
		o.log.Error("the records of this server are wrong: its metrics and its status end here", "error", err)
	}
	if e, ok := event.(sched.InstanceDown); ok {
		o.instance(e.Instance).fall()
	}
}

// turn begins a new stretch of recent time when the current one has lasted.
func (o *Observer) turn(now slo.Instant) {
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
	if s.next.job == j.Job {
		j.Request, j.Sender = s.next.request, s.next.client
		s.next = names{}
	}
	if j.Request != "" {
		s.history.ask(j.Job, maphash.String(s.seed, j.Request))
	}
	c := s.clients[j.Client]
	if c == nil {
		c = &client{name: j.Sender}
		s.clients[j.Client] = c
	}
	c.jobs++
	c.items += j.Items
}

// Started implements record.Sink.
func (s *sink) Started(b *record.Batch) {
	m := s.models[b.Model]
	m.start(b, s.current)
	(*Observer)(s).instance(b.Instance).start(b.Batch, s.now)
	var runnable plan.Set
	if b.Why != nil {
		if head := s.tracker.Job(b.Why.Head); head != nil {
			runnable = m.Planner.Runnable(head.Present, head.Choice)
		}
	}
	s.history.start(b, m, runnable)
}

// Ended implements record.Sink.
func (s *sink) Ended(b *record.Batch) {
	m := s.models[b.Model]
	m.end(b, s.current, s.now)
	(*Observer)(s).instance(b.Instance).end(s.now, s.current)
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
