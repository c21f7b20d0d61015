package obs

import (
	"github.com/mosel-serve/mosel/status"
	"github.com/prometheus/client_golang/prometheus"
)

// ModelDrift is what is known of the accuracies of a served model.
type ModelDrift struct {
	Model, Version string
	*status.Drift
}

// Drift registers the metrics of accuracies while serving. read returns what is known of
// each served model. The error is the registerer's.
func Drift(r prometheus.Registerer, read func() []ModelDrift) error { return r.Register(drifts{read}) }

// drifts are the metrics of accuracies while serving, read at each scrape.
type drifts struct{ read func() []ModelDrift }

var (
	shadowItems = prometheus.NewDesc("mosel_shadow_items_total",
		"Answered items that were chosen to run again with the most accurate variant, by what became of them.", append(byModel[:2:2], "result"), nil)
	driftChanged = prometheus.NewDesc("mosel_drift_changed",
		"1 while a variant of the model scores less than its profile says.", byModel, nil)
	driftAlarms = prometheus.NewDesc("mosel_drift_alarms_total",
		"How often a variant was noticed to score less than its profile says, by what showed it.", append(byVariant[:3:3], "source"), nil)
	plannedAccuracy = prometheus.NewDesc("mosel_variant_accuracy_planned",
		"Accuracy of the variant that is planned with: that of the profile, or less after drift was noticed.", byVariant, nil)
)

// Describe implements prometheus.Collector.
func (drifts) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{shadowItems, driftChanged, driftAlarms, plannedAccuracy} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (d drifts) Collect(to chan<- prometheus.Metric) {
	for _, m := range d.read() {
		tell := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(d, kind, v, append([]string{m.Model, m.Version}, labels...)...)
		}
		s := m.Shadows
		for result, n := range map[string]int64{"ran": s.Ran, "no_idle_time": s.NoIdleTime, "too_many": s.TooMany, "unfit": s.Unfit, "failed": s.Failed} {
			tell(shadowItems, prometheus.CounterValue, float64(n), result)
		}
		changed := 0.0
		if m.Changed {
			changed = 1
		}
		tell(driftChanged, prometheus.GaugeValue, changed)
		for _, v := range m.Variants {
			tell(plannedAccuracy, prometheus.GaugeValue, v.Planned, v.Name)
			for source, e := range map[string]*status.Evidence{"labels": v.Labels, "shadows": v.Shadows} {
				if e != nil {
					tell(driftAlarms, prometheus.CounterValue, float64(e.Alarms), v.Name, source)
				}
			}
		}
	}
}
