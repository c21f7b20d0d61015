package score

import (
	"fmt"
	"math"
)

// size checks the number of numbers in an answer.
func size(answer []float64, want int) error {
	if len(answer) != want {
		return fmt.Errorf("the output has %d numbers, not %d", len(answer), want)
	}
	return nil
}

// best returns the class with the highest score, the first among equals.
func best(scores []float64) (class int, top float64, err error) {
	top = math.Inf(-1)
	for i, s := range scores {
		if s != s {
			return 0, 0, fmt.Errorf("the score of class %d is not a number", i)
		}
		if s > top {
			class, top = i, s
		}
	}
	return class, top, nil
}

// bestClass scores 1 if the best class is that of the label.
func bestClass(j *Judge, answer []float64, sample int) (Result, error) {
	if err := size(answer, j.classes); err != nil {
		return Result{}, err
	}
	class, top, err := best(answer)
	return Result{Score: one(class == j.Labels.Class(sample)), Class: class, Confidence: top}, err
}

func one(right bool) float64 {
	if right {
		return 1
	}
	return 0
}

// amongBest scores 1 if the label's class is one of the k best.
func amongBest(j *Judge, answer []float64, sample int) (Result, error) {
	r, err := bestClass(j, answer, sample)
	if err != nil {
		return r, err
	}
	label, ahead := j.Labels.Class(sample), 0
	for i, s := range answer {
		if s > answer[label] || s == answer[label] && i < label {
			ahead++
		}
	}
	r.Score = one(ahead < j.k)
	return r, nil
}

// probabilitySlack is by how much a probability may exceed 1, because of rounding to 16
// bits.
const probabilitySlack = 1e-3

// plausible returns an error for NaN, and for numbers that should be probabilities but
// are not.
func (m Metric) plausible(v float64) error {
	switch {
	case v != v:
		return fmt.Errorf("the output is not a number")
	case !m.logits && (v < -probabilitySlack || v > 1+probabilitySlack):
		return fmt.Errorf("the output has %v, which is no probability; give the metric values: logit in mosel.yaml", v)
	}
	return nil
}

// overThreshold scores 1 if the number reaches the threshold exactly when the label is
// 1.
func overThreshold(j *Judge, answer []float64, sample int) (Result, error) {
	if err := size(answer, 1); err != nil {
		return Result{}, err
	}
	if err := j.plausible(answer[0]); err != nil {
		return Result{}, err
	}
	predicted := answer[0] >= j.limit()
	return Result{Score: one(predicted == (j.Labels.Class(sample) == 1)), Values: answer}, nil
}

// eachNumber returns a rule that is the mean of rule over a sample's numbers.
func eachNumber(rule func(m Metric, predicted, label float64) float64) func(*Judge, []float64, int) (Result, error) {
	return func(j *Judge, answer []float64, sample int) (Result, error) {
		labels, sum := j.Labels.Row(sample), 0.0
		if err := size(answer, len(labels)); err != nil {
			return Result{}, err
		}
		for i, v := range answer {
			if !isFinite(v) {
				return Result{}, fmt.Errorf("number %d of the output is %v", i, v)
			}
			sum += rule(j.Metric, v, labels[i])
		}
		return Result{Score: sum / float64(len(labels)), Values: answer}, nil
	}
}

// sameSign counts zero as positive, as the two-class accuracy of CMU-MOSEI does.
func sameSign(_ Metric, predicted, label float64) float64 {
	return one((predicted >= 0) == (label >= 0))
}

func nearEnough(m Metric, predicted, label float64) float64 {
	return one(math.Abs(predicted-label) <= m.tolerance)
}

func boundedError(m Metric, predicted, label float64) float64 {
	return 1 - min(math.Abs(predicted-label)/m.scale, 1)
}

// labelsRight returns the share of a sample's labels that are right, or their F1: twice
// the number found, divided by the number predicted plus the number wanted. If no label
// is wanted or predicted, F1 is 1.
func labelsRight(j *Judge, answer []float64, sample int) (Result, error) {
	labels := j.Labels.Row(sample)
	if err := size(answer, len(labels)); err != nil {
		return Result{}, err
	}
	right, found, predicted, wanted := 0, 0, 0, 0
	for i, v := range answer {
		if err := j.plausible(v); err != nil {
			return Result{}, fmt.Errorf("label %d: %w", i, err)
		}
		is, should := v >= j.limit(), labels[i] == 1
		right += int(one(is == should))
		found += int(one(is && should))
		predicted += int(one(is))
		wanted += int(one(should))
	}
	r := Result{Score: float64(right) / float64(len(labels)), Values: answer}
	switch {
	case j.f1 && predicted+wanted == 0:
		r.Score = 1
	case j.f1:
		r.Score = 2 * float64(found) / float64(predicted+wanted)
	}
	return r, nil
}

// tokensRight returns the share of a sample's tokens, without padding, whose best class
// is that of the label. Where the number of tokens varies, an answer has those of the
// sample and of what filled it up; beyond them the label must be padding.
func tokensRight(j *Judge, answer []float64, sample int) (Result, error) {
	labels := j.Labels.Row(sample)
	tokens := len(answer) / j.classes
	if err := size(answer, len(labels)*j.classes); err != nil && (!j.varies || len(answer)%j.classes != 0) {
		return Result{}, err
	}
	right, scored := 0, 0
	classes := make([]float64, len(labels))
	for t, label := range labels {
		padding := int(label) == j.padding
		if t >= tokens && !padding {
			return Result{}, fmt.Errorf("the output has %d tokens, and token %d has a label: give tokens that the model does not get the label %d (padding)", tokens, t, j.padding)
		}
		if t >= tokens {
			continue
		}
		class, _, err := best(answer[t*j.classes : (t+1)*j.classes])
		if err != nil && (!padding || !j.varies) {
			return Result{}, fmt.Errorf("token %d: %w", t, err)
		}
		classes[t] = float64(class)
		if !padding {
			scored++
			right += int(one(class == int(label)))
		}
	}
	return Result{Score: float64(right) / float64(scored), Values: classes}, nil
}

// Gallery is a list of labelled embeddings, each of length 1.
type Gallery struct {
	labels  []int
	vectors []float64
	width   int
}

// NewGallery checks a gallery for embeddings with the output's shape, and returns it.
func NewGallery(embeddings, labels Array, output []int64) (*Gallery, error) {
	width := count(output)
	if err := embeddings.shape(width, fmt.Sprintf("an embedding of %d numbers for each entry", width)); err != nil {
		return nil, err
	}
	if _, err := readIdentities(Metric{}, labels, nil, 0); err != nil {
		return nil, err
	}
	if len(labels.Values)*width != len(embeddings.Values) {
		return nil, fmt.Errorf("array %q has %d entries; there are %d in %q", embeddings.Name, len(embeddings.Values)/width, len(labels.Values), labels.Name)
	}
	g := &Gallery{labels: make([]int, len(labels.Values)), vectors: make([]float64, len(embeddings.Values)), width: width}
	for i, l := range labels.Values {
		g.labels[i] = int(l)
		row := embeddings.Values[i*width : (i+1)*width]
		length := length(row)
		if !isFinite(length) || length == 0 {
			return nil, fmt.Errorf("entry %d of array %q has no direction: it is all zeros, or has NaN or infinite numbers", i, embeddings.Name)
		}
		for k, v := range row {
			g.vectors[i*width+k] = v / length
		}
	}
	return g, nil
}

func length(row []float64) float64 {
	sum := 0.0
	for _, v := range row {
		sum += v * v
	}
	return math.Sqrt(sum)
}

// nearest scores 1 if the gallery's entry with the highest cosine has the label.
func nearest(j *Judge, answer []float64, sample int) (Result, error) {
	g := j.gallery
	if err := size(answer, g.width); err != nil {
		return Result{}, err
	}
	length := length(answer)
	if !isFinite(length) || length == 0 {
		return Result{}, fmt.Errorf("the embedding has no direction: it is all zeros, or has NaN or infinite numbers")
	}
	at, top := 0, math.Inf(-1)
	for i := range g.labels {
		dot := 0.0
		for k, v := range g.vectors[i*g.width : (i+1)*g.width] {
			dot += v * answer[k]
		}
		if dot > top {
			at, top = i, dot
		}
	}
	return Result{Score: one(g.labels[at] == j.Labels.Class(sample)), Class: g.labels[at], Confidence: top / length}, nil
}
