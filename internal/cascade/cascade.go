// Package cascade finds cascades of two variants and certifies them. A cascade runs an
// item on a cheap variant; if the answer's confidence is below a threshold, it runs the
// item on a more expensive one. A cascade with a threshold is a point: an accuracy and a
// cost, as a variant has. So is a gate at a price, which sends each item to the variant
// that it expects to be worth most (gates.go). The samples of the labelled set are divided once: a pilot
// chooses which points are worth offering, and the rest, on which nothing was chosen,
// measures and certifies them.
//
// The package is pure: it handles scores, confidences and costs.
package cascade

import (
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Variant is a variant as declared, with its answers to the labelled set.
type Variant struct {
	Name       string
	Cost       float64   // per item, in any unit that is the same for all variants
	Scores     []float64 // by sample
	Confidence []float64 // by sample; nil: it cannot be the first step of a cascade
	Low        slo.Bounds
}

// Options say what to find.
type Options struct {
	Variants []Variant
	// After returns the cost per item of a variant for items on which another has run;
	// ok is false if the two cannot be a cascade.
	After func(first, then int) (cost float64, ok bool)
	// Routes returns how many routes of the planner a point of a cascade takes, and how
	// many more the cascade takes whatever its points. Nil: one and none.
	Routes func(first, then int) (point, once int)
	// RoutesMax bounds the routes of all points together.
	RoutesMax int
	// Gates choose a variant for each item.
	Gates []Gate
}

const (
	// pilotShare is the share of the samples that choose what to certify.
	pilotShare = 0.2
	// pairsMax bounds the pairs of variants whose points are certified. Each point
	// weakens the bounds of all.
	pairsMax = 4
	// gainMin is by how much a pair must lower the mean cost of a floor, as a share.
	gainMin = 0.02
	// worthMin is by how much some floor must cost more without a point, as a share, for
	// the point to be offered.
	worthMin = 0.02
	// levels is the number of floors by which pairs are compared.
	levels = 40
	// SamplesMin is the least number of samples. With fewer, the rare errors that decide
	// between points are not seen.
	SamplesMin = 500
)

// shares are the shares of the pilot's items that thresholds send on.
var shares = []float64{0.005, 0.01, 0.02, 0.035, 0.055, 0.08, 0.11, 0.15, 0.2, 0.27, 0.35, 0.45, 0.57, 0.7}

// point is a cascade with a threshold.
type point struct {
	first, then int
	threshold   float64
}

// Find returns the cascades that are worth offering beside the variants, with their
// certificates. It returns nil if the samples are too few or no variant has a
// confidence. Otherwise the result is not nil, even if it has no points: the bounds of
// variants and points share one probability of a miss, and what the search would have
// found must not change how it is divided.
func Find(o Options) *modelpkg.Cascades {
	if !Searchable(o.Variants, o.Gates != nil) {
		return nil
	}
	pilot, rest := divide(len(o.Variants[0].Scores))
	var points []point
	for _, pair := range o.choosePairs(pilot) {
		for _, t := range o.thresholds(pair, pilot) {
			points = append(points, point{pair.first, pair.then, t})
		}
	}
	gates := o.gatePoints(pilot)
	c := &modelpkg.Cascades{Pilot: len(pilot), Tested: len(points) + len(gates)}
	for _, pt := range points {
		c.Points = append(c.Points, o.measure(pt, rest, c.Tested))
	}
	for _, pt := range gates {
		c.Gates = append(c.Gates, o.measureGate(pt, rest, c.Tested))
	}
	o.prune(c)
	return c
}

// Searchable reports whether Find searches for cascades: whether its result is not nil.
func Searchable(variants []Variant, gates bool) bool {
	return len(variants) > 1 && len(variants[0].Scores) >= SamplesMin && (gates ||
		slices.ContainsFunc(variants, func(v Variant) bool { return v.Confidence != nil }))
}

// divide divides n samples into a pilot and the rest, in an order that is drawn once and
// for all: it does not depend on the samples.
func divide(n int) (pilot, rest []int) {
	order := rand.New(rand.NewPCG(2, 1)).Perm(n)
	k := int(pilotShare * float64(n))
	return order[:k], order[k:]
}

// thresholds returns thresholds of a pair, the boldest first: those that send the given
// shares of the pilot's items on.
func (o *Options) thresholds(pair point, pilot []int) (list []float64) {
	confidences := make([]float64, len(pilot))
	for i, sample := range pilot {
		confidences[i] = o.Variants[pair.first].Confidence[sample]
	}
	slices.Sort(confidences)
	for _, share := range shares {
		list = append(list, short(confidences[int(share*float64(len(pilot)))]))
	}
	list = slices.Compact(list)
	if list[0] <= confidences[0] { // it sends nothing on
		list = list[1:]
	}
	return list
}

// short rounds a threshold to four digits, for people who read it; below 1, to three
// digits of what it lacks to 1.
func short(threshold float64) float64 {
	if threshold > 0 && threshold < 1 {
		return digits(1-digits(1-threshold, 3), 12)
	}
	return digits(threshold, 4)
}

func digits(x float64, n int) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', n, 64), 64)
	if err != nil {
		return x
	}
	return rounded
}

// scores returns the scores of a point for some samples, and how many it sends on.
func (o *Options) scores(pt point, samples []int) (scores []float64, on int) {
	first, then := &o.Variants[pt.first], &o.Variants[pt.then]
	scores = make([]float64, len(samples))
	for i, sample := range samples {
		if scores[i] = first.Scores[sample]; GoesOn(first.Confidence[sample], pt.threshold) {
			scores[i] = then.Scores[sample]
			on++
		}
	}
	return scores, on
}

// GoesOn reports whether an answer with a confidence goes on to the second step. What is
// not a number does.
func GoesOn(confidence, threshold float64) bool { return !(confidence >= threshold) }

// measure measures a point on samples on which nothing was chosen, and certifies it. The
// point is one of so many that were tested.
func (o *Options) measure(pt point, rest []int, tested int) modelpkg.CascadePoint {
	first, then := &o.Variants[pt.first], &o.Variants[pt.then]
	scores, on := o.scores(pt, rest)
	p := modelpkg.CascadePoint{First: first.Name, Then: then.Name, Threshold: pt.threshold,
		WentOn: on}
	p.Accuracy, p.Cautious = modelpkg.MeasuredCascade(scores, tested)
	p.WentOnLow, p.WentOnHigh = score.Wilson(float64(on)/float64(len(rest)), float64(len(rest)))
	for i, sample := range rest {
		if GoesOn(first.Confidence[sample], pt.threshold) {
			p.OnFirst += first.Scores[sample] / float64(on)
			p.OnThen += scores[i] / float64(on)
		} else {
			p.Stopped += scores[i] / float64(len(rest)-on)
		}
	}
	p.Round()
	return p
}

func mean(scores []float64, samples []int) float64 {
	sum := 0.0
	for _, sample := range samples {
		sum += scores[sample]
	}
	return sum / float64(len(samples))
}

func sum(scores []float64) (total float64) {
	for _, s := range scores {
		total += s
	}
	return total
}
