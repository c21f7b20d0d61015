package engine

import (
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Route is a way to answer an item in several steps. Each step runs a variant; then its
// gate decides whether the item goes on or is answered with the step's outputs.
type Route struct {
	Name     string
	Steps    []Step       // two or more, or one that chooses
	Accuracy slo.Accuracy // expected of an item that takes the route
	Low      slo.Bounds   // of Accuracy; zeros: none are known
	// Threshold is that of the first gate, for people; 0: it has none.
	Threshold float64
}

// Step is a step of a route. The last one has only a variant, or chooses one of several
// variants for each item.
type Step struct {
	Variant int // of the model
	Gate    Gate
	Choose  Choose
	Ways    []Way        // that Choose chooses from; nil: it chooses nothing
	Share   float64      // of the items that reach the gate: those that go on
	Loss    slo.Accuracy // of an item that should go on but is answered here, because there is no time
}

// Gate reports whether an item goes on, from the outputs of a run: row is the item's.
// The confidence is that of the item's answer, for people; NaN if it has none. Gates are
// called by several goroutines at the same time.
type Gate func(outputs []tensor.Tensor, row int) (confidence float64, on bool)

// Choose returns which of a step's ways an item takes, from the outputs of a run; -1: the
// item is answered. The confidence is the estimate that decided, for people. It is
// called by several goroutines at the same time.
type Choose func(outputs []tensor.Tensor, row int) (confidence float64, way int)

// Way is a variant that a step may send items to, as their last one.
type Way struct {
	Variant int          // of the model
	Share   float64      // of the items that reach the step: those that take this way
	Loss    slo.Accuracy // of an item that should take this way but is answered before, because there is no time
}

// Below is a gate on confidence: items go on if that of their answer, as the model's
// metric defines it, is below a threshold.
func Below(m *modelpkg.Model, threshold float64) Gate {
	return func(outputs []tensor.Tensor, row int) (float64, bool) {
		confidence := m.Scoring.Confidence(modelpkg.Floats(outputs[0], row))
		return confidence, !(confidence >= threshold)
	}
}

// CascadesOf returns the cascades and the gates of a profile as routes.
func CascadesOf(m *modelpkg.Model, p *modelpkg.Profile) (routes []Route) {
	for _, c := range plan.CascadesOf(m, p) {
		routes = append(routes, Route{Name: c.Name, Accuracy: c.Accuracy, Low: c.Low, Threshold: c.Point.Threshold, Steps: []Step{
			{Variant: c.First, Gate: Below(m, c.Point.Threshold), Share: c.Point.Share(), Loss: c.Loss}, {Variant: c.Then}}})
	}
	for _, g := range plan.GatesOf(m, p) {
		step := Step{Variant: g.Variant, Choose: chooser(m, g)}
		for _, w := range g.Ways {
			step.Ways = append(step.Ways, Way{Variant: w.Variant, Share: w.Share, Loss: w.Loss})
		}
		routes = append(routes, Route{Name: g.Name, Accuracy: g.Accuracy, Low: g.Low, Steps: []Step{step}})
	}
	return routes
}

// chooser chooses by the estimates of a gate, which follow the model's outputs.
func chooser(m *modelpkg.Model, g plan.Gate) Choose {
	at, penalties, ways := len(m.Outputs), g.Point.Penalties(), make([]int, len(g.Point.Ways))
	for i, v := range g.Choices {
		ways[i] = slices.IndexFunc(g.Ways, func(w plan.Way) bool { return w.Variant == v })
	}
	return func(outputs []tensor.Tensor, row int) (float64, int) {
		estimates := modelpkg.Floats(outputs[at], row)
		chosen := modelpkg.ChooseWay(estimates, penalties)
		return estimates[chosen], ways[chosen]
	}
}

// coreVariant is a variant as the core knows it: one of the model's, or what is left of
// one after other steps.
type coreVariant struct {
	variant int                     // of the model
	given   []modelpkg.Intermediate // that earlier steps computed; nil: none
	inputs  []int                   // the model's inputs that are read with what is given
}

// coreGate is the gate of one of the core's routes.
type coreGate struct {
	decide Gate // nil: there is none
	next   int  // the core's route for items that go on
	choose Choose
	ways   []int // by way of choose: the core's route
	keep   []modelpkg.Intermediate
}

// routing maps the core's variants and routes to the model's.
type routing struct {
	planner  *plan.Planner
	variants []coreVariant // by variant of the core
	gates    []coreGate    // by route of the core
}

// newRouting plans the model's variants and its routes. Steps that share stages with
// earlier ones become variants of their own, if the runtime keeps what stages compute.
func newRouting(s Served, keeps func(variant int) bool) (*routing, error) {
	variants, err := plan.VariantsOf(s.Model, s.Profile)
	if err != nil {
		return nil, err
	}
	r := &routing{}
	for v := range variants {
		r.variants = append(r.variants, coreVariant{variant: v, inputs: s.Model.Variants[v].Inputs})
	}
	steps := make([][]int, len(s.Routes)) // the core's variants, by route and step
	for i, route := range s.Routes {
		if err := route.check(s.Model); err != nil {
			return nil, err
		}
		var before []int
		for _, step := range route.Steps {
			at := step.Variant
			if rest, left, ok, err := r.rest(s, step.Variant, before, keeps); err != nil {
				return nil, err
			} else if ok {
				at = slices.IndexFunc(r.variants, func(v coreVariant) bool {
					return v.variant == left.variant && slices.Equal(v.given, left.given)
				})
				if at < 0 {
					at, variants, r.variants = len(variants), append(variants, rest), append(r.variants, left)
				}
			}
			steps[i], before = append(steps[i], at), append(before, step.Variant)
		}
	}
	return r, r.plan(s, variants, steps)
}

// check checks a route's declaration.
func (r *Route) check(m *modelpkg.Model) error {
	op := "deploy " + m.Name
	chooses := len(r.Steps) == 1 && r.Steps[0].Choose != nil
	if len(r.Steps) < 2 && !chooses {
		return slo.E(op, slo.KindInvalid, "route %s has %d steps; it needs at least 2", r.Name, len(r.Steps))
	}
	for k, step := range r.Steps {
		last := k == len(r.Steps)-1
		if chooses && (len(step.Ways) == 0 || slices.ContainsFunc(step.Ways, func(w Way) bool { return w.Variant < 0 || w.Variant >= len(m.Variants) })) {
			return slo.E(op, slo.KindInvalid, "route %s needs ways to variants of the model, which has %d", r.Name, len(m.Variants))
		}
		switch {
		case step.Variant < 0 || step.Variant >= len(m.Variants):
			return slo.E(op, slo.KindInvalid, "route %s runs variant %d; the model has %d", r.Name, step.Variant, len(m.Variants))
		case last != (step.Gate == nil):
			return slo.E(op, slo.KindInvalid, "route %s: every step but the last needs a gate, and the last has none", r.Name)
		}
	}
	return nil
}

// rest returns what is left of a variant after others; ok is false if it runs as a
// whole.
func (r *routing) rest(s Served, variant int, before []int, keeps func(int) bool) (rest plan.Variant, left coreVariant, ok bool, err error) {
	if len(before) == 0 || !keeps(variant) || slices.ContainsFunc(before, func(v int) bool { return !keeps(v) }) {
		return rest, left, false, nil
	}
	rest, given, ok, err := plan.After(s.Model, s.Profile, variant, before)
	if !ok || err != nil {
		return rest, left, false, err
	}
	_, inputs, err := s.Model.Needed(variant, given, nil, false)
	return rest, coreVariant{variant: variant, given: given, inputs: inputs}, true, err
}

// plan makes the planner: each route of the model becomes a route for each of its
// suffixes, from the last step back.
func (r *routing) plan(s Served, variants []plan.Variant, steps [][]int) (err error) {
	var specs []plan.RouteSpec
	r.gates = make([]coreGate, len(variants))
	for i, route := range s.Routes {
		if first := route.Steps[0]; first.Choose != nil { // the variants of its ways run as a whole
			spec := plan.RouteSpec{Name: route.Name, Variant: first.Variant, Accuracy: route.Accuracy, Low: route.Low, Chooses: true}
			gate := coreGate{choose: first.Choose}
			for _, w := range first.Ways {
				spec.Next = append(spec.Next, plan.Branch{Route: w.Variant, Share: w.Share, Loss: w.Loss})
				gate.ways = append(gate.ways, w.Variant)
			}
			specs, r.gates = append(specs, spec), append(r.gates, gate)
			continue
		}
		next := steps[i][len(route.Steps)-1]
		for k := len(route.Steps) - 2; k >= 0; k-- {
			step := route.Steps[k]
			spec := plan.RouteSpec{Name: route.Name, Variant: steps[i][k], Accuracy: route.Accuracy, Low: route.Low, Inner: k > 0}
			if k == 0 {
				spec.Threshold = route.Threshold
			}
			spec.Next = []plan.Branch{{Route: next, Share: step.Share, Loss: step.Loss}}
			specs = append(specs, spec)
			next = len(r.gates)
			r.gates = append(r.gates, coreGate{decide: step.Gate, next: specs[len(specs)-1].Next[0].Route, keep: r.keptAfter(s.Model, step.Variant, steps[i][k+1:])})
		}
	}
	r.planner, err = plan.New(variants, specs...)
	if err != nil {
		return slo.E("deploy "+s.Model.Name, slo.KindInvalid, "%w", err)
	}
	return nil
}

// keptAfter returns what a run of a variant computes that later steps are given.
func (r *routing) keptAfter(m *modelpkg.Model, variant int, later []int) (keep []modelpkg.Intermediate) {
	for _, at := range later {
		for _, value := range r.variants[at].given {
			computed := slices.ContainsFunc(m.Variants[variant].Steps, func(step modelpkg.Step) bool { return step.Unit == value.Unit })
			if computed && !slices.Contains(keep, value) {
				keep = append(keep, value)
			}
		}
	}
	return keep
}
