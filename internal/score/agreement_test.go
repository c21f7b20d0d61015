package score

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// compared are the metrics whose answers can be compared.
var compared = []struct {
	name   string
	metric string
	params map[string]float64
	output []int64
	bounds bool
	// a and b are answers, agreement is how far they agree, and certainty that of a.
	a, b                 []float64
	agreement, certainty float64
}{
	{"same class", "accuracy", nil, []int64{3}, true, []float64{0.2, 0.7, 0.1}, []float64{0.3, 0.4, 0.3}, 1, 0.7},
	{"another class", "accuracy", nil, []int64{3}, true, []float64{0.2, 0.7, 0.1}, []float64{0.5, 0.4, 0.1}, 0, 0.7},
	{"logits", "accuracy", nil, []int64{3}, true, []float64{2, 7, 1}, []float64{0, 1, 0}, 1, math.NaN()},
	{"the best of several", "top_k", map[string]float64{"k": 2}, []int64{3}, false, []float64{0.4, 0.5, 0.1}, []float64{0.5, 0.4, 0.1}, 0, 0.5},
	{"one side", "binary", nil, []int64{1}, true, []float64{0.2}, []float64{0.4}, 1, 0.8},
	{"two sides of a logit", "binary", map[string]float64{"values": 1}, []int64{1}, true, []float64{0}, []float64{-1}, 0, 0.5},
	{"signs", "sign", nil, []int64{2}, true, []float64{1, -3}, []float64{2, 4}, 0.5, math.NaN()},
	{"errors", "bounded_error", map[string]float64{"scale": 2}, []int64{2}, true, []float64{1, 5}, []float64{2, -5}, 0.25, math.NaN()},
	{"labels", "multilabel", nil, []int64{4}, true, []float64{0.9, 0.1, 0.4, 1}, []float64{0.8, 0.2, 0.6, 0.7}, 0.75, 0.85},
	{"F1", "multilabel", map[string]float64{"score": 1}, []int64{4}, false, []float64{0.9, 0.1, 0.4, 1}, []float64{0.8, 0.2, 0.6, 0.7}, 0.8, math.NaN()},
	{"tokens", "token_accuracy", nil, []int64{3, 2}, false, []float64{0, 1, 1, 0, 1, 0}, []float64{0, 1, 0, 1, 1, 0}, 2. / 3, math.NaN()},
}

func TestAgreement(t *testing.T) {
	for _, c := range compared {
		m := made(t, c.metric, c.params)
		j := NewJudge(m, c.output, Labels{}, nil)
		a, errA := j.Predict(c.a)
		b, errB := j.Predict(c.b)
		if errA != nil || errB != nil {
			t.Errorf("%s: %v, %v", c.name, errA, errB)
			continue
		}
		if got := m.Agreement(a, b); math.Abs(got-c.agreement) > 1e-12 {
			t.Errorf("%s: agreement %v, want %v", c.name, got, c.agreement)
		}
		if got := m.Agreement(a, a); got != 1 {
			t.Errorf("%s: an answer agrees %v with itself", c.name, got)
		}
		if got := a.Certainty; math.Abs(got-c.certainty) > 1e-12 || math.IsNaN(got) != math.IsNaN(c.certainty) {
			t.Errorf("%s: certainty %v, want %v", c.name, got, c.certainty)
		}
		if got := m.AgreementBounds(); got != c.bounds {
			t.Errorf("%s: AgreementBounds is %v", c.name, got)
		}
	}
}

func TestComparable(t *testing.T) {
	for _, name := range Names() {
		m, _ := New(name)
		want := !slices.Contains([]string{"within", "retrieval", "external"}, name)
		if m.Comparable() != want {
			t.Errorf("%s: Comparable is %v", name, !want)
		}
		tested := false
		for _, c := range compared {
			tested = tested || c.metric == name
		}
		if want && !tested {
			t.Errorf("%s has no test", name)
		}
	}
}

// randomAnswer draws an answer, and randomLabel a label.
func randomAnswer(rng *rand.Rand, m Metric, output []int64) []float64 {
	answer := make([]float64, count(output))
	for i := range answer {
		if answer[i] = rng.Float64(); m.Task() == "regression" {
			answer[i] = rng.NormFloat64()
		}
	}
	return answer
}

func randomLabel(rng *rand.Rand, m Metric, output []int64) Labels {
	width := map[string]int{"accuracy": 1, "top_k": 1, "binary": 1, "token_accuracy": int(output[0])}[m.Name()]
	if width == 0 {
		width = count(output)
	}
	l := Labels{Width: width, Values: make([]float64, width)}
	for i := range l.Values {
		switch {
		case m.Task() == "regression":
			l.Values[i] = rng.NormFloat64()
		case width == 1 && m.Name() != "binary":
			l.Values[i] = float64(rng.IntN(count(output)))
		default:
			l.Values[i] = float64(rng.IntN(2))
		}
	}
	return l
}

// TestAgreementBounds checks with random answers and labels what AgreementBounds claims.
func TestAgreementBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range compared {
		m, broken := made(t, c.metric, c.params), false
		for range 3000 {
			j := NewJudge(m, c.output, randomLabel(rng, m, c.output), nil)
			a, b := randomAnswer(rng, m, c.output), randomAnswer(rng, m, c.output)
			scoreA, errA := j.Score(a, 0)
			scoreB, errB := j.Score(b, 0)
			p, errP := j.Predict(a)
			q, errQ := j.Predict(b)
			if errA != nil || errB != nil || errP != nil || errQ != nil {
				t.Fatal(c.name, errA, errB, errP, errQ)
			}
			agreement := m.Agreement(p, q)
			if !(agreement >= 0 && agreement <= 1) {
				t.Fatalf("%s: agreement %v", c.name, agreement)
			}
			broken = broken || scoreA.Score < scoreB.Score+agreement-1-1e-9
		}
		if broken && c.bounds {
			t.Errorf("%s: an answer scores less than the reference's score and their agreement promise", c.name)
		}
		if !broken && c.metric == "top_k" {
			t.Errorf("%s: the bound holds: say so", c.name)
		}
	}
}

// TestStoredPredictions: the answers of a profile are compared as those of a server are.
func TestStoredPredictions(t *testing.T) {
	const samples = 20
	rng := rand.New(rand.NewPCG(2, 1))
	for _, c := range compared {
		m := made(t, c.metric, c.params)
		labels := Labels{}
		for range samples {
			l := randomLabel(rng, m, c.output)
			labels.Width, labels.Values = l.Width, append(labels.Values, l.Values...)
		}
		j := NewJudge(m, c.output, labels, nil)
		stored, live := j.NewAnswers(samples), make([]Prediction, samples)
		for i := range live {
			answer := randomAnswer(rng, m, c.output)
			for k, v := range answer {
				answer[k] = float64(float32(v)) // confidences are stored with 32 bits
			}
			result, err := j.Score(answer, i)
			if err == nil {
				live[i], err = j.Predict(answer)
			}
			if err != nil {
				t.Fatal(err)
			}
			stored.Put(i, result)
		}
		for i, p := range j.Predictions(stored, labels) {
			if m.Agreement(p, live[i]) != 1 || m.Agreement(live[i], p) != 1 || m.Class(p) != m.Class(live[i]) {
				t.Fatalf("%s: stored %v, live %v", c.name, p, live[i])
			}
			if p.Certainty != live[i].Certainty && !(math.IsNaN(p.Certainty) && math.IsNaN(live[i].Certainty)) {
				t.Fatalf("%s: stored %v, live %v", c.name, p, live[i])
			}
		}
	}
}

// TestPredictionsOfPaddedTokens: tokens after the last label do not count where their
// number varies, because it is not known whether the answer had them.
func TestPredictionsOfPaddedTokens(t *testing.T) {
	m := made(t, "token_accuracy", nil)
	labels := Labels{Width: 3, Values: []float64{1, -100, -100, -100, 0, 1}}
	for _, c := range []struct {
		tokens int64
		want   []int
	}{{-1, []int{1, 3}}, {3, []int{3, 3}}} {
		j := NewJudge(m, []int64{c.tokens, 2}, labels, nil)
		a := j.NewAnswers(2)
		for i, p := range j.Predictions(a, labels) {
			if len(p.Values) != c.want[i] {
				t.Errorf("%d tokens, sample %d: %v", c.tokens, i, p)
			}
		}
	}
}

func TestAnswersThatCannotBeCompared(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		metric string
		output []int64
		answer []float64
	}{
		{"accuracy", []int64{2}, []float64{1, nan}},
		{"accuracy", []int64{2}, []float64{1}},
		{"binary", []int64{1}, []float64{1.5}},
		{"sign", []int64{1}, []float64{math.Inf(1)}},
		{"token_accuracy", []int64{1, 2}, []float64{nan, 1}},
		{"token_accuracy", []int64{-1, 2}, []float64{1, 1, 1}},
	} {
		if p, err := NewJudge(made(t, c.metric, nil), c.output, Labels{}, nil).Predict(c.answer); err == nil {
			t.Errorf("%s: %v is a prediction: %v", c.metric, c.answer, p)
		}
	}
	m := made(t, "sign", nil)
	if got := m.Agreement(Prediction{Values: []float64{1}}, Prediction{Values: []float64{1, 2}}); !math.IsNaN(got) {
		t.Errorf("predictions of other sizes agree: %v", got)
	}
}
