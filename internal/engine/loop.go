package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// loop is the goroutine that owns the core and the calls in progress.
type loop struct {
	engine      *Engine
	core        *sched.Core
	deployments []*deployment // by number; nil: none
	calls       map[sched.JobID]*call
	lastJob     sched.JobID
	out         []sched.Action
	timer       *time.Timer
	wake        slo.Instant // when the timer is due; slo.Never: it is not set
	ending      bool        // drained: end as soon as nothing is left
	abandoned   bool        // nobody waits for what is left
	stuck       []*running  // batches that ran too long and still run, on abandoned instances
	down        []*worker   // workers to replace as soon as fewer batches are stuck
}

func newLoop(e *Engine, core *sched.Core, served []*deployment) *loop {
	l := &loop{engine: e, core: core, deployments: slices.Clone(served), calls: map[sched.JobID]*call{}, timer: time.NewTimer(time.Hour), wake: slo.Never}
	e.feed.Resume(l.snapshot)
	for _, w := range e.workers {
		if w.class == 0 {
			l.up(w)
		}
	}
	for _, d := range served {
		l.open(d)
	}
	return l
}

// up reports an instance as up.
func (l *loop) up(w *worker) {
	w.up = true
	w.resize(l.engine, l.slots(w))
	l.step(sched.InstanceUp{Instance: w.id, Class: w.class, Slots: w.size})
}

// slots is how many batches a worker may run at a time, of whatever models. Without any
// it is as many as before, but none for a worker of another server.
func (l *loop) slots(w *worker) int {
	least := math.MaxInt
	for _, d := range l.deployments {
		if d == nil {
			continue
		}
		if in := d.on(w.id); in != nil {
			least = min(least, in.Slots())
		} else if m := d.mending[w.id]; m != nil {
			least = min(least, m.slots)
		}
	}
	switch {
	case least < math.MaxInt:
		return least
	case w.class == 0:
		return w.size
	}
	return 0
}

// resizeAll uses as many slots as the served models allow now.
func (l *loop) resizeAll() {
	for _, w := range l.engine.workers {
		if n := l.slots(w); n != w.size && w.up && !w.lost {
			w.resize(l.engine, n)
			l.step(sched.InstanceResize{Instance: w.id, Slots: n})
		}
	}
}

func (l *loop) run() {
	for !l.ending || !l.core.Idle() || l.running() {
		l.setTimer()
		select {
		case m := <-l.engine.inbox:
			m(l)
		case <-l.timer.C:
			l.tick()
		}
	}
	l.engine.endHealing()
	l.refuseRest()
	for _, w := range l.engine.workers { // after refuseRest, whose messages may add slots
		w.dismiss()
	}
	l.closeFeed()
	l.engine.left = l.served()
	close(l.engine.stopped)
}

// refuseRest handles what is posted while the loop ends. The drained core refuses it,
// so no new work starts.
func (l *loop) refuseRest() {
	closed := make(chan struct{})
	go func() {
		l.engine.gate.Lock()
		l.engine.ended = true
		l.engine.gate.Unlock()
		close(closed)
	}()
	for {
		select {
		case m := <-l.engine.inbox:
			m(l)
		case <-closed:
			for len(l.engine.inbox) > 0 {
				(<-l.engine.inbox)(l)
			}
			return
		}
	}
}

// setTimer makes the loop wake up when the core wants a tick.
func (l *loop) setTimer() {
	at, ok := l.core.Next()
	if !ok || at >= l.wake {
		return // the timer wakes the loop earlier; it then calls setTimer again
	}
	l.wake = at
	l.timer.Reset(at.Sub(l.engine.Now()))
}

// tick sends the core a Tick if it is due.
func (l *loop) tick() {
	l.wake = slo.Never
	if at, ok := l.core.Next(); ok && at <= l.engine.Now() {
		l.step(sched.Tick{})
	}
}

// step sends the core an event and carries out its actions.
func (l *loop) step(event sched.Event) { l.take(&feed.Step{Event: event}) }

// take is step for a feed.Step that may carry facts of the engine's own. The step is
// published before its actions are carried out, so a caller with an answer can find it
// at once.
func (l *loop) take(s *feed.Step) {
	s.At = l.engine.Now()
	l.out = l.core.Step(s.At, s.Event, l.out[:0])
	s.Actions, s.Took = l.out, l.engine.Now().Sub(s.At)
	l.engine.feed.Publish(s)
	for _, action := range l.out {
		switch a := action.(type) {
		case sched.Dispatch:
			l.dispatch(a)
		case sched.Abort:
			b := &l.engine.workers[a.Instance].find(a.Batch).running
			b.aborted = true
			b.abort()
		case sched.Finish:
			c := l.calls[a.Job]
			c.left -= a.Count
			l.forget(c, a.Part)
		case sched.GiveUp:
			c := l.calls[a.Job]
			c.served.users.Add(1) // held for the batch, beside the caller's hold
			c.answered = true
			l.answer(c, a.FinishJob)
		case sched.FinishJob:
			c := l.calls[a.Job]
			delete(l.calls, a.Job)
			if c.answered {
				c.served.release()
			} else {
				l.answer(c, a)
			}
		}
	}
	l.engine.feed.Wake()
}

// answer unblocks the caller.
func (l *loop) answer(c *call, f sched.FinishJob) {
	c.finish = f
	c.ended = l.engine.Now()
	close(c.done)
}

func (l *loop) submit(c *call) {
	l.lastJob++
	c.job = l.lastJob
	l.calls[c.job] = c
	objective := c.Objective
	if left := objective.Deadline.Sub(l.engine.Now()); objective.Deadline != slo.Never && left > 0 {
		objective.Deadline -= slo.Instant(min(answerTime, left/answerShare))
	}
	arrive := sched.Arrive{Job: c.job, Client: l.engine.clientID(c.Client), Model: c.served.number, Items: len(c.Items), Bytes: c.bytes(),
		Present: c.Modalities, Choice: c.Choice, Sizes: c.sizes, Mixed: c.Mixed, Objective: objective, Expires: c.Objective.Deadline,
		Background: c.background, Route: c.route}
	c.left = len(c.Items)
	if c.served.away != 0 && c.served.strands(arrive) {
		arrive.Refused = slo.ReasonAway
	}
	c.event = arrive
	s := feed.Step{Event: c.event, Request: c.ID, Client: c.Client}
	l.take(&s)
	c.submitted = s.At
	l.strand(c) // if its items differ, and the goals of some need the server
}

// A deadline includes sending the answer to the client, which the core does not see.
// The core's deadline is earlier by answerTime, or by one part in answerShare of the
// time left if that is less.
const (
	answerTime  = 5 * time.Millisecond
	answerShare = 20
)

func (l *loop) cancel(c *call) { l.step(sched.Cancel{Job: c.job}) }

// dispatch hands a batch to a free slot of its instance and reuses the slot's buffer of
// items.
func (l *loop) dispatch(d sched.Dispatch) {
	s := l.engine.workers[d.Instance].free()
	b := &s.running
	served := l.deployments[d.Model]
	now := l.engine.Now()
	*b = running{dispatch: d, started: now, served: served, instance: served.on(d.Instance), items: b.items[:0], results: b.results[:0], rows: b.rows[:0], order: b.order[:0], encoded: b.encoded[:0], own: b.own[:0],
		kept: b.kept[:0]}
	if b.instance == nil {
		b.awaited = served.mending[d.Instance]
	} else {
		b.instance.hold()
	}
	b.ctx, b.abort = context.WithCancel(context.Background())
	for _, p := range d.Parts {
		c := l.calls[p.Job]
		if c.started == 0 {
			c.started = now
		}
		b.items = append(b.items, c.Items[p.First:p.First+p.Count]...)
		if c.own != nil {
			b.own = append(b.own, c.own[p.First:p.First+p.Count]...)
		}
		for i := range p.Count {
			b.encoded = append(b.encoded, c.encoded(p.First+i))
		}
	}
	l.route(b)
	s.batches <- b
	l.watch(s, now)
}

// done delivers a batch's results to its calls, then tells the core. If the instance
// was lost with the batch, it is reloaded, and its items wait again.
func (l *loop) done(b *running) {
	b.abort()
	var failed []bool // by part; nil: none
	verdicts := b.verdicts
	item := 0
	for i, p := range b.dispatch.Parts {
		c := l.calls[p.Job]
		if !c.deliver(p, b, b.results[i], item) && b.err == nil {
			if failed == nil {
				failed = make([]bool, len(b.results))
			}
			failed[i] = true
		}
		for k := range p.Count {
			if b.fresh != nil && b.err == nil && !c.answered {
				l.keep(c, p.First+k, b.fresh[item+k])
			}
		}
		for k, err := range b.results[i].errs {
			if verdicts == nil {
				verdicts = make([]sched.Verdict, len(b.items))
			}
			if err != nil {
				verdicts[item+k] = sched.Fail
			}
		}
		item += p.Count
	}
	clear(b.results) // what they hold is the callers'
	b.fresh = nil
	ended := sched.Done{Batch: b.dispatch.Batch, Took: b.took, Failed: b.err != nil, FailedParts: failed, Verdicts: verdicts}
	if errors.Is(b.err, runtime.ErrLost) {
		l.bereave(b, ended)
		return
	}
	served, parts := b.served, b.dispatch.Parts
	l.take(&feed.Step{Event: ended, Confidence: b.confidence, Primaries: b.primaries}) // which may use the slot again
	if served.away != 0 && verdicts != nil {
		for _, p := range parts {
			if c := l.calls[p.Job]; c != nil {
				l.strand(c)
			}
		}
	}
}

// condemn takes an instance away as soon as the batches that it still runs have
// ended, as they are told to: until then they read their items, which may not run
// elsewhere and be answered meanwhile. The core starts nothing more on it. By is the
// batch whose run lost the instance, or hung; of several, the first counts.
func (l *loop) condemn(w *worker, by sched.BatchID) {
	if !w.lost {
		w.lost, w.lostBy = true, by
		if busy := w.busy(); len(busy) > 0 {
			l.step(sched.InstanceResize{Instance: w.id, Slots: 0})
			for _, s := range busy {
				s.watch.overdue = true
				s.running.abort()
				l.limit(s, l.engine.Now(), stuckGrace)
			}
		}
	}
	if len(w.busy()) > 0 {
		return
	}
	by = w.lostBy
	if w.spared && !slices.ContainsFunc(w.slots, func(s *slot) bool { return s.stuck }) {
		l.rebound(w, by)
		return
	}
	w.spared = false
	if slices.ContainsFunc(w.slots, func(s *slot) bool { return s.stuck }) {
		w.dismiss()
		next := l.engine.hire(w.id, w.class)
		next.served, next.site = w.served, w.site
		w = next
		l.engine.workers[w.id] = w
	}
	l.lose(w, by)
}

// lose takes a lost instance away and has it loaded anew, with all that it served.
func (l *loop) lose(w *worker, by sched.BatchID) {
	served := l.served()
	for _, d := range served {
		if lost := d.on(w.id); lost != nil {
			l.engine.closeAll([]*instance{lost})
			d.put(w.id, nil)
		}
	}
	w.up, w.lost = false, false
	for _, s := range w.slots {
		s.lost = false
	}
	l.step(sched.InstanceDown{Instance: w.id, By: by})
	l.replace(w)
}

// revive puts a lost instance back to work, with what is still served of what it
// served before. What was deployed since has an instance there already. A worker of a
// server that nothing needs any more waits for another one.
func (l *loop) revive(w *worker, shares []share, fresh []*instance) {
	w.reloading, w.away = false, false
	for i, s := range shares {
		if l.needs(w.id, s.served) && s.served.siteOn(w) == s.site {
			s.served.put(w.id, fresh[i])
		} else {
			l.engine.closeAll(fresh[i : i+1])
		}
	}
	switch {
	case w.class != 0 && l.slots(w) == 0:
	case w.up: // it served another model before, and has had no slots since
		l.resizeAll()
	default:
		l.up(w)
	}
	if w.served != nil {
		w.served.away = l.away(w.served)
	}
}

// lacking returns what a worker should run and has not loaded.
func (l *loop) lacking(w *worker) (shares []share) {
	for _, d := range l.served() {
		if p := d.siteOn(w); p != nil && d.on(w.id) == nil {
			shares = append(shares, share{d, p})
		}
	}
	return shares
}

// served returns the loaded deployments, by number.
func (l *loop) served() []*deployment {
	return slices.DeleteFunc(slices.Clone(l.deployments), func(d *deployment) bool { return d == nil })
}

// serve gives a deployment the lowest free number, and its servers workers.
func (l *loop) serve(d *deployment) error {
	if err := l.engine.station(d); err != nil {
		return err
	}
	if d.number = slices.Index(l.deployments, nil); d.number < 0 {
		d.number = len(l.deployments)
		l.deployments = append(l.deployments, nil)
	}
	l.deployments[d.number] = d
	l.take(&feed.Step{Event: sched.Serve{Model: d.number, Spec: d.spec(l.engine.workers)}, Model: d.told})
	l.open(d)
	return nil
}

// retire removes a deployment that no request uses any more.
func (l *loop) retire(d *deployment) {
	l.step(sched.Retire{Model: d.number})
	l.deployments[d.number] = nil
	for _, w := range l.engine.workers {
		if w.served == d {
			w.served, w.site, w.away = nil, nil, false
		}
	}
	l.resizeAll()
}

func (l *loop) drain() {
	l.ending = true
	l.step(sched.Drain{})
}

// retryMin is the shortest retry delay for clients. Less is not worth waiting
// for.
const retryMin = time.Millisecond

// failure returns the error of a job that did not finish in time.
func (c *call) failure() error {
	f := c.finish
	kind, text := f.Reason.Kind(), f.Reason.Sentence()
	switch {
	case f.Reason == slo.ReasonFloor:
		text += ": the best is " + f.Best.String() + c.served.Profile.Shortfall(c.Objective.Floor, c.Objective.Confidence, c.served.Profile.VariantBounds(c.served.Model))
	case f.Reason == slo.ReasonDrift:
		text += ": the best is " + f.Best.String()
	case f.Reason == slo.ReasonDeadlinePassed && c.started != 0:
		text += " (it had started)"
	case f.Reason == slo.ReasonRuntime:
		if c.err == nil { // its items failed one by one
			c.err = itemsFailed(c.failed, len(c.Items))
		}
		kind = slo.KindOf(c.err)
	}
	err := slo.E("infer "+c.served.Model.Name, kind, "%s", text)
	switch {
	case c.err != nil && (kind == slo.KindInvalid || kind == slo.KindTooLarge): // the items are at fault, not the runtime
		err = slo.E("infer "+c.served.Model.Name, kind, "%w", c.err)
	case c.err != nil:
		err = slo.E("infer "+c.served.Model.Name, kind, "%s: %w", text, c.err)
	}
	err.Best, err.Job = f.Best, c.ids.Of(c.job)
	if kind == slo.KindOverloaded {
		err.RetryAfter = max(retryMin, f.RetryAfter)
	}
	return err
}

// itemsFailed returns the error of a job that failed because some of its items did.
func itemsFailed(failed []ItemError, items int) error {
	if len(failed) == 0 {
		return nil
	}
	rest := ""
	if n := len(failed); n > 1 {
		rest = fmt.Sprintf(" (%d of %d items failed)", n, items)
	} else if items > 1 {
		rest = fmt.Sprintf("; without it the other %d items cannot keep the accuracy floor", items-1)
	}
	return slo.E("", slo.KindOf(failed[0].Err), "item %d: %w%s", failed[0].Item, failed[0].Err, rest)
}
