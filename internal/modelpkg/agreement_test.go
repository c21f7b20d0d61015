package modelpkg

import (
	"math"
	"reflect"
	"testing"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/tensor"
)

// TestProfileWithAnswers: what a profile says of answers survives a file.
func TestProfileWithAnswers(t *testing.T) {
	m := loadGood(t)
	p := goodProfile(m, "cpu")
	v := &p.Variants[0]
	v.Agreement, v.Confidence = &Agreement{With: "all", Mean: 0.9, Low: 0.85}, 0.75
	v.Predicted = make([]int, m.Scoring.Classes(m.Outputs[0].Shape))
	v.Predicted[0] = 100
	if err := p.Save(m.ProfilePath("cpu")); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadProfile(m, m.ProfilePath("cpu")); err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("got %+v (%v), saved %+v", got, err, p)
	}
	if p.Reference() != 1 {
		t.Errorf("the most accurate variant is %d", p.Reference())
	}
}

func TestMeasuredAgreement(t *testing.T) {
	whole, fractional := make([]float64, 1000), make([]float64, 1000)
	for i := range whole {
		whole[i], fractional[i] = 1, 1
		if i%20 == 0 {
			whole[i], fractional[i] = 0, 0.5
		}
	}
	a := MeasuredAgreement("all", whole, 5)
	if want := score.LowerShare(950, 1000, 0.01); a.With != "all" || a.Mean != 0.95 || math.Abs(a.Low-want) > 1e-6 {
		t.Errorf("%+v, want at least %v", a, want)
	}
	b := MeasuredAgreement("all", fractional, 5)
	if b.Mean != 0.975 || b.Low >= 0.975 || b.Low < 0.955 {
		t.Errorf("%+v", b)
	}
}

func TestPredict(t *testing.T) {
	m := loadGood(t)
	output := tensor.Tensor{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{2, 1}, Data: make([]byte, 8)}
	if p, err := m.Predict(output, 0); err == nil {
		t.Errorf("an output of one class predicts %v", p)
	}
	classes := m.Scoring.Classes(m.Outputs[0].Shape)
	output.Shape, output.Data = tensor.Shape{2, int64(classes)}, make([]byte, 8*classes)
	copy(output.Data[4*classes+4:], Element(tensor.FP32, 0.75))
	p, err := m.Predict(output, 1)
	if err != nil || m.Scoring.Class(p) != 1 || p.Certainty != 0.75 {
		t.Errorf("%v, %v", p, err)
	}
	if p, err := m.Predict(output, 2); err == nil {
		t.Errorf("an item that does not exist predicts %v", p)
	}
	m.Scoring, _ = score.New("external")
	if p, err := m.Predict(output, 0); err == nil {
		t.Errorf("external scores predict %v", p)
	}
}
