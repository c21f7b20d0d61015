package main

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// single is a package of one input x, FP32 [4], and scores p, FP32 [2].
const single = `format: 1
name: single
modalities:
  - name: a
    inputs:
      - {name: x, datatype: FP32, shape: [4]}
outputs:
  - {name: p, datatype: FP32, shape: [2]}
variants:
  - {name: v, modalities: [a], path: m.onnx}
limits: {max_batch: 8}
evaluation: {profile: eval.npz}
`

// needRuntime installs ONNX Runtime where it is not: check itself does not.
func needRuntime(t *testing.T) {
	t.Helper()
	if out, err := runMosel("runtime", "install"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func floats(values ...float32) []byte {
	x, _ := tensor.Of("", tensor.Shape{int64(len(values))}, values) // as many as the shape says
	return x.Data
}

func wholes(values ...int64) []byte {
	x, _ := tensor.Of("", tensor.Shape{int64(len(values))}, values) // as many as the shape says
	return x.Data
}

// linear begins a graph: x times a matrix is y [batch, 2].
func linear(g *modelpkgtest.Graph) {
	g.Input("x", tensor.FP32, modelpkgtest.Batch, 4)
	g.Weight("w", tensor.FP32, floats(1, -1, 2, 0, -1, 1, 0.5, 2), 4, 2)
	g.Node("MatMul", []string{"x", "w"}, []string{"y"})
}

// packaged writes a package of the graph with a set of 16 samples.
func packaged(t *testing.T, yaml string, g *modelpkgtest.Graph, more ...tensor.Tensor) string {
	t.Helper()
	const n = 16
	dir := t.TempDir()
	var x []byte
	for i := range 4 * n {
		x = append(x, floats(float32(i*7%11)/5-1)...)
	}
	var labels []byte
	for i := range n {
		labels = append(labels, byte(i%2))
	}
	arrays := append([]tensor.Tensor{
		{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{n, 4}, Data: x},
		{Name: "label", DType: tensor.Uint8, Shape: tensor.Shape{n}, Data: labels},
	}, more...)
	var set bytes.Buffer
	if err := modelpkg.WriteNPZ(&set, arrays); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"mosel.yaml": []byte(yaml), "m.onnx": g.File(), "eval.npz": set.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func scores(g *modelpkgtest.Graph) { g.Output("p", tensor.FP32, modelpkgtest.Batch, 2) }

// brokenInside are graphs that do not keep what their declarations promise.
var brokenInside = []struct {
	name  string
	build func(*modelpkgtest.Graph)
	want  string // "": sound
}{
	{"sound", func(g *modelpkgtest.Graph) {
		linear(g)
		g.Node("Softmax", []string{"y"}, []string{"p"}, modelpkgtest.Integer("axis", 1))
		scores(g)
	}, ""},
	{"a batch fixed inside", func(g *modelpkgtest.Graph) {
		linear(g)
		g.Weight("shape", tensor.Int64, wholes(1, 2), 2)
		g.Node("Reshape", []string{"y", "shape"}, []string{"p"})
		scores(g)
	}, "m.onnx: variant v: single items run, but a batch of 2 fails: "},
	{"answers that depend on the batch", func(g *modelpkgtest.Graph) {
		linear(g)
		g.Node("Softmax", []string{"y"}, []string{"p"}, modelpkgtest.Integer("axis", 0))
		scores(g)
	}, `m.onnx: variant v: the output "p" of an item depends on the other items of its batch: alone and in a batch of 8, `},
	{"centred over the batch", func(g *modelpkgtest.Graph) {
		linear(g)
		g.Node("ReduceMean", []string{"y"}, []string{"mean"}, modelpkgtest.Integers("axes", 0), modelpkgtest.Integer("keepdims", 1))
		g.Node("Sub", []string{"y", "mean"}, []string{"p"})
		scores(g)
	}, `the output "p" of an item depends on the other items of its batch`},
	{"another shape than declared", func(g *modelpkgtest.Graph) {
		linear(g)
		g.Node("Concat", []string{"y", "y"}, []string{"p"}, modelpkgtest.Integer("axis", 1))
		g.Output("p", tensor.FP32, modelpkgtest.Batch, -2)
	}, "m.onnx: variant v: it fails: "},
	{"an operator of a custom domain", func(g *modelpkgtest.Graph) {
		g.Domain = "com.example"
		linear(g)
		g.NodeOf("com.example", "Wonder", []string{"y"}, []string{"p"})
		scores(g)
	}, "m.onnx: variant v: the graph has an operator that ONNX Runtime does not know (a custom domain, or a newer opset)"},
	{"a newer opset", func(g *modelpkgtest.Graph) {
		g.Opset = 99
		linear(g)
		g.Node("Relu", []string{"y"}, []string{"p"})
		scores(g)
	}, "m.onnx: variant v: the graph's opset is newer than the installed ONNX Runtime knows"},
	{"a newer IR", func(g *modelpkgtest.Graph) {
		g.IR = 99
		linear(g)
		g.Node("Relu", []string{"y"}, []string{"p"})
		scores(g)
	}, "m.onnx: variant v: the graph's IR version is newer than the installed ONNX Runtime can read"},
}

// TestCheckRunsTheGraphs checks that what the declarations of a graph promise and
// its operators do not keep is told by check, not only by profile.
func TestCheckRunsTheGraphs(t *testing.T) {
	needRuntime(t)
	for _, c := range brokenInside {
		t.Run(c.name, func(t *testing.T) {
			var g modelpkgtest.Graph
			c.build(&g)
			dir := packaged(t, single, &g)
			out, err := runMosel("check", dir)
			if c.want == "" {
				if err != nil || !strings.Contains(out, "is valid: ") || !strings.Contains(out, "graphs: run on samples with onnxruntime ") {
					t.Errorf("%v\n%s", err, out)
				}
				return
			}
			if err == nil || !strings.Contains(out, c.want) || strings.Count(out, "\n") > 6 {
				t.Errorf("%v\n%s\nwant in it %q", err, out, c.want)
			}
			out, err = runMosel("check", dir, "--no-run")
			if err != nil || !strings.Contains(out, "graphs: not run (--no-run)") {
				t.Errorf("without running: %v\n%s", err, out)
			}
			if _, err := runMosel("profile", dir, "--quick", "--device", "test"); err == nil {
				t.Error("profile takes what check refuses")
			}
		})
	}
}

// TestCheckWithoutTheLibrary checks that a package can be checked where nothing
// is installed, and that check says what it did not do.
func TestCheckWithoutTheLibrary(t *testing.T) {
	var g modelpkgtest.Graph
	linear(&g)
	g.Node("Relu", []string{"y"}, []string{"p"})
	g.Output("p", tensor.FP32, modelpkgtest.Batch, 2)
	dir := packaged(t, single, &g)
	t.Setenv("MOSEL_ONNXRUNTIME", "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	out, err := runMosel("check", dir)
	if err != nil || !strings.Contains(out, "graphs: run on samples") && !strings.Contains(out, `graphs: not run, because ONNX Runtime is not installed ("mosel runtime install" installs it)`) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestCheckZipMap checks what is said of a classifier as converters export it.
func TestCheckZipMap(t *testing.T) {
	var g modelpkgtest.Graph
	linear(&g)
	g.Typed(12, "p", modelpkgtest.ZipMap())
	out, err := runMosel("check", packaged(t, single, &g), "--no-run")
	want := "mosel.yaml:8:25: p is declared FP32, but is of ONNX type sequence(map(int64,tensor(float))), which is no tensor (export with zipmap=False) in variant v (m.onnx)"
	if err == nil || !strings.Contains(out, want) {
		t.Errorf("%v\n%s\nwant %s", err, out, want)
	}
}

// TestServedForms takes a model as they really are through check and profile:
// scores of [classes, 1, 1] and a name that is no plain word.
func TestServedForms(t *testing.T) {
	needRuntime(t)
	const name = "/head/größe p:0"
	yaml := strings.Replace(single, "{name: p, datatype: FP32, shape: [2]}", `{name: "`+name+`", datatype: FP32, shape: [2, 1, 1]}`, 1)
	var g modelpkgtest.Graph
	linear(&g)
	g.Weight("shape", tensor.Int64, wholes(-1, 2, 1, 1), 4)
	g.Node("Reshape", []string{"y", "shape"}, []string{name})
	g.Output(name, tensor.FP32, modelpkgtest.Batch, 2, 1, 1)
	dir := packaged(t, yaml, &g)
	if out, err := runMosel("check", dir); err != nil {
		t.Fatalf("check: %v\n%s", err, out)
	}
	if out, err := runMosel("profile", dir, "--quick", "--batches", "1,2,8", "--device", "test"); err != nil {
		t.Fatalf("profile: %v\n%s", err, out)
	}
}

// TestHalfPrecisionScores profiles a model whose scores are FP16.
func TestHalfPrecisionScores(t *testing.T) {
	needRuntime(t)
	const fp16 = 10
	var g modelpkgtest.Graph
	linear(&g)
	g.Node("Cast", []string{"y"}, []string{"p"}, modelpkgtest.Integer("to", fp16))
	g.Output("p", tensor.FP16, modelpkgtest.Batch, 2)
	dir := packaged(t, strings.Replace(single, "name: p, datatype: FP32", "name: p, datatype: FP16", 1), &g)
	if out, err := runMosel("check", dir); err != nil {
		t.Fatalf("check: %v\n%s", err, out)
	}
	if out, err := runMosel("profile", dir, "--quick", "--device", "test"); err != nil {
		t.Fatalf("profile: %v\n%s", err, out)
	}
}

// TestCheckLinks checks a package whose graph is a link to a file beside the
// package: it is taken where the directory of both is named, and run from there.
func TestCheckLinks(t *testing.T) {
	needRuntime(t)
	var g modelpkgtest.Graph
	linear(&g)
	g.Node("Relu", []string{"y"}, []string{"p"})
	g.Output("p", tensor.FP32, modelpkgtest.Batch, 2)
	models := t.TempDir()
	dir := filepath.Join(models, "single")
	if err := os.CopyFS(dir, os.DirFS(packaged(t, single, &g))); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "m.onnx"), filepath.Join(models, "shared.onnx")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.FromSlash("../shared.onnx"), filepath.Join(dir, "m.onnx")); err != nil {
		t.Skip("no symbolic links here")
	}
	out, err := runMosel("check", dir)
	if err == nil || !strings.Contains(out, "m.onnx: a link leads out of the package (links must be relative, and stay inside the package or the models directory)") {
		t.Errorf("the package alone: %v\n%s", err, out)
	}
	if out, err := runMosel("check", dir, "--models", models); err != nil || !strings.Contains(out, "graphs: run on samples") {
		t.Errorf("within the models directory: %v\n%s", err, out)
	}
	if out, err := runMosel("profile", dir, "--models", models, "--quick", "--device", "test"); err != nil {
		t.Errorf("profile: %v\n%s", err, out)
	}
}

// TestUnbatchedSetting takes a model with a setting that has no batch, and differs
// between samples, through check and profile on the real runtime.
func TestUnbatchedSetting(t *testing.T) {
	needRuntime(t)
	yaml := strings.Replace(single, "{name: p, datatype: FP32, shape: [2]}", `{name: "/head/größe p:0", datatype: FP32, shape: [2, 1, 1]}`, 1)
	yaml = strings.Replace(yaml, "shape: [4]}", "shape: [4]}\n      - {name: heat, datatype: FP32, shape: [], batched: false}", 1)
	var g modelpkgtest.Graph
	linear(&g)
	g.Input("heat", tensor.FP32)
	g.Weight("shape", tensor.Int64, wholes(-1, 2, 1, 1), 4)
	g.Node("Div", []string{"y", "heat"}, []string{"cool"})
	g.Node("Reshape", []string{"cool", "shape"}, []string{"/head/größe p:0"})
	g.Output("/head/größe p:0", tensor.FP32, modelpkgtest.Batch, 2, 1, 1)
	heat := tensor.Tensor{Name: "heat", DType: tensor.FP32, Shape: tensor.Shape{16}}
	for i := range 16 {
		heat.Data = append(heat.Data, floats(float32(1-2*(i%3)))...) // 1, -1, -3, ...
	}
	dir := packaged(t, yaml, &g, heat)
	if out, err := runMosel("check", dir); err != nil {
		t.Fatalf("check: %v\n%s", err, out)
	}
	if out, err := runMosel("profile", dir, "--quick", "--batches", "1,2,8", "--device", "test"); err != nil {
		t.Fatalf("profile: %v\n%s", err, out)
	}
	m, err := modelpkg.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := modelpkg.FindProfile(m, "test")
	if err != nil {
		t.Fatal(err)
	}
	answers, err := modelpkg.LoadSamples(m, p.Origin(), m.SamplesPath("test"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(m.File("eval.npz"), m)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range answers.Variants["v"].Predicted {
		if want := linearClass(set.Item(i)); got != want {
			t.Errorf("sample %d is %d, want %d", i, got, want)
		}
	}
}

// linearClass is what the graph of TestUnbatchedSetting says of an item.
func linearClass(item [][]byte) int {
	number := func(data []byte, i int) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])) }
	w := []float32{1, -1, 2, 0, -1, 1, 0.5, 2}
	var y [2]float32
	for i := range 4 {
		y[0] += number(item[0], i) * w[2*i]
		y[1] += number(item[0], i) * w[2*i+1]
	}
	heat := number(item[1], 0)
	if y[1]/heat > y[0]/heat {
		return 1
	}
	return 0
}
