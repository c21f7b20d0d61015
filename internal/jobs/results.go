package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// tell wakes those who wait for a change. j.mu is held.
func (j *job) tell() {
	close(j.changed)
	j.changed = make(chan struct{})
}

// ended returns how the job ended, nil if it has not.
func (j *job) ended() *end {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.over
}

// isFull reports whether all chunks are stored.
func (j *job) isFull() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ledger.full()
}

// status is the job as clients see it.
func (j *job) status(now time.Time) oip.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.spec
	job := oip.Job{ID: s.ID, Model: s.Model, Version: s.Version, State: StateQueued, Items: s.Items, MinAccuracy: s.Floor.Float(), Late: s.Late.String(),
		Submitted: s.Created, Deadline: s.Deadline, IdempotencyKey: s.Key}
	if s.Confidence > 0 {
		job.AccuracyConfidence = s.Confidence.Float()
	}
	over := j.over
	if over == nil {
		if job.Reason = j.waiting; j.active {
			job.State = StateRunning
			job.PredictedFinish = j.finish(now)
		}
		now := j.ledger.end(job.State, job.Reason, time.Time{})
		over = &now
	}
	job.State, job.Reason, job.Ended = over.State, over.Reason, over.Ended
	job.Done, job.Failed = over.Answered+over.Failed, over.Failed
	job.ExpectedAccuracy = over.Score.Mean(over.Answered).Float()
	if len(over.Ran) > 0 {
		job.Ran = maps.Clone(over.Ran)
	}
	return job
}

// finish predicts when the job will be done, from the rate since its worker began; zero:
// not known. j.mu is held.
func (j *job) finish(now time.Time) time.Time {
	done := j.ledger.items - j.before
	if done == 0 {
		return time.Time{}
	}
	each := float64(now.Sub(j.began)) / float64(done)
	return now.Add(time.Duration(each * float64(j.spec.Items-j.ledger.items))).Round(0)
}

// results writes the lines of a job's items from item from on.
func (s *session) results(ctx context.Context, j *job, from int, write func([]byte) error) error {
	for k := from / j.spec.ChunkItems; k < j.spec.chunks(); k++ {
		if err := s.await(ctx, j, k); err != nil {
			return err
		}
		lines, err := s.lines(j.spec.ID, k)
		if errors.Is(err, ErrNotFound) {
			if s.job(j.spec.ID) == nil {
				return slo.E("", slo.KindNotFound, "job %s was deleted meanwhile", j.spec.ID)
			}
			continue // the job ended before
		}
		if err != nil {
			return err
		}
		first, _ := j.spec.chunk(k)
		for ; first < from; first++ {
			_, lines, _ = bytes.Cut(lines, []byte{'\n'})
		}
		if err := write(lines); err != nil {
			return err
		}
	}
	for j.ended() == nil {
		if err := s.change(ctx, j, func() bool { return j.over != nil }); err != nil {
			return err
		}
	}
	return nil
}

// await waits until chunk k is stored or the job has ended.
func (s *session) await(ctx context.Context, j *job, k int) error {
	return s.change(ctx, j, func() bool { return j.over != nil || j.ledger.stored[k] })
}

// change waits until something is so; the question is asked with j.mu held.
func (s *session) change(ctx context.Context, j *job, so func() bool) error {
	for {
		j.mu.Lock()
		yes, changed := so(), j.changed
		j.mu.Unlock()
		if yes {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return slo.E("", slo.KindCancelled, "%w", ctx.Err())
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// lines reads the stored lines of a chunk.
func (s *session) lines(id string, k int) ([]byte, error) {
	ctx, cancel := s.op()
	defer cancel()
	value, err := s.store.Get(ctx, fmt.Sprintf("res.%s.%d", id, k))
	if err != nil {
		return nil, err
	}
	c, lines, err := decodeCommit(value)
	if err == nil && c.Parts != "" {
		lines, err = getPieces(ctx, s.store, c.Parts, c.Blob.Pieces, c.Blob.Bytes)
	}
	if err == nil {
		err = c.Blob.check(lines)
	}
	return lines, err
}

// bytes is what a job takes in the store.
func (j *job) bytes() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over != nil {
		return int64(j.over.Bytes)
	}
	return int64(j.spec.Input.Bytes + j.ledger.bytes)
}

// ended returns the jobs that have ended, the one that ended first at the front, and what
// all jobs take in the store.
func (s *session) endedJobs() (list []*job, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		bytes += j.bytes()
		if j.ended() != nil {
			list = append(list, j)
		}
	}
	slices.SortFunc(list, func(a, b *job) int { return a.ended().Ended.Compare(b.ended().Ended) })
	return list, bytes
}

// room makes room for a number of bytes: it deletes jobs that have ended.
func (s *session) room(n int64) error {
	list, bytes := s.endedJobs()
	for _, j := range list {
		if bytes+n <= s.cfg.BytesMax {
			return nil
		}
		bytes -= j.bytes()
		if err := s.forget(j.spec.ID); err != nil {
			return err
		}
	}
	if bytes+n > s.cfg.BytesMax {
		return slo.E("", slo.KindOverloaded, "%w: %d bytes of %d are taken by jobs that have not ended, and %d are needed", ErrFull, bytes, s.cfg.BytesMax, n)
	}
	return nil
}

// tidy deletes jobs that ended long ago, and what belongs to no job.
func (s *session) tidy(now time.Time) error {
	list, _ := s.endedJobs()
	for _, j := range list {
		if now.Sub(j.ended().Ended) > s.cfg.Keep {
			if err := s.forget(j.spec.ID); err != nil {
				return err
			}
		}
	}
	ctx, cancel := s.op()
	defer cancel()
	if err := s.sweep(ctx); err != nil {
		return err
	}
	return s.sweepKeys(ctx)
}

// forget deletes a job, its spec first: from then on it does not exist.
func (s *session) forget(id string) error {
	ctx, cancel := s.op()
	defer cancel()
	for _, kind := range []string{"spec.", "in.", "run.", "out.", "res.", "end."} {
		if err := s.store.Delete(ctx, kind+id); err != nil {
			s.fail(err)
			return err
		}
		if kind == "spec." {
			s.mu.Lock()
			delete(s.jobs, id)
			s.mu.Unlock()
		}
	}
	return nil
}

func (s *session) isFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

func (s *session) setFull(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
}

// wallClock notices jumps of the wall clock beside the monotonic one.
type wallClock struct{ last time.Time }

// jumpMin is the least jump that is told: clocks are often corrected by less.
const jumpMin = 2 * time.Second

func newWallClock(now time.Time) *wallClock { return &wallClock{last: now} }

// jump is by how much the wall clock has jumped since the last call; 0: not much.
func (c *wallClock) jump(now time.Time) time.Duration {
	d := now.Round(0).Sub(c.last.Round(0)) - now.Sub(c.last)
	c.last = now
	if d.Abs() < jumpMin {
		return 0
	}
	return d
}
