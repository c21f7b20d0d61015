package score

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// made returns a metric with parameters.
func made(t *testing.T, name string, params map[string]float64) Metric {
	t.Helper()
	m, ok := New(name)
	if !ok {
		t.Fatalf("there is no metric %s", name)
	}
	for _, p := range m.Params() {
		if v, given := params[p.Key]; given {
			p.Set(&m, v)
		}
	}
	return m
}

// judged returns the score of one answer.
func judged(t *testing.T, m Metric, output []int64, label, answer []float64) (Result, error) {
	t.Helper()
	shape := []int64{1}
	if len(label) > 1 {
		shape = append(shape, int64(len(label)))
	}
	labels, err := m.ReadLabels(Array{Name: "label", Type: "INT64", Whole: true, Shape: shape, Values: label}, output)
	if err != nil {
		t.Fatal(err)
	}
	return NewJudge(m, output, labels, nil).Score(answer, 0)
}

func TestRules(t *testing.T) {
	zero := math.Copysign(0, -1)
	for _, c := range []struct {
		name, metric string
		params       map[string]float64
		output       []int64
		label        []float64
		answer       []float64
		want         float64
	}{
		{"best", "accuracy", nil, []int64{3}, []float64{1}, []float64{0, 2, 1}, 1},
		{"the first of equals", "accuracy", nil, []int64{3}, []float64{2}, []float64{0, 2, 2}, 0},
		{"second of two best", "top_k", map[string]float64{"k": 2}, []int64{3}, []float64{2}, []float64{0, 2, 1}, 1},
		{"third", "top_k", map[string]float64{"k": 2}, []int64{3}, []float64{0}, []float64{0, 2, 1}, 0},
		{"last of three equals", "top_k", map[string]float64{"k": 2}, []int64{3}, []float64{2}, []float64{1, 1, 1}, 0},
		{"second of three equals", "top_k", map[string]float64{"k": 2}, []int64{3}, []float64{1}, []float64{1, 1, 1}, 1},
		{"at the threshold", "binary", nil, []int64{1}, []float64{1}, []float64{0.5}, 1},
		{"below the threshold", "binary", map[string]float64{"threshold": 0.7}, []int64{}, []float64{1}, []float64{0.69}, 0},
		{"a logit of zero", "binary", map[string]float64{"values": 1}, []int64{1}, []float64{1}, []float64{0}, 1},
		{"zero is positive", "sign", nil, []int64{1}, []float64{3}, []float64{0}, 1},
		{"so is minus zero", "sign", nil, []int64{1}, []float64{zero}, []float64{2}, 1},
		{"other signs", "sign", nil, []int64{1}, []float64{0}, []float64{-0.1}, 0},
		{"at the tolerance", "within", map[string]float64{"tolerance": 0.5}, []int64{1}, []float64{2}, []float64{2.5}, 1},
		{"two numbers", "within", map[string]float64{"tolerance": 0.5}, []int64{2}, []float64{2, 2}, []float64{2, 3}, 0.5},
		{"an error of a quarter", "bounded_error", map[string]float64{"scale": 4}, []int64{1}, []float64{1}, []float64{2}, 0.75},
		{"a great error", "bounded_error", map[string]float64{"scale": 4}, []int64{1}, []float64{1}, []float64{-20}, 0},
		{"three of four labels", "multilabel", nil, []int64{4}, []float64{1, 0, 1, 0}, []float64{0.9, 0.1, 0.2, 0.3}, 0.75},
		{"F1 of one found of two", "multilabel", map[string]float64{"score": 1}, []int64{4}, []float64{1, 0, 1, 0}, []float64{0.9, 0.1, 0.2, 0.3}, 2. / 3},
		{"nothing wanted or found", "multilabel", map[string]float64{"score": 1}, []int64{2}, []float64{0, 0}, []float64{0.1, 0.2}, 1},
		{"nothing wanted, one found", "multilabel", map[string]float64{"score": 1}, []int64{2}, []float64{0, 0}, []float64{0.6, 0.2}, 0},
		{"tokens", "token_accuracy", nil, []int64{3, 2}, []float64{0, 1, -100}, []float64{1, 0, 1, 0, 0, 1}, 0.5},
		{"tokens of a longer answer", "token_accuracy", nil, []int64{-1, 2}, []float64{0, 1, -100}, []float64{1, 0, 1, 0, 0, 1, 0, 1, 1, 0}, 0.5},
		{"tokens of a shorter answer", "token_accuracy", nil, []int64{-1, 2}, []float64{0, 1, -100, -100}, []float64{1, 0, 0, 1}, 1},
		{"what fills up is no number", "token_accuracy", nil, []int64{-1, 2}, []float64{0, 1, -100}, []float64{1, 0, 0, 1, math.NaN(), 0}, 1},
		{"class 0 as padding", "token_accuracy", map[string]float64{"padding": 0}, []int64{-1, 2}, []float64{0, 1}, []float64{0, 1, 0, 1}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := judged(t, made(t, c.metric, c.params), c.output, c.label, c.answer)
			if err != nil || math.Abs(r.Score-c.want) > 1e-12 {
				t.Errorf("score %v, %v; want %v", r.Score, err, c.want)
			}
		})
	}
}

// TestAnswersThatCannotBeScored checks that each is an error, not a score of 0.
func TestAnswersThatCannotBeScored(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		metric string
		output []int64
		label  []float64
		answer []float64
		want   string
	}{
		{"accuracy", []int64{2}, []float64{0}, []float64{1, nan}, "the score of class 1 is not a number"},
		{"accuracy", []int64{2}, []float64{0}, []float64{1}, "the output has 1 numbers, not 2"},
		{"binary", []int64{1}, []float64{0}, []float64{nan}, "not a number"},
		{"binary", []int64{1}, []float64{0}, []float64{-3}, "-3, which is no probability; give the metric values: logit"},
		{"multilabel", []int64{2}, []float64{0, 1}, []float64{0.1, 7}, "label 1: the output has 7, which is no probability"},
		{"sign", []int64{1}, []float64{0}, []float64{inf}, "number 0 of the output is +Inf"},
		{"token_accuracy", []int64{-1, 2}, []float64{0, 1}, []float64{1, 0}, "the output has 1 tokens, and token 1 has a label: give tokens that the model does not get the label -100 (padding)"},
		{"token_accuracy", []int64{-1, 2}, []float64{0, 1}, []float64{1, 0, 1}, "the output has 3 numbers, not 4"},
		{"token_accuracy", []int64{-1, 2}, []float64{0, 1}, []float64{1, 0, nan, 0}, "token 1: the score of class 0"},
		{"token_accuracy", []int64{2, 2}, []float64{0, 1}, []float64{1, 0, 0, 1, 0, 1}, "the output has 6 numbers, not 4"},
		{"token_accuracy", []int64{2, 2}, []float64{0, 1}, []float64{1, 0, nan, 0}, "token 1: the score of class 0"},
	} {
		if _, err := judged(t, made(t, c.metric, nil), c.output, c.label, c.answer); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %v: %v, want %q", c.metric, c.answer, err, c.want)
		}
	}
	external := made(t, "external", nil)
	if _, err := NewJudge(external, []int64{1}, Labels{}, nil).Score(nil, 0); err == nil {
		t.Error("an external score was computed")
	}
}

func TestNearest(t *testing.T) {
	m := made(t, "retrieval", nil)
	labels := func(name string, values ...float64) Array {
		return Array{Name: name, Type: "INT32", Whole: true, Shape: []int64{int64(len(values))}, Values: values}
	}
	vectors := Array{Name: "gallery", Shape: []int64{3, 2}, Values: []float64{100, 1, 0, 0.01, -1, -1}}
	g, err := NewGallery(vectors, labels("gallery_label", 7, 8, 9), []int64{2})
	if err != nil {
		t.Fatal(err)
	}
	j := NewJudge(m, []int64{2}, Labels{1, []float64{8, 8}}, g)
	if r, err := j.Score([]float64{0.5, 3}, 0); err != nil || r.Score != 1 || r.Class != 8 || math.Abs(r.Confidence-3/math.Hypot(0.5, 3)) > 1e-12 {
		t.Errorf("by angle: %+v, %v", r, err)
	}
	if r, err := j.Score([]float64{3, 0.5}, 1); err != nil || r.Score != 0 || r.Class != 7 {
		t.Errorf("another: %+v, %v", r, err)
	}
	if _, err := j.Score([]float64{0, 0}, 0); err == nil || !strings.Contains(err.Error(), "no direction") {
		t.Errorf("zeros: %v", err)
	}
	vectors.Values = []float64{1, 0, 0, 0, 1, 1}
	if _, err := NewGallery(vectors, labels("gallery_label", 7, 8, 9), []int64{2}); err == nil || !strings.Contains(err.Error(), "entry 1 of array \"gallery\" has no direction") {
		t.Errorf("zeros in the gallery: %v", err)
	}
	if _, err := NewGallery(vectors, labels("gallery_label", 7, 8), []int64{2}); err == nil || !strings.Contains(err.Error(), "has 3 entries; there are 2") {
		t.Errorf("counts: %v", err)
	}
	if _, err := NewGallery(vectors, labels("gallery_label", 7, 8, 9), []int64{3}); err == nil || !strings.Contains(err.Error(), "an embedding of 3 numbers") {
		t.Errorf("dimensions: %v", err)
	}
}

// TestStatistics compares with figures that are computed from the definitions in
// another way.
func TestStatistics(t *testing.T) {
	of := func(m Metric, output []int64, labels []float64, width int, answers [][]float64) map[string]float64 {
		t.Helper()
		j := NewJudge(m, output, Labels{width, labels}, nil)
		a := j.NewAnswers(len(answers))
		for i, answer := range answers {
			r, err := j.Score(answer, i)
			if err != nil {
				t.Fatal(err)
			}
			a.Put(i, r)
		}
		if err := a.Fits(m, j.Labels); err != nil {
			t.Error(err)
		}
		return j.Statistics(j.Labels, a)
	}
	expect := func(name string, got map[string]float64, want map[string]float64) {
		t.Helper()
		for key, v := range want {
			if g, ok := got[key]; !ok || math.Abs(g-v) > 1e-6 {
				t.Errorf("%s: %s is %v, want %v", name, key, got[key], v)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	// Class 0: precision 1, recall 1/2; class 1: precision 1/2, recall 1; class 2: 1. Class 3 never occurs.
	expect("four classes", of(Metric{}, []int64{4}, []float64{0, 0, 1, 2}, 1,
		[][]float64{{0.9, 0.1, 0, 0}, {0.1, 0.9, 0, 0}, {0.1, 0.9, 0, 0}, {0, 0, 0.9, 0.1}}),
		map[string]float64{"macro_f1": (2./3 + 2./3 + 1) / 3, "ece": 0.9 - 0.75})
	// Of the 4 pairs of a 1 and a 0, 2 are in order and 1 is equal.
	binary := made(t, "binary", nil)
	expect("binary", of(binary, []int64{1}, []float64{1, 1, 0, 0}, 1, [][]float64{{0.9}, {0.4}, {0.4}, {0.6}}),
		map[string]float64{"macro_f1": 0.5, "auc": 2.5 / 4, "ece": (math.Abs(0.9-1) + math.Abs(0.8-1) + 0.6) / 4})
	expect("two classes, as one number", of(Metric{}, []int64{2}, []float64{1, 1, 0, 0}, 1, [][]float64{{0.1, 0.9}, {0.6, 0.4}, {0.6, 0.4}, {0.4, 0.6}}),
		map[string]float64{"macro_f1": 0.5, "auc": 2.5 / 4, "ece": (0.1 + math.Abs(0.6*3-1)) / 4})
	expect("only one label occurs", of(binary, []int64{1}, []float64{1, 1}, 1, [][]float64{{0.95}, {0.95}}), map[string]float64{"macro_f1": 1, "ece": 0.05})
	expect("regression", of(made(t, "sign", nil), []int64{1}, []float64{1, 2, 3, 4}, 1, [][]float64{{2}, {4}, {6}, {9}}),
		map[string]float64{"mae": 11. / 4, "pearson": 11.5 / math.Sqrt(5*26.75)})
	expect("a constant", of(made(t, "sign", nil), []int64{1}, []float64{1, 2}, 1, [][]float64{{2}, {2}}), map[string]float64{"mae": 0.5})
	// The first label: 1 found, 1 predicted, 2 wanted; the second: 1, 2, 1; the third
	// never occurs.
	expect("labels", of(made(t, "multilabel", nil), []int64{3}, []float64{1, 0, 0, 1, 1, 0}, 3, [][]float64{{0.9, 0.6, 0.1}, {0.2, 0.7, 0.1}}),
		map[string]float64{"macro_f1": 2. / 3, "auc": 1, "ece": ((1 - 0.9) + 0.6 + (1 - 0.2) + (1 - 0.7) + 0.2) / 6})
	tokens := made(t, "token_accuracy", map[string]float64{"padding": -1})
	expect("tokens", of(tokens, []int64{2, 2}, []float64{0, 1, 1, -1}, 2, [][]float64{{1, 0, 1, 0}, {0, 1, 0, 1}}),
		map[string]float64{"macro_f1": 2. / 3})
}

func TestRefused(t *testing.T) {
	for _, name := range []string{"macro_f1", "F1", "roc-auc", "MAE", "pearson", "ece", "BLEU"} {
		if why := Refused(name); !strings.Contains(why, "use ") {
			t.Errorf("%s: %q", name, why)
		}
	}
	if why := Refused("zoo"); why != "" {
		t.Errorf("zoo: %q", why)
	}
	for _, name := range Names() {
		if Refused(name) != "" {
			t.Errorf("the metric %s is refused", name)
		}
		for _, p := range made(t, name, nil).Params() {
			if p.Key == "" || p.Low > p.High || slices.Contains(p.Words, "") {
				t.Errorf("%s: %+v", name, p)
			}
		}
	}
}
