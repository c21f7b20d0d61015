package proposal_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/proposal"
	"github.com/mosel-serve/mosel/tensor"
)

// anyNames are names that exporters give, names that YAML takes for something else,
// and names that no package can have.
var anyNames = []string{"input_ids", "attention_mask", "token_type_ids", "pixel_values", "input_values", "image_left", "image_right", "text", "x", "y", "on", "null",
	"1", "1e3", "a:b", "a #b", "{x}", "it's", `"q"`, `back\slash`, "with space", "-", "ü", "sensor_a", "sensor_b", "stats", "all", "model/in:0",
	"", "\x01", "a\u0085b", "\u2028", "\ufeff", "\xff", strings.Repeat("n", 70), strings.Repeat("n", 300)}

var anyOutputs = []string{"logits", "probabilities", "label", "p:0", "{y}", "yes", "embedding", "0", "x"}

var anyTypes = []tensor.DType{tensor.FP32, tensor.FP32, tensor.FP32, tensor.Int64, tensor.Int32, tensor.Uint8, tensor.Bool, tensor.FP16, tensor.BF16, tensor.FP64}

var anyFiles = []string{"text.onnx", "onnx/image.onnx", "m_int8.onnx", "m_fp16.onnx", "all.onnx", "a b.onnx", "on.onnx", "ü.onnx", "deep/er/x.ONNX", strings.Repeat("f", 90) + ".onnx"}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// anyValue is an input or output with a mostly sensible shape.
func anyValue(r *rand.Rand) modelpkg.Spec {
	s := modelpkg.Spec{Name: pick(r, anyNames[:28]), DType: pick(r, anyTypes)}
	if r.IntN(20) == 0 {
		s.Name = pick(r, anyNames)
	}
	first := int64(-1)
	switch r.IntN(40) {
	case 0:
		first = 1
	case 1:
		first = int64(r.IntN(4))
	}
	if r.IntN(50) > 0 {
		s.Shape = append(s.Shape, first)
		for range r.IntN(4) {
			s.Shape = append(s.Shape, pick(r, []int64{-1, 1, 2, 2, 3, 4, 5, 28, int64(r.IntN(8))}))
		}
	}
	return s
}

// anyDirectory writes graphs with any inputs and outputs, and perhaps samples.
func anyDirectory(t testing.TB, dir string, r *rand.Rand) {
	inputs, outputs := make([]modelpkg.Spec, 1+r.IntN(4)), make([]modelpkg.Spec, 1+r.IntN(2))
	for i := range inputs {
		inputs[i] = anyValue(r)
	}
	for i := range outputs {
		outputs[i] = anyValue(r)
		outputs[i].Name += "_out"
		if r.IntN(3) > 0 {
			outputs[i] = modelpkg.Spec{Name: pick(r, anyOutputs), DType: tensor.FP32, Shape: tensor.Shape{-1, pick(r, []int64{1, 2, 3, -1})}}
		}
	}
	graphs := 1 + r.IntN(4)
	for range graphs {
		var g modelpkgtest.Graph
		add := func(field int, s modelpkg.Spec) {
			if r.IntN(60) == 0 { // without a shape
				g.Typed(11, s.Name, []byte{0x0a, 0x02, 0x08, pick(r, []byte{1, 2, 6, 7, 9, 10, 14, 16})})
				return
			}
			dims := make([]int, len(s.Shape))
			for i, d := range s.Shape {
				dims[i] = int(d)
			}
			if field == 11 {
				g.Input(s.Name, s.DType, dims...)
			} else {
				g.Output(s.Name, s.DType, dims...)
			}
		}
		for _, in := range inputs {
			if r.IntN(3) > 0 {
				if r.IntN(60) == 0 {
					in = anyValue(r)
				}
				add(11, in)
			}
		}
		for _, out := range outputs {
			if r.IntN(20) > 0 {
				add(12, out)
			}
		}
		file := g.File()
		if r.IntN(60) == 0 {
			file = file[:r.IntN(len(file))]
		}
		writeFile(t, filepath.Join(dir, pick(r, anyFiles)), file)
	}
	if r.IntN(4) > 0 {
		anySamples(t, dir, r, inputs)
	}
}

// anySamples writes samples that mostly fit the inputs.
func anySamples(t testing.TB, dir string, r *rand.Rand, inputs []modelpkg.Spec) {
	const n = 6
	var arrays []tensor.Tensor
	for _, in := range inputs {
		shape := tensor.Shape{n}
		if len(in.Shape) > 0 {
			for _, d := range in.Shape[1:] {
				if d < 0 {
					d = int64(1 + r.IntN(4))
				}
				shape = append(shape, d)
			}
		}
		dtype := in.DType
		if dtype == tensor.BF16 {
			dtype = tensor.Uint16
		}
		if r.IntN(80) == 0 {
			dtype = tensor.FP32
		}
		count, err := shape.Elements()
		if err != nil || slices.ContainsFunc(arrays, func(a tensor.Tensor) bool { return a.Name == in.Name }) {
			continue
		}
		arrays = append(arrays, tensor.Tensor{Name: in.Name, DType: dtype, Shape: shape, Data: make([]byte, count*dtype.Size())})
	}
	width := 1 + r.IntN(3)
	labels := make([]int64, n*width)
	for i := range labels {
		labels[i] = int64(r.IntN(3))
	}
	shape := tensor.Shape{n, int64(width)}
	if width == 1 && r.IntN(3) > 0 {
		shape = shape[:1]
	}
	switch r.IntN(8) {
	case 0:
		values := make([]float32, len(labels))
		for i, l := range labels {
			values[i] = float32(l) + 0.5
		}
		arrays = append(arrays, arrayOf(t, "label", shape, values))
	case 1: // none
	default:
		arrays = append(arrays, arrayOf(t, "label", shape, labels))
	}
	if r.IntN(6) == 0 {
		arrays = append(arrays, arrayOf(t, "gallery", tensor.Shape{2, 3}, []float32{1, 0, 0, 0, 1, 0}), arrayOf(t, "gallery_label", tensor.Shape{2}, []int64{0, 1}))
	}
	writeNPZ(t, filepath.Join(dir, pick(r, []string{"samples.npz", "eval/profile.npz", "test.npz", "train.npz"})), arrays...)
}

// checkAny proposes a package for a directory drawn from a seed: either a check
// accepts it, or there is something to decide.
func checkAny(t testing.TB, seed uint64) (accepted bool) {
	dir := filepath.Join(t.TempDir(), fmt.Sprint("m", seed))
	r := rand.New(rand.NewPCG(seed, 0))
	anyDirectory(t, dir, r)
	p, err := proposal.For(dir, proposal.Options{})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	text := p.YAML() // a draft, too, must not fail
	if len(p.Decisions) > 0 {
		for _, d := range p.Decisions {
			if d.Why == "" || len(d.Answers) == 0 {
				t.Fatalf("seed %d: a decision without a reason or an answer: %+v", seed, d)
			}
		}
		return false
	}
	if found := modelpkg.CheckText(dir, text); len(found.Problems) > 0 {
		t.Fatalf("seed %d: nothing to decide, and a check refuses it:\n%v\n%s", seed, found.Problems, text)
	}
	if err := os.WriteFile(filepath.Join(dir, modelpkg.FileName), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := modelpkg.Load(dir); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	return true
}

func TestAnyGraphsGiveASoundPackageOrDecisions(t *testing.T) {
	accepted := 0
	const seeds = 500
	for seed := range uint64(seeds) {
		if checkAny(t, seed) {
			accepted++
		}
	}
	t.Logf("%d of %d directories gave a package", accepted, seeds)
	if accepted < seeds/50 || accepted > seeds*49/50 {
		t.Errorf("%d of %d directories gave a package: the draw tests only one side", accepted, seeds)
	}
}

func FuzzAnyGraphs(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { checkAny(t, seed) })
}
