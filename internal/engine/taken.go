package engine

import (
	"math"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// taken is the route that an item of a call took.
type taken struct {
	route      int     // of the planner; -1: the item has not run
	confidence float64 // of the answer that its last gate saw; NaN: there was no gate
	on         bool    // the last gate that it passed sent it on, and the next step has not run
}

// take records the routes of a part's items, and what their gates saw. An item that was
// sent on keeps the route that it started.
func (c *call) take(p sched.Part, b *running, first int) {
	if len(c.served.routing.gates) == len(c.served.Model.Variants) {
		return // a variant is a route
	}
	if c.taken == nil {
		c.taken = make([]taken, len(c.Items))
		for i := range c.taken {
			c.taken[i] = taken{route: -1, confidence: math.NaN()}
		}
	}
	route := b.dispatch.Variant
	if b.dispatch.Routes != nil {
		for i, part := range b.dispatch.Parts {
			if part == p {
				route = b.dispatch.Routes[i]
			}
		}
	}
	for i := range p.Count {
		t := &c.taken[p.First+i]
		if t.on = false; t.route < 0 {
			t.route = route
		}
		if b.verdicts != nil {
			if _, t.on = b.verdicts[first+i].Next(); !math.IsNaN(b.confidence[first+i]) {
				t.confidence = b.confidence[first+i]
			}
		}
	}
}

// RouteTaken is the route that an item took.
type RouteTaken struct {
	Name string // of the route; of a variant without gates, of the variant
	// Confidence is that of the answer that the last gate saw; NaN if there was none.
	Confidence float64
	Accuracy   slo.Accuracy // expected of the route
	// Whole means that the item took the route to its end, so that its answer is as good a
	// sample of the route as any. Otherwise it was answered by the step before a gate,
	// because there was no time.
	Whole bool
}

// routes returns the routes that the items took; nil if no item took one of several
// steps.
func (c *call) routes() []RouteTaken {
	several := false
	for _, t := range c.taken {
		several = several || t.route >= len(c.served.routing.variants)
	}
	if !several {
		return nil
	}
	list := make([]RouteTaken, len(c.taken))
	for i, t := range c.taken {
		list[i].Confidence = t.confidence
		if t.route >= 0 {
			route := &c.served.current.Load().Routes()[t.route]
			list[i].Name, list[i].Accuracy, list[i].Whole = route.Name, route.Accuracy, !t.on
		}
	}
	return list
}

// low returns a lower bound of the expected accuracy, by the routes of the items; 0 if
// one of them has none. An item that should have gone on and has the answer of the step
// before may score 1 less than its route's bound.
func (c *call) low() slo.Accuracy {
	routes := c.served.current.Load().At(slo.ConfidenceShown).Routes()
	failed := make(map[int]bool, len(c.failed))
	for _, f := range c.failed {
		failed[f.Item] = true
	}
	var sum slo.Score
	for i, v := range c.variants {
		route := v
		if c.taken != nil {
			route = max(0, c.taken[i].route)
		}
		if routes[route].Accuracy == 0 {
			return 0
		}
		if failed[i] {
			continue
		}
		if sum += slo.Score(routes[route].Accuracy); c.taken != nil && c.taken[i].on {
			sum -= slo.Score(slo.AccuracyUnit)
		}
	}
	return max(0, sum.Mean(len(c.variants)-len(c.failed)))
}
