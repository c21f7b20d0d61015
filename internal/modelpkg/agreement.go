package modelpkg

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Agreement is how far the answers of a variant to the labelled samples are those of the
// most accurate variant: its mean score with these in place of the labels. While a model
// serves, shadow runs are compared with it, to notice that the data have changed.
type Agreement struct {
	With string  `json:"with"` // the most accurate variant, by its name in mosel.yaml
	Mean float64 `json:"mean"`
	// Low is a lower bound of the mean at slo.ConfidenceShown, which holds together for all
	// variants.
	Low float64 `json:"low"`
}

// Reference returns the index of the variant that agreements are with: the one that they
// were measured with, and MostAccurate if there are none.
func (p *Profile) Reference() int {
	for _, v := range p.Variants {
		if v.Agreement == nil {
			continue
		}
		if at := slices.IndexFunc(p.Variants, func(w VariantProfile) bool {
			declared, _, _ := strings.Cut(w.Name, "@") // the rest is the size of its inputs
			return declared == v.Agreement.With
		}); at >= 0 {
			return at
		}
	}
	return p.MostAccurate()
}

// MostAccurate returns the index of the most accurate variant; among equals of the one
// that takes the least time, since shadow runs run it.
func (p *Profile) MostAccurate() int {
	return slices.IndexFunc(p.Variants, func(v VariantProfile) bool {
		return !slices.ContainsFunc(p.Variants, func(w VariantProfile) bool {
			return cmp.Or(cmp.Compare(w.Accuracy.Mean, v.Accuracy.Mean), cmp.Compare(v.quickest(), w.quickest())) > 0
		})
	})
}

// quickest returns the least time of an item, over the sizes of batches.
func (v *VariantProfile) quickest() float64 {
	least := math.Inf(1)
	for _, b := range v.Batches {
		least = min(least, b.P50MS/float64(b.Items))
	}
	return least
}

// MeasuredAgreement returns the agreement with a variant. The lower bounds of so many
// variants hold together.
func MeasuredAgreement(with string, agreements []float64, variants int) *Agreement {
	mean, _, _, by := score.Interval(agreements)
	a := &Agreement{With: with, Mean: micro(mean)}
	low, miss := 0.0, missAt(int(slo.ConfidenceShown)-1, variants)
	if by == score.ByWilson { // all are 0 or 1
		low = score.LowerShare(int(math.Round(mean*float64(len(agreements)))), len(agreements), miss)
	} else {
		low = score.LowerMean(agreements, miss)
	}
	a.Low = math.Floor(low*float64(slo.AccuracyUnit)) / float64(slo.AccuracyUnit)
	return a
}

// ClassesCounted bounds the classes of a model whose predictions a profile counts.
const ClassesCounted = 1000

// checkAnswers checks what a profile says of a variant's answers beside their accuracy.
func (v *VariantProfile) checkAnswers(m *Model) error {
	if a := v.Agreement; a != nil {
		if !(0 <= a.Low && a.Low <= a.Mean && a.Mean <= 1) {
			return fmt.Errorf("an agreement of %v, at least %v, is not possible", a.Mean, a.Low)
		}
		if !slices.Contains(m.Bases(), a.With) {
			return fmt.Errorf("the agreement is with %q, which is no variant", a.With)
		}
	}
	if !(0 <= v.Confidence && v.Confidence <= 1) {
		return fmt.Errorf("a mean confidence of %v is not possible", v.Confidence)
	}
	if n := len(v.Predicted); n != 0 && n != m.Scoring.Classes(m.Outputs[0].Shape) {
		return fmt.Errorf("predicted has %d classes; the model has %d", n, m.Scoring.Classes(m.Outputs[0].Shape))
	}
	if slices.ContainsFunc(v.Predicted, func(n int) bool { return n < 0 }) {
		return errors.New("predicted has a negative number")
	}
	return v.checkPrimaries(m)
}

// Prediction is what an answer predicts.
type Prediction = score.Prediction

// Predict returns what an item of a batch of the first output predicts, for a metric whose
// answers can be compared with each other.
func (m *Model) Predict(output tensor.Tensor, item int) (Prediction, error) {
	if !m.Scoring.Comparable() {
		return Prediction{}, fmt.Errorf("answers of the metric %s cannot be compared with each other", m.Metric)
	}
	if !isScore(output.DType) || item >= output.Rows() {
		return Prediction{}, fmt.Errorf("the output %s is %v %v, not FP32, FP16 or FP64 of more than %d items", output.Name, output.DType, output.Shape, item)
	}
	return score.NewJudge(m.Scoring, m.Outputs[0].Shape, score.Labels{}, nil).Predict(Floats(output, item))
}
