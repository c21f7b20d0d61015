// Package plan divides the items of a job over a model's variants, from the profile of
// the model: the frontier, the exact cheapest strategy for a size and a floor, the best
// accuracy within a time, the matrix of strategies, and the policies that choose a
// variant when a batch is about to run. Everything here is a pure function of values:
// the same profile gives byte for byte the same plan, in the server and in the
// simulator.
package plan

import (
	"fmt"
	"slices"
	"sort"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
)

// Variant describes a variant for planning: its modalities, accuracy and time.
type Variant struct {
	Name       string
	Modalities slo.Modalities
	Precision  string
	Sizes      slo.Sizes // the buckets of the inputs that it reads; 0: it takes every size
	Accuracy   slo.Accuracy
	Low        slo.Bounds // of Accuracy; zeros: none are known
	Curve      Curve
	// Inner variants are only reached through gates: no job starts on one. They are
	// what is left of a variant after others, see After.
	Inner bool
	// Recovers means that the variant reconstructs modalities that it does not take.
	Recovers bool
}

// RoutesMax bounds the routes of one model, including its variants: a Set has 64 bits.
const RoutesMax = 64

// Set is a set of routes: bit i represents route i.
type Set uint64

// Has reports whether route r is in the set.
func (s Set) Has(r int) bool { return s&(1<<r) != 0 }

// Planner plans for one model. It is immutable and safe for concurrent use.
type Planner struct {
	variants []Variant
	routes   []Route
	all      Set
	recovers Set // the routes with a variant that recovers modalities
	// certified has, by level of confidence, the same planner with lower bounds in place
	// of expected accuracies.
	certified []*Planner
}

// New returns a planner for at least one variant, and for routes of several steps. Each
// route may go on to the variants and to the routes before it.
func New(variants []Variant, routes ...RouteSpec) (*Planner, error) {
	if len(variants) == 0 || len(variants)+len(routes) > RoutesMax {
		return nil, fmt.Errorf("planning needs 1 to %d variants and routes, got %d", RoutesMax, len(variants)+len(routes))
	}
	p := &Planner{variants: variants}
	for i, v := range variants {
		routes = slices.Insert(slices.Clip(routes), i, RouteSpec{Name: v.Name, Variant: i, Accuracy: v.Accuracy, Low: v.Low, Inner: v.Inner})
	}
	for _, r := range routes {
		if err := p.addRoute(r); err != nil {
			return nil, err
		}
	}
	for level := range slo.ConfidenceLevels {
		p.certified = append(p.certified, p.bounded(level))
	}
	return p, nil
}

// bounded returns the planner with the bounds of a level as accuracies. Every mix of
// routes keeps its bound, because the bounds of all routes hold together. An item that
// is answered before its route ends loses 1, the most that it can: what it really loses
// is measured on the few samples that went on, and has no bound.
func (p *Planner) bounded(level int) *Planner {
	b := &Planner{variants: slices.Clone(p.variants), routes: slices.Clone(p.routes), all: p.all, recovers: p.recovers}
	for i := range b.variants {
		b.variants[i].Accuracy = b.variants[i].Low[level]
	}
	for i := range b.routes {
		r := &b.routes[i]
		r.Accuracy, r.Next = r.Low[level], slices.Clone(r.Next)
		for k := range r.Next {
			r.Next[k].Loss = slo.AccuracyUnit
		}
	}
	return b
}

// At returns the planner that plans at a confidence: with lower bounds in place of
// expected accuracies. All else is the same, the indices of routes too.
func (p *Planner) At(c slo.Confidence) *Planner {
	if c == 0 {
		return p
	}
	return p.certified[c-1]
}

// FromProfile returns a planner for a profiled model, with a route for each of its
// cascades. It uses the median latencies. It leaves out batches that took more memory than the package allows, so that they never
// run (I-4).
func FromProfile(m *modelpkg.Model, p *modelpkg.Profile) (*Planner, error) {
	variants, err := VariantsOf(m, p)
	if err != nil {
		return nil, err
	}
	variants, routes, err := withCascades(m, p, variants)
	if err != nil {
		return nil, err
	}
	planner, err := New(variants, routes...)
	if err != nil {
		return nil, slo.E("plan "+m.Name, slo.KindInvalid, "%w", err)
	}
	return planner, nil
}

// VariantsOf returns the variants of a profiled model, in the model's order, as
// FromProfile plans with them. It has none of the inner variants.
func VariantsOf(m *modelpkg.Model, p *modelpkg.Profile) ([]Variant, error) {
	if len(p.Variants) != len(m.Variants) {
		return nil, slo.E("plan "+m.Name, slo.KindInvalid, "the profile has %d variants, the model %d", len(p.Variants), len(m.Variants))
	}
	variants := make([]Variant, len(m.Variants))
	for i, v := range m.Variants {
		vp := p.Variants[i]
		points := allowed(m, vp.Batches)
		if len(points) == 0 {
			return nil, slo.E("plan "+m.Name, slo.KindInvalid, "variant %s: a single item takes more than the package's memory limit of %d bytes", v.Name, m.Limits.MemoryBytes)
		}
		curve, err := NewCurve(points)
		if err != nil {
			return nil, slo.E("plan "+m.Name, slo.KindInvalid, "variant %s: %w", v.Name, err)
		}
		acc, err := slo.AccuracyOf(vp.Accuracy.Mean)
		if err != nil {
			return nil, slo.E("plan "+m.Name, slo.KindInvalid, "variant %s: %w", v.Name, err)
		}
		variants[i] = Variant{Name: v.Name, Modalities: v.Modalities, Precision: v.Precision, Sizes: v.Sizes, Recovers: v.Recovers != 0, Accuracy: acc, Low: vp.Accuracy.Bounds(p.VariantBounds(m)), Curve: curve}
	}
	return variants, nil
}

// allowed returns the measured batches within the package's memory limit.
func allowed(m *modelpkg.Model, batches []modelpkg.BatchProfile) (points []Point) {
	for _, b := range batches {
		if m.Limits.MemoryBytes > 0 && b.MemoryBytes > m.Limits.MemoryBytes {
			break // larger batches take more
		}
		points = append(points, Point{Items: b.Items, Time: stats.FromMilliseconds(b.P50MS)})
	}
	return points
}

// Variants returns the planner's variants, in the model's order. Do not modify the
// slice.
func (p *Planner) Variants() []Variant { return p.variants }

// Routes returns the planner's routes: the variants, in their order, then the routes of
// several steps. Do not modify the slice.
func (p *Planner) Routes() []Route { return p.routes }

// All returns the set of all routes that a job may start on.
func (p *Planner) All() Set { return p.all }

// Runnable returns the set of routes that need no modality that an item does not carry,
// and that suit its sizes. If it has a choice, only the variants of exactly that subset
// are returned. If it excludes recovery, so are no routes with a variant that recovers
// modalities.
func (p *Planner) Runnable(c slo.Carried) Set {
	var s Set
	for i := range p.routes {
		r := &p.routes[i]
		if p.all.Has(i) && c.Present.Has(r.Modalities) && (c.Choice == 0 || r.Modalities == c.Choice && i < len(p.variants)) && c.Sizes.Suits(r.sizes) {
			s |= 1 << i
		}
	}
	if c.NoRecovery {
		s &^= p.recovers
	}
	return s
}

// Recovers reports whether a route runs a variant that recovers modalities.
func (p *Planner) Recovers(route int) bool { return p.recovers.Has(route) }

// LargestSizes returns the sizes of an item whose inputs all belong to their last bucket;
// 0 if no variant has sizes.
func (p *Planner) LargestSizes() (largest slo.Sizes) {
	for k := range slo.SizesMax {
		most := -1
		for _, v := range p.variants {
			most = max(most, v.Sizes.Bucket(k))
		}
		largest = largest.With(k, most)
	}
	return largest
}

// SizesOf returns the sizes of an item that may run on a variant: those of the variant and,
// of inputs that it does not read, the last buckets.
func (p *Planner) SizesOf(variant int) (sizes slo.Sizes) {
	own, largest := p.variants[variant].Sizes, p.LargestSizes()
	for k := range slo.SizesMax {
		bucket := own.Bucket(k)
		if bucket < 0 {
			bucket = largest.Bucket(k)
		}
		sizes = sizes.With(k, bucket)
	}
	return sizes
}

// Agnostic returns the variant that a server without modality selection would run: the
// one with the most modalities among allowed, at the precision that is declared first.
// Ties go to the more accurate one. It returns -1 if no variant is allowed.
func (p *Planner) Agnostic(allowed Set) int {
	best := -1
	for i, v := range p.variants {
		if !allowed.Has(i) {
			continue
		}
		if best < 0 || v.Modalities.Len() > p.variants[best].Modalities.Len() ||
			(v.Modalities.Len() == p.variants[best].Modalities.Len() && v.Modalities != p.variants[best].Modalities &&
				v.Accuracy > p.variants[best].Accuracy) {
			best = i
		}
	}
	return best
}

// MaxAccuracy returns the highest accuracy of the allowed routes, 0 if there are none.
func (p *Planner) MaxAccuracy(allowed Set) slo.Accuracy {
	var best slo.Accuracy
	for i := range p.routes {
		r := &p.routes[i]
		if allowed.Has(i) {
			best = max(best, r.Accuracy)
		}
	}
	return best
}

// FrontierPoint is a route that no other route beats in both accuracy and time
// per item.
type FrontierPoint struct {
	Route    int
	Accuracy slo.Accuracy
	PerItem  float64 // nanoseconds per item in its best batches
	Hull     bool    // true: no mix of two other routes beats it either
}

// Frontier returns the allowed routes that no other route beats in both accuracy and
// time per item, cheapest first.
func (p *Planner) Frontier(allowed Set) []FrontierPoint {
	var points []FrontierPoint
	for i := range p.routes {
		r := &p.routes[i]
		if allowed.Has(i) {
			points = append(points, FrontierPoint{Route: i, Accuracy: r.Accuracy, PerItem: r.Curve.PerItem()})
		}
	}
	sort.SliceStable(points, func(i, j int) bool {
		if points[i].PerItem != points[j].PerItem {
			return points[i].PerItem < points[j].PerItem
		}
		return points[i].Accuracy > points[j].Accuracy
	})
	kept := points[:0]
	for _, pt := range points {
		if len(kept) == 0 || pt.Accuracy > kept[len(kept)-1].Accuracy {
			kept = append(kept, pt)
		}
	}
	markHull(kept)
	return kept
}

// markHull marks the points on the lower convex hull of time over accuracy: those that
// no mix of two others beats.
func markHull(points []FrontierPoint) {
	var hull []int
	for i := range points {
		for len(hull) >= 2 && !below(points[hull[len(hull)-2]], points[hull[len(hull)-1]], points[i]) {
			hull = hull[:len(hull)-1]
		}
		hull = append(hull, i)
	}
	for _, i := range hull {
		points[i].Hull = true
	}
}

// below reports whether b lies strictly below the line from a to c.
func below(a, b, c FrontierPoint) bool {
	return (b.PerItem-a.PerItem)*float64(c.Accuracy-a.Accuracy) < (c.PerItem-a.PerItem)*float64(b.Accuracy-a.Accuracy)
}
