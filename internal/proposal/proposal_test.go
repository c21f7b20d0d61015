package proposal_test

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/profiler"
	"github.com/mosel-serve/mosel/internal/proposal"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/tensor"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sizes of the batch, and of a dimension that varies, in declarations of graphs.
const open = modelpkgtest.Batch

// an input or output of a test's graph, the batch included.
type value struct {
	name  string
	dtype tensor.DType
	dims  []int
}

func in(name string, dtype tensor.DType, dims ...int) value { return value{name, dtype, dims} }

// scorer is a graph that really runs: it scores classes by the mean of its inputs.
// The output is [batch, classes], or [batch] for one number.
func scorer(output string, classes int, inputs ...value) []byte {
	var g modelpkgtest.Graph
	sum := ""
	for i, v := range inputs {
		g.Input(v.name, v.dtype, v.dims...)
		part := func(step string) string { return fmt.Sprintf("%s_%d", step, i) }
		g.Node("Cast", []string{v.name}, []string{part("cast")}, modelpkgtest.Integer("to", 1))
		axes := make([]int, len(v.dims)-1)
		for a := range axes {
			axes[a] = a + 1
		}
		g.Node("ReduceMean", []string{part("cast")}, []string{part("mean")}, modelpkgtest.Integers("axes", axes...), modelpkgtest.Integer("keepdims", 0))
		if sum == "" {
			sum = part("mean")
			continue
		}
		g.Node("Add", []string{sum, part("mean")}, []string{part("sum")})
		sum = part("sum")
	}
	if classes == 1 {
		g.Node("Sigmoid", []string{sum}, []string{output})
		g.Output(output, tensor.FP32, open)
		return g.File()
	}
	weights := make([]byte, 0, 4*classes)
	for c := range classes {
		bits := math.Float32bits(float32(c))
		weights = append(weights, byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24))
	}
	g.Weight("w", tensor.FP32, weights, 1, classes)
	axes := tensorBytes(1)
	g.Weight("axes", tensor.Int64, axes, 1)
	g.Node("Unsqueeze", []string{sum, "axes"}, []string{"column"})
	g.Node("MatMul", []string{"column", "w"}, []string{"logits"})
	g.Node("Softmax", []string{"logits"}, []string{output}, modelpkgtest.Integer("axis", 1))
	g.Output(output, tensor.FP32, open, classes)
	return g.File()
}

func tensorBytes(values ...int64) []byte {
	t, _ := tensor.Of("", tensor.Shape{int64(len(values))}, values) // as many as the shape says
	return t.Data
}

// numbers are values for the samples of an input.
func numbers[T int64 | float32 | uint8](n int, of func(i int) T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = of(i)
	}
	return all
}

func propose(t *testing.T, dir string, o proposal.Options) *proposal.Proposal {
	t.Helper()
	p, err := proposal.For(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sound proposes a package, writes it, and lets a check and the real runtime judge it.
func sound(t *testing.T, dir string, o proposal.Options) (*proposal.Proposal, *modelpkg.Model) {
	t.Helper()
	p := propose(t, dir, o)
	if len(p.Decisions) > 0 {
		t.Fatalf("there is something to decide: %+v", p.Decisions)
	}
	writeFile(t, filepath.Join(dir, modelpkg.FileName), p.YAML())
	found := modelpkg.CheckIn("", dir)
	if len(found.Problems) > 0 {
		t.Fatalf("%v\n%s", found.Problems, p.YAML())
	}
	rt, err := ort.Open(t.Context(), ort.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	var set *modelpkg.Set
	if m := found.Model; m.Evaluation.Profile != "" {
		if set, err = modelpkg.OpenSet(m.File(m.Evaluation.Profile), m); err != nil {
			t.Fatal(err)
		}
	}
	trial, err := profiler.Try(t.Context(), rt, found.Model, set)
	if err != nil || len(trial.Problems) > 0 {
		t.Fatalf("%v %v\n%s", err, trial.Problems, p.YAML())
	}
	return p, found.Model
}

// post writes the graphs of a model of posts: a text of ids, a picture, and both,
// the last in two precisions; and samples.
func post(t *testing.T, dir string) {
	t.Helper()
	ids, mask := in("input_ids", tensor.Int64, open, open), in("attention_mask", tensor.Int64, open, open)
	pixels := in("pixel_values", tensor.FP32, open, 3, open, open)
	writeFile(t, filepath.Join(dir, "onnx/text.onnx"), scorer("probabilities", 3, ids, mask))
	writeFile(t, filepath.Join(dir, "onnx/image.onnx"), scorer("probabilities", 3, pixels))
	writeFile(t, filepath.Join(dir, "onnx/both.onnx"), scorer("probabilities", 3, pixels, ids, mask))
	writeFile(t, filepath.Join(dir, "onnx/both_int8.onnx"), scorer("probabilities", 3, pixels, ids, mask))
	const n = 12
	writeNPZ(t, filepath.Join(dir, "samples.npz"),
		arrayOf(t, "input_ids", tensor.Shape{n, 5}, numbers(n*5, func(i int) int64 { return int64(i % 30) })),
		arrayOf(t, "attention_mask", tensor.Shape{n, 5}, numbers(n*5, func(i int) int64 { return int64(i % 2) })),
		arrayOf(t, "pixel_values", tensor.Shape{n, 3, 2, 2}, numbers(n*12, func(i int) float32 { return float32(i % 7) })),
		arrayOf(t, "label", tensor.Shape{n}, numbers(n, func(i int) int64 { return int64(i % 3) })))
}

func TestGolden(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "posts")
	post(t, dir)
	p, m := sound(t, dir, proposal.Options{})
	golden(t, "posts.yaml", p.YAML())
	if got := strings.Join(m.ModalityNames(), " "); got != "image text" {
		t.Errorf("modalities %s", got)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		writeFile(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", file, got)
	}
}

func TestOneGraphIsOneVariant(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "one")
	writeFile(t, filepath.Join(dir, "model.onnx"), scorer("scores", 4, in("text_a", tensor.FP32, open, 2), in("text_b", tensor.FP32, open, 2), in("image", tensor.Uint8, open, 4, 4)))
	p, m := sound(t, dir, proposal.Options{})
	if len(m.Variants) != 1 || strings.Join(m.ModalityNames(), " ") != "text image" {
		t.Errorf("variants %v of %v", m.Variants, m.ModalityNames())
	}
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "export a graph for each subset of text, image") {
		t.Errorf("it does not say what is missing for a choice: %s", notes)
	}
	if p.Metric.Text != "accuracy" || !strings.Contains(p.Metric.Why, "assumed") {
		t.Errorf("metric %+v", p.Metric)
	}
}

func TestInputsAreGroupedByNamesAndGraphs(t *testing.T) {
	f := func(name string) value { return in(name, tensor.FP32, open, 2) }
	for name, c := range map[string]struct {
		graphs [][]value
		want   string
	}{
		"always together":                   {[][]value{{f("a"), f("b")}, {f("c")}, {f("a"), f("b"), f("c")}}, "a: a b, c: c"},
		"common beginning":                  {[][]value{{f("lidar_points"), f("lidar_mask")}, {f("c")}}, "lidar: lidar_points lidar_mask, c: c"},
		"known names stay apart":            {[][]value{{f("text"), f("audio")}, {f("c")}}, "text: text, audio: audio, c: c"},
		"the same kind twice":               {[][]value{{f("image_left")}, {f("image_right")}, {f("image_left"), f("image_right")}}, "image_left: image_left, image_right: image_right"},
		"a mask goes with its ids":          {[][]value{{f("input_ids"), f("attention_mask"), f("pixel_values")}}, "text: input_ids attention_mask, image: pixel_values"},
		"a mask goes with sound":            {[][]value{{f("input_values"), f("attention_mask")}, {f("c")}}, "audio: input_values attention_mask, c: c"},
		"one graph, by beginnings":          {[][]value{{f("s_x"), f("s_y"), f("other")}}, "s: s_x s_y, other: other"},
		"a name that graphs tell apart":     {[][]value{{f("s_x")}, {f("s_y"), f("s_x")}}, "s_y: s_y, s_x: s_x"},
		"a setting of all graphs":           {[][]value{{f("x"), in("temperature", tensor.FP32, 1)}, {f("y"), in("temperature", tensor.FP32, 1)}}, "x: x, temperature: temperature, y: y"},
		"a setting goes with what is there": {[][]value{{f("x"), in("temperature", tensor.FP32, 1)}, {f("y")}}, "x: x temperature, y: y"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, inputs := range c.graphs {
				var g modelpkgtest.Graph
				for _, v := range inputs {
					g.Input(v.name, v.dtype, v.dims...)
				}
				g.Output("scores", tensor.FP32, open, 3)
				writeFile(t, filepath.Join(dir, fmt.Sprintf("%d.onnx", i)), g.File())
			}
			p := propose(t, dir, proposal.Options{})
			var got []string
			for _, m := range p.Modalities {
				var names []string
				for _, v := range m.Inputs {
					names = append(names, v.Name)
				}
				got = append(got, m.Name+": "+strings.Join(names, " "))
			}
			if text := strings.Join(got, ", "); text != c.want {
				t.Errorf("%s, want %s", text, c.want)
			}
			if found := modelpkg.CheckText(dir, p.YAML()); len(p.Decisions) == 0 && len(found.Problems) > 0 {
				t.Errorf("%v\n%s", found.Problems, p.YAML())
			}
		})
	}
}
