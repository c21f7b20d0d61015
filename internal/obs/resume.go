package obs

import (
	"slices"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Resume continues from a snapshot: at the start, and after steps were dropped. Jobs
// and batches that ended in the gap are never counted; unfinished ones are known again.
func (o *Observer) Resume(s *feed.Snapshot) {
	o.now, o.draining, o.broken = max(o.now, s.At), s.Draining, false
	o.rotate(o.now)
	for number, m := range o.models {
		switch now := s.Models[number]; {
		case now == nil || now.Origin() != m.Origin():
			o.retire(number)
		case now != m.Model:
			m.Model = now
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
		if s.Jobs[i].Background {
			continue
		}
		o.enter(o.tracker.Job(s.Jobs[i].Job))
	}
	running := make(map[sched.InstanceID][]sched.BatchID, len(s.Instances))
	for i := range s.Batches {
		running[s.Batches[i].Instance] = append(running[s.Batches[i].Instance], s.Batches[i].Dispatch.Batch)
	}
	for _, i := range s.Instances {
		o.instance(i.ID).resume(i, running[i.ID], s.At)
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

// resume takes over the state of the instance from a snapshot. Its losses and the time
// of its batches in the gap are unknown.
func (i *instance) resume(now feed.Instance, running []sched.BatchID, at slo.Instant) {
	slices.Sort(running)
	i.up, i.running, i.counted = now.Up, running, max(i.counted, at)
	i.upGauge.Set(0)
	if i.up {
		i.upGauge.Set(1)
	}
	i.resize(now.Slots)
	i.busyGauge.Set(float64(len(running)))
}

// resume marks the batches that ended in the gap.
func (h *history) resume(running func(sched.BatchID) bool) {
	for i := range h.batches {
		if b := &h.batches[i]; b.model != nil && b.End == record.BatchRunning && !running(b.Dispatch.Batch) {
			b.End = record.BatchUnknown
		}
	}
}

// recent reports whether a batch is new enough to be kept: later ones may already have
// its place.
func (h *history) recent(id sched.BatchID) bool {
	return id+sched.BatchID(len(h.batches)) > h.last
}
