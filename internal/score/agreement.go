package score

import (
	"fmt"
	"math"
)

// Prediction is what an answer says, as far as answers are compared with each other.
type Prediction struct {
	// Values are the best class, the best class of every token, or the answer's numbers.
	Values []float64
	// Certainty is the probability of being right that the answer gives itself; NaN: it
	// gives none.
	Certainty float64
}

// agreement says how answers of a metric are compared with each other.
type agreement struct {
	predict func(*Judge, []float64) ([]float64, error)
	// score scores a prediction with another one in place of the label.
	score func(m Metric, prediction, reference []float64) float64
	// certainty of a prediction; top is the score of the best class. Nil: it has none.
	certainty func(j *Judge, prediction []float64, top float64) float64
	bounds    bool // see Metric.AgreementBounds
}

// The ways to compare answers. Metrics without one: within, since two answers that are both
// near the label need not be near each other; retrieval, since it compares embeddings with
// a gallery, which only the labelled set has; external, since its scores are not computed.
var (
	sameClass = &agreement{predict: predictClass, score: equalShare, certainty: topProbability, bounds: true}
	// sameBest ignores k. A variant's best class need not be the reference's, even if both
	// have the label among the best k.
	sameBest     = &agreement{predict: predictClass, score: equalShare, certainty: topProbability}
	sameLabels   = &agreement{predict: predictPlausible, score: sameBits(labelsRight), certainty: meanProbability, bounds: true}
	sameBit      = &agreement{predict: predictPlausible, score: sameBits(overThreshold), certainty: meanProbability, bounds: true}
	sameSigns    = &agreement{predict: predictNumbers, score: sameAs(eachNumber(sameSign)), bounds: true}
	smallErrors  = &agreement{predict: predictNumbers, score: sameAs(eachNumber(boundedError)), bounds: true}
	sameOfTokens = &agreement{predict: predictTokens, score: equalShare}
)

// Comparable reports whether answers can be compared with each other: whether the answer of
// one variant can be scored with that of another in place of the label.
func (m Metric) Comparable() bool { return m.of().agree != nil }

// AgreementBounds reports whether an answer that agrees with another is as right as that is
// at least: its score is never less than the other's plus their agreement less 1.
func (m Metric) AgreementBounds() bool { return m.Comparable() && m.of().agree.bounds && !m.f1 }

// Agreement scores a prediction with another one in place of the label; NaN if they do not
// have the same form.
func (m Metric) Agreement(p, reference Prediction) float64 {
	if len(p.Values) == 0 || len(p.Values) != len(reference.Values) {
		return math.NaN()
	}
	return m.of().agree.score(m, p.Values, reference.Values)
}

// Predict returns the prediction of an answer, for a metric that is Comparable. It needs
// no labels.
func (j *Judge) Predict(answer []float64) (Prediction, error) {
	values, err := j.of().agree.predict(j, answer)
	if err != nil {
		return Prediction{}, err
	}
	top := math.NaN()
	if j.of().labels.one {
		top = answer[int(values[0])]
	}
	return j.prediction(values, top), nil
}

func (j *Judge) prediction(values []float64, top float64) Prediction {
	p := Prediction{Values: values, Certainty: math.NaN()}
	if certainty := j.of().agree.certainty; certainty != nil {
		p.Certainty = certainty(j, values, top)
	}
	return p
}

// Predictions returns those of stored answers to the judge's samples; nil if they do not
// have what is compared.
func (j *Judge) Predictions(a Answers, labels Labels) []Prediction {
	one := j.Comparable() && j.of().labels.one
	if !j.Comparable() || !one && a.Values == nil {
		return nil
	}
	list := make([]Prediction, labels.Len())
	for i := range list {
		if one {
			list[i] = j.prediction([]float64{float64(a.Predicted[i])}, float64(a.Confidence[i]))
			continue
		}
		values := a.Values[i*labels.Width : (i+1)*labels.Width]
		if padding, padded := j.Padding(); padded && j.varies {
			// The answer had at least the tokens that have a label. What is stored after them
			// may not be of the answer.
			for len(values) > 0 && int(labels.Row(i)[len(values)-1]) == padding {
				values = values[:len(values)-1]
			}
		}
		list[i] = j.prediction(values, math.NaN())
	}
	return list
}

// Class returns the predicted class of a prediction, -1 if the metric has not one class for
// each answer.
func (m Metric) Class(p Prediction) int {
	switch e := m.of(); {
	case len(p.Values) != 1 || e.agree == nil:
		return -1
	case e.labels.one:
		return int(p.Values[0])
	case e.labels == binaryLabels:
		return int(one(p.Values[0] >= m.limit()))
	}
	return -1
}

func predictClass(j *Judge, answer []float64) ([]float64, error) {
	if err := size(answer, j.classes); err != nil {
		return nil, err
	}
	class, _, err := best(answer)
	return []float64{float64(class)}, err
}

func predictPlausible(j *Judge, answer []float64) ([]float64, error) {
	for i, v := range answer {
		if err := j.plausible(v); err != nil {
			return nil, fmt.Errorf("number %d: %w", i, err)
		}
	}
	return answer, nil
}

func predictNumbers(_ *Judge, answer []float64) ([]float64, error) {
	for i, v := range answer {
		if !isFinite(v) {
			return nil, fmt.Errorf("number %d of the output is %v", i, v)
		}
	}
	return answer, nil
}

// predictTokens gives -1 for a token that only fills the item up and is not a number.
func predictTokens(j *Judge, answer []float64) ([]float64, error) {
	if len(answer)%j.classes != 0 {
		return nil, size(answer, len(answer)/j.classes*j.classes)
	}
	classes := make([]float64, len(answer)/j.classes)
	for t := range classes {
		class, _, err := best(answer[t*j.classes : (t+1)*j.classes])
		if err != nil && !j.varies {
			return nil, fmt.Errorf("token %d: %w", t, err)
		}
		if err != nil {
			class = -1
		}
		classes[t] = float64(class)
	}
	return classes, nil
}

// equalShare returns the share of classes that are the same.
func equalShare(_ Metric, prediction, reference []float64) float64 {
	same := 0.0
	for i, class := range prediction {
		same += one(class == reference[i])
	}
	return same / float64(len(prediction))
}

// sameAs scores a prediction by a metric's rule, with the other one as the label.
func sameAs(rule func(*Judge, []float64, int) (Result, error)) func(Metric, []float64, []float64) float64 {
	return func(m Metric, prediction, reference []float64) float64 {
		r, err := rule(&Judge{Metric: m, Labels: Labels{Width: len(reference), Values: reference}}, prediction, 0)
		if err != nil {
			return math.NaN()
		}
		return r.Score
	}
}

// sameBits is sameAs for metrics whose labels are zeros and ones.
func sameBits(rule func(*Judge, []float64, int) (Result, error)) func(Metric, []float64, []float64) float64 {
	score := sameAs(rule)
	return func(m Metric, prediction, reference []float64) float64 {
		bits := make([]float64, len(reference))
		for i, v := range reference {
			bits[i] = one(v >= m.limit())
		}
		return score(m, prediction, bits)
	}
}

// topProbability is the score of the best class, if it may be a probability.
func topProbability(j *Judge, _ []float64, top float64) float64 {
	if !probable([]float32{float32(top)}, 1/float64(j.classes)) {
		return math.NaN()
	}
	return min(1, top)
}

// meanProbability is the mean probability of the predicted zeros and ones. That says how
// many are right, but not what F1 they have.
func meanProbability(j *Judge, prediction []float64, _ float64) float64 {
	if j.f1 {
		return math.NaN()
	}
	sum := 0.0
	for _, v := range prediction {
		p := max(0, min(1, j.probability(v)))
		if v < j.limit() {
			p = 1 - p
		}
		sum += p
	}
	return sum / float64(len(prediction))
}
