package proposal_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/proposal"
	"github.com/mosel-serve/mosel/tensor"
)

// samples of the metric's tests.
const few = 12

// scored writes a graph of one input x with so many classes, and samples with the
// arrays given.
func scored(t *testing.T, output string, classes int, arrays ...tensor.Tensor) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "m")
	writeFile(t, filepath.Join(dir, "x.onnx"), scorer(output, classes, in("x", tensor.FP32, open, 2)))
	x := arrayOf(t, "x", tensor.Shape{few, 2}, numbers(few*2, func(i int) float32 { return float32(i % 5) }))
	writeNPZ(t, filepath.Join(dir, "samples.npz"), append(arrays, x)...)
	return dir
}

func wholeLabels(t *testing.T, of func(i int) int64) tensor.Tensor {
	return arrayOf(t, "label", tensor.Shape{few}, numbers(few, of))
}

func TestMetricFollowsFromLabelsAndOutputs(t *testing.T) {
	mod := func(n int64) func(int) int64 { return func(i int) int64 { return int64(i) % n } }
	hot := arrayOf(t, "label", tensor.Shape{few, 3}, numbers(few*3, func(i int) int64 { return int64(i*i) % 2 }))
	for name, c := range map[string]struct {
		output  string
		classes int
		labels  []tensor.Tensor
		want    string
	}{
		"classes":         {"y", 3, []tensor.Tensor{wholeLabels(t, mod(3))}, "accuracy"},
		"one probability": {"y", 1, []tensor.Tensor{wholeLabels(t, mod(2))}, "binary"},
		"multi-hot":       {"y", 3, []tensor.Tensor{hot}, "multilabel"},
		"gallery": {"y", 3, []tensor.Tensor{wholeLabels(t, mod(2)), arrayOf(t, "gallery", tensor.Shape{2, 3}, []float32{1, 0, 0, 0, 1, 0}),
			arrayOf(t, "gallery_label", tensor.Shape{2}, []int64{0, 1})}, "retrieval"},
	} {
		t.Run(name, func(t *testing.T) {
			p, m := sound(t, scored(t, c.output, c.classes, c.labels...), proposal.Options{})
			if p.Metric.Text != c.want || m.Metric != c.want || p.Metric.Why == "" {
				t.Errorf("metric %q (%q in the package), want %s", p.Metric.Text, m.Metric, c.want)
			}
		})
	}
}

func TestLogitsAreTold(t *testing.T) {
	for classes, want := range map[int]string{1: "{name: binary, values: logit}", 3: "accuracy"} {
		p := propose(t, scored(t, "logits", classes, wholeLabels(t, func(i int) int64 { return int64(i % 2) })), proposal.Options{})
		noted := strings.Contains(strings.Join(p.Notes, "\n"), "export the graphs with a softmax")
		if p.Metric.Text != want || noted != (classes == 3) {
			t.Errorf("%d classes: metric %s, notes %q", classes, p.Metric.Text, p.Notes)
		}
	}
}

func TestTextsBecomeClasses(t *testing.T) {
	for name, c := range map[string]struct {
		classes int
		texts   []string
		metric  string
		want    string
	}{
		"three": {3, []string{"no", "dog: big", "cat"}, "accuracy", "cat, dog: big, no"},
		"two":   {1, []string{"no", "yes"}, "binary", "no, yes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := scored(t, "y", c.classes)
			texts := make([]string, few)
			for i := range texts {
				texts[i] = c.texts[i%len(c.texts)]
			}
			addTexts(t, filepath.Join(dir, "samples.npz"), "label", texts...)
			_, m := sound(t, dir, proposal.Options{})
			if got := strings.Join(m.Labels, ", "); m.Metric != c.metric || got != c.want {
				t.Errorf("%s of %s, want %s of %s", m.Metric, got, c.metric, c.want)
			}
		})
	}
}

// TestPersonDecides has what the files do not say, what a person is told, and, where
// an answer is a flag, that the package is sound with it.
func TestPersonDecides(t *testing.T) {
	measured := arrayOf(t, "label", tensor.Shape{few}, numbers(few, func(i int) float32 { return float32(i) - 5.5 }))
	oneHot := arrayOf(t, "label", tensor.Shape{few, 3}, numbers(few*3, func(i int) int64 {
		if i%3 == i/3%3 {
			return 1
		}
		return 0
	}))
	for name, c := range map[string]struct {
		classes int
		label   tensor.Tensor
		says    string
		answer  proposal.Options
	}{
		"measured numbers":   {1, measured, "what counts as right", proposal.Options{Metric: "sign"}},
		"a tolerance":        {1, measured, "{name: within, tolerance: 1.1}", proposal.Options{Metric: "{name: within, tolerance: 1.1}"}},
		"one-hot":            {3, oneHot, "label.argmax(axis=1)", proposal.Options{Metric: "multilabel"}},
		"classes from one":   {3, wholeLabels(t, func(i int) int64 { return int64(i%3) + 1 }), "from 1 to 3", proposal.Options{}},
		"floats for classes": {3, arrayOf(t, "label", tensor.Shape{few}, make([]float32, few)), "astype(numpy.int64)", proposal.Options{}},
		"a column":           {3, arrayOf(t, "label", tensor.Shape{few, 1}, make([]int64, few)), "label.reshape(-1)", proposal.Options{}},
		"labels as y":        {3, arrayOf(t, "y", tensor.Shape{few}, make([]int64, few)), `save "y" under the name "label"`, proposal.Options{Metric: "external"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := scored(t, "p", c.classes, c.label)
			mustDecide(t, dir, c.says)
			if c.answer.Metric != "" {
				sound(t, dir, c.answer)
			}
		})
	}
}

// mustDecide wants a decision that says so.
func mustDecide(t *testing.T, dir, says string) {
	t.Helper()
	p := propose(t, dir, proposal.Options{})
	var said []string
	for _, d := range p.Decisions {
		said = append(said, d.About+": "+d.Why+" "+strings.Join(d.Answers, " "))
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, says) {
		t.Errorf("decisions %q do not say %q", all, says)
	}
}

func TestGraphsThatNeedADecision(t *testing.T) {
	x := in("x", tensor.FP32, open, 2)
	graph := func(output string, inputs ...value) []byte { return scorer(output, 3, inputs...) }
	for name, c := range map[string]struct {
		files map[string][]byte
		says  string
		with  proposal.Options
	}{
		"the same inputs twice": {files: map[string][]byte{"a.onnx": graph("y", x), "b.onnx": graph("y", x)}, says: "a.onnx, b.onnx: these graphs have the same inputs"},
		"the same precision":    {files: map[string][]byte{"a_fp16.onnx": graph("y", x), "b_half.onnx": graph("y", x)}, says: "a_fp16.onnx, b_half.onnx"},
		"no common output":      {files: map[string][]byte{"a.onnx": graph("y", x), "b.onnx": graph("z", in("v", tensor.FP32, open, 2))}, says: "y: b.onnx does not have it"},
		"other types":           {files: map[string][]byte{"a.onnx": graph("y", x), "b.onnx": graph("y", in("x", tensor.Int64, open, 2), in("v", tensor.FP32, open, 2))}, says: "x: graphs disagree: it is FP32 in a.onnx and INT64 in b.onnx"},
		"a batch of 4":          {files: map[string][]byte{"a.onnx": graph("y", in("x", tensor.FP32, 4, 2))}, says: "its first dimension is fixed at 4 in a.onnx"},
		"which stage":           {files: map[string][]byte{"a.onnx": graph("code", x), "b.onnx": graph("code", in("v", tensor.FP32, open, 2)), "c.onnx": graph("y", in("code", tensor.FP32, open, 3))}, says: "c.onnx: its input code is an output of a.onnx, b.onnx"},
		"stages in a circle":    {files: map[string][]byte{"a.onnx": graph("code", in("back", tensor.FP32, open, 3)), "b.onnx": graph("back", in("code", tensor.FP32, open, 3))}, says: "in a circle"},
		"a circle on the way":   {files: map[string][]byte{"a.onnx": graph("code", in("back", tensor.FP32, open, 3)), "b.onnx": graph("back", in("code", tensor.FP32, open, 3)), "c.onnx": graph("y", in("code", tensor.FP32, open, 3))}, says: "c.onnx: it reads its own outputs"},
		"not ONNX":              {files: map[string][]byte{"a.onnx": []byte("hello")}, says: "a.onnx: not an ONNX model"},
		"how long": {files: map[string][]byte{"a.onnx": graph("y", in("ids", tensor.Int64, open, open))}, says: "--max ids=512",
			with: proposal.Options{Max: map[string]int64{"ids": 512}}},
		"which shape": {files: map[string][]byte{"a.onnx": graph("y", in("pixels", tensor.FP32, open, open, open))}, says: "--shape pixels=224,224",
			with: proposal.Options{Shapes: map[string]tensor.Shape{"pixels": {4, 4}}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range c.files {
				writeFile(t, filepath.Join(dir, file), content)
			}
			mustDecide(t, dir, c.says)
			if c.with.Max != nil || c.with.Shapes != nil {
				sound(t, dir, c.with)
			}
		})
	}
}

func TestOutputs(t *testing.T) {
	dir := t.TempDir()
	var g modelpkgtest.Graph // as converters of classifiers write it: the class first, then the scores
	g.Input("x", tensor.FP32, open, 3)
	g.Node("Softmax", []string{"x"}, []string{"scores"}, modelpkgtest.Integer("axis", 1))
	g.Node("ArgMax", []string{"x"}, []string{"class"}, modelpkgtest.Integer("axis", 1), modelpkgtest.Integer("keepdims", 0))
	g.Output("class", tensor.Int64, open)
	g.Output("scores", tensor.FP32, open, open)
	g.Typed(12, "zipped", modelpkgtest.ZipMap())
	g.Node("Identity", []string{"x"}, []string{"zipped"})
	writeFile(t, filepath.Join(dir, "x.onnx"), g.File())
	writeNPZ(t, filepath.Join(dir, "s.npz"), arrayOf(t, "x", tensor.Shape{few, 3}, numbers(few*3, func(i int) float32 { return float32(i % 4) })),
		wholeLabels(t, func(i int) int64 { return int64(i % 3) }))
	p := propose(t, dir, proposal.Options{})
	if len(p.Decisions) > 0 || len(p.Outputs) != 2 || p.Outputs[0].Name != "scores" || !tensor.Shape(p.Outputs[0].Shape).Equal(tensor.Shape{3}) {
		t.Errorf("outputs %+v, decisions %+v", p.Outputs, p.Decisions)
	}
	if len(p.LeftOut) != 1 || p.LeftOut[0].Name != "zipped" || !strings.Contains(p.LeftOut[0].Why, "zipmap=False") {
		t.Errorf("left out %+v", p.LeftOut)
	}
}
