package profiler

import (
	"slices"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
)

// groupings are the samples that a variant runs on, as indices into pick.
type groupings struct {
	own [][]int // samples that may share a batch
	// others is set if no sample has the sizes that the variant is made for. Then it is
	// timed on others, which are cut or filled up.
	others []int
}

// group divides the samples in use for each variant: into those with the same values of
// the inputs that apply to a whole batch, among those with the variant's sizes.
func (r *run) group() {
	all := make([]int, len(r.pick))
	for place := range all {
		all[place] = place
	}
	bySizes := map[slo.Sizes]groupings{}
	for _, v := range r.m.Variants {
		g, known := bySizes[v.Sizes]
		if !known {
			g.own = r.alike(v.Sizes)
			if len(g.own) == 0 {
				g.others = all
			}
			bySizes[v.Sizes] = g
		}
		r.groups = append(r.groups, g)
	}
}

// alike returns the groups of samples with the sizes of a variant.
func (r *run) alike(sizes slo.Sizes) (groups [][]int) {
	known := map[string]int{}
	for place, at := range r.pick {
		if !r.set.Sizes(at).Suits(sizes) {
			continue
		}
		var setting []byte
		for i, in := range r.m.Inputs {
			if in.Unbatched {
				setting = append(setting, r.set.Item(at)[i]...)
			}
		}
		key := string(setting)
		group, ok := known[key]
		if !ok {
			group = len(groups)
			known[key] = group
			groups = append(groups, nil)
		}
		groups[group] = append(groups[group], place)
	}
	return groups
}

// items returns count items that a variant can run in one batch, from a place on,
// starting again at the end.
func (r *run) items(variant, from, count int) []runtime.Item {
	from %= len(r.pick)
	g := r.groups[variant]
	group := g.others
	if group == nil {
		group = g.own[0]
		for _, other := range g.own[1:] {
			if _, ok := slices.BinarySearch(other, from); ok {
				group = other
			}
		}
	}
	at, _ := slices.BinarySearch(group, from)
	items := make([]runtime.Item, count)
	for i := range items {
		if g.others != nil { // one sample, because settings may differ
			sample := r.pick[group[at%len(group)]]
			items[i] = r.m.Conform(r.set.Item(sample), r.set.Sizes(sample), variant)
			continue
		}
		items[i] = r.set.Item(r.pick[group[(at+i)%len(group)]])
	}
	return items
}
