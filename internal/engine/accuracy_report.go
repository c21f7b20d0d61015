package engine

import (
	"github.com/mosel-serve/mosel/internal/drift"
	"github.com/mosel-serve/mosel/status"
	"github.com/prometheus/client_golang/prometheus"
)

// drift returns what is known of the accuracies of a deployment; nil if there is no
// evidence and none is gathered.
func (e *Engine) drift(d *deployment) *status.Drift {
	a := d.live
	a.mu.Lock()
	state, hints := a.monitor.State(), a.hints.State()
	a.mu.Unlock()
	c := &a.shadows
	told := &status.Drift{OnDrift: e.cfg.OnDrift.String(), Changed: state.Changed, Reference: a.names[a.reference], ConfidenceDrop: state.ConfidenceDrop,
		Shadows: status.ShadowRuns{Ran: c.ran.Load(), Waiting: c.waiting.Load(), NoIdleTime: c.late.Load(), TooMany: c.full.Load(), Unfit: c.unfit.Load(), Failed: c.failed.Load()}}
	if a.comparable {
		told.Shadows.Share = e.cfg.Shadow
	}
	for _, h := range hints {
		told.Hints = append(told.Hints, h.Text)
	}
	known := told.Shadows.Share > 0
	for i, v := range state.Variants {
		one := status.VariantDrift{Name: a.names[i], Profile: a.profile[i].Float(), Planned: v.Cap.Float(), Labels: evidence(v.Labels), Shadows: evidence(v.Shadows)}
		if e.cfg.OnDrift == drift.Report {
			one.Planned = one.Profile
		}
		if e.cfg.OnDrift == drift.Refuse && state.Changed {
			one.Planned = 0
		}
		known = known || one.Labels != nil || one.Shadows != nil
		told.Variants = append(told.Variants, one)
	}
	if !known {
		return nil
	}
	return told
}

// evidence converts what a source says; nil: nothing.
func evidence(s drift.SourceState) *status.Evidence {
	if s.Total == 0 {
		return nil
	}
	return &status.Evidence{Items: s.Total, Promised: s.Promised, Recent: s.N, Mean: s.Mean, Low: s.Low, High: s.High, Test: s.Evidence,
		Lowered: s.Lowered, Since: s.Since, Alarms: s.Alarms}
}

// The metrics of accuracies while serving.
var (
	shadowItems = prometheus.NewDesc("mosel_shadow_items_total", "Answered items that were chosen to run again with the most accurate variant, by what became of them.",
		[]string{"model", "version", "result"}, nil)
	driftChanged = prometheus.NewDesc("mosel_drift_changed", "1 while a variant of the model scores less than its profile says.", []string{"model", "version"}, nil)
	driftAlarms  = prometheus.NewDesc("mosel_drift_alarms_total", "How often a variant was noticed to score less than its profile says, by what showed it.",
		[]string{"model", "version", "variant", "source"}, nil)
	plannedAccuracy = prometheus.NewDesc("mosel_variant_accuracy_planned", "Accuracy of the variant that is planned with: that of the profile, or less after drift was noticed.",
		[]string{"model", "version", "variant"}, nil)
)

// driftCollector exports the metrics when they are scraped.
type driftCollector struct{ engine *Engine }

// Describe implements prometheus.Collector.
func (driftCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{shadowItems, driftChanged, driftAlarms, plannedAccuracy} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c driftCollector) Collect(to chan<- prometheus.Metric) {
	catalogue := c.engine.catalogue.Load()
	if catalogue == nil {
		return // not started yet
	}
	for _, d := range catalogue.list {
		s := c.engine.drift(d)
		if s == nil {
			continue
		}
		model := []string{d.Model.Name, d.Model.Version}
		send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(desc, kind, value, append(model[:2:2], labels...)...)
		}
		for result, n := range map[string]int64{"ran": s.Shadows.Ran, "no_idle_time": s.Shadows.NoIdleTime, "too_many": s.Shadows.TooMany, "unfit": s.Shadows.Unfit, "failed": s.Shadows.Failed} {
			send(shadowItems, prometheus.CounterValue, float64(n), result)
		}
		changed := 0.0
		if s.Changed {
			changed = 1
		}
		send(driftChanged, prometheus.GaugeValue, changed)
		for _, v := range s.Variants {
			send(plannedAccuracy, prometheus.GaugeValue, v.Planned, v.Name)
			if v.Labels != nil {
				send(driftAlarms, prometheus.CounterValue, float64(v.Labels.Alarms), v.Name, "labels")
			}
			if v.Shadows != nil {
				send(driftAlarms, prometheus.CounterValue, float64(v.Shadows.Alarms), v.Name, "shadows")
			}
		}
	}
}
