package sched

import (
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
)

// Model describes a model to the core.
type Model struct {
	Name    string
	Planner *plan.Planner
	// BatchItemsMax bounds a batch (I-4).
	BatchItemsMax int
	// Scale corrects the profile's latencies by variant: 1.2 is 20 % slower than
	// profiled. Nil is 1 for all. The core updates its copy from measurements.
	Scale []float64
	// Classes describes, by ClassID, how instances of each class run the model. Nil:
	// all run every variant at the planner's latencies, times Scale. A class beyond the
	// end of the list cannot run the model.
	Classes []Residence
}

// Residence describes a model on a class of instances.
type Residence struct {
	Variants plan.Set     // loaded variants; 0: the class does not have the model
	Curves   []plan.Curve // by variant; nil: the planner's
	Scale    []float64    // by variant, instead of Model.Scale; nil: 1 for all
}

// model is a model with what was learnt while serving. Strategies are planned with the
// planner's latencies. Differences between classes and from measurements are factors on
// these.
type model struct {
	Model
	profiled *plan.Planner // as served, before any Replan
	pool     *pool
	on       []*residence // by ClassID, up to the highest class that was up
	slowness []float64    // by variant: factor on the planner's latencies, over all classes that are up
	// By route, for models with gates: the expected time of an item after the first step,
	// as in perItem, and the longest time, as in longest.
	tails             []float64
	behind            []time.Duration
	jobs              int     // unfinished
	items             int     // pending
	batchInefficiency float64 // time of recent batches relative to the time of their items in the best batches, >= 1
	deviation         float64 // mean relative difference of measured from expected times
	scatter           scatter
	frontiers         map[choices][]plan.FrontierPoint
	known             plan.Set // the routes that some class can run to their end
	up                plan.Set // the routes that the classes that are up can run to their end
	moved             bool     // up has changed: queued jobs must be replanned
}

// residence is a model on a class, with the correction factors learnt there.
type residence struct {
	variants plan.Set
	curves   []plan.Curve // by variant
	bounded  []plan.Curve // by variant: up to the model's largest batch
	scale    []float64    // by variant
}

func (c *Core) newModel(m Model) *model {
	k := &model{Model: m, profiled: m.Planner, batchInefficiency: 1, frontiers: map[choices][]plan.FrontierPoint{}}
	k.known = k.runnable(func(v int) bool {
		return m.Classes == nil || slices.ContainsFunc(m.Classes, func(r Residence) bool { return r.Variants.Has(v) })
	})
	if routes := m.Planner.Routes(); slices.ContainsFunc(routes, func(r plan.Route) bool { return r.Next != nil }) {
		k.tails, k.behind = make([]float64, len(routes)), make([]time.Duration, len(routes))
	}
	k.pool = c.poolOf(k)
	c.measure(k)
	k.moved = false // it has no jobs yet
	return k
}

// runnable returns the routes all of whose steps run loaded variants.
func (m *model) runnable(loaded func(variant int) bool) (set plan.Set) {
	for i, r := range m.Planner.Routes() {
		ends := loaded(r.Variant)
		for _, b := range r.Next {
			ends = ends && set.Has(b.Route)
		}
		if ends {
			set |= 1 << i
		}
	}
	return set
}

// pool returns the pool in which a job is queued.
func (c *Core) pool(j *job) *pool { return c.models[j.model].pool }

// class returns the model on a class, or nil if the class does not have it.
func (m *model) class(id ClassID) *residence {
	for len(m.on) <= int(id) {
		m.on = append(m.on, m.reside(ClassID(len(m.on))))
	}
	return m.on[id]
}

func (m *model) reside(id ClassID) *residence {
	variants := m.Planner.Variants()
	spec := Residence{Variants: math.MaxUint64, Scale: m.Scale}
	if m.Classes != nil {
		if int(id) >= len(m.Classes) || m.Classes[id].Variants == 0 {
			return nil
		}
		spec = m.Classes[id]
	}
	r := &residence{variants: spec.Variants, curves: spec.Curves, scale: make([]float64, len(variants))}
	for v := range variants {
		r.scale[v] = 1
		if spec.Scale != nil && spec.Scale[v] > 0 {
			r.scale[v] = spec.Scale[v]
		}
		if spec.Curves == nil {
			r.curves = append(r.curves, variants[v].Curve)
		}
		r.bounded = append(r.bounded, r.curves[v].UpTo(m.BatchItemsMax))
	}
	return r
}

// batchTime returns the time of one batch of b items on the class, as corrected by
// measurement.
func (r *residence) batchTime(v, b int) time.Duration {
	curve := r.curves[v]
	return time.Duration(float64(curve.Batch(min(b, curve.Max()))) * r.scale[v])
}

// batchMax returns the largest batch of a variant on the class.
func (m *model) batchMax(r *residence, v int) int { return r.bounded[v].Max() }

// batchBest returns the batch size with the least time per item of a variant on the class.
func (m *model) batchBest(r *residence, v int) int { return r.bounded[v].BestBatch() }

// safety returns the factor within which nearly all recent batches ended: three mean
// deviations above the expected time.
func (m *model) safety() float64 { return 1 + 3*m.deviation }

// safe returns a time plus a margin for the deviation of measured times.
func (m *model) safe(t time.Duration) time.Duration {
	return time.Duration(float64(t) * m.safety())
}

// meanTime returns the time of one batch over all classes.
func (m *model) meanTime(v, b int) time.Duration {
	curve := m.Planner.Variants()[v].Curve
	return time.Duration(float64(curve.Batch(min(b, curve.Max()))) * m.slowness[v])
}

// perItem returns the time of an item on a route to its end, in the best batches, over
// all classes; ns on one slot.
func (m *model) perItem(route int) float64 {
	r := &m.Planner.Routes()[route]
	if r.Next == nil {
		return r.Curve.PerItem() * m.slowness[r.Variant]
	}
	return (r.Curve.PerItem()-r.TailPerItem())*m.slowness[r.Variant] + m.tails[route]
}

// routeTime returns the expected time of items on a route, in the best batches one
// after another; ns.
func (m *model) routeTime(route, items int) float64 {
	r := &m.Planner.Routes()[route]
	slowness := m.slowness[r.Variant]
	if r.Next != nil {
		slowness = m.perItem(route) / r.Curve.PerItem()
	}
	return float64(r.Curve.Time(items)) * slowness
}

// choices is what the frontier of a job depends on.
type choices struct {
	planner *plan.Planner
	allowed plan.Set
}

func (m *model) frontier(j *job) []plan.FrontierPoint {
	of := choices{j.planner, j.allowed}
	f, ok := m.frontiers[of]
	if !ok {
		f = j.planner.Frontier(j.allowed)
		m.frontiers[of] = f
	}
	return f
}

// seeBatch learns how full batches are. A long queue of single requests fills them;
// jobs that cannot share batches do not.
func (m *model) seeBatch(curve plan.Curve, items int) {
	ratio := float64(curve.Batch(items)) / (float64(items) * curve.PerItem())
	m.batchInefficiency += 0.1 * (min(ratio, batchInefficiencyMax) - m.batchInefficiency)
}

// batchInefficiencyMax bounds the effect of one small batch.
const batchInefficiencyMax = 3

// deviationShare is the weight of one batch in the mean deviation.
const deviationShare = 0.05

// observe adjusts a variant's scale on a class to a measured time. One measurement
// moves it by a tenth of the difference, and counts as at most half more (or a third
// less) than expected. So one stall does not change the plan.
func (m *model) observe(r *residence, v int, took, nominal time.Duration) {
	if took <= 0 || nominal <= 0 {
		return
	}
	seen := float64(took) / float64(nominal)
	seen = min(max(seen, r.scale[v]/1.5), r.scale[v]*1.5)
	m.deviation += deviationShare * (math.Abs(seen/r.scale[v]-1) - m.deviation)
	r.scale[v] += 0.1 * (seen - r.scale[v])
}
