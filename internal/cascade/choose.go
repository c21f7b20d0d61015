package cascade

import (
	"math"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

// spot is a point of the plane of cost and accuracy.
type spot struct{ cost, accuracy float64 }

// hull returns the spots that no mix of others beats, the cheapest first.
func hull(spots []spot) []spot {
	spots = slices.Clone(spots)
	slices.SortFunc(spots, func(a, b spot) int {
		switch {
		case a.cost != b.cost:
			return compare(a.cost, b.cost)
		default:
			return compare(b.accuracy, a.accuracy)
		}
	})
	var h []spot
	for _, s := range spots {
		if len(h) > 0 && s.accuracy <= h[len(h)-1].accuracy {
			continue
		}
		for len(h) >= 2 && !under(h[len(h)-2], h[len(h)-1], s) {
			h = h[:len(h)-1]
		}
		h = append(h, s)
	}
	return h
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// under reports whether b costs less than the mix of a and c with its accuracy.
func under(a, b, c spot) bool {
	return (b.cost-a.cost)*(c.accuracy-a.accuracy) < (c.cost-a.cost)*(b.accuracy-a.accuracy)
}

// costAt returns the least cost of a mix with an accuracy; infinite if none has it.
func costAt(h []spot, accuracy float64) float64 {
	for i, s := range h {
		if s.accuracy < accuracy {
			continue
		}
		if i == 0 {
			return s.cost
		}
		a := h[i-1]
		return a.cost + (s.cost-a.cost)*(accuracy-a.accuracy)/(s.accuracy-a.accuracy)
	}
	return math.Inf(1)
}

// choosePairs returns the pairs of variants that lower the cost of floors most, by the
// pilot, one after the other as long as one more lowers it noticeably.
func (o *Options) choosePairs(pilot []int) (chosen []point) {
	var base []spot
	for _, v := range o.Variants {
		base = append(base, spot{v.Cost, mean(v.Scores, pilot)})
	}
	pairs, spots := o.pairs(pilot)
	h := hull(base)
	low, high := h[0].accuracy, h[len(h)-1].accuracy
	// The cost of a floor is compared on a scale of the errors that it allows: from .98
	// to .99 is as far as from .9 to .95.
	floors := make([]float64, levels)
	for i := range floors {
		floors[i] = 1 - (1-low)*math.Pow(max(1-high, 1/float64(len(pilot)))/(1-low), float64(i)/levels)
	}
	for len(chosen) < pairsMax {
		best, gained := -1, gainMin
		for i := range pairs {
			with, gain := hull(append(slices.Clip(base), spots[i]...)), 0.0
			for _, floor := range floors {
				if now := costAt(h, floor); !math.IsInf(now, 1) {
					gain += (1 - costAt(with, floor)/now) / levels
				}
			}
			if gain > gained {
				best, gained = i, gain
			}
		}
		if best < 0 {
			break
		}
		chosen, base = append(chosen, pairs[best]), append(base, spots[best]...)
		h = hull(base)
	}
	return chosen
}

// pairs returns all pairs that may be a cascade, with their points by the pilot.
func (o *Options) pairs(pilot []int) (pairs []point, spots [][]spot) {
	for first, a := range o.Variants {
		for then, b := range o.Variants {
			after, ok := o.After(first, then)
			if first == then || a.Confidence == nil || !ok || a.Cost >= b.Cost || mean(a.Scores, pilot) >= mean(b.Scores, pilot) {
				continue
			}
			pair := point{first: first, then: then}
			var list []spot
			for _, t := range o.thresholds(pair, pilot) {
				pair.threshold = t
				scores, on := o.scores(pair, pilot)
				n := float64(len(pilot))
				list = append(list, spot{a.Cost + float64(on)/n*after, sum(scores) / n})
			}
			pair.threshold = 0
			pairs, spots = append(pairs, pair), append(spots, list)
		}
	}
	return pairs, spots
}

// plane is the spots of variants and points by the accuracies of a level.
type plane struct{ variants, points []spot }

// planes returns a plane for each level of confidence; the first is of the accuracies
// that are planned with if no confidence is asked.
func (o *Options) planes(c *modelpkg.Cascades) []plane {
	list := make([]plane, slo.ConfidenceLevels+1)
	for level := range list {
		for _, v := range o.Variants {
			accuracy := mean(v.Scores, all(len(v.Scores)))
			if level > 0 {
				accuracy = v.Low[level-1].Float()
			}
			list[level].variants = append(list[level].variants, spot{v.Cost, accuracy})
		}
		for i := range c.Points {
			p := &c.Points[i]
			first, then := o.index(p.First), o.index(p.Then)
			after, _ := o.After(first, then)
			accuracy := p.Planned().Float()
			if level > 0 {
				accuracy = c.Low(p)[level-1].Float()
			}
			list[level].points = append(list[level].points, spot{o.Variants[first].Cost + p.Share()*after, accuracy})
		}
		for i := range c.Gates {
			accuracy := c.Gates[i].Planned().Float()
			if level > 0 {
				accuracy = c.LowOf(&c.Gates[i])[level-1].Float()
			}
			list[level].points = append(list[level].points, spot{o.costOf(&c.Gates[i]), accuracy})
		}
	}
	return list
}

// worth returns by how much floors cost more without a point at most, as a share, if the
// kept points are offered.
func worth(planes []plane, kept []int, point int) (most float64) {
	for _, pl := range planes {
		others := slices.Clone(pl.variants)
		for _, i := range kept {
			if i != point {
				others = append(others, pl.points[i])
			}
		}
		own := pl.points[point]
		if more := costAt(hull(others), own.accuracy)/own.cost - 1; more > most {
			most = more
		}
	}
	return most
}

// prune keeps the points that some floor needs, with or without a confidence. It drops
// one after the other the point that is worth least, as long as that is next to nothing
// or the points take too many routes. Points that are nearly mixes of others make
// planning slow.
func (o *Options) prune(c *modelpkg.Cascades) {
	planes, kept := o.planes(c), all(len(c.Points)+len(c.Gates)) // cascades first
	kept = slices.DeleteFunc(kept, func(i int) bool { return worth(planes, nil, i) <= 0 })
	for len(kept) > 0 {
		at, least := 0, math.Inf(1)
		for k, i := range kept {
			if w := worth(planes, kept, i); w < least {
				at, least = k, w
			}
		}
		if least >= worthMin && o.routes(c, kept) <= o.RoutesMax {
			break
		}
		kept = slices.Delete(kept, at, at+1)
	}
	points, gates := c.Points, c.Gates
	c.Points, c.Gates = nil, nil
	for _, i := range kept {
		if i < len(points) {
			c.Points = append(c.Points, points[i])
		} else {
			c.Gates = append(c.Gates, gates[i-len(points)])
		}
	}
}

// routes returns how many routes some points take.
func (o *Options) routes(c *modelpkg.Cascades, kept []int) (sum int) {
	begun := map[[2]int]bool{}
	for _, i := range kept {
		if i >= len(c.Points) { // a gate's
			sum++
			continue
		}
		pair := [2]int{o.index(c.Points[i].First), o.index(c.Points[i].Then)}
		point, once := 1, 0
		if o.Routes != nil {
			point, once = o.Routes(pair[0], pair[1])
		}
		if sum += point; !begun[pair] {
			sum, begun[pair] = sum+once, true
		}
	}
	return sum
}

func (o *Options) index(name string) int {
	return slices.IndexFunc(o.Variants, func(v Variant) bool { return v.Name == name })
}

func all(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}
