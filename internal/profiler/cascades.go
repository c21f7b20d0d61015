package profiler

import (
	"slices"

	"github.com/mosel-serve/mosel/internal/cascade"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
)

// candidates returns the declared variants for a search for cascades. It is nil if none
// is to be made.
func (r *run) candidates() []cascade.Variant {
	if r.m.NoCascades && r.m.Gates == nil || r.m.Scoring.External() {
		return nil
	}
	var list []cascade.Variant
	for _, name := range r.m.Bases() {
		list = append(list, cascade.Variant{Name: name, Scores: r.samples.Scores(name), Confidence: r.m.Scoring.Confidences(r.samples.Variants[name])})
	}
	if !cascade.Searchable(list, r.m.Gates != nil) {
		return nil
	}
	return list
}

// cascades searches for cascades with the accuracies and times of a profile.
func (r *run) cascades(p *modelpkg.Profile, list []cascade.Variant) error {
	if list == nil {
		return nil
	}
	variants, err := plan.VariantsOf(r.m, p)
	if err != nil {
		return err
	}
	s := search{r, p, variants}
	for i := range list {
		at := s.declared(list[i].Name)
		list[i].Low = variants[at[0]].Low
		for _, v := range at {
			list[i].Cost += s.weight(v, at) * perItemMS(variants[v])
		}
	}
	p.Cascades = cascade.Find(cascade.Options{Variants: list, RoutesMax: plan.RoutesMax - len(variants), Gates: r.gates(list),
		After: func(first, then int) (float64, bool) { return s.after(list[first].Name, list[then].Name) },
		Routes: func(first, then int) (point, once int) {
			point = len(s.pairs(list[first].Name, list[then].Name))
			return point, point // at most one inner variant for each
		}})
	return nil
}

// gates returns the model's gates with their estimates.
func (r *run) gates(list []cascade.Variant) (gates []cascade.Gate) {
	at := func(variant int) int {
		name := r.m.Variants[variant].Declared()
		return slices.IndexFunc(list, func(v cascade.Variant) bool { return v.Name == name })
	}
	for _, g := range r.m.Gates {
		one := cascade.Gate{Variant: at(g.Variant), Estimates: r.samples.Estimates[r.m.Variants[g.Variant].Declared()]}
		for _, v := range g.Choices {
			one.Choices = append(one.Choices, at(v))
		}
		gates = append(gates, one)
	}
	return gates
}

// perItemMS is the time of an item in the best batches.
func perItemMS(v plan.Variant) float64 { return v.Curve.PerItem() / 1e6 }

// search is what a search for cascades needs to know of costs.
type search struct {
	*run
	profile  *modelpkg.Profile
	variants []plan.Variant
}

// declared returns the variants of a declaration.
func (s *search) declared(name string) (at []int) {
	for i, v := range s.m.Variants {
		if v.Declared() == name {
			at = append(at, i)
		}
	}
	return at
}

// weight returns the share of the samples that a variant of a declaration runs.
func (s *search) weight(variant int, declared []int) float64 {
	own, all := 0, 0
	for _, v := range declared {
		n := 0
		for _, group := range s.groups[v].own {
			n += len(group)
		}
		if all += n; v == variant {
			own = n
		}
	}
	return float64(own) / float64(max(1, all))
}

// pairs returns the variants of two declarations that an item can run on one after the
// other.
func (s *search) pairs(first, then string) (pairs [][2]int) {
	for _, a := range s.declared(first) {
		for _, b := range s.declared(then) {
			x, y := s.m.Variants[a].Sizes, s.m.Variants[b].Sizes
			if (x | y).Suits(x) && (x | y).Suits(y) {
				pairs = append(pairs, [2]int{a, b})
			}
		}
	}
	return pairs
}

// after returns the cost of what is left of a variant after another.
func (s *search) after(first, then string) (cost float64, ok bool) {
	if s.m.NoCascades {
		return 0, false
	}
	declared := s.declared(then)
	done := make([]int, 0, len(declared))
	for _, pair := range s.pairs(first, then) {
		if slices.Contains(done, pair[1]) {
			continue // with another size of the first variant: what is left is the same
		}
		done = append(done, pair[1])
		left := s.variants[pair[1]]
		if rest, _, shares, err := plan.After(s.m, s.profile, pair[1], []int{pair[0]}); err == nil && shares {
			left = rest
		}
		cost += s.weight(pair[1], declared) * perItemMS(left)
	}
	return cost, len(done) > 0
}
