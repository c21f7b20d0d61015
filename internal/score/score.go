// Package score computes how right one answer is, as a number between 0 and 1. A floor
// is a mean of such scores. Therefore the mean of a mix of variants is the mean of
// their means, which is all that planning needs. table.go has every metric: its
// parameters, what it needs from outputs and labels, and how it scores one sample.
//
// The package is pure. It handles numbers and shapes; modelpkg handles files and
// tensors.
package score

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Metric is an entry of the table with its parameters. The zero value is accuracy.
type Metric struct {
	entry     *entry
	k         int
	threshold float64
	given     bool // the threshold was given
	logits    bool
	tolerance float64
	scale     float64
	f1        bool
	padding   int
}

// New returns a metric with the defaults of its parameters.
func New(name string) (m Metric, known bool) {
	i := slices.IndexFunc(table, func(e entry) bool { return e.name == name })
	if i < 0 {
		return Metric{}, false
	}
	if i > 0 {
		m.entry = &table[i]
	}
	if _, padded := m.Padding(); padded {
		m.padding = paddingDefault
	}
	return m, true
}

// Names returns the names of all metrics.
func Names() []string {
	names := make([]string, len(table))
	for i, e := range table {
		names[i] = e.name
	}
	return names
}

func (m Metric) of() *entry {
	if m.entry == nil {
		return &table[0]
	}
	return m.entry
}

// Name returns the metric's name in mosel.yaml.
func (m Metric) Name() string { return m.of().name }

// Title returns the metric and its parameters as text for people.
func (m Metric) Title() string { return m.of().title(m) }

// Task returns the task of models that the metric measures; "" is any.
func (m Metric) Task() string { return m.of().task }

// External reports whether scores come from files and not from outputs and labels.
func (m Metric) External() bool { return m.of().score == nil }

// Params returns the metric's parameters.
func (m Metric) Params() []Param { return m.of().params }

// Check returns an error if a parameter contradicts another one.
func (m Metric) Check() (param string, err error) {
	if m.given && !m.logits && !(m.threshold > 0 && m.threshold < 1) {
		return "threshold", fmt.Errorf("the threshold is %v; a probability's is above 0 and below 1 (write values: logit if the output is no probability)", m.threshold)
	}
	return "", nil
}

// CheckOutput returns an error if the metric cannot score an output with a shape. The
// shape has no batch dimension, and -1 for a size that varies. float says whether the
// numbers are FP32, FP16 or FP64.
func (m Metric) CheckOutput(float bool, shape []int64) error {
	e := m.of()
	if e.output == nil {
		return nil
	}
	if !float || !e.output.fits(shape) {
		return fmt.Errorf("%s needs a first output of FP32, FP16 or FP64 %s", e.subject(), e.output.want)
	}
	return nil
}

// CheckClasses returns an error if the metric cannot be measured with that many
// classes.
func (m Metric) CheckClasses(classes int) (param string, err error) {
	e := m.of()
	switch {
	case e.output == nil || e.output.classes == nil:
	case classes < e.output.classesMin:
		return "", fmt.Errorf("the first output must have a fixed number of classes, at least %d, not %d", e.output.classesMin, classes)
	case m.k > 0 && m.k >= classes: // only top_k has a k
		return "k", fmt.Errorf("k is %d and the model has %d classes: every answer would be right; k must be less than the classes", m.k, classes)
	}
	return "", nil
}

// Classes returns the number of classes of an output with the shape, and so of names
// that they may have. It is 0 if the metric has no classes, or as many as the labels
// have.
func (m Metric) Classes(shape []int64) int {
	e := m.of()
	if e.output == nil || e.output.classes == nil {
		return 0
	}
	return e.output.classes(shape)
}

// Named reports whether the metric has classes, which may have names.
func (m Metric) Named() bool { return m.of().labels != nil && m.of().labels.names }

// Padding returns the label of tokens that are not scored, if the metric has one.
func (m Metric) Padding() (label int, has bool) {
	return m.padding, m.of().labels != nil && m.of().labels.padded
}

// Gallery reports whether an evaluation set needs a gallery: labelled embeddings among
// which the nearest is searched.
func (m Metric) Gallery() bool { return m.of().labels == identities }

// limit returns the value from which on a label counts as predicted.
func (m Metric) limit() float64 {
	switch {
	case m.given:
		return m.threshold
	case m.logits:
		return 0
	}
	return 0.5
}

// probability converts a value of binary or multilabel to a probability.
func (m Metric) probability(v float64) float64 {
	if m.logits {
		return 1 / (1 + math.Exp(-v))
	}
	return v
}

// Judge scores answers to the samples of one labelled set.
type Judge struct {
	Metric
	Labels  Labels
	classes int
	varies  bool // the first dimension of the output does
	gallery *Gallery
}

// NewJudge returns a judge for a metric and labels that the metric has checked. Only a
// metric with Gallery needs a gallery.
func NewJudge(m Metric, output []int64, labels Labels, gallery *Gallery) *Judge {
	return &Judge{Metric: m, Labels: labels, classes: m.Classes(output), varies: len(output) > 0 && output[0] < 0, gallery: gallery}
}

// Result is the score of one answer.
type Result struct {
	Score      float64 // in [0, 1]
	Class      int     // for metrics with one class per sample: the predicted class
	Confidence float64 // its score
	Values     []float64
}

// Score scores the answer to a sample: the numbers of the first output.
func (j *Judge) Score(answer []float64, sample int) (Result, error) {
	e := j.of()
	if e.score == nil {
		return Result{}, ErrExternal
	}
	return e.score(j, answer, sample)
}

// ErrExternal says why an answer has no score.
var ErrExternal = errors.New("the metric is external: scores come from files and cannot be measured on served answers")

// Answers is one variant's answers to the samples of a set, with what scores and
// statistics need.
type Answers struct {
	Predicted  []int     // for metrics with one class per sample: the class
	Confidence []float32 // its score
	Scores     []float64 // nil if a score is 1 exactly when Predicted is the label
	Values     []float64 // for other metrics: the numbers of each sample for statistics; nil: too many
}

// valuesKept bounds the numbers of a sample that are kept for statistics.
const valuesKept = 1024

// NewAnswers returns room for the answers to n samples.
func (j *Judge) NewAnswers(n int) Answers { return j.room(n, j.Labels.Width) }

func (m Metric) room(n, width int) (a Answers) {
	e := m.of()
	if !e.exact {
		a.Scores = make([]float64, n)
	}
	if e.labels.one {
		a.Predicted, a.Confidence = make([]int, n), make([]float32, n)
	} else if width <= valuesKept {
		a.Values = make([]float64, n*width)
	}
	return a
}

// Put stores a result at a place.
func (a Answers) Put(place int, r Result) {
	if a.Scores != nil {
		a.Scores[place] = r.Score
	}
	if a.Predicted != nil {
		a.Predicted[place], a.Confidence[place] = r.Class, float32(r.Confidence)
	}
	if a.Values != nil {
		copy(a.Values[place*len(r.Values):], r.Values)
	}
}

// ScoresOf returns the scores of answers to samples with these labels.
func (a Answers) ScoresOf(labels Labels) []float64 {
	if a.Scores != nil {
		return a.Scores
	}
	scores := make([]float64, len(a.Predicted))
	for i, p := range a.Predicted {
		if p == labels.Class(i) {
			scores[i] = 1
		}
	}
	return scores
}

// Fits returns an error if the answers cannot belong to samples with these labels.
func (a Answers) Fits(m Metric, labels Labels) error {
	want := m.room(labels.Len(), labels.Width)
	if len(a.Predicted) != len(want.Predicted) || len(a.Confidence) != len(want.Confidence) || len(a.Scores) != len(want.Scores) || len(a.Values) != len(want.Values) {
		return fmt.Errorf("it must have the answers to all %d samples", labels.Len())
	}
	for i, s := range a.Scores {
		if !(s >= 0 && s <= 1) {
			return fmt.Errorf("the score of sample %d is %v, not between 0 and 1", i, s)
		}
	}
	return nil
}
