package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// Config configures a Manager.
type Config struct {
	// Open opens the store. It is called again after an error of the store.
	Open func(ctx context.Context) (Store, error)
	// Keep is how long a job that has ended can be read.
	Keep time.Duration
	// BytesMax bounds the inputs and results of all jobs. Those that ended first are
	// deleted for new ones.
	BytesMax int64
	// ClientJobsMax bounds the jobs of one client that have not ended.
	ClientJobsMax int
	Log           *slog.Logger
}

// DefaultConfig has the usual bounds.
func DefaultConfig() Config {
	return Config{Keep: 24 * time.Hour, BytesMax: 4 << 30, ClientJobsMax: 100, Log: slog.New(slog.DiscardHandler)}
}

// Runner runs chunks. Errors of kind unavailable, overloaded and deadline exceeded pass;
// not found and internal may pass; others are for ever.
type Runner interface {
	// Open reads the input of a job.
	Open(ctx context.Context, s *Spec, input []byte) (Work, error)
}

// Work is the items of one job.
type Work interface {
	// Run runs a chunk. It is called concurrently.
	Run(ctx context.Context, c Chunk) (Result, error)
	Close()
}

// Chunk is a run of a job's items that is stored as a whole.
type Chunk struct {
	Index, First, Items int
	Floor               slo.Accuracy
	Confidence          slo.Confidence
	Deadline            time.Time // by which it should be done; zero: no hurry
}

// Manager keeps and runs jobs. It is safe for concurrent use.
type Manager struct {
	cfg    Config
	runner Runner
	ctx    context.Context
	stop   context.CancelFunc
	begun  atomic.Bool
	ended  chan struct{}

	mu      sync.Mutex
	starts  map[string]bool // ids of the jobs that this process has begun
	session *session        // nil: there is none
	reason  string          // why there is none
}

// How the store is opened again: at first at once, and then more and more rarely.
const (
	reopenMin = 200 * time.Millisecond
	reopenMax = 10 * time.Second
)

// New returns a manager without a session: calls fail until Start.
func New(cfg Config) *Manager {
	m := &Manager{cfg: cfg, starts: map[string]bool{}, ended: make(chan struct{}), reason: "the server is starting"}
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m
}

// Start begins to run jobs, in the background. The error is that of a first attempt to
// open the store; further attempts follow unless the context has ended.
func (m *Manager) Start(ctx context.Context, r Runner) error {
	m.runner = r
	m.begun.Store(true)
	first := make(chan error, 1)
	go m.run(func(err error) {
		select {
		case first <- err:
		default:
		}
	})
	select {
	case err := <-first:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run holds one session after the other.
func (m *Manager) run(opened func(error)) {
	defer close(m.ended)
	wait := reopenMin
	for m.ctx.Err() == nil {
		s, err := m.open()
		if err == nil {
			wait = reopenMin
			m.set(s, "")
			opened(nil)
			err = s.serve()
		} else {
			opened(err)
		}
		if m.ctx.Err() != nil {
			return
		}
		m.set(nil, err.Error())
		m.cfg.Log.Error("the store of jobs fails: jobs wait until it can be opened again", "error", err, "again_after", wait)
		select {
		case <-time.After(wait):
		case <-m.ctx.Done():
		}
		wait = min(2*wait, reopenMax)
	}
}

// open opens the store and reads its state.
func (m *Manager) open() (*session, error) {
	store, err := m.cfg.Open(m.ctx)
	if err != nil {
		return nil, err
	}
	s, err := load(m.ctx, m, store)
	if err != nil {
		store.Close()
	}
	return s, err
}

func (m *Manager) set(s *session, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session, m.reason = s, reason
}

// begins reports whether this process begins a job for the first time. Sessions that
// follow errors of the store are no new attempt.
func (m *Manager) begins(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := !m.starts[id]
	m.starts[id] = true
	return first
}

// ends forgets that a job was begun.
func (m *Manager) ends(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.starts, id)
}

// current is the session, or an error of kind unavailable.
func (m *Manager) current() (*session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return nil, slo.E("", slo.KindUnavailable, "durable jobs are not available: %s", m.reason)
	}
	return m.session, nil
}

// Ready returns nil if jobs are accepted, or the reason.
func (m *Manager) Ready() error {
	s, err := m.current()
	if err != nil {
		return err
	}
	if s.isFull() {
		return slo.E("", slo.KindUnavailable, "durable jobs wait: %w", ErrFull)
	}
	return nil
}

// Close stops all work; the jobs go on in the next process.
func (m *Manager) Close() {
	m.stop()
	if m.begun.Load() {
		<-m.ended
	}
}

// Submit accepts a job. It is durable when Submit returns. If the client has sent the
// same idempotency key before, the result is that job, and created is false.
func (m *Manager) Submit(ctx context.Context, spec Spec, input []byte) (job oip.Job, created bool, err error) {
	s, err := m.current()
	if err != nil {
		return job, false, err
	}
	j, created, err := s.submit(ctx, spec, input)
	if err != nil {
		return job, false, outside(err)
	}
	return j.status(time.Now()), created, nil
}

// find finds a job of a model.
func (m *Manager) find(model, id string) (*session, *job, error) {
	s, err := m.current()
	if err != nil {
		return nil, nil, err
	}
	j := s.job(id)
	if j == nil || j.spec.Model != model {
		return nil, nil, slo.E("", slo.KindNotFound, "%s has no job %.80q: jobs are deleted %v after they end", model, id, m.cfg.Keep)
	}
	return s, j, nil
}

// Job returns the state of a job.
func (m *Manager) Job(model, id string) (oip.Job, error) {
	_, j, err := m.find(model, id)
	if err != nil {
		return oip.Job{}, err
	}
	return j.status(time.Now()), nil
}

// Jobs lists the jobs of a client for a model, the newest first; "" is any client, or any
// model.
func (m *Manager) Jobs(model, client string) ([]oip.Job, error) {
	s, err := m.current()
	if err != nil {
		return nil, err
	}
	return s.list(model, client), nil
}

// Cancel ends a job. A job that has ended already stays as it is.
func (m *Manager) Cancel(ctx context.Context, model, id string) (oip.Job, error) {
	s, j, err := m.find(model, id)
	if err != nil {
		return oip.Job{}, err
	}
	if err := s.finish(ctx, j, StateCancelled, "cancelled by the client"); err != nil {
		return oip.Job{}, outside(err)
	}
	return j.status(time.Now()), nil
}

// Results calls write with the lines of the items from item on, in their order, as soon as
// they are stored, and returns when the job has ended and all its lines are written.
func (m *Manager) Results(ctx context.Context, model, id string, from int, write func(lines []byte) error) (oip.Job, error) {
	s, j, err := m.find(model, id)
	if err != nil {
		return oip.Job{}, err
	}
	if from < 0 || from > j.spec.Items {
		return oip.Job{}, slo.E("", slo.KindInvalid, "item %d: the job has items 0 to %d", from, j.spec.Items-1)
	}
	if err := s.results(ctx, j, from, write); err != nil {
		return oip.Job{}, outside(err)
	}
	return j.status(time.Now()), nil
}

// outside gives an error a kind for clients.
func outside(err error) error {
	if _, known := errors.AsType[*slo.Error](err); known {
		return err
	}
	if errors.Is(err, ErrFull) {
		return slo.E("", slo.KindOverloaded, "%w: wait until jobs end or are deleted", err)
	}
	if errors.Is(err, context.Canceled) {
		return slo.E("", slo.KindUnavailable, "the store of jobs was closed meanwhile: %w", err)
	}
	return slo.E("", slo.KindUnavailable, "the store of jobs fails: %w", err)
}
