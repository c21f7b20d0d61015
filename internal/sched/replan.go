package sched

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// replanModel takes over a model's new accuracies. Items that have started keep their
// credit: it was what was known then. The others must reach the rest of their job's
// floor by the new accuracies; a job whose items cannot do that ends.
func (c *Core) replanModel(e Replan) {
	m := c.models[e.Model]
	if m == nil || len(e.Planner.Routes()) != len(m.Planner.Routes()) {
		panic(fmt.Sprintf("sched: new accuracies for model %d, which has other routes", e.Model))
	}
	m.Planner = e.Planner
	clear(m.frontiers)
	var jobs []*job
	for _, j := range c.jobs {
		if j.model == e.Model && j.ended == 0 && !j.background {
			jobs = append(jobs, j)
		}
	}
	slices.SortFunc(jobs, func(a, b *job) int { return cmp.Compare(a.id, b.id) })
	for _, j := range jobs {
		for g := j; g != nil; g = g.other {
			g.planner, g.optionsFor = e.Planner.At(j.objective.Confidence), -1
		}
		c.keepFloor(j)
	}
}

// keepFloor divides what a job's pending items must still score over its groups and
// plans them anew. A job that can no longer keep its floor ends; then it returns false.
func (c *Core) keepFloor(j *job) bool {
	if best, ok := j.resetGoals(c.models[j.model].up); !ok {
		j.facts.Best = best
		c.giveUp(j, slo.Infeasible, slo.ReasonDrift)
		return false
	}
	for g := j; g != nil; g = g.other {
		if g.onward == nil {
			c.replan(g)
		}
	}
	return true
}

// resetGoals sets what each group must score so that its job keeps the floor, given the
// credit of the items that have started. If that is impossible, it returns false and the
// best possible mean. up is as in setGoals.
func (j *job) resetGoals(up plan.Set) (best slo.Accuracy, ok bool) {
	var groups []plan.Group
	var pending []*job
	var committed slo.Score
	n := 0
	for g := j; g != nil; g = g.other {
		if g.onward != nil {
			continue // its items are credited to the groups where they started
		}
		n, committed = n+g.n, committed+g.committed
		g.goal = g.committed
		if g.waiting > 0 {
			groups, pending = append(groups, plan.Group{Items: g.waiting, Allowed: g.allowed}), append(pending, g)
		}
	}
	target := j.objective.Floor.Times(n) - committed
	if j.other == nil {
		j.goal = j.objective.Floor.Times(n)
		best = j.planner.MaxAccuracy(j.allowed)
		return (committed + best.Times(j.waiting)).Mean(n), best.Times(j.waiting) >= target
	}
	if len(groups) == 0 {
		j.goal += max(0, target)
		return committed.Mean(n), target <= 0
	}
	goals, ok := goalsOf(j.planner, groups, max(0, target), up)
	for i, g := range pending {
		g.goal += goals[i]
	}
	return (committed + j.planner.MaxScore(groups)).Mean(n), ok
}

// lowered reports whether a job could keep its floor by the accuracies of the profile.
func (m *model) lowered(j *job) bool {
	if m.Planner == m.profiled {
		return false
	}
	of := j.planner
	j.planner = m.profiled.At(j.objective.Confidence)
	_, ok := j.setGoals(m.up)
	j.planner = of
	return ok
}
