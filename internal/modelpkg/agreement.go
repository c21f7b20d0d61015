package modelpkg

import (
	"errors"
	"fmt"
	"math"
	"slices"

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

// Reference returns the index of the most accurate variant, the first among equals.
func (p *Profile) Reference() int {
	best := 0
	for i, v := range p.Variants {
		if v.Accuracy.Mean > p.Variants[best].Accuracy.Mean {
			best = i
		}
	}
	return best
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
