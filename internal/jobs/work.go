package jobs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Bounds on the work of one job.
const (
	// chunksAtOnce is how many chunks of a job run at a time: while one is stored, the
	// next ones run.
	chunksAtOnce = 4
	// attemptsMax is how often a chunk may fail before its job does.
	attemptsMax = 5
	// startsMax is how often processes may begin a job without storing a chunk: a job that
	// ends the process each time must not do so for ever.
	startsMax = 10
	// retryMin and retryMax bound the time until a chunk runs again.
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
)

// outcome is what became of a run of a chunk.
type outcome struct {
	chunk Chunk
	done  *commit // stored; nil: err says why not
	err   error
	store error // an error of the store
}

// runner runs one job in one session.
type runner struct {
	s        *session
	j        *job
	work     Work
	results  chan outcome
	running  int
	attempts map[int]int // by chunk: failures
	waits    int         // since a chunk was stored
	notYet   <-chan time.Time
}

// runJob runs a job until it ends, or ctx does.
func (s *session) runJob(ctx context.Context, j *job) {
	r := &runner{s: s, j: j, results: make(chan outcome, chunksAtOnce), attempts: map[int]int{}}
	defer func() {
		if r.work != nil {
			for ; r.running > 0; r.running-- {
				<-r.results
			}
			r.work.Close()
		}
	}()
	err := r.begin(ctx)
	for err == nil && ctx.Err() == nil && j.ended() == nil {
		err = r.step(ctx)
	}
	if err != nil && ctx.Err() == nil {
		s.fail(err)
	}
}

// begin records that this process runs the job.
func (r *runner) begin(ctx context.Context) error {
	j, now := r.j, time.Now()
	j.mu.Lock()
	st := start{At: now.Round(0), Chunks: j.ledger.chunks}
	n, fruitless := len(j.starts), 0
	for i := n - 1; i >= 0 && j.starts[i].Chunks == st.Chunks; i-- {
		fruitless++
	}
	if n > 0 && st.At.Before(j.starts[n-1].At) {
		r.s.cfg.Log.Warn("the wall clock is before the time at which this job was last begun", "job", j.spec.ID, "now", st.At, "begun", j.starts[n-1].At)
	}
	j.began, j.before = now, j.ledger.items
	j.mu.Unlock()
	if !r.s.m.begins(j.spec.ID) {
		return nil
	}
	if fruitless >= startsMax {
		return r.s.finish(ctx, j, StateFailed, fmt.Sprintf("the server was started %d times while this job ran, without any result in between", fruitless))
	}
	value, err := json.Marshal(st)
	if err != nil {
		return err
	}
	opCtx, cancel := r.s.op()
	defer cancel()
	if err := put(opCtx, r.s.store, fmt.Sprintf("run.%s.%d", j.spec.ID, n), value); err != nil && !errors.Is(err, ErrFull) {
		return err
	}
	j.mu.Lock()
	j.starts = append(j.starts, st)
	j.mu.Unlock()
	return nil
}

// open reads the input. An error is that of the store.
func (r *runner) open(ctx context.Context) error {
	spec := r.j.spec
	opCtx, cancel := r.s.op()
	defer cancel()
	input, err := getPieces(opCtx, r.s.store, "in."+spec.ID, spec.Input.Pieces, spec.Input.Bytes)
	if errors.Is(err, ErrNotFound) {
		return r.s.finish(ctx, r.j, StateFailed, "a part of its input is missing in the store")
	}
	if err != nil {
		return err
	}
	if err := spec.Input.check(input); err != nil {
		return r.s.finish(ctx, r.j, StateFailed, err.Error())
	}
	r.work, err = r.s.runner.Open(ctx, spec, input)
	if err != nil {
		return r.failed(ctx, -1, err)
	}
	return nil
}

// step starts what can start, and waits for the next event. An error is that of the store.
func (r *runner) step(ctx context.Context) error {
	j, now := r.j, time.Now()
	late := j.spec.Late == slo.LateDrop && !j.spec.Deadline.IsZero()
	if late && !now.Before(j.spec.Deadline) {
		return r.s.finish(ctx, j, StateLate, "its deadline has passed")
	}
	if r.notYet == nil {
		if r.work == nil {
			if err := r.open(ctx); err != nil || r.work == nil {
				return err
			}
		}
		r.start(ctx, now)
	}
	if j.isFull() {
		return r.complete(ctx)
	}
	var over <-chan time.Time
	if late {
		timer := time.NewTimer(j.spec.Deadline.Sub(now))
		defer timer.Stop()
		over = timer.C
	}
	select {
	case o := <-r.results:
		r.running--
		return r.took(ctx, o)
	case <-r.notYet:
		r.notYet = nil
	case <-over:
	case <-ctx.Done():
	}
	return nil
}

// start starts chunks.
func (r *runner) start(ctx context.Context, now time.Time) {
	for r.running < chunksAtOnce {
		r.j.mu.Lock()
		c, ok := r.j.ledger.next(now)
		r.j.mu.Unlock()
		if !ok {
			return
		}
		r.running++
		go func() { r.results <- r.run(ctx, c) }()
	}
}

// run runs a chunk and stores its result.
func (r *runner) run(ctx context.Context, c Chunk) outcome {
	result, err := r.work.Run(ctx, c)
	if err != nil {
		return outcome{chunk: c, err: err}
	}
	done, err := r.s.commit(r.j.spec.ID, c.Index, result)
	if errors.Is(err, ErrFull) {
		return outcome{chunk: c, err: slo.E("", slo.KindOverloaded, "%w", err)}
	}
	return outcome{chunk: c, done: done, store: err}
}

// took takes what became of a chunk.
func (r *runner) took(ctx context.Context, o outcome) error {
	j := r.j
	r.s.setFull(errors.Is(o.err, ErrFull))
	if o.store != nil {
		return o.store
	}
	if o.done == nil {
		j.mu.Lock()
		j.ledger.release(o.chunk.Index)
		j.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		default:
			return r.failed(ctx, o.chunk.Index, o.err)
		}
	}
	r.waits = 0
	j.mu.Lock()
	j.ledger.store(o.chunk.Index, o.done)
	j.waiting = ""
	j.tell()
	j.mu.Unlock()
	return nil
}

// failed decides what follows when a chunk, or opening the input (-1), has failed.
func (r *runner) failed(ctx context.Context, k int, err error) error {
	switch slo.KindOf(err) {
	case slo.KindOverloaded, slo.KindUnavailable, slo.KindDeadlineExceeded, slo.KindCancelled:
	case slo.KindInternal, slo.KindNotFound:
		if r.attempts[k]++; r.attempts[k] >= attemptsMax {
			return r.s.finish(ctx, r.j, StateFailed, fmt.Sprintf("%s failed %d times: %v", r.name(k), r.attempts[k], err))
		}
	default:
		return r.s.finish(ctx, r.j, StateFailed, fmt.Sprintf("%s: %v", r.name(k), err))
	}
	r.j.mu.Lock()
	r.j.waiting = err.Error()
	r.j.mu.Unlock()
	if errors.Is(err, ErrFull) {
		if err := r.s.room(int64(r.j.spec.Input.Bytes)); err != nil && !errors.Is(err, ErrFull) {
			return err
		}
	}
	wait := min(retryMin<<min(r.waits, 8), retryMax)
	r.waits++
	r.notYet = time.After(wait)
	return nil
}

func (r *runner) name(k int) string {
	if k < 0 {
		return "reading its input"
	}
	first, n := r.j.spec.chunk(k)
	return fmt.Sprintf("items %d to %d", first, first+n-1)
}

// complete ends a job all of whose items have a result.
func (r *runner) complete(ctx context.Context) error {
	r.j.mu.Lock()
	expected, answered, failed, why, floor := r.j.ledger.expected(), r.j.ledger.answered, r.j.ledger.failed, r.j.ledger.why, r.j.spec.Floor
	r.j.mu.Unlock()
	switch {
	case answered == 0:
		return r.s.finish(ctx, r.j, StateFailed, fmt.Sprintf("all %d items failed, the first of them because: %s", failed, why))
	case expected < floor:
		return r.s.finish(ctx, r.j, StateFailed, fmt.Sprintf("%d items failed, and the others are expected to score %v on average, below %v; the first failed because: %s", failed, expected, floor, why))
	}
	return r.s.finish(ctx, r.j, StateCompleted, "")
}

// commit stores the result of a chunk, or finds the one that is stored.
func (s *session) commit(id string, k int, result Result) (*commit, error) {
	ctx, cancel := s.op()
	defer cancel()
	c, lines := &commit{Result: result, Blob: blobOf(result.Lines)}, result.Lines
	value := c.encode(lines)
	if len(value) > ValueBytesMax {
		c.Parts = fmt.Sprintf("out.%s.%d.%s", id, k, strings.ToLower(rand.Text()))
		if err := putPieces(ctx, s.store, c.Parts, lines); err != nil {
			return nil, err
		}
		value = c.encode(nil)
	}
	key := fmt.Sprintf("res.%s.%d", id, k)
	err := s.store.Create(ctx, key, value)
	if errors.Is(err, ErrExists) {
		if value, err = s.store.Get(ctx, key); err == nil {
			var there commit
			there, _, err = decodeCommit(value)
			c = &there
		}
	}
	if err != nil {
		return nil, err
	}
	c.Lines = nil
	return c, nil
}

// finish stores how a job ended, or finds how it did.
func (s *session) finish(ctx context.Context, j *job, state, reason string) error {
	j.mu.Lock()
	if j.over != nil {
		j.mu.Unlock()
		return nil
	}
	over := j.ledger.end(state, reason, time.Now().Round(0))
	value, err := json.Marshal(over)
	j.mu.Unlock()
	if err != nil {
		return err
	}
	opCtx, cancel := s.op()
	defer cancel()
	key := "end." + j.spec.ID
	err = s.store.Create(opCtx, key, value)
	if errors.Is(err, ErrExists) {
		err = getJSON(opCtx, s.store, key, &over)
	}
	if err != nil {
		if !errors.Is(err, ErrFull) && ctx.Err() == nil {
			s.fail(err)
		}
		return err
	}
	j.mu.Lock()
	j.over, j.waiting = &over, ""
	if j.stop != nil {
		j.stop()
	}
	j.tell()
	j.mu.Unlock()
	s.m.ends(j.spec.ID)
	s.cfg.Log.Info("job ended", "job", j.spec.ID, "model", j.spec.Model, "state", over.State, "reason", over.Reason, "items", j.spec.Items, "answered", over.Answered)
	for _, kind := range []string{"in.", "run."} {
		if err := s.store.Delete(opCtx, kind+j.spec.ID); err != nil {
			return err
		}
	}
	return nil
}
