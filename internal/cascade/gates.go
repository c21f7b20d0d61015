package cascade

import (
	"math"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
)

// Gate is a variant that estimates, for each item, what the answers of some variants
// score.
type Gate struct {
	Variant   int       // into Options.Variants: runs first
	Choices   []int     // into Options.Variants
	Estimates []float64 // of each sample, one for each choice
}

const (
	// prices is the number of prices that are tried on the pilot.
	prices = 120
	// priceMin and priceMax are the lowest and the highest of them, as scores by which the
	// most expensive choice must be better than an item that stays.
	priceMin = 1e-4
	priceMax = 1
	// gatePointsMax bounds the points of one gate that are certified.
	gatePointsMax = 12
)

// gatePoint is a gate at a price.
type gatePoint struct {
	gate      int
	price     float64   // per unit of cost
	penalties []float64 // by choice
}

// at returns a gate's point at a price.
func (o *Options) at(gate int, price float64) gatePoint {
	p := gatePoint{gate: gate, price: price}
	for _, c := range o.Gates[gate].Choices {
		p.penalties = append(p.penalties, price*o.further(gate, c))
	}
	return p
}

// further returns what a choice costs after the gate.
func (o *Options) further(gate, choice int) float64 {
	if choice == o.Gates[gate].Variant {
		return 0
	}
	return o.Variants[choice].Cost
}

// way returns the way that a sample takes.
func (o *Options) way(p gatePoint, sample int) int {
	n := len(p.penalties)
	return modelpkg.ChooseWay(o.Gates[p.gate].Estimates[sample*n:(sample+1)*n], p.penalties)
}

// gateScores returns the scores of a point for some samples, and how many take each way.
func (o *Options) gateScores(p gatePoint, samples []int) (scores []float64, items []int) {
	scores, items = make([]float64, len(samples)), make([]int, len(p.penalties))
	for i, sample := range samples {
		way := o.way(p, sample)
		items[way]++
		scores[i] = o.Variants[o.Gates[p.gate].Choices[way]].Scores[sample]
	}
	return scores, items
}

// gateCost returns the mean cost of an item at a point.
func (o *Options) gateCost(gate int, items []int) float64 {
	total, n := 0.0, 0
	for way, x := range items {
		total += float64(x) * o.further(gate, o.Gates[gate].Choices[way])
		n += x
	}
	return o.Variants[o.Gates[gate].Variant].Cost + total/float64(n)
}

// gatePoints returns the points of each gate that no mix of its other points beats on the
// pilot, the cheapest first. Of many, those that differ most are kept.
func (o *Options) gatePoints(pilot []int) (points []gatePoint) {
	for gate := range o.Gates {
		dearest := 0.0
		for _, c := range o.Gates[gate].Choices {
			dearest = max(dearest, o.further(gate, c))
		}
		by := map[spot]gatePoint{}
		var spots []spot
		for k := range prices {
			price := short(priceMax * math.Pow(priceMin/priceMax, float64(k)/(prices-1)) / dearest)
			p := o.at(gate, price)
			scores, items := o.gateScores(p, pilot)
			s := spot{o.gateCost(gate, items), sum(scores) / float64(len(pilot))}
			if _, known := by[s]; !known {
				by[s], spots = p, append(spots, s)
			}
		}
		for _, s := range thin(hull(spots), gatePointsMax) {
			points = append(points, by[s])
		}
	}
	return points
}

// thin keeps so many spots: those whose costs differ most, as ratios. The first and the
// last stay.
func thin(spots []spot, most int) []spot {
	spots = slices.Clone(spots)
	for len(spots) > most {
		at, least := 1, math.Inf(1)
		for i := 1; i < len(spots)-1; i++ {
			if gap := spots[i+1].cost / spots[i-1].cost; gap < least {
				at, least = i, gap
			}
		}
		spots = slices.Delete(spots, at, at+1)
	}
	return spots
}

// measureGate measures a point on samples on which nothing was chosen, and certifies it.
func (o *Options) measureGate(pt gatePoint, rest []int, tested int) modelpkg.GatePoint {
	gate := &o.Gates[pt.gate]
	own := &o.Variants[gate.Variant]
	scores, items := o.gateScores(pt, rest)
	p := modelpkg.GatePoint{Gate: own.Name, Price: pt.price}
	p.Accuracy, p.Cautious = modelpkg.MeasuredCascade(scores, tested)
	for way, c := range gate.Choices {
		p.Ways = append(p.Ways, modelpkg.GateWay{Variant: o.Variants[c].Name, Penalty: pt.penalties[way], Items: items[way]})
	}
	for i, sample := range rest {
		w := &p.Ways[o.way(pt, sample)]
		w.OnGate += own.Scores[sample] / float64(w.Items)
		w.OnThen += scores[i] / float64(w.Items)
	}
	p.Round()
	return p
}

// costOf returns the cost of a point as measured.
func (o *Options) costOf(p *modelpkg.GatePoint) float64 {
	gate := slices.IndexFunc(o.Gates, func(g Gate) bool { return o.Variants[g.Variant].Name == p.Gate })
	items := make([]int, len(p.Ways))
	for i, w := range p.Ways {
		items[i] = w.Items
	}
	return o.gateCost(gate, items)
}
