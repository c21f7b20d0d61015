package jobs

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// session is the time between opening the store and its first error.
type session struct {
	cfg    Config
	store  Store
	runner Runner
	m      *Manager
	ctx    context.Context // ends with the session
	end    context.CancelCauseFunc
	wake   chan struct{} // the scheduler looks again
	work   sync.WaitGroup

	mu        sync.Mutex
	jobs      map[string]*job
	accepting map[string]string // clients of the ids whose input is being stored
	keys      sync.Mutex        // held while a job with an idempotency key is accepted
	full      bool              // a result found no room
}

// job is a job in memory: what the store has, and what runs.
type job struct {
	spec *Spec

	mu      sync.Mutex
	ledger  *ledger // of a job that has not ended
	over    *end    // nil: it has not ended
	active  bool    // a worker runs it
	waiting string  // why it does not go on
	changed chan struct{}
	stop    context.CancelFunc // of its worker
	starts  []start
	began   time.Time // of the worker
	before  int       // items stored by then
}

// jobsAtOnce is how many jobs run at a time, those with the earliest deadline first.
const jobsAtOnce = 4

// opTime bounds one operation of the store.
const opTime = 10 * time.Second

// tidyEvery is how often old jobs are deleted.
const tidyEvery = time.Minute

// load reads the state of a store and deletes what has no effect.
func load(ctx context.Context, m *Manager, store Store) (*session, error) {
	s := &session{cfg: m.cfg, store: store, runner: m.runner, m: m, wake: make(chan struct{}, 1), jobs: map[string]*job{}, accepting: map[string]string{}}
	ids, err := store.List(ctx, "spec")
	if err != nil {
		return nil, err
	}
	for _, key := range ids {
		j, err := read(ctx, store, word(key, 1))
		if err != nil {
			return nil, fmt.Errorf("read job %s: %w", word(key, 1), err)
		}
		s.jobs[j.spec.ID] = j
	}
	if err := s.sweep(ctx); err != nil {
		return nil, err
	}
	s.ctx, s.end = context.WithCancelCause(ctx)
	s.look()
	return s, nil
}

// word is the i-th word of a key.
func word(key string, i int) string {
	if words := strings.Split(key, "."); i < len(words) {
		return words[i]
	}
	return ""
}

// read reads a job from the store.
func read(ctx context.Context, store Store, id string) (*job, error) {
	j := &job{spec: new(Spec), changed: make(chan struct{})}
	if err := getJSON(ctx, store, "spec."+id, j.spec); err != nil {
		return nil, err
	}
	over := new(end)
	err := getJSON(ctx, store, "end."+id, over)
	if err == nil {
		j.over = over
		return j, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	j.ledger = newLedger(j.spec)
	stored, err := store.List(ctx, "res."+id)
	if err != nil {
		return nil, err
	}
	for _, key := range stored {
		value, err := store.Get(ctx, key)
		if err != nil {
			return nil, err
		}
		k, bad := strconv.Atoi(word(key, 2))
		c, _, err := decodeCommit(value)
		if err = errors.Join(bad, err); err != nil || k < 0 || k >= j.spec.chunks() {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		j.ledger.store(k, &c)
	}
	starts, err := store.List(ctx, "run."+id)
	if err != nil {
		return nil, err
	}
	for i := range starts {
		var st start
		if err := getJSON(ctx, store, fmt.Sprintf("run.%s.%d", id, i), &st); err != nil {
			return nil, err
		}
		j.starts = append(j.starts, st)
	}
	return j, nil
}

func getJSON(ctx context.Context, store Store, key string, to any) error {
	value, err := store.Get(ctx, key)
	if err == nil {
		err = json.Unmarshal(value, to)
	}
	return err
}

// sweep deletes inputs and results that belong to no job, and inputs of ended jobs.
func (s *session) sweep(ctx context.Context) error {
	for _, kind := range []string{"in", "run", "out", "res", "end"} {
		keys, err := s.store.List(ctx, kind)
		if err != nil {
			return err
		}
		seen := map[string]bool{}
		for _, key := range keys {
			id := word(key, 1)
			if seen[id] {
				continue
			}
			seen[id] = true
			s.mu.Lock()
			j := s.jobs[id]
			_, accepting := s.accepting[id]
			s.mu.Unlock()
			if accepting || j != nil && (kind != "in" && kind != "run" || j.ended() == nil) {
				continue
			}
			if err := s.store.Delete(ctx, kind+"."+id); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepKeys deletes idempotency keys of jobs that do not exist.
func (s *session) sweepKeys(ctx context.Context) error {
	keys, err := s.store.List(ctx, "key")
	if err != nil {
		return err
	}
	s.keys.Lock() // no key is claimed meanwhile
	defer s.keys.Unlock()
	for _, key := range keys {
		id, err := s.store.Get(ctx, key)
		if errors.Is(err, ErrNotFound) || err == nil && s.job(string(id)) != nil {
			continue
		}
		if err == nil {
			err = s.store.Delete(ctx, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fail ends the session after an error of the store.
func (s *session) fail(err error) { s.end(err) }

// op is the context of one operation of the store.
func (s *session) op() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, opTime)
}

// look makes the scheduler look again.
func (s *session) look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// serve starts the work of jobs until the session ends, and returns why it ended.
func (s *session) serve() error {
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	clock := newWallClock(time.Now())
	for s.ctx.Err() == nil {
		s.startJobs()
		select {
		case <-s.wake:
		case <-s.ctx.Done():
		case now := <-tidy.C:
			if jump := clock.jump(now); jump != 0 {
				s.cfg.Log.Warn("the wall clock has jumped: the deadlines of jobs are wall-clock instants, and move with it", "by", jump)
			}
			if err := s.tidy(now); err != nil {
				s.fail(err)
			}
		}
	}
	s.work.Wait()
	s.store.Close()
	return context.Cause(s.ctx)
}

// startJobs starts the most urgent jobs that wait.
func (s *session) startJobs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var waiting []*job
	active := 0
	for _, j := range s.jobs {
		j.mu.Lock()
		switch {
		case j.active:
			active++
		case j.over == nil:
			waiting = append(waiting, j)
		}
		j.mu.Unlock()
	}
	slices.SortFunc(waiting, moreUrgent)
	for _, j := range waiting[:max(0, min(len(waiting), jobsAtOnce-active))] {
		ctx, cancel := context.WithCancel(s.ctx)
		j.mu.Lock()
		j.active, j.stop = true, cancel
		j.mu.Unlock()
		s.work.Go(func() {
			s.runJob(ctx, j)
			cancel()
			j.mu.Lock()
			j.active = false
			j.mu.Unlock()
			s.look()
		})
	}
}

// moreUrgent orders jobs by deadline; those without come last, the older ones first.
func moreUrgent(a, b *job) int {
	x, y := a.spec.Deadline, b.spec.Deadline
	if x.IsZero() != y.IsZero() {
		if x.IsZero() {
			return 1
		}
		return -1
	}
	return cmp.Or(x.Compare(y), a.spec.Created.Compare(b.spec.Created), strings.Compare(a.spec.ID, b.spec.ID))
}

// job finds a job.
func (s *session) job(id string) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id]
}

// list lists jobs, the newest first.
func (s *session) list(model, client string) []oip.Job {
	s.mu.Lock()
	var found []*job
	for _, j := range s.jobs {
		if (model == "" || j.spec.Model == model) && (client == "" || j.spec.Client == client) {
			found = append(found, j)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(found, func(a, b *job) int {
		return cmp.Or(b.spec.Created.Compare(a.spec.Created), strings.Compare(a.spec.ID, b.spec.ID))
	})
	now, list := time.Now(), make([]oip.Job, len(found))
	for i, j := range found {
		list[i] = j.status(now)
	}
	return list
}

// submit stores a job.
func (s *session) submit(ctx context.Context, spec Spec, input []byte) (j *job, created bool, err error) {
	spec.Input = blobOf(input)
	if spec.Key != "" {
		s.keys.Lock()
		defer s.keys.Unlock()
		if j, err := s.again(&spec); j != nil || err != nil {
			return j, false, err
		}
	}
	spec.ID = "job-" + strings.ToLower(rand.Text())
	if spec.Key != "" {
		if err := s.claim(ctx, &spec); err != nil {
			s.fail(err)
			return nil, false, err
		}
	}
	if err := s.admit(&spec); err != nil {
		return nil, false, err
	}
	defer func() {
		s.mu.Lock()
		delete(s.accepting, spec.ID)
		s.mu.Unlock()
	}()
	if err := s.room(int64(len(input))); err != nil {
		return nil, false, err
	}
	opCtx, cancel := s.op()
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	err = s.accept(opCtx, &spec, input)
	switch {
	case err == nil:
	case errors.Is(err, ErrExists):
		return nil, false, slo.E("", slo.KindInvalid, "the idempotency key %.80q was used for other inputs", spec.Key)
	case errors.Is(err, ErrFull), ctx.Err() != nil && s.ctx.Err() == nil:
		return nil, false, errors.Join(err, s.forget(spec.ID))
	default:
		s.fail(err)
		return nil, false, err
	}
	j = &job{spec: &spec, ledger: newLedger(&spec), changed: make(chan struct{})}
	s.mu.Lock()
	s.jobs[spec.ID] = j
	s.mu.Unlock()
	s.look()
	return j, true, nil
}

// claim gives a job with an idempotency key the id that belongs to the key, for ever: an
// earlier submission, whose answer was lost, may still reach the store.
func (s *session) claim(ctx context.Context, spec *Spec) error {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	sum := sha256.Sum256([]byte(spec.Client + "\x00" + spec.Key))
	key := "key." + hex.EncodeToString(sum[:])
	err := s.store.Create(ctx, key, []byte(spec.ID))
	if errors.Is(err, ErrExists) {
		var id []byte
		if id, err = s.store.Get(ctx, key); err == nil {
			spec.ID = string(id)
		}
	}
	return err
}

// accept stores a job, its spec last. If an earlier submission with its key has stored
// the spec meanwhile, spec becomes that.
func (s *session) accept(ctx context.Context, spec *Spec, input []byte) error {
	if err := putPieces(ctx, s.store, "in."+spec.ID, input); err != nil {
		return err
	}
	value, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	err = put(ctx, s.store, "spec."+spec.ID, value)
	if !errors.Is(err, ErrExists) {
		return err
	}
	there := new(Spec)
	if err := getJSON(ctx, s.store, "spec."+spec.ID, there); err != nil {
		return err
	}
	if there.Input != spec.Input || there.Model != spec.Model {
		return ErrExists
	}
	*spec = *there
	return nil
}

// again finds the job that was accepted with this key of this client.
func (s *session) again(spec *Spec) (*job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		if j.spec.Key != spec.Key || j.spec.Client != spec.Client {
			continue
		}
		if j.spec.Model != spec.Model || j.spec.Input != spec.Input {
			return nil, slo.E("", slo.KindInvalid, "the idempotency key %.80q is that of job %s, which has another model or other inputs", spec.Key, j.spec.ID)
		}
		return j, nil
	}
	return nil, nil
}

// admit checks the client's share.
func (s *session) admit(spec *Spec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, j := range s.jobs {
		if j.spec.Client == spec.Client && j.ended() == nil {
			n++
		}
	}
	for _, client := range s.accepting {
		if client == spec.Client {
			n++
		}
	}
	if n >= s.cfg.ClientJobsMax {
		return slo.E("", slo.KindOverloaded, "this client has %d jobs that have not ended, and %d are allowed", n, s.cfg.ClientJobsMax)
	}
	s.accepting[spec.ID] = spec.Client
	return nil
}
