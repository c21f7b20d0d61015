package obs

import (
	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
)

// Resume goes on from a snapshot: at the beginning, and when steps have been
// dropped. What ended in between is not counted anywhere; what is unfinished is
// known again.
func (o *Observer) Resume(s *feed.Snapshot) {
	o.now, o.draining, o.broken = max(o.now, s.At), s.Draining, false
	o.turn(o.now)
	for number, m := range o.models {
		if s.Models[number] != m.Model {
			o.retire(number)
		}
	}
	for number, m := range s.Models {
		if o.models[number] == nil {
			o.serve(number, m)
		}
	}
	if err := o.tracker.Resume(s.Snapshot); err != nil {
		o.fail(err)
		return
	}
	clear(o.clients)
	clear(o.history.asked)
	for i := range s.Jobs {
		o.enter(o.tracker.Job(s.Jobs[i].Job))
	}
	running := make(map[sched.InstanceID]*record.Batch, len(s.Batches))
	for i := range s.Batches {
		running[s.Batches[i].Instance] = &s.Batches[i]
	}
	for _, i := range s.Instances {
		o.instance(i.ID).resume(i.Up, running[i.ID])
	}
	o.history.resume(func(id sched.BatchID) bool { return o.tracker.Batch(id) != nil })
	for i := range s.Batches {
		b := o.tracker.Batch(s.Batches[i].Dispatch.Batch)
		if o.history.find(b.Dispatch.Batch) == nil && o.history.recent(b.Dispatch.Batch) {
			o.remember(b, o.models[b.Model])
		}
	}
	for number := range o.models {
		(*sink)(o).Changed(number, o.tracker.Queue(number))
	}
}

// resume shows what a snapshot says of the instance. How often it went away in
// between is not known.
func (i *instance) resume(up bool, b *record.Batch) {
	i.up = up
	i.upGauge.Set(0)
	if up {
		i.upGauge.Set(1)
	}
	switch {
	case b == nil:
		i.batch = 0
		i.busyGauge.Set(0)
	case b.Dispatch.Batch != i.batch:
		i.start(b.Dispatch.Batch, max(i.counted, b.Started))
	}
}

// resume notes which batches have ended without that anybody saw how.
func (h *history) resume(running func(sched.BatchID) bool) {
	for i := range h.batches {
		if b := &h.batches[i]; b.model != nil && b.End == record.BatchRunning && !running(b.Dispatch.Batch) {
			b.End = record.BatchUnknown
		}
	}
}

// recent reports whether there is room to remember a batch: later ones may have
// taken its place.
func (h *history) recent(id sched.BatchID) bool {
	return id+sched.BatchID(len(h.batches)) > h.last
}
