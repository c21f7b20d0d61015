package cascade

import (
	"flag"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

var resamplings = flag.Int("resamplings", 10, "how often a labelled set is drawn anew; from 100 on, larger sets too")

// population is a shipped model's answers: the truth from which labelled sets are drawn.
func population(t *testing.T, name string) (variants []Variant) {
	t.Helper()
	m, err := modelpkg.Load("../../models/" + name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := modelpkg.FindProfile(m, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	s, err := modelpkg.LoadSamples(m, p.Origin(), m.SamplesPath("cpu"))
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range m.Variants {
		if len(variants) > 0 && variants[len(variants)-1].Name == v.Declared() {
			continue
		}
		b := p.Variants[i].Batches[len(p.Variants[i].Batches)-1]
		variants = append(variants, Variant{Name: v.Declared(), Cost: b.P50MS / float64(b.Items), Scores: s.Scores(v.Declared()), Confidence: m.Scoring.Confidences(s.Variants[v.Declared()])})
	}
	return variants
}

// drawn is a labelled set of n samples drawn from the population.
func drawn(rng *rand.Rand, truth []Variant, n int) []Variant {
	pick := make([]int, n)
	for i := range pick {
		pick[i] = rng.IntN(len(truth[0].Scores))
	}
	var set []Variant
	for _, v := range truth {
		d := Variant{Name: v.Name, Cost: v.Cost}
		for _, at := range pick {
			d.Scores, d.Confidence = append(d.Scores, v.Scores[at]), append(d.Confidence, v.Confidence[at])
		}
		d.Low = modelpkg.MeasuredScore(d.Scores, 2*len(truth)).Bounds(2 * len(truth))
		set = append(set, d)
	}
	return set
}

func options(variants []Variant) Options {
	return Options{Variants: variants, RoutesMax: 40, After: func(_, then int) (float64, bool) { return variants[then].Cost, true }}
}

// offer is a point with what it claims and what it really scores.
type offer struct {
	spot
	truth, cost float64 // truly
}

// offers are the variants and the points of a set, by what they claim at a level; 0: the
// expected accuracy.
func offers(o Options, c *modelpkg.Cascades, truth []Variant, level int) (list []offer) {
	everything := all(len(truth[0].Scores))
	for i, v := range o.Variants {
		claim := mean(v.Scores, all(len(v.Scores)))
		if level > 0 {
			claim = v.Low[level-1].Float()
		}
		list = append(list, offer{spot{v.Cost, claim}, mean(truth[i].Scores, everything), v.Cost})
	}
	if c == nil {
		return list
	}
	really := options(truth)
	for _, p := range c.Points {
		pt := point{o.index(p.First), o.index(p.Then), p.Threshold}
		claim := p.Planned().Float()
		if level > 0 {
			claim = c.Low(&p)[level-1].Float()
		}
		scores, on := really.scores(pt, everything)
		n := float64(len(everything))
		list = append(list, offer{spot{truth[pt.first].Cost + p.Share()*truth[pt.then].Cost, claim}, sum(scores) / n, truth[pt.first].Cost + float64(on)/n*truth[pt.then].Cost})
	}
	return list
}

// cheapest is the cheapest mix for a floor by the claims: what it really scores and costs.
func cheapest(list []offer, floor float64) (truth, cost float64, ok bool) {
	least := math.Inf(1)
	for _, a := range list {
		for _, b := range list {
			if a.accuracy >= floor || b.accuracy < floor {
				if a != b || a.accuracy < floor {
					continue
				}
			}
			w := 0.0 // of b
			if a.accuracy < floor {
				w = (floor - a.accuracy) / (b.accuracy - a.accuracy)
			}
			if claimed := (1-w)*a.spot.cost + w*b.spot.cost; claimed < least {
				least, ok = claimed, true
				truth, cost = (1-w)*a.truth+w*b.truth, (1-w)*a.cost+w*b.cost
			}
		}
	}
	return truth, cost, ok
}

// naive is the cheapest pair and threshold, of all, whose mean on the set reaches the
// floor, as it would be chosen without a certificate.
func naive(o Options, truth []Variant, floor float64) (really float64, ok bool) {
	samples, least := all(len(o.Variants[0].Scores)), math.Inf(1)
	for first := range o.Variants {
		for then := range o.Variants {
			if o.Variants[first].Cost >= o.Variants[then].Cost {
				continue
			}
			for _, t := range o.thresholds(point{first: first, then: then}, samples) {
				pt := point{first, then, t}
				scores, on := o.scores(pt, samples)
				n := float64(len(samples))
				if cost := o.Variants[first].Cost + float64(on)/n*o.Variants[then].Cost; sum(scores)/n >= floor && cost < least {
					population := options(truth)
					s, _ := population.scores(pt, all(len(truth[0].Scores)))
					least, ok, really = cost, true, sum(s)/float64(len(s))
				}
			}
		}
	}
	return really, ok
}

// tally counts over all resamplings how the cheapest mix for a floor ended.
type tally struct {
	planned, broken int
	cost            float64
}

func (c *tally) add(truth, cost, floor float64, ok bool) {
	if !ok {
		return
	}
	c.planned++
	c.cost += cost
	if truth < floor {
		c.broken++
	}
}

func (c *tally) share() float64 { return float64(c.broken) / float64(max(1, c.planned)) }

// TestFloorsAreKept draws labelled sets from the answers of a shipped model, searches for
// cascades in each, and plans for floors: at a confidence of 0.95, floors are broken in at
// most 5 % of the sets, and without a confidence in no more than mixes of variants alone
// break them. It logs what choosing the cheapest threshold that looks good would do.
func TestFloorsAreKept(t *testing.T) {
	for name, floors := range map[string][]float64{"digits": {0.97, 0.98, 0.985, 0.99, 0.993}, "sentiment": {0.84, 0.85, 0.86, 0.87}} {
		truth := population(t, name)
		sizes := []int{2000}
		if *resamplings >= 100 {
			sizes = append(sizes, 9000)
		}
		for _, n := range sizes {
			tallies := make([][5]tally, len(floors))
			for seed := range *resamplings {
				o := options(drawn(rand.New(rand.NewPCG(uint64(seed), 9)), truth, n))
				c := Find(o)
				shown := int(slo.ConfidenceShown)
				lists := [][]offer{offers(o, nil, truth, 0), offers(o, c, truth, 0), offers(o, nil, truth, shown), offers(o, c, truth, shown)}
				for f, floor := range floors {
					for k, list := range lists {
						really, cost, ok := cheapest(list, floor)
						tallies[f][k].add(really, cost, floor, ok)
					}
					really, ok := naive(o, truth, floor)
					tallies[f][4].add(really, 0, floor, ok)
				}
			}
			for f, floor := range floors {
				mixes, cascades, mixesSure, sure, bold := &tallies[f][0], &tallies[f][1], &tallies[f][2], &tallies[f][3], &tallies[f][4]
				t.Logf("%s, %d samples, floor %v: certified broken in %d of %d, cost %.3f (mixes %d of %d, %.3f); without a confidence %d of %d, cost %.3f (mixes %d of %d, %.3f); naive %d of %d",
					name, n, floor, sure.broken, sure.planned, sure.mean(), mixesSure.broken, mixesSure.planned, mixesSure.mean(),
					cascades.broken, cascades.planned, cascades.mean(), mixes.broken, mixes.planned, mixes.mean(), bold.broken, bold.planned)
				if sure.share() > 0.05 {
					t.Errorf("%s, %d samples: the floor %v certified at 0.95 is broken in %d of %d sets", name, n, floor, sure.broken, sure.planned)
				}
				if cascades.share() > mixes.share()+0.05 {
					t.Errorf("%s, %d samples: the floor %v is broken in %d of %d sets, by mixes in %d", name, n, floor, cascades.broken, cascades.planned, mixes.broken)
				}
				if sure.mean() > mixesSure.mean()*1.02 {
					t.Errorf("%s, %d samples: the certified floor %v costs %.3f, with variants alone %.3f", name, n, floor, sure.mean(), mixesSure.mean())
				}
			}
		}
	}
}

func (c *tally) mean() float64 { return c.cost / float64(max(1, c.planned)) }

// TestAllBoundsHoldTogether draws labelled sets and counts those in which the bound of any
// variant or of any point is above the truth: at most as many as the level allows.
func TestAllBoundsHoldTogether(t *testing.T) {
	truth := population(t, "digits")
	wrong := 0
	const level = 1 // 0.8: at 0.95 far more sets would be needed to see a mistake
	for seed := range *resamplings {
		o := options(drawn(rand.New(rand.NewPCG(uint64(seed), 11)), truth, 2000))
		for _, one := range offers(o, Find(o), truth, level) {
			if one.accuracy > one.truth {
				wrong++
				break
			}
		}
	}
	if t.Logf("a bound at 0.8 is wrong in %d of %d sets", wrong, *resamplings); float64(wrong) > 0.2*float64(*resamplings) {
		t.Errorf("a bound at 0.8 is wrong in %d of %d sets", wrong, *resamplings)
	}
}
