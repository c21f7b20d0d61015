package plan

import (
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Route is a way to answer an item: a run of a variant and, if a gate follows it, a
// further route for some of the items. Every variant is a route of one step. These
// routes come first, under the indices of the variants. Planning compares routes by the
// expected score and time of an item, so a route of several steps is just one more
// point of the frontier.
type Route struct {
	Name       string
	Variant    int            // of its first step
	Modalities slo.Modalities // that its steps need together
	Accuracy   slo.Accuracy   // expected of an item that takes the route to its end
	Low        slo.Bounds     // of Accuracy
	Curve      Curve          // expected time of a batch, including later steps of its items
	// Next is where the gate after the first step sends items; the others are answered.
	// Nil: there is no gate, and all are answered.
	Next []Branch
	// Threshold is the confidence below which the gate sends items on, for people; 0 if
	// the gate has none.
	Threshold float64
	// Chooses means that the gate chooses by its estimates, and not by a threshold.
	Chooses bool
	// Inner routes are only reached through gates: no job starts on one.
	Inner bool
	// Silent means that the first step's outputs are no answer: an item cannot stop
	// there.
	Silent bool

	sizes slo.Sizes // that its steps need together
	tail  float64   // expected ns per item after the first step
}

// Branch is one way on from a gate.
type Branch struct {
	Route int     // that the item goes on to; a lower index than that of its own route
	Share float64 // of the items that reach the gate
	// Loss is how much accuracy an item loses if it should go on but is answered by the
	// step before the gate, because there is no time.
	Loss slo.Accuracy
}

// RouteSpec describes a route of several steps, or one that others go on to.
type RouteSpec struct {
	Name     string
	Variant  int
	Accuracy slo.Accuracy
	Low      slo.Bounds // of Accuracy; zeros: none are known
	Next     []Branch
	Inner    bool
	Silent   bool

	Threshold float64
	Chooses   bool
}

// TailPerItem returns the expected time of an item, in ns, after the first step of the
// route, in the best batches.
func (r Route) TailPerItem() float64 { return r.tail }

// Branch returns the branch from the route's gate to another route; false if there is
// none.
func (r Route) Branch(to int) (Branch, bool) {
	for _, b := range r.Next {
		if b.Route == to {
			return b, true
		}
	}
	return Branch{}, false
}

// shareError is the tolerance for rounding when shares should sum to 1.
const shareError = 1e-9

// addRoute adds a route to the planner.
func (p *Planner) addRoute(s RouteSpec) error {
	if len(p.routes) == RoutesMax {
		return fmt.Errorf("more than %d routes", RoutesMax)
	}
	if s.Variant < 0 || s.Variant >= len(p.variants) {
		return fmt.Errorf("route %s runs variant %d of %d", s.Name, s.Variant, len(p.variants))
	}
	v := p.variants[s.Variant]
	r := Route{Name: s.Name, Variant: s.Variant, Modalities: v.Modalities, Accuracy: s.Accuracy, Low: s.Low, Curve: v.Curve, sizes: v.Sizes, Next: s.Next, Inner: s.Inner, Silent: s.Silent, Threshold: s.Threshold, Chooses: s.Chooses}
	recovers := v.Recovers
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
		recovers = recovers || p.recovers.Has(b.Route)
		if !(r.sizes | next.sizes).Suits(r.sizes) || !(r.sizes | next.sizes).Suits(next.sizes) {
			return fmt.Errorf("route %s goes on with route %d, which is for items of other sizes", s.Name, b.Route)
		}
		r.sizes |= next.sizes
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
	if recovers {
		p.recovers |= 1 << len(p.routes)
	}
	p.routes = append(p.routes, r)
	return nil
}
