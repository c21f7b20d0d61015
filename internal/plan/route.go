package plan

import (
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Route is a way for an item to be answered: a run of a variant and, where a gate
// follows it, for some of the items a further route. Every variant is a route of
// one step; those come first, under the variants' indices. Planning compares
// routes by what an item is expected to score and to cost on them, so one of
// several steps is one more point of the frontier.
type Route struct {
	Name       string
	Variant    int            // that its first step runs
	Modalities slo.Modalities // that its steps need together
	Accuracy   slo.Accuracy   // expected of an item that takes it to its end
	Curve      Curve          // expected time of a batch, with what its items run later
	// Next is where the gate behind the first step sends items; those that it sends
	// nowhere are answered. Nil: no gate, all are.
	Next []Branch
	// Inner routes are only gone on with: no job starts on one.
	Inner bool
	// Silent says that the first step's outputs are no answer: an item cannot stop
	// there.
	Silent bool

	tail float64 // expected ns per item behind the first step
}

// Branch is one way on from a gate.
type Branch struct {
	Route int     // that the item goes on with; a lower index than the route's own
	Share float64 // of the items that come to the gate
	// Loss is by how much less accurate an item is that should go on and is answered
	// by the step before the gate instead, for want of time.
	Loss slo.Accuracy
}

// RouteSpec describes a route of several steps, or one that others go on with.
type RouteSpec struct {
	Name     string
	Variant  int
	Accuracy slo.Accuracy
	Next     []Branch
	Inner    bool
	Silent   bool
}

// TailPerItem is the expected time, in ns, that an item takes behind the first
// step of the route, in the best batches.
func (r Route) TailPerItem() float64 { return r.tail }

// Branch returns the way on from the route's gate to another route.
func (r Route) Branch(to int) (Branch, bool) {
	for _, b := range r.Next {
		if b.Route == to {
			return b, true
		}
	}
	return Branch{}, false
}

// shareError is what shares may lack for 1 by rounding.
const shareError = 1e-9

// addRoute appends a route to the planner's.
func (p *Planner) addRoute(s RouteSpec) error {
	if len(p.routes) == RoutesMax {
		return fmt.Errorf("more than %d routes", RoutesMax)
	}
	if s.Variant < 0 || s.Variant >= len(p.variants) {
		return fmt.Errorf("route %s runs variant %d of %d", s.Name, s.Variant, len(p.variants))
	}
	v := p.variants[s.Variant]
	r := Route{Name: s.Name, Variant: s.Variant, Modalities: v.Modalities, Accuracy: s.Accuracy, Curve: v.Curve, Next: s.Next, Inner: s.Inner, Silent: s.Silent}
	share := 0.0
	for i, b := range s.Next {
		if b.Route < 0 || b.Route >= len(p.routes) {
			return fmt.Errorf("route %s goes on with route %d, which is not one of the %d before it", s.Name, b.Route, len(p.routes))
		}
		if _, twice := (Route{Next: s.Next[:i]}).Branch(b.Route); twice {
			return fmt.Errorf("route %s goes on with route %d by two branches", s.Name, b.Route)
		}
		if !(b.Share >= 0 && b.Share <= 1) || b.Loss < 0 || b.Loss > s.Accuracy {
			return fmt.Errorf("route %s goes on with route %d for a share of %g at a loss of %v", s.Name, b.Route, b.Share, b.Loss)
		}
		next := p.routes[b.Route]
		r.Modalities |= next.Modalities
		r.tail += b.Share * next.Curve.PerItem()
		share += b.Share
	}
	if share > 1+shareError || s.Silent && share < 1-shareError {
		return fmt.Errorf("route %s goes on for a share of %g of its items", s.Name, share)
	}
	if r.tail > 0 {
		var points []Point
		for b := 1; b <= v.Curve.Max(); b++ {
			points = append(points, Point{Items: b, Time: v.Curve.Batch(b) + time.Duration(float64(b)*r.tail)})
		}
		var err error
		if r.Curve, err = NewCurve(points); err != nil {
			return fmt.Errorf("route %s: %w", s.Name, err)
		}
	}
	if !r.Inner {
		p.all |= 1 << len(p.routes)
	}
	p.routes = append(p.routes, r)
	return nil
}
