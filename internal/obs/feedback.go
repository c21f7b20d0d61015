package obs

import (
	"github.com/mosel-serve/mosel/status"
	"github.com/prometheus/client_golang/prometheus"
)

// Feedback registers the metrics of labels that came after their answers. read returns what
// is known of each served model. The error is the registerer's.
func Feedback(r prometheus.Registerer, read func() []status.Feedback) error {
	return r.Register(labels{read})
}

// labels are the metrics of labels, read at each scrape.
type labels struct{ read func() []status.Feedback }

var (
	labelItems = prometheus.NewDesc("mosel_feedback_items_total",
		"Labels that came after their answers, by what became of them.", append(byVariant[:3:3], "result"), nil)
	labelKept = prometheus.NewDesc("mosel_feedback_kept_items",
		"Answered items that can still be labelled.", byModel, nil)
	labelMeasured = prometheus.NewDesc("mosel_feedback_measured_items",
		"Latest labelled items, on which the accuracy is measured.", append(byVariant[:3:3], "sampled"), nil)
	labelAccuracy = prometheus.NewDesc("mosel_feedback_accuracy",
		"Accuracy of the latest labelled items, mean score.", append(byVariant[:3:3], "sampled"), nil)
	labelPromised = prometheus.NewDesc("mosel_feedback_promised_accuracy",
		"Expected accuracy of the same items, mean.", append(byVariant[:3:3], "sampled"), nil)
)

// Describe implements prometheus.Collector.
func (labels) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{labelItems, labelKept, labelMeasured, labelAccuracy, labelPromised} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (l labels) Collect(to chan<- prometheus.Metric) {
	for _, f := range l.read() {
		tell := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(d, kind, v, append([]string{f.Model, f.Version}, labels...)...)
		}
		tell(labelKept, prometheus.GaugeValue, float64(f.KeptItems))
		tell(labelItems, prometheus.CounterValue, float64(f.Unknown), "", "unknown")
		for _, v := range f.Variants {
			tell(labelItems, prometheus.CounterValue, float64(v.Accepted), v.Name, "accepted")
			tell(labelItems, prometheus.CounterValue, float64(v.Duplicate), v.Name, "duplicate")
			tell(labelItems, prometheus.CounterValue, float64(v.Unanswered), v.Name, "unanswered")
			for sampled, m := range map[string]status.Measured{"true": v.Sampled, "false": v.Selected} {
				if m.Items == 0 {
					continue
				}
				tell(labelMeasured, prometheus.GaugeValue, float64(m.Items), v.Name, sampled)
				tell(labelAccuracy, prometheus.GaugeValue, m.Accuracy, v.Name, sampled)
				tell(labelPromised, prometheus.GaugeValue, m.Promised, v.Name, sampled)
			}
		}
	}
}
