package obs

import (
	"maps"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/mosel-serve/mosel/status"
)

const (
	sampleEvery = status.SampleS * time.Second
	samplesMax  = 180 // status.TimelineS
)

// timeline holds the samples of the last status.TimelineS seconds. A sample is made when
// the observer first looks at a later interval, so an idle server makes none; the missing
// ones are added when somebody asks.
type timeline struct {
	samples []status.Sample // oldest first
	began   slo.Instant     // of the current interval
	left    []status.ModelSample
	looked  slo.Instant   // when busy was read
	busy    time.Duration // of all instances, since the start
}

// interval counts what a model does in the current interval.
type interval struct {
	items, jobs record.Outcomes
	score       slo.Score // expected, over the items of jobs that ran
	floor       slo.Score // asked for, over the same items
	ran         int
	total       stats.Durations
	reasons     map[slo.Reason]int
}

// finish counts the end of a job.
func (i *interval) finish(j *record.Job) {
	i.items[j.End.Outcome] += j.Items
	i.jobs[j.End.Outcome]++
	if !j.End.Outcome.Ran() {
		if i.reasons == nil {
			i.reasons = map[slo.Reason]int{}
		}
		i.reasons[j.End.Reason]++
		return
	}
	i.ran += j.Items
	i.score += j.End.Expected.Times(j.Items)
	i.floor += j.Objective.Floor.Times(j.Items)
	i.total.Add(j.Total())
}

// sample describes a model's interval and begins the next one; false if nothing happened.
func (m *model) sample() (s status.ModelSample, active bool) {
	i := &m.now
	s = status.ModelSample{Name: m.Name, Version: m.Version, Items: outcomes(i.items), Jobs: outcomes(i.jobs)}
	active = i.jobs.Total() > 0
	if i.ran > 0 {
		s.Accuracy, s.Floor = new(i.score.Mean(i.ran).Float()), new(i.floor.Mean(i.ran).Float())
		s.P50MS, s.P99MS = stats.Milliseconds(i.total.Quantile(0.5)), stats.Milliseconds(i.total.Quantile(0.99))
	}
	for v := range m.variants {
		if n := m.variants[v].lately; n > 0 {
			if s.Variants == nil {
				s.Variants = map[string]int{}
			}
			s.Variants[m.variantName(v)] = n
			m.variants[v].lately, active = 0, true
		}
	}
	for reason, jobs := range i.reasons {
		if s.Reasons == nil {
			s.Reasons = map[string]int{}
		}
		s.Reasons[reason.String()] = jobs
	}
	i.total.Reset()
	*i = interval{total: i.total}
	return s, active
}

// leave keeps what a model that goes away did in the current interval.
func (t *timeline) leave(m *model) {
	if s, active := m.sample(); active && len(t.left) < retiredMax {
		t.left = append(t.left, s)
	}
}

// sample makes the samples of the intervals that have ended. What was counted belongs to
// the first of them, because every step calls this before it is counted.
func (o *Observer) sample(now slo.Instant) {
	t := &o.timeline
	if now.Sub(t.began) < sampleEvery {
		return
	}
	busy, waiting := o.busyShare(now), 0
	first := status.Sample{Models: append([]status.ModelSample{}, t.left...)}
	t.left = nil
	for _, number := range slices.Sorted(maps.Keys(o.models)) {
		waiting += o.tracker.Queue(number).Waiting
		if s, active := o.models[number].sample(); active {
			first.Models = append(first.Models, s)
		}
	}
	if missed := int64(now.Sub(t.began) / sampleEvery); missed > samplesMax {
		t.samples = nil // all of it is older than what is remembered
		t.began += slo.Instant(missed-samplesMax) * slo.Instant(sampleEvery)
		first.Models = []status.ModelSample{}
	}
	for now.Sub(t.began) >= sampleEvery {
		t.began = t.began.Add(sampleEvery)
		first.End, first.Seconds, first.QueuedItems, first.BusyShare = o.wall(t.began), status.SampleS, waiting, busy
		t.samples = append(t.samples, first)
		first = status.Sample{Models: []status.ModelSample{}}
	}
	if extra := len(t.samples) - samplesMax; extra > 0 {
		t.samples = slices.Delete(t.samples, 0, extra)
	}
}

// busyShare returns the share of the slots that was busy since the last call.
func (o *Observer) busyShare(now slo.Instant) float64 {
	var busy time.Duration
	slots := 0
	for _, i := range o.instances {
		i.credit(now, o.current)
		busy += i.busy
		slots += i.slots
	}
	t := &o.timeline
	span := now.Sub(t.looked) * time.Duration(slots)
	share := 0.0
	if span > 0 {
		share = min(1, float64(busy-t.busy)/float64(span))
	}
	t.looked, t.busy = now, busy
	return round(share, 4)
}

// Timeline returns the samples whose interval ended after an instant, oldest first. They
// are of at most the last status.TimelineS seconds.
func (o *Observer) Timeline(now slo.Instant, after time.Time) []status.Sample {
	o.now = max(o.now, now)
	o.rotate(o.now)
	o.sample(o.now)
	from, _ := slices.BinarySearchFunc(o.timeline.samples, after, func(s status.Sample, t time.Time) int {
		if s.End.After(t) {
			return 1
		}
		return -1
	})
	return slices.Clone(o.timeline.samples[from:])
}
