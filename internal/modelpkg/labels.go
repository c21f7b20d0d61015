package modelpkg

import (
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/tensor"
)

// labelNumbersMax bounds the numbers of all labels of a set, or of its gallery. Each
// takes 8 bytes.
const labelNumbersMax = 1 << 27

// judgeOf makes a judge from a set's labels, and from its gallery if the metric has
// one.
func judgeOf(m *Model, arrays []tensor.Tensor, texts []textArray) (*score.Judge, error) {
	output := m.Outputs[0].Shape
	fail := func(err error) (*score.Judge, error) {
		return score.NewJudge(m.Scoring, output, score.Labels{}, nil), err
	}
	if m.Scoring.External() {
		return fail(nil)
	}
	names := m.Labels
	if m.Scoring.Gallery() && len(names) == 0 { // texts only have to be distinguished
		names = allTexts(texts)
	}
	array, err := labelsNamed(m, labelArray, arrays, texts, names)
	if err != nil {
		return fail(err)
	}
	labels, err := m.Scoring.ReadLabels(array, output)
	if err != nil || !m.Scoring.Gallery() {
		return score.NewJudge(m.Scoring, output, labels, nil), err
	}
	entries, err := labelsNamed(m, galleryLabelArray, arrays, texts, names)
	if err != nil {
		return fail(err)
	}
	embeddings, ok := arrayNamed(arrays, galleryArray)
	if !ok {
		return fail(fmt.Errorf("it has no array %q: the embeddings that the nearest one is looked for in", galleryArray))
	}
	vectors, err := numbersOf(embeddings)
	if err != nil {
		return fail(err)
	}
	gallery, err := score.NewGallery(vectors, entries, output)
	if err != nil {
		return fail(err)
	}
	return score.NewJudge(m.Scoring, output, labels, gallery), nil
}

// allTexts returns the distinct texts of all arrays.
func allTexts(texts []textArray) []string {
	var all []string
	for _, t := range texts {
		all = append(all, t.texts...)
	}
	return distinct(all)
}

// labelsNamed returns an array of labels as numbers.
func labelsNamed(m *Model, name string, arrays []tensor.Tensor, texts []textArray, names []string) (score.Array, error) {
	if i := slices.IndexFunc(texts, func(t textArray) bool { return t.name == name }); i >= 0 {
		t := texts[i]
		if len(t.texts) > labelNumbersMax || len(t.shape) == 0 {
			return score.Array{}, fmt.Errorf("array %q has shape %v; it must have a text for each sample", name, t.shape)
		}
		classes := m.Scoring.Classes(m.Outputs[0].Shape)
		values, err := t.numbered(m.Scoring, names, classes)
		return score.Array{Name: name, Type: "texts", Whole: true, Shape: t.shape, Values: values}, err
	}
	array, ok := arrayNamed(arrays, name)
	if !ok {
		return score.Array{}, fmt.Errorf("it has no array %q", name)
	}
	return numbersOf(array)
}

// numbersOf reads an array of numbers.
func numbersOf(array tensor.Tensor) (score.Array, error) {
	a := score.Array{Name: array.Name, Type: array.DType.String(), Shape: array.Shape}
	size := array.DType.Size()
	if n := len(array.Data) / size; n > labelNumbersMax {
		return a, fmt.Errorf("array %q has %d numbers; at most %d are read", array.Name, n, labelNumbersMax)
	}
	a.Values = make([]float64, 0, len(array.Data)/size)
	if isFloat(array.DType) {
		for at := 0; at < len(array.Data); at += size {
			a.Values = append(a.Values, floatAt(array.DType, array.Data[at:]))
		}
		return a, nil
	}
	flat := array
	flat.Shape = tensor.Shape{int64(len(array.Data) / size)}
	whole, err := integers(flat)
	for _, v := range whole {
		a.Values = append(a.Values, float64(v))
	}
	a.Whole = true
	return a, err
}
