package obs

import (
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/prometheus/client_golang/prometheus"
)

// model holds the counts of a model, and its metrics.
type model struct {
	*feed.Model
	metrics  *metrics
	variants []variant
	cascades map[int]cascade // by route
	shared   bool            // the same version is, or was, served under another number
	all      record.Totals
	recent   [2]recent
	now      interval
	reasons  map[slo.Reason]int // for jobs that did not run to their end
	stats    Statistics

	jobs, unrun                       map[ending]prometheus.Counter // unrun: items that no variant has run
	right                             prometheus.Counter
	queued, compute, duration         prometheus.Observer
	margin, slack                     prometheus.Observer
	waiting, running, unfinished, mem prometheus.Gauge
}

// ending identifies how a job ended.
type ending struct {
	outcome slo.Outcome
	reason  slo.Reason
}

// variant holds the counts of a variant.
type variant struct {
	scale    float64 // of its recent times
	ran      int
	recent   [2]int
	lately   int // in the current interval of the timeline
	failures int
	items    map[ending]prometheus.Counter

	batchItems, ratio prometheus.Observer
	busy, errors      prometheus.Counter
	scaleGauge        prometheus.Gauge
}

// recent holds the counts of an interval of recent time.
type recent struct {
	record.Totals
	queued, compute stats.Durations
	largest         int // batch
}

// forget clears an interval of recent time.
func (m *model) forget(stretch int) {
	r := &m.recent[stretch]
	r.Totals.Reset()
	r.queued.Reset()
	r.compute.Reset()
	r.largest = 0
	for v := range m.variants {
		m.variants[v].recent[stretch] = 0
	}
}

func newModel(i *feed.Model, s *metrics) *model {
	m := &model{Model: i, metrics: s, reasons: map[slo.Reason]int{}, jobs: map[ending]prometheus.Counter{}, unrun: map[ending]prometheus.Counter{},
		right:  s.right.WithLabelValues(i.Name, i.Version),
		queued: s.queued.WithLabelValues(i.Name, i.Version), compute: s.compute.WithLabelValues(i.Name, i.Version),
		duration: s.duration.WithLabelValues(i.Name, i.Version),
		margin:   s.margin.WithLabelValues(i.Name, i.Version), slack: s.slack.WithLabelValues(i.Name, i.Version),
		waiting: s.queueItems.WithLabelValues(i.Name, i.Version), running: s.queueRunning.WithLabelValues(i.Name, i.Version),
		unfinished: s.queueJobs.WithLabelValues(i.Name, i.Version), mem: s.queueBytes.WithLabelValues(i.Name, i.Version)}
	s.modelInfo.WithLabelValues(i.Name, i.Version, i.Digest).Set(1)
	for n, v := range i.Planner.Variants() {
		scale := 1.0
		if i.Scale != nil && i.Scale[n] > 0 {
			scale = i.Scale[n]
		}
		s.variantAccuracy.WithLabelValues(i.Name, i.Version, v.Name).Set(v.Accuracy.Float())
		m.variants = append(m.variants, variant{scale: scale, items: map[ending]prometheus.Counter{},
			batchItems: s.batchItems.WithLabelValues(i.Name, i.Version, v.Name), ratio: s.batchRatio.WithLabelValues(i.Name, i.Version, v.Name),
			busy: s.variantBusy.WithLabelValues(i.Name, i.Version, v.Name), errors: s.runtimeErrors.WithLabelValues(i.Name, i.Version, v.Name),
			scaleGauge: s.scale.WithLabelValues(i.Name, i.Version, v.Name)})
		m.variants[n].scaleGauge.Set(scale)
	}
	m.cascades = newCascades(i, s)
	return m
}

func (m *model) label() label { return label{m.Name, m.Version} }

// start counts the start of a batch.
func (m *model) start(b *record.Batch, current int) {
	v, r := &m.variants[b.Variant], &m.recent[current]
	m.all.Start(b)
	r.Start(b)
	r.largest = max(r.largest, b.Items)
	v.batchItems.Observe(float64(b.Items))
	m.scaled(b.Variant, b.Items, b.Predicted)
	if b.Why != nil {
		for _, o := range b.Why.Options {
			m.scaled(m.Planner.Routes()[o.Route].Variant, o.Items, o.Predicted)
		}
	}
}

// scaled derives the core's current correction of the profile from a prediction.
func (m *model) scaled(number, items int, predicted time.Duration) {
	v := &m.variants[number]
	scale := float64(predicted) / float64(m.Planner.Variants()[number].Curve.Batch(items))
	if scale != v.scale {
		v.scale = scale
		v.scaleGauge.Set(scale)
	}
}

// end counts the end of a batch.
func (m *model) end(b *record.Batch, current int, now slo.Instant) {
	if b.End == record.BatchLost {
		return
	}
	v := &m.variants[b.Variant]
	v.busy.Add(b.Took.Seconds())
	if b.End == record.BatchAborted {
		return
	}
	m.stats.execute(b.Items, b.Took)
	if b.Items > b.FailedItems {
		m.stats.last = now
	}
	v.ran += b.Items - b.FailedItems
	v.recent[current] += b.Items - b.FailedItems
	v.lately += b.Items - b.FailedItems
	if b.FailedItems > 0 {
		v.failures++
		v.errors.Inc()
		return
	}
	if b.Predicted > 0 {
		v.ratio.Observe(float64(b.Took) / float64(b.Predicted))
	}
}

// finish counts the end of a job.
func (m *model) finish(j *record.Job, current int) {
	e := ending{j.End.Outcome, j.End.Reason}
	m.all.Finish(j)
	m.recent[current].Finish(j)
	m.now.finish(j)
	m.stats.finish(j)
	count(m.jobs, e, 1, m.jobCounter)
	rest := j.Items
	for _, r := range j.Ran {
		rest -= r.Items
		count(m.variants[r.Variant].items, e, r.Items, func(e ending) prometheus.Counter {
			return m.itemCounter(m.Planner.Variants()[r.Variant].Name, e)
		})
	}
	if rest > 0 {
		count(m.unrun, e, rest, func(e ending) prometheus.Counter { return m.itemCounter("", e) })
	}
	if !j.End.Outcome.Ran() {
		m.reasons[e.reason]++
		return
	}
	m.recent[current].queued.Add(j.Queue())
	m.recent[current].compute.Add(j.Compute)
	m.queued.Observe(j.Queue().Seconds())
	m.compute.Observe(j.Compute.Seconds())
	m.duration.Observe(j.Total().Seconds())
	m.right.Add(j.End.Expected.Float() * float64(j.Items))
	if j.Objective.Floor > 0 {
		m.margin.Observe(j.Margin().Float())
	}
	if j.Objective.Deadline != slo.Never {
		m.slack.Observe(j.Slack().Seconds())
	}
}

// count adds n to the counter of an ending. It creates the counter on first use,
// because most endings never occur.
func count(counters map[ending]prometheus.Counter, e ending, n int, create func(ending) prometheus.Counter) {
	c := counters[e]
	if c == nil {
		c = create(e)
		counters[e] = c
	}
	c.Add(float64(n))
}

func (m *model) jobCounter(e ending) prometheus.Counter {
	return m.metrics.jobs.WithLabelValues(m.Name, m.Version, e.outcome.String(), e.reason.String())
}

func (m *model) itemCounter(variant string, e ending) prometheus.Counter {
	return m.metrics.items.WithLabelValues(m.Name, m.Version, variant, e.outcome.String(), e.reason.String())
}

// queue updates the gauges of unfinished work.
func (m *model) queue(q record.Queue) {
	m.waiting.Set(float64(q.Waiting))
	m.running.Set(float64(q.Running))
	m.unfinished.Set(float64(q.Jobs))
	m.mem.Set(float64(q.Bytes))
}
