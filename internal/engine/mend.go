package engine

import (
	"errors"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// A worker has an instance of the runtime for each model. One of them can be lost (its
// process has crashed, its server is gone) while those of other models are as good as
// before. Then the worker goes on with these, and only the lost one is loaded anew.
// Batches of its model wait for the first attempt to do so; when that has failed, they
// fail at once until a later one succeeds. A worker that has nothing else to run is
// taken away as a whole.

// errMending is the error of a batch whose model is being loaded anew.
var errMending = slo.E("", slo.KindUnavailable, "the model's instance was lost and is being loaded again")

// mending is an instance that is loaded anew.
type mending struct {
	slots    int           // of the lost instance: as many batches may wait for the next
	tried    chan struct{} // closed when the first attempt has ended
	instance *instance     // written by the loop, before tried is closed; nil: it has failed
}

// await waits for an instance that is loaded anew, if the batch needs it.
func (b *running) await() {
	b.runs = b.instance
	if b.awaited == nil {
		return
	}
	select {
	case <-b.awaited.tried:
		b.runs = b.awaited.instance
	case <-b.ctx.Done():
	}
}

// on is the instance that a batch runs on, as the loop knows it.
func (b *running) on() *instance {
	if b.awaited != nil {
		return b.awaited.instance
	}
	return b.instance
}

// letGo lets go of what a batch has waited for, when it has run.
func (e *Engine) letGo(b *running) {
	if b.held {
		b.held = false
		e.closeAll([]*instance{b.awaited.instance})
	}
}

// bereave takes a lost instance away with the batch that lost it. Unless the batch is
// to blame, its items run again.
func (l *loop) bereave(b *running, failed sched.Done) {
	w := l.engine.workers[b.dispatch.Instance]
	s := w.find(b.dispatch.Batch)
	blamed := errors.Is(b.err, runtime.ErrCrashed)
	switch alone := !l.others(w, b.served); {
	case alone && blamed:
		l.step(sched.InstanceResize{Instance: w.id, Slots: 0}) // nothing new
		s.lost = false
		l.step(failed)
		l.condemn(w, b.dispatch.Batch)
	case alone:
		l.condemn(w, b.dispatch.Batch)
	case blamed:
		l.detach(w, b)
		s.lost = false
		l.step(failed)
	default:
		l.detach(w, b)
		w.spared = true
		l.condemn(w, b.dispatch.Batch)
	}
}

// rebound takes a worker away and brings it back at once, so that what it has lost runs
// again, with the instances of all models but those that are loaded anew.
func (l *loop) rebound(w *worker, by sched.BatchID) {
	w.lost, w.spared = false, false
	for _, s := range w.slots {
		s.lost = false
	}
	l.step(sched.InstanceDown{Instance: w.id, By: by})
	l.up(w)
}

// others reports whether a worker has instances of models beside one.
func (l *loop) others(w *worker, d *deployment) bool {
	return slices.ContainsFunc(l.deployments, func(o *deployment) bool { return o != nil && o != d && o.on(w.id) != nil })
}

// detach takes the lost instance of a batch away from its worker and has it loaded
// anew. Other batches that it runs are told to end.
func (l *loop) detach(w *worker, b *running) {
	d, lost := b.served, b.on()
	if lost == nil || d.on(w.id) != lost {
		return // another batch has seen to it
	}
	d.put(w.id, nil)
	l.engine.closeAll([]*instance{lost}) // the batches that it runs hold it
	l.engine.log.Error("an instance is lost and is loaded again; other models go on", "model", d.Model.Name, "version", d.Model.Version, "instance", w.id)
	for _, s := range w.busy() {
		if s.running.on() == lost {
			s.watch.overdue = true
			s.running.abort()
			l.limit(s, l.engine.Now(), stuckGrace)
		}
	}
	if !l.abandoned {
		m := &mending{slots: lost.Slots(), tried: make(chan struct{})}
		if d.mending == nil {
			d.mending = map[sched.InstanceID]*mending{}
		}
		d.mending[w.id] = m
		l.engine.background.Go(func() { l.engine.mend(w.id, d, m) })
	}
}

// mend loads a lost instance of one model until that succeeds, or nobody needs it.
func (e *Engine) mend(id sched.InstanceID, d *deployment, m *mending) {
	for attempt, pause := 0, reloadPauseMin; ; attempt, pause = attempt+1, min(2*pause, reloadPauseMax) {
		fresh, err := e.loadAgain([]share{{d, d.here()}})
		if err == nil && e.post(func(l *loop) { l.mended(id, d, m, fresh) }) {
			return
		}
		e.closeAll(fresh)
		if attempt == 0 {
			close(m.tried)
		}
		if err != nil {
			e.log.Error("loading a lost instance again", "model", d.Model.Name, "instance", id, "error", err, "next", pause)
		}
		select {
		case <-time.After(pause):
		case <-e.healing.Done():
			return
		}
		needed := false
		if !e.ask(func(l *loop) { needed = l.needs(id, d) }) || !needed {
			return
		}
	}
}

// needs reports whether a model is served and lacks its instance on a worker.
func (l *loop) needs(id sched.InstanceID, d *deployment) bool {
	return l.deployments[d.number] == d && d.siteOn(l.engine.workers[id]) != nil && d.on(id) == nil
}

// mended gives a worker the instance that was loaded anew.
func (l *loop) mended(id sched.InstanceID, d *deployment, m *mending, fresh []*instance) {
	delete(d.mending, id)
	first := true
	select {
	case <-m.tried:
		first = false
	default:
	}
	if l.needs(id, d) {
		d.put(id, fresh[0])
		if first {
			m.instance = fresh[0]
			for _, s := range l.engine.workers[id].slots {
				if s.watch.busy && s.running.awaited == m {
					s.running.held = true
					fresh[0].hold()
				}
			}
		}
		l.engine.log.Info("a lost instance is back", "model", d.Model.Name, "version", d.Model.Version, "instance", id)
	} else { // it was taken away meanwhile, or came back with its whole worker
		l.engine.closeAll(fresh)
	}
	if first {
		close(m.tried)
	}
	l.resizeAll()
}
