package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Nothing can end a thread inside the runtime's code. An aborted run ends between two
// operators of its graph. If a run hangs inside an operator, the engine abandons it:
// its items fail, its thread and instance are given up, and a new worker with newly
// loaded instances replaces it. A graph that hangs every time must not fill the machine
// with threads. So at most as many batches are abandoned at a time as there are
// instances. Beyond that, an instance stays down until a thread comes back, and the
// engine reports that it is not alive, so that a supervisor restarts it.

// BatchTimeMaxDefault is far longer than any batch that a client would wait for.
const BatchTimeMaxDefault = time.Minute

const (
	// stuckGrace is how long an aborted run may take to end.
	stuckGrace = 2 * time.Second
	// stopGrace is the same while the engine stops.
	stopGrace = 500 * time.Millisecond
)

// errOverdue is in the error chain of a job whose batch ran too long.
var errOverdue = errors.New("the batch ran too long")

// watch is the loop's record of a slot's batch.
type watch struct {
	timer   *time.Timer // of the slot; nil: it has not run a batch
	set     slo.Instant // when the timer is due; 0: it is not set
	busy    bool
	limit   slo.Instant // by when the batch should end or, once aborted, must end
	overdue bool        // it has been aborted
}

// report tells the loop that a batch has run. If there is no loop any more, the batch
// was left behind and nobody waits for it.
func (e *Engine) report(s *slot, b *running) {
	told := e.post(func(l *loop) {
		e.letGo(b)
		if s.stuck {
			l.returned(b)
			return
		}
		l.rest(s, b)
		s.lost = b.err != nil && (s.worker.lost || errors.Is(b.err, runtime.ErrLost))
		if !s.worker.lost {
			l.done(b)
			return
		}
		if s.lost {
			if s.worker.spared && errors.Is(b.err, runtime.ErrLost) {
				l.detach(s.worker, b)
			}
			b.abort()
			clear(b.results) // its items run again, elsewhere
		} else {
			l.done(b) // it ended well although it was told to end
		}
		l.condemn(s.worker, b.dispatch.Batch)
	})
	if told {
		return
	}
	e.letGo(b) // the loop has ended, and with it who changes it
	if b.left != nil {
		b.left()
	}
}

// watch starts to watch a slot's batch.
func (l *loop) watch(s *slot, now slo.Instant) {
	s.watch.busy, s.watch.overdue = true, false
	l.limit(s, now, l.engine.cfg.BatchTimeMax)
}

// limit gives a slot's batch that much time from now.
func (l *loop) limit(s *slot, now slo.Instant, d time.Duration) {
	w := &s.watch
	w.limit = now.Add(d)
	switch {
	case w.timer == nil:
		w.timer = time.AfterFunc(d, func() { l.engine.post(func(l *loop) { l.late(s) }) })
	case w.set == 0 || w.limit < w.set:
		w.timer.Reset(d)
	default: // the timer is due earlier and is then set again: batches are frequent, late ones rare
		return
	}
	w.set = w.limit
}

// rest ends the watch. For an aborted batch, it replaces the runtime's error by one
// that says that the batch ran too long.
func (l *loop) rest(s *slot, b *running) {
	s.watch.busy = false
	if s.watch.overdue && b.err != nil && !l.abandoned {
		if lost := b.err; errors.Is(lost, runtime.ErrLost) { // that too
			b.err = slo.E("", slo.KindDeadlineExceeded, "%w: %w", l.tooLong(), runtime.ErrCrashed)
		} else {
			b.err = l.tooLong()
		}
		for i := range b.results {
			b.results[i].err = b.err
		}
	}
}

func (l *loop) tooLong() error {
	return slo.E("", slo.KindDeadlineExceeded, "%w: over %v (--batch-time-max)", errOverdue, l.engine.cfg.BatchTimeMax)
}

// running reports whether any batch runs.
func (l *loop) running() bool {
	return slices.ContainsFunc(l.engine.workers, func(w *worker) bool { return len(w.busy()) > 0 })
}

// late aborts a batch that is over its time, and gives its instance up if it already
// was aborted. The timer may still be that of an earlier batch.
func (l *loop) late(s *slot) {
	s.watch.set = 0
	now := l.engine.Now()
	left := s.watch.limit.Sub(now)
	switch {
	case s.stuck || !s.watch.busy:
	case left > 0:
		l.limit(s, now, left)
	case !s.watch.overdue:
		s.watch.overdue = true
		b := &s.running
		l.engine.log.Error("a batch ran too long and is aborted", "model", b.served.Model.Name, "version", b.served.Model.Version,
			"variant", b.served.Model.Variants[b.core.variant].Name, "items", len(b.items), "instance", s.worker.id, "after", l.engine.cfg.BatchTimeMax)
		b.abort()
		l.limit(s, now, stuckGrace)
	default:
		l.giveUp(s)
	}
}

// giveUp abandons a slot with its batch, whose jobs fail, and then the worker.
func (l *loop) giveUp(s *slot) {
	b, id := &s.running, s.worker.id
	m := b.served.Model
	name := fmt.Sprintf("a batch of model %s, variant %s, on instance %d", m.Name, m.Variants[b.core.variant].Name, id)
	l.engine.log.Error("a batch does not end: its instance is replaced", "model", m.Name, "version", m.Version,
		"variant", m.Variants[b.core.variant].Name, "instance", id)
	b.left = l.engine.cfg.Work.Begin(name)
	s.stuck = true
	l.stuck = append(l.stuck, b)
	for _, p := range b.dispatch.Parts {
		if c := l.calls[p.Job]; c != nil && !c.answered {
			c.err = l.tooLong()
			l.step(sched.Cancel{Job: p.Job, Reason: slo.ReasonRuntime})
		}
	}
	l.condemn(s.worker, b.dispatch.Batch)
}

// returned handles the end of an abandoned batch.
func (l *loop) returned(b *running) {
	b.abort()
	b.left()
	l.stuck = slices.DeleteFunc(l.stuck, func(other *running) bool { return other == b })
	if len(l.down) > 0 {
		w := l.down[0]
		l.down = l.down[1:]
		l.replace(w)
	}
}

// replace has a lost instance reloaded, unless the engine stops or too many batches are
// stuck.
func (l *loop) replace(w *worker) {
	if l.abandoned {
		return
	}
	if len(l.stuck) > l.engine.cfg.Instances {
		l.down = append(l.down, w)
	} else {
		shares := l.lacking(w)
		w.reloading = true
		l.engine.background.Go(func() { w.reload(l.engine, shares) })
	}
	dead := len(l.down) > 0
	if l.engine.dead.Swap(dead) == dead {
		return
	}
	if dead {
		l.engine.log.Error("too many batches do not end: the server is no longer alive and should be restarted", "stuck", len(l.stuck))
	}
	if vital := l.engine.cfg.Vital; vital != nil {
		vital(!dead)
	}
}

// Alive reports whether the engine can do its work. It cannot if more batches hang than
// there are instances: then the server should be restarted.
func (e *Engine) Alive() bool { return !e.dead.Load() }

// abandon ends all jobs when the time to drain is over. Running batches are aborted,
// and abandoned if they do not end.
func (l *loop) abandon() {
	l.abandoned = true
	l.engine.endHealing()
	for _, id := range slices.Sorted(maps.Keys(l.calls)) {
		l.step(sched.Cancel{Job: id, Reason: slo.ReasonDraining})
	}
	for _, w := range l.engine.workers {
		for _, s := range w.busy() {
			s.watch.overdue = true
			s.running.abort()
			l.limit(s, l.engine.Now(), stopGrace)
		}
	}
}

// prepare is load, but it returns when ctx or the engine's life ends, even if the
// runtime hangs. Then it leaves the load behind, and frees its result if there is one.
func (e *Engine) prepare(ctx context.Context, s Served) (*deployment, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.life, func() { cancel(context.Canceled) })()
	var d *deployment
	var failed error
	var settled atomic.Bool // by whichever comes first: the loading or the waiting goroutine
	err := e.cfg.Work.Do(ctx, "loading model "+s.Model.Name, func() {
		d, failed = e.load(ctx, s, &limit{cancel: cancel, most: e.cfg.BatchTimeMax})
		if !settled.CompareAndSwap(false, true) && d != nil {
			e.closeAll(d.all())
		}
	})
	if err != nil && settled.CompareAndSwap(false, true) {
		kind := slo.KindCancelled
		if errors.Is(err, errOverdue) {
			kind = slo.KindDeadlineExceeded
		}
		return nil, slo.E("load "+s.Model.Name, kind, "%w", err)
	}
	return d, failed
}

// limit ends the loading of a model if a warm-up run takes too long.
type limit struct {
	cancel context.CancelCauseFunc
	most   time.Duration
}

// of wraps an instance so that its runs are limited.
func (l *limit) of(instance runtime.Instance) runtime.Instance { return limited{instance, l} }

type limited struct {
	runtime.Instance
	limit *limit
}

// OnCaller implements runtime.Near.
func (l limited) OnCaller() bool { return runtime.OnCaller(l.Instance) }

// Run implements runtime.Instance.
func (l limited) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	late := time.AfterFunc(l.limit.most, func() {
		l.limit.cancel(fmt.Errorf("%w while warming up: over %v (--batch-time-max)", errOverdue, l.limit.most))
	})
	defer late.Stop()
	return l.Instance.Run(ctx, variant, items)
}

// loadAgain loads a lost instance anew, as long as there is work for it.
func (e *Engine) loadAgain(shares []share) ([]*instance, error) {
	var fresh []*instance
	var failed error
	var settled atomic.Bool // as in prepare
	left := e.cfg.Work.Do(e.healing, "loading a lost instance again", func() {
		fresh, failed = e.loadAll(e.healing, shares)
		if !settled.CompareAndSwap(false, true) {
			e.closeAll(fresh)
		}
	})
	if left != nil && settled.CompareAndSwap(false, true) {
		return nil, left
	}
	return fresh, failed
}
