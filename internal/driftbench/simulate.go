package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"text/tabwriter"

	"github.com/mosel-serve/mosel/internal/drift"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
)

// simulated is the name of the first table, for -only.
const simulated = "no shift, simulated"

const (
	replays     = 200
	replayItems = 20_000
	// alarmRate is the rate of false alarms that internal/drift states: one in 10,000
	// observations.
	alarmRate = 1e-4
)

// answers are what all variants answered to a labelled set: scores, and agreements with
// the reference. Both are by variant and sample.
type answers struct {
	spec       drift.Spec
	scores     [][]float64
	agreements [][]float64
}

// readAnswers reads the answers that a profile was made from.
func readAnswers(m *modelpkg.Model, p *modelpkg.Profile) (*answers, error) {
	samples, err := modelpkg.LoadSamples(m, p.Origin(), m.SamplesPath(p.Device))
	if err != nil {
		return nil, err
	}
	reference := p.Reference()
	a := &answers{spec: drift.Spec{Reference: reference}}
	judge := score.NewJudge(m.Scoring, m.Outputs[0].Shape, samples.Labels, nil)
	base := func(i int) string { return m.Variants[i].Declared() }
	right := judge.Predictions(samples.Variants[base(reference)], samples.Labels)
	if right == nil {
		return nil, errors.New("the answers of the model cannot be compared with each other")
	}
	for i := range p.Variants {
		predictions := judge.Predictions(samples.Variants[base(i)], samples.Labels)
		agreements := make([]float64, len(right))
		for k := range right {
			agreements[k] = m.Scoring.Agreement(predictions[k], right[k])
		}
		agreement := modelpkg.MeasuredAgreement(base(reference), agreements, len(m.Bases()))
		accuracy := p.Variants[i].Accuracy
		mean, err := slo.AccuracyOf(accuracy.Mean)
		if err != nil {
			return nil, err
		}
		a.spec.Variants = append(a.spec.Variants, drift.Variant{Accuracy: mean,
			Low: accuracy.Bounds(p.VariantBounds(m))[slo.ConfidenceShown-1], Agreement: agreement.Mean, AgreementLow: agreement.Low, Confidence: math.NaN()})
		a.scores, a.agreements = append(a.scores, samples.Scores(base(i))), append(a.agreements, agreements)
	}
	return a, nil
}

// simulate observes answers of the profile's samples, drawn at random, as if they had been
// served: nothing has changed, so every alarm is a false one. In the second row answers
// are worsened at random until their means are just what is promised: the hardest case.
func simulate(m *modelpkg.Model, p *modelpkg.Profile, seed uint64, out io.Writer) (kept bool, err error) {
	a, err := readAnswers(m, p)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(out, "\n%s: %d replays of %d items of random variants, each with a label and a shadow run\n", simulated, replays, replayItems)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "scores\tobservations\talarms\treplays with one\tbound\t\t")
	kept = true
	for _, row := range []struct {
		name  string
		worse bool
	}{{"as in the profile", false}, {"just as promised", true}} {
		observed, alarms, replaysWith := 0, 0, 0
		for r := range replays {
			n := a.alarms(rand.New(rand.NewPCG(seed, uint64(r))), row.worse)
			observed += 2 * replayItems
			alarms += n
			if n > 0 {
				replaysWith++
			}
		}
		bound := int(alarmRate * float64(observed))
		kept = kept && alarms <= bound
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t<= %d alarms\t%s\t\n", row.name, observed, alarms, replaysWith, bound, verdict(alarms <= bound))
	}
	return kept, table.Flush()
}

// alarms counts the alarms of one replay.
func (a *answers) alarms(rng *rand.Rand, worse bool) (alarms int) {
	m := drift.New(a.spec)
	samples := len(a.scores[0])
	for range replayItems {
		v, i := rng.IntN(len(a.scores)), rng.IntN(samples)
		label, agreement := a.scores[v][i], a.agreements[v][i]
		if worse {
			label *= lowered(rng, a.spec.Variants[v].Low.Float(), a.spec.Variants[v].Accuracy.Float())
			agreement *= lowered(rng, a.spec.Variants[v].AgreementLow, a.spec.Variants[v].Agreement)
		}
		if m.Label(v, label) == drift.Noticed {
			alarms++
		}
		if m.Shadow(v, agreement, math.NaN()) == drift.Noticed {
			alarms++
		}
	}
	return alarms
}

// lowered is 1 or 0, so that scores times it have the lower mean.
func lowered(rng *rand.Rand, low, mean float64) float64 {
	if rng.Float64()*mean < low {
		return 1
	}
	return 0
}

// verdict says whether a bound is kept.
func verdict(kept bool) string {
	if kept {
		return "ok"
	}
	return "MISSED"
}
