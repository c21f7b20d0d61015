package obs

import (
	"context"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Registry returns a registry with the metrics of the process and the Go runtime.
func Registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// TokensStale registers the metric that shows whether the tokens in use are older than
// their file, as stale reports. The error is the registerer's.
func TokensStale(r prometheus.Registerer, stale func() bool) error {
	return r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mosel_tokens_stale",
		Help: "Whether the tokens in force are older than their file, which cannot be read or is wrong (1), or not (0)."}, func() float64 {
		if stale() {
			return 1
		}
		return 0
	}))
}

// The buckets of the histograms.
var (
	// From the time of a small model to a time that no client waits for.
	secondsBuckets = []float64{0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
	// Time left to the deadline; late is negative.
	slackBuckets = []float64{-10, -1, -0.1, -0.01, 0, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 10}
	// Accuracy above the floor. It is never below 0 (I-5): that bucket is an alarm.
	marginBuckets = []float64{-0.000001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5}
	itemsBuckets  = prometheus.ExponentialBuckets(1, 2, 10) // up to 512, the largest possible batch
	// Measured time over predicted time.
	ratioBuckets = []float64{0.25, 0.5, 0.75, 0.9, 0.95, 1, 1.05, 1.1, 1.25, 1.5, 2, 4}
	// A step takes microseconds. A millisecond is noticeable, a tenth of a second is a
	// defect.
	stepBuckets = []float64{0.000001, 0.0000025, 0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.01, 0.1}
)

// metrics are all of mosel's metrics; docs/metrics.md describes each.
type metrics struct {
	jobs, items, right          *prometheus.CounterVec
	queued, compute, duration   *prometheus.HistogramVec
	margin, slack               *prometheus.HistogramVec
	batchItems, batchRatio      *prometheus.HistogramVec
	variantBusy, runtimeErrors  *prometheus.CounterVec
	modelInfo                   *prometheus.GaugeVec
	variantAccuracy, scale      *prometheus.GaugeVec
	judged, wentOn, chosen      *prometheus.CounterVec
	share                       *prometheus.GaugeVec
	queueItems, queueRunning    *prometheus.GaugeVec
	queueJobs, queueBytes       *prometheus.GaugeVec
	itemsMax, jobsMax, bytesMax prometheus.Gauge
	step                        prometheus.Histogram
	up, slots, busy             *prometheus.GaugeVec
	busySeconds, losses         *prometheus.CounterVec
}

// The labels. A client is never a label, because the number of clients is unbounded.
var (
	byModel    = []string{"model", "version"}
	byVariant  = []string{"model", "version", "variant"}
	byInstance = []string{"instance"}
	byCascade  = []string{"model", "version", "cascade"}
	byWay      = []string{"model", "version", "gate", "variant"}
)

// collector is everything that an observer counts, as one collector. So a scrape can
// wait until the observer has seen all published steps.
type collector struct {
	flush func(ctx context.Context)
	parts []prometheus.Collector
}

// flushTimeout is how long a scrape waits for the observer, which needs microseconds.
// After that the current metrics are returned.
const flushTimeout = time.Second

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, part := range c.parts {
		part.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	if c.flush != nil {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		c.flush(ctx)
		cancel()
	}
	for _, part := range c.parts {
		part.Collect(to)
	}
}

func (c *collector) add(part prometheus.Collector) { c.parts = append(c.parts, part) }

func (c *collector) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "mosel", Name: name, Help: help}, labels)
	c.add(v)
	return v
}

func (c *collector) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "mosel", Name: name, Help: help}, labels)
	c.add(v)
	return v
}

func (c *collector) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "mosel", Name: name, Help: help, Buckets: buckets}, labels)
	c.add(v)
	return v
}

func newMetrics(cfg Config) (*metrics, error) {
	m := &collector{flush: cfg.Flush}
	s := &metrics{
		jobs:     m.counter("jobs_total", "Jobs that have ended.", append(byModel[:2:2], "outcome", "reason")...),
		items:    m.counter("items_total", "Items of jobs that have ended, each with its job's outcome.", append(byVariant[:3:3], "outcome", "reason")...),
		right:    m.counter("items_expected_right_total", "Expected accuracy, summed over the items of jobs that ran.", byModel...),
		queued:   m.histogram("job_queue_seconds", "Time from a job's arrival to its first batch, of jobs that ran.", secondsBuckets, byModel...),
		compute:  m.histogram("job_compute_seconds", "Time of the batches that a job's items ran in, of jobs that ran.", secondsBuckets, byModel...),
		duration: m.histogram("job_duration_seconds", "Time from a job's arrival to its end, of jobs that ran.", secondsBuckets, byModel...),
		margin:   m.histogram("job_accuracy_margin", "Expected accuracy minus floor, of jobs with a floor that ran.", marginBuckets, byModel...),
		slack:    m.histogram("job_deadline_slack_seconds", "Time left to the deadline at a job's end, of jobs with a deadline that ran.", slackBuckets, byModel...),

		batchItems:    m.histogram("batch_items", "Items of a batch.", itemsBuckets, byVariant...),
		batchRatio:    m.histogram("batch_time_ratio", "Measured time of a batch over its predicted time.", ratioBuckets, byVariant...),
		variantBusy:   m.counter("variant_busy_seconds_total", "Time that batches of the variant took.", byVariant...),
		runtimeErrors: m.counter("runtime_errors_total", "Batches that the runtime failed to run, or some of whose items it did.", byVariant...),

		judged: m.counter("cascade_items_total", "Items whose answer the gate of a cascade has judged.", byCascade...),
		wentOn: m.counter("cascade_went_on_total", "Items that the gate of a cascade sent on to its next variant.", byCascade...),
		chosen: m.counter("gate_items_total", "Items for which a gate chose the variant.", byWay...),
		share:  m.gauge("cascade_profiled_share", "Share of items that go on, as profiled.", byCascade...),

		modelInfo:       m.gauge("model_info", "1 for every model that is served.", append(byModel[:2:2], "digest")...),
		variantAccuracy: m.gauge("variant_accuracy", "Accuracy of the variant as profiled.", byVariant...),
		scale:           m.gauge("variant_time_scale", "Time of the variant's batches as of late, over the profile's.", byVariant...),

		queueItems:   m.gauge("queue_items", "Items that wait for a batch.", byModel...),
		queueRunning: m.gauge("queue_running_items", "Items in batches that run.", byModel...),
		queueJobs:    m.gauge("queue_jobs", "Jobs that have not ended.", byModel...),
		queueBytes:   m.gauge("queue_bytes", "Payload bytes of jobs that have not ended.", byModel...),
		itemsMax:     m.gauge("queue_items_max", "Most items that may be unfinished, over all models.").With(nil),
		jobsMax:      m.gauge("queue_jobs_max", "Most jobs that may be unfinished, over all models.").With(nil),
		bytesMax:     m.gauge("queue_bytes_max", "Most payload bytes that may be unfinished, over all models; 0: no bound.").With(nil),

		step: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "mosel", Name: "core_step_seconds",
			Help: "Time in which the core plans what follows from one event.", Buckets: stepBuckets}),
		up:          m.gauge("instance_up", "1 while the instance can run batches.", byInstance...),
		busy:        m.gauge("instance_running_batches", "Batches that the instance runs.", byInstance...),
		slots:       m.gauge("instance_slots", "Batches that the instance may run at a time.", byInstance...),
		busySeconds: m.counter("instance_busy_seconds_total", "Time in which the instance ran batches.", byInstance...),
		losses:      m.counter("instance_losses_total", "How often the instance went away.", byInstance...),
	}
	m.add(s.step)
	m.add(logDropped(cfg.LogDropped))
	m.add(feedDropped{cfg.FeedDropped})
	m.add(keptBytes(cfg.KeptBytes))
	if err := cfg.Registerer.Register(m); err != nil {
		return nil, slo.E("register metrics", slo.KindInternal, "%w", err)
	}
	return s, nil
}

// drop removes the series of a model.
func (s *metrics) drop(labels prometheus.Labels) {
	s.dropGauges(labels)
	for _, v := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{s.jobs, s.items, s.right, s.queued, s.compute, s.duration, s.margin, s.slack, s.batchItems, s.batchRatio, s.variantBusy, s.runtimeErrors, s.judged, s.wentOn, s.chosen} {
		v.DeletePartialMatch(labels)
	}
}

// dropGauges removes what holds only for a served model.
func (s *metrics) dropGauges(labels prometheus.Labels) {
	for _, v := range []*prometheus.GaugeVec{s.modelInfo, s.variantAccuracy, s.scale, s.share, s.queueItems, s.queueRunning, s.queueJobs, s.queueBytes} {
		v.DeletePartialMatch(labels)
	}
}

// logDropped returns the metric of dropped log lines.
func logDropped(dropped func() uint64) prometheus.Collector {
	if dropped == nil {
		dropped = func() uint64 { return 0 }
	}
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "mosel", Name: "log_dropped_total",
		Help: "Lines of the log that were dropped, because nobody read them in time or they could not be written."},
		func() float64 { return float64(dropped()) })
}

// keptBytes returns the metric of what stages computed for later steps.
func keptBytes(kept func() int64) prometheus.Collector {
	if kept == nil {
		kept = func() int64 { return 0 }
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "mosel", Name: "kept_bytes",
		Help: "Memory of what stages computed for items that wait for their next step."},
		func() float64 { return float64(kept()) })
}

// feedDropped is the metric of steps that the feed's subscribers missed.
type feedDropped struct{ dropped func() map[string]uint64 }

var feedDroppedDesc = prometheus.NewDesc("mosel_feed_dropped_total",
	"Steps of the core that the subscriber was not told of, because it was too slow.", []string{"subscriber"}, nil)

// Describe implements prometheus.Collector.
func (f feedDropped) Describe(to chan<- *prometheus.Desc) { to <- feedDroppedDesc }

// Collect implements prometheus.Collector.
func (f feedDropped) Collect(to chan<- prometheus.Metric) {
	if f.dropped == nil {
		return
	}
	for subscriber, steps := range f.dropped() {
		to <- prometheus.MustNewConstMetric(feedDroppedDesc, prometheus.CounterValue, float64(steps), subscriber)
	}
}
