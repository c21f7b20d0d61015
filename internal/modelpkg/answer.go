package modelpkg

import (
	"fmt"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
)

// scoreItem scores an item of a batch of the first output against the judge's label of a
// sample. Every score of an answer is computed here: those of profiles, of replays, and of
// answers that are labelled later.
func scoreItem(j *score.Judge, output tensor.Tensor, item, sample int) (score.Result, error) {
	if !j.External() && (!isScore(output.DType) || item >= output.Rows()) {
		return score.Result{}, fmt.Errorf("the output %s is %v %v, not FP32, FP16 or FP64 of more than %d items", output.Name, output.DType, output.Shape, item)
	}
	return j.Score(Floats(output, item), sample)
}

// Unlabelled says why a label alone does not score an answer of the model, so that only
// scores can be given; "" if it does.
func (m *Model) Unlabelled() string {
	switch {
	case m.Scoring.External():
		return "its metric is external: scores do not come from labels"
	case m.Scoring.Gallery():
		return "its metric compares with a gallery, which a server does not have"
	}
	return ""
}

// ReadLabel checks the label of one item: numbers as the metric needs them or, if its
// classes have names, names.
func (m *Model) ReadLabel(numbers []float64, names []string) (score.Labels, error) {
	if why := m.Unlabelled(); why != "" {
		return score.Labels{}, fmt.Errorf("%s has no labels (%s): give scores", m.Name, why)
	}
	if len(names) > 0 {
		if len(m.Labels) == 0 || !m.Scoring.Named() {
			return score.Labels{}, fmt.Errorf("the label is %q; the classes of %s have no names: give numbers", strictyaml.Clip(names[0], 80), m.Name)
		}
		a := textArray{shape: tensor.Shape{1, int64(len(names))}, texts: names}
		var err error
		if numbers, err = a.numbered(m.Scoring, m.Labels, 0); err != nil {
			return score.Labels{}, err
		}
	}
	return m.Scoring.ReadLabel(numbers, m.Outputs[0].Shape)
}

// ScoreAnswer scores an item of a batch of the first output against its label, see
// ReadLabel.
func (m *Model) ScoreAnswer(output tensor.Tensor, item int, label score.Labels) (score.Result, error) {
	return scoreItem(score.NewJudge(m.Scoring, m.Outputs[0].Shape, label, nil), output, item, 0)
}
