package modelpkg

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/tensor"
)

// scored returns a model with a metric and one output.
func scored(t *testing.T, metric string, set map[string]float64, classes []string, shape ...int64) *Model {
	t.Helper()
	m, known := score.New(metric)
	if !known {
		t.Fatal(metric)
	}
	for _, p := range m.Params() {
		if v, ok := set[p.Key]; ok {
			p.Set(&m, v)
		}
	}
	return &Model{Name: "m", Scoring: m, Labels: classes, Outputs: []Spec{{Name: "y", DType: tensor.FP32, Shape: shape}}}
}

// output is two items of an answer; the item under test is the second.
func output(shape []int64, numbers ...float64) tensor.Tensor {
	data := make([]byte, 4*len(numbers))
	for _, v := range numbers {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(v)))
	}
	return tensor.Tensor{Name: "y", DType: tensor.FP32, Shape: append(tensor.Shape{2}, shape...), Data: data}
}

func TestScoreAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		model   *Model
		answer  []float64
		numbers []float64
		names   []string
		want    float64
	}{
		"class right":    {scored(t, "accuracy", nil, nil, 3), []float64{0.1, 0.2, 0.7}, []float64{2}, nil, 1},
		"class wrong":    {scored(t, "accuracy", nil, nil, 3), []float64{0.1, 0.2, 0.7}, []float64{1}, nil, 0},
		"named":          {scored(t, "accuracy", nil, []string{"a", "b", "c"}, 3), []float64{0.1, 0.2, 0.7}, nil, []string{"c"}, 1},
		"top two":        {scored(t, "top_k", map[string]float64{"k": 2}, nil, 3), []float64{0.1, 0.2, 0.7}, []float64{1}, nil, 1},
		"binary":         {scored(t, "binary", nil, nil, 1), []float64{0.7}, []float64{1}, nil, 1},
		"sign":           {scored(t, "sign", nil, nil, 1), []float64{-0.3}, []float64{-2.5}, nil, 1},
		"bounded error":  {scored(t, "bounded_error", map[string]float64{"scale": 2}, nil, 2), []float64{1, 3}, []float64{2, 3}, nil, 0.75},
		"multi-hot":      {scored(t, "multilabel", nil, nil, 4), []float64{0.9, 0.1, 0.8, 0.2}, []float64{1, 0, 0, 0}, nil, 0.75},
		"tokens":         {scored(t, "token_accuracy", nil, nil, 2, 2), []float64{0.9, 0.1, 0.9, 0.1}, []float64{0, 1}, nil, 0.5},
		"padded tokens":  {scored(t, "token_accuracy", nil, nil, 2, 2), []float64{0.9, 0.1, 0.9, 0.1}, []float64{0, -100}, nil, 1},
		"tokens by name": {scored(t, "token_accuracy", nil, []string{"O", "B"}, 2, 2), []float64{0.9, 0.1, 0.1, 0.9}, nil, []string{"O", ""}, 1},
	} {
		label, err := c.model.ReadLabel(c.numbers, c.names)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := c.model.ScoreAnswer(output(c.model.Outputs[0].Shape, c.answer...), 1, label)
		if err != nil || math.Abs(got.Score-c.want) > 1e-9 {
			t.Errorf("%s: %v, %v, want %v", name, got.Score, err, c.want)
		}
	}
}

func TestLabelsThatAreRefused(t *testing.T) {
	class := scored(t, "accuracy", nil, nil, 3)
	named := scored(t, "accuracy", nil, []string{"seven", "eight", "nine"}, 3)
	for name, c := range map[string]struct {
		model   *Model
		numbers []float64
		names   []string
		want    string
	}{
		"no such class":    {class, []float64{3}, nil, "the label is 3; the model has the classes 0 to 2"},
		"below 0":          {class, []float64{-1}, nil, "the label is -1; the model has the classes 0 to 2"},
		"a fraction":       {class, []float64{1.5}, nil, "the label is [1.5]; it must be whole numbers"},
		"not a number":     {class, []float64{math.NaN()}, nil, "the label is [NaN]; it must be whole numbers"},
		"two classes":      {class, []float64{1, 2}, nil, "the label has 2 numbers; it must be one number per sample"},
		"nothing":          {class, nil, nil, "the label has 0 numbers; it must be one number per sample"},
		"a name of none":   {class, nil, []string{"seven"}, `the label is "seven"; the classes of m have no names: give numbers`},
		"a wrong name":     {named, nil, []string{"sevne"}, `the label is "sevne", which is none of the classes`},
		"an infinite one":  {scored(t, "sign", nil, nil, 1), []float64{math.Inf(1)}, nil, "the label is +Inf; it must be a finite number"},
		"no bit":           {scored(t, "multilabel", nil, nil, 2), []float64{1, 2}, nil, "number 1 of the label is 2; it must be 0 or 1 (multi-hot)"},
		"only padding":     {scored(t, "token_accuracy", nil, nil, 1, 2), []float64{-100}, nil, "the label is padding only (-100)"},
		"external":         {scored(t, "external", nil, nil, 1), []float64{1}, nil, "m has no labels (its metric is external: scores do not come from labels): give scores"},
		"needs a gallery":  {scored(t, "retrieval", nil, nil, 4), []float64{1}, nil, "m has no labels (its metric compares with a gallery"},
		"names of numbers": {scored(t, "sign", nil, nil, 1), nil, []string{"good"}, "have no names: give numbers"},
	} {
		if _, err := c.model.ReadLabel(c.numbers, c.names); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
