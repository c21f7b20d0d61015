package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// scoredModel is a package with a graph that really runs, x times a matrix, and
// labels that its answers often meet.
type scoredModel struct {
	name    string
	metric  string // as in mosel.yaml
	more    string // lines of mosel.yaml
	columns int    // of the matrix
	shape   []int  // of the output
	after   func(g *modelpkgtest.Graph)
	// label makes the labels of all samples from the products, and says how to change
	// the first so that another score follows.
	label func(y [][]float64, rng *rand.Rand) labels
	// score is the score of a sample, computed anew.
	score func(y []float64, l labels, i int) float64
	stats []string
}

// labels are labels as they are saved, and as numbers.
type labels struct {
	arrays  []tensor.Tensor
	texts   map[string][]string
	numbers [][]float64
	more    [][]float64 // gallery
	kinds   []string    // of the gallery
	mutate  func()
}

const scoredSamples = 80

// products are the matrix and its products with samples, computed here.
func products(columns int) (x, w []float32, y [][]float64) {
	rng := rand.New(rand.NewPCG(11, uint64(columns)))
	for range 3 * scoredSamples {
		x = append(x, float32(rng.NormFloat64()))
	}
	for range 3 * columns {
		w = append(w, float32(rng.NormFloat64()))
	}
	for i := range scoredSamples {
		row := make([]float64, columns)
		for c := range row {
			for k := range 3 {
				row[c] += float64(x[3*i+k]) * float64(w[k*columns+c])
			}
		}
		y = append(y, row)
	}
	return x, w, y
}

func arrayOf[T tensor.Element](name string, shape tensor.Shape, values []T) tensor.Tensor {
	a, err := tensor.Of(name, shape, values)
	if err != nil {
		panic(err)
	}
	return a
}

// write writes the package with these labels, held out too with others inside.
func (s scoredModel) write(t *testing.T, dir string, l labels) {
	t.Helper()
	x, w, _ := products(s.columns)
	g := new(modelpkgtest.Graph)
	g.Input("x", tensor.FP32, modelpkgtest.Batch, 3)
	g.Weight("w", tensor.FP32, floats(w...), 3, s.columns)
	g.Node("MatMul", []string{"x", "w"}, []string{"product"})
	s.after(g)
	g.Output("y", tensor.FP32, append([]int{modelpkgtest.Batch}, s.shape...)...)
	yaml := fmt.Sprintf("format: 1\nname: scored\nmetric: %s\n%smodalities:\n  - name: a\n    inputs:\n      - {name: x, datatype: FP32, shape: [3]}\n"+
		"outputs:\n  - {name: y, datatype: FP32, shape: %s}\nvariants:\n  - {name: v, modalities: [a], path: m.onnx}\nlimits: {max_batch: 8}\n"+
		"evaluation: {profile: eval.npz, heldout: heldout.npz}\n", s.metric, s.more, strings.ReplaceAll(fmt.Sprint(s.shape), " ", ", "))
	input := arrayOf("x", tensor.Shape{scoredSamples, 3}, x)
	files := map[string][]byte{"mosel.yaml": []byte(yaml), "m.onnx": g.File(), "eval.npz": npzWithTexts(t, append(slices.Clone(l.arrays), input), l.texts)}
	unused := tensor.Tensor{Name: "unused", DType: tensor.Uint8, Shape: tensor.Shape{1}, Data: []byte{1}}
	files["heldout.npz"] = npzWithTexts(t, append(slices.Clone(l.arrays), input, unused), l.texts)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// npzWithTexts is an .npz that has arrays of texts, too, as numpy.savez writes them.
func npzWithTexts(t *testing.T, arrays []tensor.Tensor, texts map[string][]string) []byte {
	t.Helper()
	var numbers, file bytes.Buffer
	if err := modelpkg.WriteNPZ(&numbers, arrays); err != nil {
		t.Fatal(err)
	}
	read, err := zip.NewReader(bytes.NewReader(numbers.Bytes()), int64(numbers.Len()))
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(&file)
	for _, f := range read.File {
		if err := archive.Copy(f); err != nil {
			t.Fatal(err)
		}
	}
	for name, list := range texts {
		entry, err := archive.Create(name + ".npy")
		if err != nil {
			t.Fatal(err)
		}
		const width = 12
		header := fmt.Sprintf("{'descr': '<U%d', 'fortran_order': False, 'shape': (%d,), }\n", width, len(list))
		body := append([]byte("\x93NUMPY\x01\x00"), binary.LittleEndian.AppendUint16(nil, uint16(len(header)))...)
		body = append(body, header...)
		for _, text := range list {
			runes := append([]rune(text), make([]rune, width)...)
			for _, r := range runes[:width] {
				body = binary.LittleEndian.AppendUint32(body, uint32(r))
			}
		}
		if _, err := entry.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// profiled profiles the package for real.
func profiled(t *testing.T, dir string) (*modelpkg.Profile, string) {
	t.Helper()
	out, err := runMosel("profile", dir, "--quick", "--batches", "1,8", "--device", "test")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m, err := modelpkg.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := modelpkg.FindProfile(m, "test")
	if err != nil {
		t.Fatal(err)
	}
	return p, out
}

// TestEveryMetric profiles a package of each metric with the real runtime, and
// compares with the mean score that is computed here. One label that is changed must
// change the mean by one sample's score.
func TestEveryMetric(t *testing.T) {
	needRuntime(t)
	for _, s := range scoredModels {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			_, _, y := products(s.columns)
			l := s.label(y, rand.New(rand.NewPCG(5, 5)))
			mean := func() float64 {
				sum := 0.0
				for i := range y {
					sum += s.score(y[i], l, i)
				}
				return sum / scoredSamples
			}
			s.write(t, dir, l)
			if problems := modelpkg.CheckIn("", dir).Problems; len(problems) > 0 {
				t.Fatal(problems)
			}
			p, out := profiled(t, dir)
			a, want := p.Variants[0].Accuracy, mean()
			if math.Abs(a.Mean-want) > 2e-6 || a.Samples != scoredSamples || a.Low >= a.Mean || a.High <= a.Mean {
				t.Errorf("the profile has %+v, computed %v", a, want)
			}
			if want < 0.3 || want > 0.98 {
				t.Errorf("a mean of %v tells little", want)
			}
			if !strings.Contains(out, p.Metric) {
				t.Errorf("the table does not name %q:\n%s", p.Metric, out)
			}
			if picture, err := os.ReadFile(filepath.Join(dir, "profiles", "test.svg")); err != nil || !bytes.Contains(picture, []byte(p.Metric+", 95 % interval")) {
				t.Errorf("the picture does not name %q: %v", p.Metric, err)
			}
			for _, name := range s.stats {
				if _, ok := p.Variants[0].Statistics[name]; !ok {
					t.Errorf("statistics %v lack %s", p.Variants[0].Statistics, name)
				}
			}
			if len(p.Variants[0].Statistics) != len(s.stats) {
				t.Errorf("statistics %v, want %v", p.Variants[0].Statistics, s.stats)
			}
			again, out := profiled(t, dir)
			if !reflect.DeepEqual(again.Variants[0].Accuracy, a) || !strings.Contains(out, "using the saved answers of 1 of 1 variants") {
				t.Errorf("with the answers kept: %+v\n%s", again.Variants[0].Accuracy, out)
			}
			l.mutate()
			s.write(t, dir, l)
			p, _ = profiled(t, dir)
			if got, changed := p.Variants[0].Accuracy.Mean, mean(); math.Abs(got-changed) > 2e-6 || math.Abs(changed-want) < 1e-4 {
				t.Errorf("with one other label: %v, computed %v, before %v", got, changed, want)
			}
		})
	}
}
