package main

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
)

// bench is the run.
type bench struct {
	options
	rt runtime.Runtime
}

func open(ctx context.Context, o options) (*bench, error) {
	rt, err := ort.Open(ctx, ort.Config{Progress: os.Stderr})
	return &bench{options: o, rt: rt}, err
}

// way is a way of choosing what runs for an item.
type way struct {
	name   string
	served engine.Served
	policy plan.Policy
}

// group is packages of one task, whose ways are compared at the same floors.
type group struct {
	name string
	note string
	// most is the variant that policy all runs.
	most string
	ways []way // that serve
	more []way // that are only planned with
	// floor is what every way certifies for most.
	floor slo.Accuracy
	all   engine.Served // most, and nothing else
}

const (
	// jobItems is the size of every request. A plan may divide its items among variants.
	jobItems = 50
	// confidence is that of all floors.
	confidence = slo.ConfidenceShown
)

// below are the floors, in points below that of policy all.
var below = []float64{0, 0.5, 1, 2.5}

// planned returns the cheapest certified plan for a request, and its milliseconds for
// each item; ok is false if there is none.
func (w *way) planned(floor slo.Accuracy) (runs []string, ms float64, ok bool, err error) {
	planner, err := plan.FromProfile(w.served.Model, w.served.Profile)
	if err != nil {
		return nil, 0, false, err
	}
	sizes, err := w.served.Model.ParseSizes(nil) // the largest
	if err != nil {
		return nil, 0, false, err
	}
	planner = planner.At(confidence)
	s, ok := planner.Cheapest(jobItems, floor.Times(jobItems), planner.Runnable(slo.Carried{Present: w.served.Model.AllModalities(), Sizes: sizes}))
	if !ok {
		return nil, 0, false, nil
	}
	for route, items := range s.Items {
		if items > 0 {
			runs = append(runs, planner.Routes()[route].Name)
		}
	}
	return runs, stats.Milliseconds(s.Time) / jobItems, true, nil
}

// certified returns the bound of a variant.
func (w *way) certified(variant string) (slo.Accuracy, error) {
	variants, err := plan.VariantsOf(w.served.Model, w.served.Profile)
	if err != nil {
		return 0, err
	}
	at := slices.IndexFunc(w.served.Model.Variants, func(v modelpkg.Variant) bool { return v.Declared() == variant })
	return variants[at].Low[confidence-1], nil
}

// served is a model with a profile and its points.
func served(m *modelpkg.Model, p *modelpkg.Profile) engine.Served {
	return engine.Served{Model: m, Profile: p, Routes: engine.CascadesOf(m, p)}
}

// groups makes all packages, profiles them, and returns the ways to choose. Each set of
// graphs is measured once; profiles of fewer variants are made from its answers and times.
func (b *bench) groups(ctx context.Context) (list []group, err error) {
	var exits way // the exits' networks have the task of digits, so they are compared with it too
	for _, p := range plans {
		if !strings.Contains(p.name, b.only) {
			continue
		}
		g, err := b.group(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, w := range g.ways {
			if w.name == "exits" {
				exits = w
			}
		}
		list = append(list, g)
	}
	for i := range list {
		if list[i].name == "digits" && exits.name != "" {
			list[i].ways = append(list[i].ways, exits)
		}
	}
	return list, nil
}

// planOf says which packages a group has.
type planOf struct {
	name, note, most string
	full             recipe // has all variants, and the gate if there is one
	ways             []wayOf
}

// wayOf is a way's package: those variants of the full one, with a search for cascades or
// without one, and with the gate, its network alone, or neither.
type wayOf struct {
	name     string
	variants []string
	search   bool
	gate     bool
	network  bool
	planned  bool // not served
}

// buildWay puts a way's package together.
func (b *bench) buildWay(p planOf, o wayOf) (*modelpkg.Model, error) {
	r := p.full
	r.name, r.variants = p.full.name+"_"+strings.NewReplacer(" ", "_", "'", "").Replace(o.name), o.variants
	r.plain = o.network
	if !o.gate && !o.network {
		r.graph = ""
	}
	m, err := b.build(&r)
	if err != nil {
		return nil, err
	}
	m.NoCascades = !o.search
	return m, nil
}

func (b *bench) group(ctx context.Context, p planOf) (group, error) {
	g := group{name: p.name, note: p.note, most: p.most}
	full, err := b.build(&p.full)
	if err != nil {
		return g, err
	}
	measured, err := b.profile(ctx, &p.full, full, nil)
	if err != nil {
		return g, err
	}
	for _, o := range append([]wayOf{{name: "all", variants: []string{p.most}}}, p.ways...) {
		m, err := b.buildWay(p, o)
		if err != nil {
			return g, err
		}
		result, err := b.profile(ctx, nil, m, measured)
		if err != nil {
			return g, err
		}
		w := way{name: o.name, served: served(m, result.Profile), policy: plan.PolicyAggressive}
		if o.name == "all" {
			g.all = w.served
			continue
		}
		if o.planned {
			g.more = append(g.more, w)
			continue
		}
		low, err := w.certified(p.most)
		if err != nil {
			return g, err
		}
		if g.floor == 0 || low < g.floor {
			g.floor = low
		}
		g.ways = append(g.ways, w)
	}
	return g, nil
}
