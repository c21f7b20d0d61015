package profiler

import (
	"math"

	"github.com/mosel-serve/mosel/internal/modelpkg"
)

// compare adds to the profile what the answers say beside their scores: how far they agree
// with those of the most accurate variant, how sure they are, and which classes they
// predict. A server compares its answers with that.
func (r *run) compare(p *modelpkg.Profile) {
	if !r.m.Scoring.Comparable() {
		return
	}
	with := r.m.Variants[p.MostAccurate()].Declared()
	reference := r.predictions(with)
	if reference == nil {
		return
	}
	for i := range p.Variants {
		v, got := &p.Variants[i], r.predictions(r.m.Variants[i].Declared())
		agreements := make([]float64, len(got))
		for k, one := range got {
			agreements[k] = r.m.Scoring.Agreement(one, reference[k])
		}
		v.Agreement = modelpkg.MeasuredAgreement(with, agreements, len(r.m.Bases()))
		v.Confidence = certainty(got)
		v.Predicted = r.counts(got)
	}
}

func (r *run) predictions(variant string) []modelpkg.Prediction {
	return r.set.Judge().Predictions(r.samples.Variants[variant], r.samples.Labels)
}

// certainty returns the mean certainty, rounded to millionths; 0 if any answer has none,
// because then the scores are no probabilities.
func certainty(predictions []modelpkg.Prediction) float64 {
	sum := 0.0
	for _, p := range predictions {
		sum += p.Certainty
	}
	if math.IsNaN(sum) {
		return 0
	}
	return math.Round(sum/float64(len(predictions))*1e6) / 1e6
}

// counts counts the predictions by class.
func (r *run) counts(predictions []modelpkg.Prediction) []int {
	classes := r.m.Scoring.Classes(r.m.Outputs[0].Shape)
	if classes < 1 || classes > modelpkg.ClassesCounted || r.m.Scoring.Class(predictions[0]) < 0 {
		return nil
	}
	counts := make([]int, classes)
	for _, p := range predictions {
		counts[r.m.Scoring.Class(p)]++
	}
	return counts
}
