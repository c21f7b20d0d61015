package engine

import (
	"github.com/mosel-serve/mosel/internal/drift"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/status"
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
		if l := v.Live; l.Items > 0 {
			one.Live = &status.Live{Items: l.Items, Mean: l.Mean, Low: l.Low, High: l.High}
		}
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

// drifts returns what is known of each served model's accuracies, for the metrics.
func (e *Engine) drifts() (list []obs.ModelDrift) {
	catalogue := e.catalogue.Load()
	if catalogue == nil {
		return nil // not started yet
	}
	for _, d := range catalogue.list {
		if s := e.drift(d); s != nil {
			list = append(list, obs.ModelDrift{Model: d.Model.Name, Version: d.Model.Version, Drift: s})
		}
	}
	return list
}
