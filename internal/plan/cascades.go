package plan

import (
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Cascade is a point of a cascade between two variants of a model.
type Cascade struct {
	Name        string
	First, Then int // variants of the model
	Point       *modelpkg.CascadePoint
	Accuracy    slo.Accuracy
	Low         slo.Bounds // of Accuracy
	// Loss is how much an item scores less if it should go on but is answered by First.
	Loss slo.Accuracy
}

// CascadesOf returns the cascades of a profile. A point of two declared variants with
// buckets is a cascade for each two of their variants that an item can run on.
func CascadesOf(m *modelpkg.Model, p *modelpkg.Profile) (list []Cascade) {
	if p.Cascades == nil {
		return nil
	}
	for i := range p.Cascades.Points {
		point := &p.Cascades.Points[i]
		for first, a := range m.Variants {
			for then, b := range m.Variants {
				sizes := a.Sizes | b.Sizes
				if a.Declared() != point.First || b.Declared() != point.Then || !sizes.Suits(a.Sizes) || !sizes.Suits(b.Sizes) {
					continue
				}
				c := Cascade{Name: point.Named(a.Name, b.Name), First: first, Then: then, Point: point, Accuracy: point.Planned(), Low: p.Cascades.Low(point)}
				loss, _ := slo.AccuracyOf(max(0, min(point.OnThen-point.OnFirst, c.Accuracy.Float())))
				c.Loss = min(loss, c.Accuracy)
				list = append(list, c)
			}
		}
	}
	return list
}

// Gate is a point of a gate of a model.
type Gate struct {
	Name     string
	Variant  int   // of the model, that every item runs on first
	Choices  []int // variants of the model, by choice
	Point    *modelpkg.GatePoint
	Accuracy slo.Accuracy
	Low      slo.Bounds // of Accuracy
	Ways     []Way      // the choices other than Variant
}

// Way is a variant that a gate may send items to.
type Way struct {
	Variant int
	Share   float64
	// Loss is how much an item scores less if it should go on but the gate's own answer
	// is its answer.
	Loss slo.Accuracy
}

// GatesOf returns the points of the gates of a profile.
func GatesOf(m *modelpkg.Model, p *modelpkg.Profile) (list []Gate) {
	if p.Cascades == nil {
		return nil
	}
	for i := range p.Cascades.Gates {
		point := &p.Cascades.Gates[i]
		at := slices.IndexFunc(m.Gates, func(g modelpkg.Gate) bool { return m.Variants[g.Variant].Declared() == point.Gate })
		g := Gate{Name: point.Name(), Variant: m.Gates[at].Variant, Choices: m.Gates[at].Choices, Point: point, Accuracy: point.Planned(), Low: p.Cascades.LowOf(point)}
		for k, v := range g.Choices {
			if v == g.Variant {
				continue
			}
			loss, _ := slo.AccuracyOf(max(0, min(point.Ways[k].OnThen-point.Ways[k].OnGate, g.Accuracy.Float())))
			g.Ways = append(g.Ways, Way{Variant: v, Share: point.Share(k), Loss: min(loss, g.Accuracy)})
		}
		list = append(list, g)
	}
	return list
}

// withCascades adds to variants what is left of the second ones of cascades, and returns
// the routes of the cascades and of the gates, in this order.
func withCascades(m *modelpkg.Model, p *modelpkg.Profile, variants []Variant) ([]Variant, []RouteSpec, error) {
	var routes []RouteSpec
	for _, c := range CascadesOf(m, p) {
		rest, _, shares, err := After(m, p, c.Then, []int{c.First})
		if err != nil {
			return nil, nil, err
		}
		next := c.Then
		if shares {
			next = slices.IndexFunc(variants, func(v Variant) bool { return v.Name == rest.Name })
			if next < 0 {
				next, variants = len(variants), append(variants, rest)
			}
		}
		routes = append(routes, RouteSpec{Name: c.Name, Variant: c.First, Accuracy: c.Accuracy, Low: c.Low, Threshold: c.Point.Threshold,
			Next: []Branch{{Route: next, Share: c.Point.Share(), Loss: c.Loss}}})
	}
	for _, g := range GatesOf(m, p) {
		r := RouteSpec{Name: g.Name, Variant: g.Variant, Accuracy: g.Accuracy, Low: g.Low, Chooses: true}
		for _, w := range g.Ways {
			r.Next = append(r.Next, Branch{Route: w.Variant, Share: w.Share, Loss: w.Loss})
		}
		routes = append(routes, r)
	}
	return variants, routes, nil
}
