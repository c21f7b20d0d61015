package engine

import (
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Feasible returns the error that Infer would return for a request because no variant runs
// on what its items carry, or because these cannot reach its floor by the profile; nil if
// they can. It does not look at what is up now or at drift, which may change, or at sizes.
func (l Lease) Feasible(r Request) error {
	c := &call{Request: r, served: l.deployment, ids: l.engine.ids}
	p := l.deployment.planner.At(r.Objective.Confidence)
	runs := r.Mixed
	if runs == nil {
		runs = []slo.Carried{{Items: len(r.Items), Present: r.Modalities, Choice: r.Choice}}
	}
	var groups []plan.Group
	n := 0
	for _, run := range runs {
		if run.Sizes == 0 {
			run.Sizes = p.LargestSizes()
		}
		run.NoRecovery = r.Objective.NoRecovery
		g := plan.Group{Items: run.Items, Allowed: p.Runnable(run)}
		if g.Allowed == 0 {
			return c.refused(slo.ReasonNoVariant, 0)
		}
		groups = append(groups, g)
		n += run.Items
	}
	if best := p.MaxScore(groups); best < r.Objective.Floor.Times(n) {
		return c.refused(slo.ReasonFloor, best.Mean(n))
	}
	return nil
}

// refused returns the error of a job that the core refused for a reason.
func (c *call) refused(why slo.Reason, best slo.Accuracy) error {
	c.finish = sched.FinishJob{Outcome: slo.Infeasible, Reason: why, Best: best}
	return c.failure()
}
