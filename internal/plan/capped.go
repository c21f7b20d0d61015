package plan

import (
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Capped returns the planner with accuracies that are at most those given, by route; later
// routes than those given are capped by their variants alone.
// All else is the same, the indices of variants and routes too. The accuracy of a route
// of several steps falls by as much as the accuracies of its variants together: an item
// that is now answered wrongly is answered by one of them. Its bounds fall by the same.
func (p *Planner) Capped(most []slo.Accuracy) *Planner {
	if len(most) < len(p.variants) || len(most) > len(p.routes) {
		panic(fmt.Sprintf("plan: %d caps for %d variants and %d routes", len(most), len(p.variants), len(p.routes)))
	}
	c := &Planner{variants: slices.Clone(p.variants), routes: slices.Clone(p.routes), all: p.all, recovers: p.recovers}
	fall := make([]slo.Accuracy, len(c.routes))
	for i := range c.routes {
		r := &c.routes[i]
		fall[i] = max(0, p.variants[r.Variant].Accuracy-most[r.Variant])
		if r.Silent {
			fall[i] = 0 // it answers nothing
		}
		further := slo.Accuracy(0)
		for _, b := range r.Next {
			further = max(further, fall[b.Route])
		}
		fall[i] += further
		r.Accuracy = max(0, r.Accuracy-fall[i])
		if i < len(most) {
			r.Accuracy = min(r.Accuracy, most[i])
		}
		for level := range r.Low {
			r.Low[level] = max(0, r.Low[level]-fall[i])
			if r.Next == nil {
				r.Low[level] = min(p.routes[i].Low[level], most[r.Variant])
			}
			if i < len(most) {
				r.Low[level] = min(r.Low[level], most[i])
			}
		}
	}
	for i := range c.variants {
		c.variants[i].Accuracy, c.variants[i].Low = c.routes[i].Accuracy, c.routes[i].Low
	}
	for level := range slo.ConfidenceLevels {
		c.certified = append(c.certified, c.bounded(level))
	}
	return c
}
