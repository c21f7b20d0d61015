package plan

import (
	"sort"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Group is a number of items of one job that may take the same routes, because they
// carry the same modalities.
type Group struct {
	Items   int // >= 1
	Allowed Set // not empty
}

// Split divides the score that a job's items must reach over the groups of the job. The
// goals sum to at least target, and reaching each one separately takes about as little
// time as reaching the target together. It returns false if the target is out of reach;
// MaxScore returns what can be reached.
//
// It solves the linear relaxation of the joint problem exactly. Every group starts at
// the cheapest corner of its hull. Then steps along the hulls are taken, over all
// groups, where a point of score costs the least time, until the target is reached. The
// last step is taken in part; that group's strategy mixes two routes.
func (p *Planner) Split(groups []Group, target slo.Score) (goals []slo.Score, ok bool) {
	type step struct {
		group int
		gain  slo.Score
		slope float64 // time per unit of score
	}
	goals = make([]slo.Score, len(groups))
	var steps []step
	missing := target
	for i, g := range groups {
		var routes []int
		for v := range p.routes {
			if g.Allowed.Has(v) {
				routes = append(routes, v)
			}
		}
		hull := p.hullOf(routes)
		goals[i] = slo.Accuracy(hull[0].acc).Times(g.Items)
		missing -= goals[i]
		for k := 1; k < len(hull); k++ {
			a, b := hull[k-1], hull[k]
			steps = append(steps, step{i, slo.Accuracy(b.acc - a.acc).Times(g.Items), (b.time - a.time) / (b.acc - a.acc)})
		}
	}
	sort.SliceStable(steps, func(i, j int) bool { return steps[i].slope < steps[j].slope })
	for _, s := range steps {
		if missing <= 0 {
			break
		}
		goals[s.group] += min(s.gain, missing)
		missing -= s.gain
	}
	return goals, missing <= 0
}

// MaxScore returns the highest score that the groups can be expected to reach.
func (p *Planner) MaxScore(groups []Group) (sum slo.Score) {
	for _, g := range groups {
		sum += p.MaxAccuracy(g.Allowed).Times(g.Items)
	}
	return sum
}
