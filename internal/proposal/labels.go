package proposal

import (
	"fmt"
	"math"
	"slices"

	"github.com/mosel-serve/mosel/tensor"
)

// labels describe the right answers of a set.
type labels struct {
	kind     string // "texts", "whole" or "float"; "": there are none
	width    int    // numbers or texts a sample
	texts    []string
	least    float64
	greatest float64
	bits     bool // all 0 or 1
	oneHot   bool // every row has exactly one 1
	integral bool // all whole, whatever the type
	rank     int
	// of token classes, for which a number marks padding
	leastClass  float64
	onlyPadding bool // some sample has nothing else
	gallery     bool
}

// suffix says what the labels are, at the end of a sentence.
func (l labels) suffix() string {
	switch l.kind {
	case "":
		return ""
	case "texts":
		return fmt.Sprintf("; the labels are %d different texts", len(l.texts))
	}
	return fmt.Sprintf("; the labels are %s, %s a sample, from %.4g to %.4g", map[string]string{"whole": "whole numbers", "float": "floating-point numbers"}[l.kind],
		counted(l.width, "number", "numbers"), l.least, l.greatest)
}

// readLabels reads the right answers of the set that the package is profiled on.
func (p *Proposal) readLabels() (l labels, err error) {
	a := p.chosen.array(labelArray)
	if a == nil || p.chosen.count() == 0 {
		return l, nil
	}
	l.width = 1
	for _, d := range a.Shape[1:] {
		l.width *= int(d)
	}
	l.rank = len(a.Shape)
	l.gallery = p.chosen.array(galleryArray) != nil && p.chosen.array(galleryLabelArray) != nil
	if a.texts {
		texts, err := p.chosen.textsOf(labelArray)
		if err != nil {
			return l, err
		}
		l.kind = "texts"
		l.texts = slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(texts))), func(s string) bool { return s == "" })
		return l, nil
	}
	numbers, err := p.chosen.numbers(labelArray)
	if err != nil {
		return l, err
	}
	l.kind = "whole"
	if a.dtype == tensor.FP16 || a.dtype == tensor.FP32 || a.dtype == tensor.FP64 {
		l.kind = "float"
	}
	l.least, l.greatest = extremes(numbers)
	l.padded(numbers)
	l.bits, l.integral, l.oneHot = true, true, l.width > 1
	for i, v := range numbers {
		l.bits = l.bits && (v == 0 || v == 1)
		l.integral = l.integral && v == math.Trunc(v)
		if l.oneHot && (i+1)%l.width == 0 {
			ones := 0.0
			for _, bit := range numbers[i+1-l.width : i+1] {
				ones += bit
			}
			l.oneHot = ones == 1
		}
	}
	return l, nil
}

// paddingLabel is the label of tokens that are not scored, unless mosel.yaml gives another.
const paddingLabel = -100

// padded looks at the labels that are no padding.
func (l *labels) padded(numbers []float64) {
	l.leastClass = math.Inf(1)
	for row := range slices.Chunk(numbers, l.width) {
		classes := 0
		for _, v := range row {
			if v != paddingLabel {
				classes, l.leastClass = classes+1, min(l.leastClass, v)
			}
		}
		l.onlyPadding = l.onlyPadding || classes == 0
	}
}

// named is the metric where labels are texts.
func (l labels) named(out Tensor, f string, ask func(string, ...string) guess) guess {
	n := len(l.texts)
	order := "the names are in sorted order, as sklearn's LabelEncoder has them: check that the output has that order"
	switch {
	case n < 2:
		return ask(fmt.Sprintf("all labels are the same text %q", clip(l.texts[0])), "save samples of every class")
	case f == numberForm && n == 2:
		g := binary(out, fmt.Sprintf("%q (0) or %q (1)", clip(l.texts[0]), clip(l.texts[1])))
		g.classes, g.metric.Others = l.texts, append(g.metric.Others, order)
		return g
	case f == openForm || f == listForm && size(out) == int64(n):
		g := sure("accuracy", fmt.Sprintf("every label is one of %d texts and %s has a score for each: right is the best class", n, clip(out.Name)), order)
		g.classes, g.metric.Others = l.texts, append(g.metric.Others, topK(n)...)
		if f == openForm {
			g.shape = []int64{int64(n)}
		}
		return g
	case f == listForm:
		return ask(fmt.Sprintf("the labels are %d different texts and the output has %d classes, so nothing tells which text is which class", n, size(out)),
			"save the classes' numbers as labels, 0 for the first class of the output", "or save samples of all classes")
	}
	return guess{}
}

// numbered is the metric where labels are whole numbers, one a sample.
func (l labels) numbered(out Tensor, f string, ask func(string, ...string) guess) guess {
	if f != listForm && f != openForm {
		return guess{}
	}
	classes := int64(0)
	if f == listForm {
		classes = size(out)
	} else if l.greatest < 65536 {
		classes = max(2, int64(l.greatest)+1)
	}
	if l.least < 0 || l.greatest >= float64(classes) {
		return ask(fmt.Sprintf("the labels are from %.0f to %.0f and the output has %d numbers; classes are numbered from 0", l.least, l.greatest, classes),
			"save the classes' numbers as labels, 0 for the first class of the output", "if the output has embeddings, save a gallery and --metric retrieval")
	}
	g := sure("accuracy", fmt.Sprintf("every label is a whole number from %.0f to %.0f and %s has %d scores: right is the best class", l.least, l.greatest, clip(out.Name), classes), topK(int(classes))...)
	if f == openForm {
		g.shape = []int64{classes}
	}
	return g
}

// topK tells of the metric of the best few classes, where there are many.
func topK(classes int) []string {
	if classes <= 5 {
		return nil
	}
	return []string{"{name: top_k, k: 5} if an answer is right when the label is among the 5 best classes"}
}
