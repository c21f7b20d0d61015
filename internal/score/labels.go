package score

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// SamplesMax bounds the samples of a labelled set.
const SamplesMax = 10_000_000

// Labels are the right answers of a set: Width numbers per sample.
type Labels struct {
	Width  int
	Values []float64
}

// Len returns the number of samples.
func (l Labels) Len() int {
	if l.Width == 0 {
		return 0
	}
	return len(l.Values) / l.Width
}

// Row returns the numbers of a sample.
func (l Labels) Row(i int) []float64 { return l.Values[i*l.Width : (i+1)*l.Width] }

// Class returns the label of a sample with one class.
func (l Labels) Class(i int) int { return int(l.Values[i*l.Width]) }

// Pick returns the labels of some samples.
func (l Labels) Pick(samples []int) Labels {
	p := Labels{Width: l.Width, Values: make([]float64, 0, len(samples)*l.Width)}
	for _, i := range samples {
		p.Values = append(p.Values, l.Row(i)...)
	}
	return p
}

// Array is an array of a labelled set, as numbers; without a name, it is the label of one
// item that was answered.
type Array struct {
	Name   string
	Type   string // for messages
	Whole  bool   // its type has only integers
	Shape  []int64
	Values []float64
}

// labelForm is what a metric needs from labels.
type labelForm struct {
	one    bool // one class or identity per sample, as the answer has
	names  bool // classes may have names
	whole  bool // labels are integers
	padded bool // some labels of a sample may be padding
	read   func(m Metric, a Array, output []int64, classes int) (width int, err error)
}

// The forms of labels.
var (
	classLabels  = &labelForm{one: true, names: true, whole: true, read: readClasses}
	binaryLabels = &labelForm{names: true, whole: true, read: readBinary}
	realLabels   = &labelForm{read: readNumbers}
	multiHot     = &labelForm{names: true, whole: true, read: readMultiHot}
	tokenLabels  = &labelForm{names: true, whole: true, padded: true, read: readTokens}
	identities   = &labelForm{one: true, names: true, whole: true, read: readIdentities}
)

// ReadLabels checks the array of labels for an output with a shape, and returns the
// labels.
func (m Metric) ReadLabels(a Array, output []int64) (Labels, error) {
	e := m.of()
	if e.labels == nil {
		return Labels{}, nil
	}
	width, err := e.labels.read(m, a, output, m.Classes(output))
	if err != nil {
		return Labels{}, err
	}
	return Labels{Width: width, Values: a.Values}, nil
}

// ReadLabel checks the label of one answered item, for an output with a shape, and
// returns it as the only one of its Labels.
func (m Metric) ReadLabel(values []float64, output []int64) (Labels, error) {
	a := Array{Whole: true, Shape: []int64{1}, Values: values}
	if len(values) != 1 {
		a.Shape = []int64{1, int64(len(values))}
	}
	for _, v := range values {
		a.Whole = a.Whole && isFinite(v) && v == math.Trunc(v)
	}
	return m.ReadLabels(a, output)
}

// WholeLabels reports whether the metric's labels are integers.
func (m Metric) WholeLabels() bool { return m.of().labels != nil && m.of().labels.whole }

// shape checks the first dimension, and that each sample has that many numbers.
func (a Array) shape(numbers int, want string) error {
	if len(a.Shape) == 0 || a.Shape[0] < 1 || a.Shape[0] > SamplesMax || count(a.Shape[1:]) != numbers {
		if a.Name == "" {
			return fmt.Errorf("the label has %d numbers; it must be %s", len(a.Values), want)
		}
		return fmt.Errorf("array %q has shape %s; it must be %s, at least 1 and at most %d samples", a.Name, shapeText(a.Shape), want, SamplesMax)
	}
	return nil
}

func (a Array) whole() error {
	if !a.Whole {
		if a.Name == "" {
			return fmt.Errorf("the label is %v; it must be whole numbers", a.Values)
		}
		return fmt.Errorf("array %q is %s; it must be whole numbers", a.Name, a.Type)
	}
	return nil
}

// each checks every number with a rule; what describes the rule.
func (a Array) each(width int, holds func(float64) bool, what string) error {
	for i, v := range a.Values {
		if !holds(v) {
			place := ""
			if width > 1 {
				place = fmt.Sprintf("number %d of ", i%width)
			}
			if a.Name == "" {
				return fmt.Errorf("%sthe label is %v; %s", place, v, what)
			}
			return fmt.Errorf("%sthe label of sample %d is %v; %s", place, i/width, v, what)
		}
	}
	return nil
}

func readClasses(_ Metric, a Array, _ []int64, classes int) (int, error) {
	if len(a.Shape) != 1 {
		return 0, a.shape(-1, "one number per sample")
	}
	if err := a.shape(1, "one number per sample"); err != nil {
		return 0, err
	}
	if err := a.whole(); err != nil {
		return 0, err
	}
	return 1, a.each(1, func(v float64) bool { return v >= 0 && v < float64(classes) },
		fmt.Sprintf("the model has the classes 0 to %d", classes-1))
}

func readBinary(_ Metric, a Array, _ []int64, _ int) (int, error) {
	if err := a.shape(1, "one number per sample"); err != nil {
		return 0, err
	}
	return 1, a.each(1, isBit, "it must be 0 or 1")
}

func isBit(v float64) bool { return v == 0 || v == 1 }

func isFinite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func readNumbers(_ Metric, a Array, output []int64, _ int) (int, error) {
	width := count(output)
	if err := a.shape(width, fmt.Sprintf("as many numbers per sample as the output has (%d)", width)); err != nil {
		return 0, err
	}
	return width, a.each(width, isFinite, "it must be a finite number")
}

func readMultiHot(_ Metric, a Array, output []int64, _ int) (int, error) {
	width := count(output)
	if err := a.shape(width, fmt.Sprintf("a 0 or 1 for each of the %d labels of a sample", width)); err != nil {
		return 0, err
	}
	return width, a.each(width, isBit, "it must be 0 or 1 (multi-hot)")
}

func readTokens(m Metric, a Array, output []int64, classes int) (int, error) {
	want := "a class for every token of a sample"
	if len(a.Shape) == 0 || len(a.Shape) > 2 {
		return 0, a.shape(-1, want)
	}
	width := count(a.Shape[1:])
	if output[0] > 0 {
		width = int(output[0])
		want = fmt.Sprintf("a class for each of the %d tokens of a sample", width)
	}
	if err := a.shape(max(1, width), want); err != nil {
		return 0, err
	}
	if err := a.whole(); err != nil {
		return 0, err
	}
	padding := float64(m.padding)
	err := a.each(width, func(v float64) bool { return v == padding || v >= 0 && v < float64(classes) },
		fmt.Sprintf("the model has the classes 0 to %d, and %d is padding", classes-1, m.padding))
	if err != nil {
		return 0, err
	}
	labels := Labels{Width: width, Values: a.Values}
	for i := range labels.Len() {
		if onlyPadding(labels.Row(i), padding) {
			if a.Name == "" {
				return 0, fmt.Errorf("the label is padding only (%d), so the answer cannot be scored", m.padding)
			}
			return 0, fmt.Errorf("the label of sample %d is padding only (%d), so it cannot be scored", i, m.padding)
		}
	}
	return width, nil
}

func onlyPadding(row []float64, padding float64) bool {
	for _, v := range row {
		if v != padding {
			return false
		}
	}
	return true
}

func readIdentities(_ Metric, a Array, _ []int64, _ int) (int, error) {
	if len(a.Shape) != 1 {
		return 0, a.shape(-1, "one number or text per sample")
	}
	if err := a.shape(1, "one number or text per sample"); err != nil {
		return 0, err
	}
	if err := a.whole(); err != nil {
		return 0, err
	}
	return 1, a.each(1, func(v float64) bool { return v >= 0 && v <= math.MaxInt32 }, fmt.Sprintf("it must be between 0 and %d", math.MaxInt32))
}

// shapeText returns a shape as text, such as [2,3].
func shapeText(shape []int64) string {
	dims := make([]string, len(shape))
	for i, d := range shape {
		dims[i] = strconv.FormatInt(d, 10)
	}
	return "[" + strings.Join(dims, ",") + "]"
}
