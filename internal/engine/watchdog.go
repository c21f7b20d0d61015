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

// Nothing can end a thread that is inside the runtime's code. A run that is told to
// end does so between two operators of its graph; one that hangs inside an operator
// is left behind: its items fail, its thread and its instance are given up, and a
// new worker with newly loaded instances takes its place. So that a graph that
// hangs each time does not fill the machine with threads, at most as many of them
// are left behind at a time as there are instances. Beyond that an instance stays
// down until a thread comes back, and the engine is not alive, so that whoever
// watches over it starts it again.

// BatchTimeMaxDefault is far above what a batch of any model takes that somebody
// waits for.
const BatchTimeMaxDefault = time.Minute

const (
	// stuckGrace is how long a run may take to end when it is told to.
	stuckGrace = 2 * time.Second
	// stopGrace is the same when the engine stops.
	stopGrace = 500 * time.Millisecond
)

// errOverdue is in the chain of the error of a job whose batch ran too long.
var errOverdue = errors.New("the batch ran too long")

// watch is what the loop knows of a slot's batch.
type watch struct {
	timer   *time.Timer // of the slot; nil: it has not run a batch
	set     slo.Instant // for when the timer is; 0: it is not
	busy    bool
	limit   slo.Instant // by which it should end, or end after it was told to
	overdue bool        // it has been told to
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

// watch begins to watch over a slot's batch.
func (l *loop) watch(s *slot, now slo.Instant) {
	s.watch.busy, s.watch.overdue = true, false
	l.limit(s, now, l.engine.cfg.BatchTimeMax)
}

// limit gives a slot's batch so much time from now.
func (l *loop) limit(s *slot, now slo.Instant, d time.Duration) {
	w := &s.watch
	w.limit = now.Add(d)
	switch {
	case w.timer == nil:
		w.timer = time.AfterFunc(d, func() { l.engine.post(func(l *loop) { l.late(s) }) })
	case w.set == 0 || w.limit < w.set:
		w.timer.Reset(d)
	default: // it comes before, and is set anew then: batches are many, and hardly one is late
		return
	}
	w.set = w.limit
}

// rest ends the watch. What the runtime made of a batch that it was told to end,
// is that it ran too long.
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

// running reports whether a batch runs.
func (l *loop) running() bool {
	return slices.ContainsFunc(l.engine.workers, func(w *worker) bool { return len(w.busy()) > 0 })
}

// late tells a batch to end, and gives its instance up if that has not helped. The
// timer may be that of a batch before.
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
		l.engine.log.Error("a batch runs too long and is told to end", "model", b.served.Model.Name, "version", b.served.Model.Version,
			"variant", b.served.Model.Variants[b.dispatch.Variant].Name, "items", len(b.items), "instance", s.worker.id, "after", l.engine.cfg.BatchTimeMax)
		b.abort()
		l.limit(s, now, stuckGrace)
	default:
		l.giveUp(s)
	}
}

// giveUp leaves a slot behind with its batch, whose jobs fail, and the worker with it.
func (l *loop) giveUp(s *slot) {
	b, id := &s.running, s.worker.id
	m := b.served.Model
	name := fmt.Sprintf("a batch of model %s, variant %s, on instance %d", m.Name, m.Variants[b.dispatch.Variant].Name, id)
	l.engine.log.Error("a batch does not end: its instance is given up", "model", m.Name, "version", m.Version,
		"variant", m.Variants[b.dispatch.Variant].Name, "instance", id)
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

// returned notes that a batch that was left behind has ended after all.
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

// replace has a lost instance loaded anew, unless the engine stops or too much is
// stuck.
func (l *loop) replace(w *worker) {
	if l.abandoned {
		return
	}
	if len(l.stuck) > l.engine.cfg.Instances {
		l.down = append(l.down, w)
	} else {
		served := l.lacking(w)
		l.engine.background.Go(func() { w.reload(l.engine, served) })
	}
	dead := len(l.down) > 0
	if l.engine.dead.Swap(dead) == dead {
		return
	}
	if dead {
		l.engine.log.Error("too many batches do not end: the server is not alive any more and should be started again", "stuck", len(l.stuck))
	}
	if vital := l.engine.cfg.Vital; vital != nil {
		vital(!dead)
	}
}

// Alive reports whether the engine can do its work. It cannot when more batches
// hang than there are instances: then it should be started again.
func (e *Engine) Alive() bool { return !e.dead.Load() }

// abandon ends all jobs: the time to drain is over. Batches that run are told to
// end, and left behind if they do not.
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

// prepare is load, within ctx and the engine's life, also where the runtime hangs:
// then it is left behind, and what comes of it is freed.
func (e *Engine) prepare(ctx context.Context, s Served) (*deployment, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.life, func() { cancel(context.Canceled) })()
	var d *deployment
	var failed error
	var settled atomic.Bool // by whoever comes first: the one that loads, or the one that waits
	err := e.cfg.Work.Do(ctx, "loading model "+s.Model.Name, func() {
		d, failed = e.load(ctx, s, &limit{cancel: cancel, most: e.cfg.BatchTimeMax})
		if !settled.CompareAndSwap(false, true) && d != nil {
			e.closeAll(d.instances)
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

// limit ends the loading of a model of which a run to warm it up takes too long.
type limit struct {
	cancel context.CancelCauseFunc
	most   time.Duration
}

// of is an instance whose runs are limited.
func (l *limit) of(instance runtime.Instance) runtime.Instance { return limited{instance, l} }

type limited struct {
	runtime.Instance
	limit *limit
}

// Run implements runtime.Instance.
func (l limited) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	late := time.AfterFunc(l.limit.most, func() {
		l.limit.cancel(fmt.Errorf("%w while warming up: over %v (--batch-time-max)", errOverdue, l.limit.most))
	})
	defer late.Stop()
	return l.Instance.Run(ctx, variant, items)
}

// loadAgain loads a lost instance anew, as long as there is work for it.
func (e *Engine) loadAgain(served []*deployment) ([]*instance, error) {
	var fresh []*instance
	var failed error
	var settled atomic.Bool // as in prepare
	left := e.cfg.Work.Do(e.healing, "loading a lost instance again", func() {
		fresh, failed = e.loadAll(e.healing, served)
		if !settled.CompareAndSwap(false, true) {
			e.closeAll(fresh)
		}
	})
	if left != nil && settled.CompareAndSwap(false, true) {
		return nil, left
	}
	return fresh, failed
}
