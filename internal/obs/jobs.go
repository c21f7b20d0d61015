package obs

import "github.com/prometheus/client_golang/prometheus"

// DurableJob is what the metrics say of a stored job.
type DurableJob struct {
	Model, State string
	Over         bool // it has ended
	Items, Done  int  // Done of them have a stored result
}

// Jobs registers the metrics of durable jobs. read returns the jobs that are stored, and
// whether new ones are accepted.
func Jobs(r prometheus.Registerer, read func() (list []DurableJob, ready bool)) error {
	return r.Register(durable{read})
}

type durable struct {
	read func() ([]DurableJob, bool)
}

var (
	durableJobs = prometheus.NewDesc("mosel_durable_jobs",
		"durable jobs that are stored, by state", []string{"model", "state"}, nil)
	durableItems = prometheus.NewDesc("mosel_durable_items",
		"items of durable jobs that have not ended: with a stored result, or without", []string{"model", "result"}, nil)
	durableReady = prometheus.NewDesc("mosel_durable_jobs_ready",
		"1 while durable jobs are accepted", nil, nil)
)

// Describe implements prometheus.Collector.
func (durable) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{durableJobs, durableItems, durableReady} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (d durable) Collect(to chan<- prometheus.Metric) {
	list, ready := d.read()
	type key struct{ model, of string }
	jobs, items := map[key]int{}, map[key]int{}
	for i := range list {
		j := &list[i]
		jobs[key{j.Model, j.State}]++
		if !j.Over {
			items[key{j.Model, "stored"}] += j.Done
			items[key{j.Model, "pending"}] += j.Items - j.Done
		}
	}
	tell := func(d *prometheus.Desc, v int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	for k, n := range jobs {
		tell(durableJobs, n, k.model, k.of)
	}
	for k, n := range items {
		tell(durableItems, n, k.model, k.of)
	}
	open := 0
	if ready {
		open = 1
	}
	tell(durableReady, open)
}
