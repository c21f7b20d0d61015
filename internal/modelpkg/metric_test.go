package modelpkg

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/tensor"
	"go.yaml.in/yaml/v3"
)

// scoredYAML is goodYAML with another metric on line 6, and another output on line 16.
func scoredYAML(metric, shape string) string {
	text := strings.Replace(goodYAML, "task: classification\nmetric: accuracy\n", "# that of the metric\n"+metric+"\n", 1)
	text = strings.Replace(text, "labels: [no, yes]\n", "# no names\n", 1)
	return strings.Replace(text, "datatype: FP32, shape: [2]}", "datatype: FP32, shape: "+shape+"}", 1)
}

// writeScored writes a package with this metric and shape, and matching graphs. The set
// has 4 samples and these arrays instead of label.
func writeScored(t *testing.T, yaml string, dims []int64, arrays ...tensor.Tensor) string {
	t.Helper()
	dir := writePackage(t)
	write(t, dir, FileName, []byte(yaml))
	out := value{"scores", 1, append([]int64{-1}, dims...)}
	write(t, dir, "onnx/image.onnx", graphSpec{17, []value{imageIn}, []value{out}, nil, nil}.encode())
	write(t, dir, "onnx/all.onnx", graphSpec{17, []value{imageIn, waveIn, gainIn}, []value{out}, nil, nil}.encode())
	write(t, dir, "eval/profile.npz", npz(t, append(setArrays(4)[:3], arrays...)))
	if err := os.Remove(dir + "/eval/heldout.npz"); err != nil {
		t.Fatal(err)
	}
	write(t, dir, FileName, []byte(strings.Replace(yaml, "  heldout: eval/heldout.npz\n", "", 1)))
	return dir
}

func labelOf[T tensor.Element](t *testing.T, shape tensor.Shape, values ...T) tensor.Tensor {
	t.Helper()
	a, err := tensor.Of(labelArray, shape, values)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestMetricProblems checks that mistakes in the metric are reported for mosel.yaml,
// before anything runs.
func TestMetricProblems(t *testing.T) {
	fine := labelOf(t, tensor.Shape{4}, uint8(0), uint8(1), uint8(0), uint8(1))
	for _, c := range []struct {
		name, metric, shape string
		dims                []int64
		want                []string
	}{
		{"unknown", "metric: acuracy", "[2]", []int64{2}, []string{`6:9: the metric "acuracy" is not supported; did you mean "accuracy"?`}},
		{"unknown in a mapping", "metric: {name: zoo}", "[2]", []int64{2},
			[]string{`6:16: the metric "zoo" is not supported; known: accuracy, top_k, binary, sign, within, bounded_error, multilabel, token_accuracy, retrieval, external`}},
		{"no name", "metric: {k: 5}", "[2]", []int64{2},
			[]string{`6:9: the metric has no name; known: accuracy, top_k, binary, sign, within, bounded_error, multilabel, token_accuracy, retrieval, external`}},
		{"a list", "metric: [accuracy]", "[2]", []int64{2}, []string{`6:9: metric must be a text, not a list`}},
		{"no mean", "metric: macro_f1", "[2]", []int64{2}, []string{
			"6:9: \"macro_f1\" cannot be the metric: it is a figure of a whole set and not a mean over its samples, so no floor can be kept with it: " +
				"use accuracy, or {name: multilabel, score: f1}, which is the F1 of each sample; `mosel profile` reports the macro F1"}},
		{"an error", "metric: {name: MAE}", "[2]", []int64{2}, []string{
			"6:16: \"MAE\" cannot be the metric: it is an error, which has no upper bound and is better when smaller; a score is between 0 and 1: " +
				"use {name: bounded_error, scale: S}, which is 1 - error / S, or {name: within, tolerance: T}; `mosel profile` reports the MAE"}},
		{"parameter missing", "metric: top_k", "[2]", []int64{2}, []string{`6:9: the metric top_k needs k: write {name: top_k, k: ...}`}},
		{"parameter missing in a mapping", "metric: {name: within}", "[1]", []int64{1}, []string{`6:9: the metric within has no tolerance`}},
		{"parameter of another", "metric: {name: sign, k: 5}", "[1]", []int64{1}, []string{`6:22: the metric sign has no key "k"; known: name`}},
		{"parameter twice", "metric: {name: top_k, k: 1, k: 2}", "[3]", []int64{3}, []string{`6:29: the metric top_k has k twice; the first is on line 6`}},
		{"k of text", "metric: {name: top_k, k: five}", "[2]", []int64{2}, []string{`6:26: k must be a whole number, not "five"`}},
		{"k as large as the classes", "metric: {name: top_k, k: 2}", "[2]", []int64{2},
			[]string{`6:26: k is 2 and the model has 2 classes: every answer would be right; k must be less than the classes`}},
		{"tolerance of zero", "metric: {name: within, tolerance: 0}", "[1]", []int64{1}, []string{`6:35: tolerance is 0; it must be between 1e-09 and 1e+30`}},
		{"threshold of a probability", "metric: {name: binary, threshold: 1.5}", "[1]", []int64{1}, []string{
			`6:35: the threshold is 1.5; a probability's is above 0 and below 1 (write values: logit if the output is no probability)`}},
		{"threshold that is no number", "metric: {name: binary, threshold: .nan}", "[1]", []int64{1}, []string{
			`6:35: threshold must be a number, not ".nan"`}},
		{"a word", "metric: {name: multilabel, score: f2}", "[2]", []int64{2}, []string{`6:35: the score "f2" is not supported; did you mean "f1"?`}},
		{"binary of classes", "metric: binary", "[2]", []int64{2}, []string{
			`16:5: the metric binary needs a first output of FP32, FP16 or FP64 [] or [1]: one number, not FP32 [2]`}},
		{"sign of a size that varies", "metric: sign", "[-1]", []int64{-1}, []string{
			`16:5: the metric sign needs a first output of FP32, FP16 or FP64 of fixed size, such as [1], not FP32 [-1]`}},
		{"tokens without classes", "metric: token_accuracy", "[4]", []int64{4}, []string{
			`16:5: the metric token_accuracy needs a first output of FP32, FP16 or FP64 [tokens, classes] with a score of every class for every token, not FP32 [4]`}},
		{"an embedding of a size that varies", "metric: retrieval", "[-1]", []int64{-1}, []string{
			`16:5: the metric retrieval needs a first output of FP32, FP16 or FP64 [dimensions]: the embedding, of fixed size (further dimensions may be 1), not FP32 [-1]`}},
		{"one label", "metric: multilabel", "[1]", []int64{1}, []string{`16:43: the first output must have a fixed number of classes, at least 2, not 1`}},
		{"names of numbers", "metric: sign\nclasses: [a, b]", "[1]", []int64{1}, []string{`7:11: the metric sign has no classes that could have names`}},
		{"names of binary", "metric: binary\nclasses: [a, b, c]", "[1]", []int64{1}, []string{`7:11: there are 3 names for the 2 classes of output "scores"`}},
		{"both lists", "metric: binary\nclasses: [a, b]\nlabels: [a, b]", "[1]", []int64{1}, []string{`8:9: labels is the older name of classes; give the names once`}},
		{"task of another", "task: regression\nmetric: binary", "[1]", []int64{1}, []string{`6:7: the metric binary measures task: classification, not regression`}},
		{"the graph's shape", "metric: binary", "[1]", []int64{3}, []string{`16:43: scores is declared [1], but is [3] after the batch dimension in variants image, all`}},
		{"sound", "metric: {name: binary, values: logit, threshold: -2}\nclasses: [ham, spam]", "[1]", []int64{1}, nil},
		{"another task of another", "task: retrieval\nmetric: binary", "[]", nil, []string{`6:7: the metric binary measures task: classification, not retrieval`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := writeScored(t, scoredYAML(c.metric, c.shape), c.dims, fine)
			if got := lines(dir, Check(dir)); !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestLabelProblems checks that labels that do not fit the metric are reported at the
// line that names the set.
func TestLabelProblems(t *testing.T) {
	nan := math.NaN()
	four := tensor.Shape{4}
	for _, c := range []struct {
		name, metric, shape string
		dims                []int64
		label               tensor.Tensor
		want                string // "": sound
	}{
		{"int32", "accuracy", "[2]", []int64{2}, labelOf(t, four, int32(0), int32(1), int32(1), int32(0)), ""},
		{"negative", "accuracy", "[2]", []int64{2}, labelOf(t, four, int32(0), int32(-1), int32(1), int32(0)), "the label of sample 1 is -1; the model has the classes 0 to 1"},
		{"too large", "{name: top_k, k: 2}", "[3]", []int64{3}, labelOf(t, four, uint8(0), 1, 2, 3), "the label of sample 3 is 3; the model has the classes 0 to 2"},
		{"classes of floats", "accuracy", "[2]", []int64{2}, labelOf(t, four, float32(0), 1, 1, 0), `array "label" is FP32; it must be whole numbers`},
		{"too few", "accuracy", "[2]", []int64{2}, labelOf(t, tensor.Shape{3}, uint8(0), 1, 1), `array "image" has 4 samples; there are 3 labels`},
		{"binary of floats", "binary", "[1]", []int64{1}, labelOf(t, tensor.Shape{4, 1}, float64(0), 1, 1, 0), ""},
		{"binary of two", "binary", "[1]", []int64{1}, labelOf(t, four, uint8(0), 1, 2, 0), "the label of sample 2 is 2; it must be 0 or 1"},
		{"numbers", "sign", "[1]", []int64{1}, labelOf(t, four, float64(-1.5), 0, 3, 2), ""},
		{"whole numbers", "sign", "[]", nil, labelOf(t, four, int32(-1), 0, 3, 2), ""},
		{"NaN", "sign", "[1]", []int64{1}, labelOf(t, four, 1, nan, 3, 2), "the label of sample 1 is NaN; it must be a finite number"},
		{"infinite", "{name: within, tolerance: 1}", "[2]", []int64{2}, labelOf(t, tensor.Shape{4, 2}, 1, 2, 3, math.Inf(-1), 3, 2, 1, 1),
			"number 1 of the label of sample 1 is -Inf; it must be a finite number"},
		{"one number for two", "sign", "[2]", []int64{2}, labelOf(t, four, 1., 2, 3, 4), `array "label" has shape [4]; it must be as many numbers per sample as the output has (2), at least 1 and at most 10000000 samples`},
		{"multi-hot", "multilabel", "[3]", []int64{3}, labelOf(t, tensor.Shape{4, 3}, uint8(1), 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1), ""},
		{"not multi-hot", "multilabel", "[3]", []int64{3}, labelOf(t, tensor.Shape{4, 3}, uint8(1), 0, 0, 1, 3, 0, 0, 0, 0, 1, 1, 1), "number 1 of the label of sample 1 is 3; it must be 0 or 1 (multi-hot)"},
		{"classes for multi-hot", "multilabel", "[3]", []int64{3}, labelOf(t, four, uint8(1), 0, 0, 1), `array "label" has shape [4]; it must be a 0 or 1 for each of the 3 labels of a sample`},
		{"tokens", "{name: token_accuracy, padding: -1}", "[2, 3]", []int64{2, 3}, labelOf(t, tensor.Shape{4, 2}, int64(0), 2, 1, -1, 1, 1, 0, 0), ""},
		{"tokens of any number", "token_accuracy", "[-1, 3]", []int64{-1, 3}, labelOf(t, tensor.Shape{4, 2}, int64(0), 2, 1, -100, 1, 1, 0, 0), ""},
		{"too many tokens", "token_accuracy", "[3, 3]", []int64{3, 3}, labelOf(t, tensor.Shape{4, 2}, int64(0), 2, 1, 1, 1, 1, 0, 0), "it must be a class for each of the 3 tokens of a sample"},
		{"another padding", "token_accuracy", "[2, 3]", []int64{2, 3}, labelOf(t, tensor.Shape{4, 2}, int64(0), 2, 1, -1, 1, 1, 0, 0), "number 1 of the label of sample 1 is -1; the model has the classes 0 to 2, and -100 is padding"},
		{"padding only", "token_accuracy", "[2, 3]", []int64{2, 3}, labelOf(t, tensor.Shape{4, 2}, int64(0), 2, 1, -100, -100, -100, 0, 0), "the label of sample 2 is padding only (-100), so it cannot be scored"},
		{"no gallery", "retrieval", "[3]", []int64{3}, labelOf(t, four, int32(5), 6, 5, 6), `it has no array "gallery_label"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := writeScored(t, scoredYAML("metric: "+c.metric, c.shape), c.dims, c.label)
			got := lines(dir, Check(dir))
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], "25:12: evaluation set eval/profile.npz: ") || !strings.Contains(got[0], c.want)) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), c.want)
			}
		})
	}
}

// textNPY makes an array of texts as numpy saves it; wide has 4 bytes per character.
func textNPY(wide bool, shape string, texts ...string) []byte {
	width, code := 0, "|S"
	for _, text := range texts {
		width = max(width, len(text))
	}
	if wide {
		code = "<U"
	}
	var body []byte
	for _, text := range texts {
		padded := append([]rune(text), make([]rune, width)...)[:width]
		for _, r := range padded {
			if wide {
				body = binary.LittleEndian.AppendUint32(body, uint32(r))
			} else {
				body = append(body, byte(r))
			}
		}
	}
	return npy(1, fmt.Sprintf("{'descr': '%s%d', 'fortran_order': False, 'shape': (%s), }\n", code, width, shape), body)
}

// withTexts makes a set of 4 samples with entries of texts.
func withTexts(t *testing.T, arrays []tensor.Tensor, entries map[string][]byte) []byte {
	t.Helper()
	var list [][2]string
	for _, a := range arrays {
		list = append(list, [2]string{a.Name + ".npy", headerNPY(npyCodes[a.DType], a.Shape) + string(a.Data)})
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		list = append(list, [2]string{name + ".npy", string(entries[name])})
	}
	return zipped(t, zip.Deflate, list...)
}

// TestTextLabels reads class names as labels, in the order of mosel.yaml or sorted.
func TestTextLabels(t *testing.T) {
	inputs := setArrays(4)[:3]
	gallery, err := tensor.Of(galleryArray, tensor.Shape{2, 2}, []float32{1, 0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, metric, shape string
		entries             map[string][]byte
		labels              []float64
		want                string
	}{
		{"in order", "metric: accuracy\nclasses: [b, a]", "[2]", map[string][]byte{"label": textNPY(true, "4,", "a", "b", "b", "a")}, []float64{1, 0, 0, 1}, ""},
		{"bytes", "metric: accuracy\nlabels: [no, yes]", "[2]", map[string][]byte{"label": textNPY(false, "4,", "yes", "no", "no", "yes")}, []float64{1, 0, 0, 1}, ""},
		{"sorted", "metric: accuracy", "[3]", map[string][]byte{"label": textNPY(true, "4,", "zoo", "ähre", "b", "b")}, []float64{1, 2, 0, 0}, ""},
		{"binary", "metric: binary\nclasses: [ham, spam]", "[1]", map[string][]byte{"label": textNPY(true, "4,", "ham", "spam", "spam", "ham")}, []float64{0, 1, 1, 0}, ""},
		{"unknown", "metric: accuracy\nclasses: [cat, dog]", "[2]", map[string][]byte{"label": textNPY(true, "4,", "cat", "dog", "dogs", "cat")}, nil,
			`the label of sample 2 is "dogs", which is none of the classes; did you mean "dog"?`},
		{"empty", "metric: accuracy\nclasses: [cat, dog]", "[2]", map[string][]byte{"label": textNPY(true, "4,", "cat", "", "dog", "cat")}, nil,
			`the label of sample 1 is "", which is none of the classes`},
		{"too few without a list", "metric: accuracy", "[3]", map[string][]byte{"label": textNPY(true, "4,", "a", "b", "b", "b")}, nil,
			`array "label" has 2 different texts and the model has 3 classes: list the names in mosel.yaml as classes, in the order of the output`},
		{"tokens", "metric: token_accuracy\nclasses: [O, PER]", "[-1, 2]", map[string][]byte{"label": textNPY(true, "4, 2", "O", "PER", "PER", "", "O", "O", "O", "")},
			[]float64{0, 1, 1, -100, 0, 0, 0, -100}, ""},
		{"unknown token", "metric: token_accuracy\nclasses: [O, PER]", "[-1, 2]", map[string][]byte{"label": textNPY(true, "4, 2", "O", "PER", "PER", "", "O", "LOC", "O", "")}, nil,
			`the label of sample 2 is "LOC", which is none of the classes`},
		{"identities", "metric: retrieval", "[2]", map[string][]byte{"label": textNPY(true, "4,", "x", "y", "y", "w"), "gallery_label": textNPY(false, "2,", "y", "x")},
			[]float64{1, 2, 2, 0}, ""},
		{"numbers expected", "metric: sign", "[1]", map[string][]byte{"label": textNPY(true, "4,", "a", "b", "b", "a")}, nil, `the type "<U1" is not supported; save numbers`},
		{"objects", "metric: accuracy", "[2]", map[string][]byte{"label": npy(1, "{'descr': '|O', 'fortran_order': False, 'shape': (4,), }\n", []byte("pickle"))}, nil,
			`array "label": it holds Python objects; save numbers, or texts as numpy.array(labels, dtype=str)`},
		{"cut off", "metric: accuracy\nclasses: [a, b]", "[2]", map[string][]byte{"label": textNPY(true, "5,", "a", "b", "b", "a")}, nil, "the data end before"},
		{"huge", "metric: accuracy\nclasses: [a, b]", "[2]", map[string][]byte{"label": textNPY(true, "999999999,", "a")}, nil, "more than the file can hold"},
		{"wide", "metric: accuracy\nclasses: [a, b]", "[2]", map[string][]byte{"label": npy(1, "{'descr': '<U99999', 'fortran_order': False, 'shape': (4,), }\n", nil)}, nil, "too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var dims []int64
			if err := yaml.Unmarshal([]byte(c.shape), &dims); err != nil {
				t.Fatal(err)
			}
			dir := writeScored(t, scoredYAML(c.metric, c.shape), dims)
			write(t, dir, "eval/profile.npz", withTexts(t, append(slices.Clone(inputs), gallery), c.entries))
			m, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			s, err := OpenSet(m.File("eval/profile.npz"), m)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				return
			}
			if err != nil || !slices.Equal(s.Labels.Values, c.labels) || s.Len() != 4 {
				t.Errorf("%v, %v", s, err)
			}
			told := slices.ContainsFunc(CheckIn("", dir).Warnings, func(w string) bool {
				return strings.Contains(w, `they are taken as classes in sorted order, 0 is "b", 1 is "zoo", 2 is "ähre"; write classes: [...]`)
			})
			if told != (c.name == "sorted") {
				t.Errorf("told of sorted names: %v", told)
			}
		})
	}
}

// TestExternalScores checks that problems of score files are reported at their
// variants' lines.
func TestExternalScores(t *testing.T) {
	dir := writeScored(t, scoredYAML("metric: external", "[7]"), []int64{7})
	scoresOf := func(values ...float32) []byte {
		var data []byte
		for _, v := range values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		return npy(1, fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }\n", len(values)), data)
	}
	write(t, dir, "scores/all.npy", scoresOf(0, 1, 0.5, 1))
	m, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		file []byte // nil: none
		want string // "": valid
	}{
		{"missing", nil, "no such file or directory; with the metric external, write one score in [0, 1] for each sample of the profile set there"},
		{"sound", scoresOf(0.25, 0.5, 1, 0), ""},
		{"whole numbers", npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }\n", []byte{0, 1, 1, 0}), ""},
		{"too few", scoresOf(0.25, 0.5, 1), "it has shape [3]; the profile set has 4 samples, so it must be [4]"},
		{"too large", scoresOf(0.25, 0.5, 1.5, 0), "the score of sample 2 is 1.5; it must be between 0 and 1"},
		{"negative", scoresOf(0.25, 0.5, 0, -0.1), "the score of sample 3 is -0.1"},
		{"NaN", scoresOf(0.25, float32(math.NaN()), 1, 0), "the score of sample 1 is NaN; it must be between 0 and 1"},
		{"a matrix", npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 1), }\n", make([]byte, 16)), "it has shape [4,1]"},
		{"no array", []byte("0.5\n"), "not an .npy array"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.file != nil {
				write(t, dir, "scores/image.npy", c.file)
			}
			got := lines(dir, Check(dir))
			scores, err := m.ExternalScores(4)
			if c.want == "" {
				if len(got) > 0 || err != nil || len(scores) != 2 || !slices.Equal(scores[1], []float64{0, 1, 0.5, 1}) {
					t.Errorf("%q, %v, %v", got, scores, err)
				}
				return
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], "18:5: variant image: scores/image.npy: ") || !strings.Contains(got[0], c.want) || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// TestSchemaHasTheMetrics compares the metrics' schema with the table, by what each
// accepts.
func TestSchemaHasTheMetrics(t *testing.T) {
	schema := loadSchema(t)
	values := map[string]string{"k": "1", "threshold": "0.5", "values": "logit", "tolerance": "0.5", "scale": "2", "score": "f1", "padding": "-1"}
	shapes := map[string]string{"binary": "[1]", "sign": "[1]", "within": "[1]", "bounded_error": "[1]", "token_accuracy": "[2, 2]"}
	check := func(name, metric string, sound bool) {
		t.Helper()
		shape := shapes[name]
		if shape == "" {
			shape = "[2]"
		}
		text := scoredYAML("metric: "+metric, shape)
		r := newReport(FileName)
		s := r.readSpec([]byte(text))
		r.build(&s)
		var document any
		if err := yaml.Unmarshal([]byte(text), &document); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); (err == nil) != sound || (len(r.Problems) == 0) != sound {
			t.Errorf("%s, should be sound: %v; the schema says %v, the loader %v", metric, sound, err, r.Problems)
		}
	}
	for _, name := range score.Names() {
		m, _ := score.New(name)
		var required, optional []string
		for _, p := range m.Params() {
			if p.Required {
				required = append(required, p.Key+": "+values[p.Key])
			} else {
				optional = append(optional, p.Key+": "+values[p.Key])
			}
		}
		with := func(params ...string) string {
			return "{" + strings.Join(append([]string{"name: " + name}, params...), ", ") + "}"
		}
		check(name, name, len(required) == 0)
		check(name, with(required...), true)
		check(name, with(append(slices.Clone(required), optional...)...), true)
		if len(required) > 0 {
			check(name, with(optional...), false)
		}
		for key, v := range values {
			if !slices.ContainsFunc(m.Params(), func(p score.Param) bool { return p.Key == key }) {
				check(name, with(append(slices.Clone(required), key+": "+v)...), false)
			}
		}
	}
	check("accuracy", "macro_f1", false)
}

// TestWords checks that answers and labels are described in the words of the metric.
func TestWords(t *testing.T) {
	classes := &Model{Labels: []string{"cat", "dog"}, Outputs: []Spec{{Shape: tensor.Shape{2}}}}
	set := &Set{Labels: score.Labels{Width: 1, Values: []float64{1, 2}}}
	if got := classes.Answered(score.Result{Class: 1, Confidence: 0.875}); got != "dog, 87.5 % sure" {
		t.Error(got)
	}
	if got := classes.Labelled(set, 0) + " " + classes.Labelled(set, 1); got != `"dog" "class 2"` {
		t.Error(got)
	}
	numbers := &Model{}
	numbers.Scoring, _ = score.New("sign")
	if got := numbers.Answered(score.Result{Values: []float64{-0.5}}) + " " + numbers.Labelled(set, 1); got != "-0.5 2" {
		t.Error(got)
	}
	wide := &Set{Labels: score.Labels{Width: 10, Values: make([]float64, 10)}}
	if got := numbers.Labelled(wide, 0); got != "0, 0, 0, 0, 0, 0, 0, 0, ..." {
		t.Error(got)
	}
	external := &Model{}
	external.Scoring, _ = score.New("external")
	if got := external.Answered(score.Result{}) + " " + external.Labelled(&Set{}, 0); got != "an answer without a label" {
		t.Error(got)
	}
}
