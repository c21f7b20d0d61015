package score

import (
	"math"
	"slices"
	"testing"
)

func TestConfidence(t *testing.T) {
	metric := func(name string, set ...func(*Metric)) Metric {
		m, ok := New(name)
		if !ok {
			t.Fatal(name)
		}
		for _, s := range set {
			s(&m)
		}
		return m
	}
	logits := func(m *Metric) { m.logits = true }
	for _, c := range []struct {
		name   string
		metric Metric
		answer []float64
		want   float64
	}{
		{"best class", metric("accuracy"), []float64{0.25, 0.75, 0}, 0.75},
		{"scores, no probabilities", metric("accuracy"), []float64{-3, -1}, -1},
		{"in 32 bits, as stored answers", metric("top_k"), []float64{0.1, 0.9}, float64(float32(0.9))},
		{"from one half", metric("binary"), []float64{0.25}, 0.25},
		{"logit", metric("binary", logits), []float64{-2}, 2},
		{"own threshold", metric("binary", func(m *Metric) { m.threshold, m.given = 0.75, true }), []float64{0.5}, 0.25},
		{"sign", metric("sign"), []float64{-1.5}, 1.5},
		{"the least of several", metric("sign"), []float64{-1.5, 0.5}, 0.5},
		{"labels", metric("multilabel"), []float64{0.125, 0.875, 0.75}, 0.25},
		{"no number", metric("accuracy"), nil, math.NaN()},
		{"not a number", metric("accuracy"), []float64{1, math.NaN()}, math.NaN()},
		{"not a number among labels", metric("multilabel"), []float64{math.NaN(), 1}, math.NaN()},
	} {
		if got := c.metric.Confidence(c.answer); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for _, name := range []string{"within", "bounded_error", "token_accuracy", "retrieval", "external"} {
		if m := metric(name); m.Confident() || m.Confidences(Answers{Confidence: []float32{1}, Values: []float64{1}, Scores: []float64{1}}) != nil {
			t.Errorf("%s has a confidence", name)
		}
	}
}

// TestConfidencesAreThoseOfAnswers checks that what is read from stored answers is what a
// gate reads from outputs.
func TestConfidencesAreThoseOfAnswers(t *testing.T) {
	accuracy, _ := New("accuracy")
	multilabel, _ := New("multilabel")
	rows := [][]float64{{0.1, 0.7, 0.2}, {0.9, 0.05, 0.05}, {0.34, 0.33, 0.33}}
	classes := NewJudge(accuracy, []int64{3}, Labels{Values: []float64{0, 1, 2}, Width: 1}, nil)
	labels := NewJudge(multilabel, []int64{3}, Labels{Values: []float64{0, 1, 1, 0, 0, 1, 1, 1, 1}, Width: 3}, nil)
	for _, j := range []*Judge{classes, labels} {
		answers := j.NewAnswers(3)
		var want []float64
		for i, row := range rows {
			r, err := j.Score(row, i)
			if err != nil {
				t.Fatal(err)
			}
			answers.Put(i, r)
			want = append(want, j.Confidence(row))
		}
		if got := j.Confidences(answers); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", j.Name(), got, want)
		}
	}
	if got := multilabel.Confidences(Answers{Scores: []float64{1}}); got != nil {
		t.Errorf("without the answers' numbers: %v", got)
	}
}
