package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// sharedEncoder writes a package of two exits behind one encoder, as stages or as whole
// graphs, with a set whose labels are what the weights compute in three of four cases.
func sharedEncoder(t *testing.T, staged bool) string {
	t.Helper()
	const columns = 4
	x, w, y := products(columns)
	encoder := func(g *modelpkgtest.Graph) {
		g.Input("x", tensor.FP32, modelpkgtest.Batch, 3)
		g.Weight("w", tensor.FP32, floats(w...), 3, columns)
		g.Node("MatMul", []string{"x", "w"}, []string{"features"})
	}
	early := func(g *modelpkgtest.Graph) { // the first exit is wrong about half of the classes
		g.Weight("half", tensor.FP32, floats(1, 1, 0, 0), columns)
		g.Node("Mul", []string{"features", "half"}, []string{"logits"})
		g.Node("Softmax", []string{"logits"}, []string{"scores"}, modelpkgtest.Integer("axis", 1))
		g.Output("scores", tensor.FP32, modelpkgtest.Batch, columns)
	}
	late := func(g *modelpkgtest.Graph) {
		g.Node("Softmax", []string{"features"}, []string{"scores"}, modelpkgtest.Integer("axis", 1))
		g.Output("scores", tensor.FP32, modelpkgtest.Batch, columns)
	}
	whole := func(parts ...func(*modelpkgtest.Graph)) []byte {
		g := new(modelpkgtest.Graph)
		for _, part := range parts {
			part(g)
		}
		return g.File()
	}
	features := func(g *modelpkgtest.Graph) { g.Input("features", tensor.FP32, modelpkgtest.Batch, columns) }
	given := func(g *modelpkgtest.Graph) { g.Output("features", tensor.FP32, modelpkgtest.Batch, columns) }
	files := map[string][]byte{"early.onnx": whole(encoder, early), "late.onnx": whole(encoder, late)}
	variants := "variants:\n  - {name: early, modalities: [a], path: early.onnx}\n  - {name: late, modalities: [a], path: late.onnx}\n"
	if staged {
		files = map[string][]byte{"encoder.onnx": whole(encoder, given), "early.onnx": whole(features, early), "late.onnx": whole(features, late)}
		variants = "stages:\n  - {name: encoder, path: encoder.onnx}\n  - {name: first, path: early.onnx}\n  - {name: last, path: late.onnx}\n" +
			"variants:\n  - {name: early, modalities: [a], stages: [encoder, first]}\n  - {name: late, modalities: [a], stages: [encoder, last]}\n"
	}
	files["mosel.yaml"] = fmt.Appendf(nil, "format: 1\nname: shared\nmodalities:\n  - name: a\n    inputs:\n      - {name: x, datatype: FP32, shape: [3]}\n"+
		"outputs:\n  - {name: scores, datatype: FP32, shape: [%d]}\n%slimits: {max_batch: 8}\nevaluation: {profile: eval.npz}\n", columns, variants)
	var labels []int64
	for i := range y {
		best := 0
		for c := range y[i] {
			if y[i][c] > y[i][best] {
				best = c
			}
		}
		if i%4 == 0 {
			best = (best + 1) % columns
		}
		labels = append(labels, int64(best))
	}
	n := int64(len(y))
	files["eval.npz"] = npzWithTexts(t, []tensor.Tensor{arrayOf("x", tensor.Shape{n, 3}, x), arrayOf("label", tensor.Shape{n}, labels)}, nil)
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestStagedPackage checks, profiles and serves a package of stages, and compares it
// with the same model as whole graphs.
func TestStagedPackage(t *testing.T) {
	needRuntime(t)
	var means [2][]float64
	for i, staged := range []bool{false, true} {
		dir := sharedEncoder(t, staged)
		if out, err := runMosel("check", dir); err != nil {
			t.Fatalf("staged %v: %v\n%s", staged, err, out)
		}
		p, out := profiled(t, dir)
		for _, v := range p.Variants {
			means[i] = append(means[i], v.Accuracy.Mean)
			if !strings.Contains(out, v.Name) {
				t.Errorf("the table does not name %s:\n%s", v.Name, out)
			}
		}
		if staged != (len(p.Stages) == 3) || staged != (p.Variants[1].Sum != nil) || staged != strings.Contains(out, "encoder") {
			t.Errorf("staged %v: stages %+v, variant %+v\n%s", staged, p.Stages, p.Variants[1], out)
		}
		if m, err := modelpkg.Load(dir); err != nil || (m.Stages != nil) != staged {
			t.Errorf("staged %v: %v", staged, err)
		}
	}
	if fmt.Sprint(means[0]) != fmt.Sprint(means[1]) || means[0][1] < 0.7 || means[0][0] >= means[0][1] {
		t.Errorf("accuracies of whole graphs %v, of stages %v", means[0], means[1])
	}
}
