package ort

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/tensor"
)

// fusion is a late-fusion model with an encoder for each of two modalities and a head
// for each subset: with stages, or with one whole graph per variant.
type fusion struct {
	width  int // of the encoders' weights, which are width x width
	random *rand.Rand
	cached map[string][]byte
}

func newFusion(width int) *fusion {
	return &fusion{width: width, random: rand.New(rand.NewPCG(1, 1)), cached: map[string][]byte{}}
}

// weights returns the same numbers for the same name.
func (f *fusion) weights(name string, rows, columns int) []byte {
	if f.cached[name] == nil {
		var data []byte
		for range rows * columns {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(f.random.NormFloat64())/float32(math.Sqrt(float64(rows)))))
		}
		f.cached[name] = data
	}
	return f.cached[name]
}

// encoder adds the encoder of a modality: two layers.
func (f *fusion) encoder(g *modelpkgtest.Graph, modality string) {
	n := f.width
	g.Weight(modality+"_w1", tensor.FP32, f.weights(modality+"_w1", n, n), n, n)
	g.Weight(modality+"_w2", tensor.FP32, f.weights(modality+"_w2", n, n), n, n)
	g.Node("MatMul", []string{modality, modality + "_w1"}, []string{modality + "_1"})
	g.Node("Relu", []string{modality + "_1"}, []string{modality + "_2"})
	g.Node("MatMul", []string{modality + "_2", modality + "_w2"}, []string{modality + "_features"})
}

// head adds the head of a subset.
func (f *fusion) head(g *modelpkgtest.Graph, modalities ...string) {
	name := strings.Join(modalities, "_") + "_head"
	var features []string
	for _, m := range modalities {
		features = append(features, m+"_features")
	}
	g.Node("Concat", features, []string{"features"}, modelpkgtest.Integer("axis", 1))
	g.Weight(name, tensor.FP32, f.weights(name, f.width*len(modalities), 3), f.width*len(modalities), 3)
	g.Node("MatMul", []string{"features", name}, []string{"logits"})
	g.Node("Softmax", []string{"logits"}, []string{"scores"}, modelpkgtest.Integer("axis", 1))
	g.Output("scores", tensor.FP32, modelpkgtest.Batch, 3)
}

var fusionVariants = [][]string{{"text"}, {"image"}, {"text", "image"}}

// files returns the graphs, and the part of mosel.yaml that names them.
func (f *fusion) files(staged bool) (graphs map[string]*modelpkgtest.Graph, yaml string) {
	graphs = map[string]*modelpkgtest.Graph{}
	var stages, variants strings.Builder
	for _, m := range []string{"text", "image"} {
		g := new(modelpkgtest.Graph)
		g.Input(m, tensor.FP32, modelpkgtest.Batch, f.width)
		f.encoder(g, m)
		g.Output(m+"_features", tensor.FP32, modelpkgtest.Batch, f.width)
		graphs[m+".onnx"] = g
		fmt.Fprintf(&stages, "  - {name: %s, path: %s.onnx}\n", m, m)
	}
	for _, modalities := range fusionVariants {
		name := strings.Join(modalities, "_")
		g := new(modelpkgtest.Graph)
		for _, m := range modalities {
			if staged {
				g.Input(m+"_features", tensor.FP32, modelpkgtest.Batch, f.width)
				continue
			}
			g.Input(m, tensor.FP32, modelpkgtest.Batch, f.width)
			f.encoder(g, m)
		}
		f.head(g, modalities...)
		graphs[name+"_head.onnx"] = g
		list := strings.Join(modalities, ", ")
		if staged {
			fmt.Fprintf(&stages, "  - {name: %s_head, path: %s_head.onnx}\n", name, name)
			fmt.Fprintf(&variants, "  - {name: %s, modalities: [%s], stages: [%s, %s_head]}\n", name, list, list, name)
		} else {
			fmt.Fprintf(&variants, "  - {name: %s, modalities: [%s], path: %s_head.onnx}\n", name, list, name)
		}
	}
	if !staged {
		return graphs, "variants:\n" + variants.String()
	}
	return graphs, "stages:\n" + stages.String() + "variants:\n" + variants.String()
}

// write writes the package.
func (f *fusion) write(t testing.TB, staged bool) *modelpkg.Model {
	t.Helper()
	dir := t.TempDir()
	graphs, variants := f.files(staged)
	yaml := fmt.Sprintf(`format: 1
name: fusion
modalities:
  - {name: text, inputs: [{name: text, datatype: FP32, shape: [%d]}]}
  - {name: image, inputs: [{name: image, datatype: FP32, shape: [%d]}]}
outputs: [{name: scores, datatype: FP32, shape: [3]}]
limits: {max_batch: 8}
%s`, f.width, f.width, variants)
	if err := os.WriteFile(filepath.Join(dir, modelpkg.FileName), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, g := range graphs {
		if err := os.WriteFile(filepath.Join(dir, name), g.File(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := modelpkg.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestStagesConform runs the conformance suite on a model with stages.
func TestStagesConform(t *testing.T) {
	runtimetest.Run(t, runtimetest.Suite{Open: func(t testing.TB) runtime.Runtime { return open(t) }, Model: newFusion(16).write(t, true), Tolerance: 1e-4})
}

// TestStagesAgreeWithWholeGraphs runs the same items on stages and on whole graphs with
// the same weights.
func TestStagesAgreeWithWholeGraphs(t *testing.T) {
	f := newFusion(24)
	whole, staged := f.write(t, false), f.write(t, true)
	rt := open(t)
	var instances []runtime.Instance
	for _, m := range []*modelpkg.Model{whole, staged} {
		in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		instances = append(instances, in)
	}
	random := rand.New(rand.NewPCG(2, 2))
	for size := 1; size <= 8; size++ {
		items := make([]runtime.Item, size)
		for i := range items {
			for _, in := range whole.Inputs {
				items[i] = append(items[i], runtimetest.Random(random, in.Spec, 0))
			}
		}
		for v := range whole.Variants {
			want, err := instances[0].Run(t.Context(), v, items)
			if err != nil {
				t.Fatal(err)
			}
			got, err := instances[1].Run(t.Context(), v, items)
			if err != nil {
				t.Fatal(err)
			}
			a, err := tensor.Values[float32](want[0])
			if err != nil {
				t.Fatal(err)
			}
			b, err := tensor.Values[float32](got[0])
			if err != nil {
				t.Fatal(err)
			}
			for i := range a {
				if math.Abs(float64(a[i]-b[i])) > 1e-5 {
					t.Fatalf("variant %s, %d items: whole %v, staged %v", whole.Variants[v].Name, size, a, b)
				}
			}
		}
	}
}

// TestStagesAreLoadedOnce counts sessions: one per graph, for any number of variants
// and instances that run it.
func TestStagesAreLoadedOnce(t *testing.T) {
	m := newFusion(8).write(t, true)
	rt := open(t)
	var all []runtime.Instance
	for range 3 {
		in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	if n := len(m.Stages); len(rt.sessions) != n {
		t.Errorf("%d sessions of %d stages", len(rt.sessions), n)
	}
	for _, in := range all {
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(rt.sessions) != 0 {
		t.Errorf("%d sessions are left", len(rt.sessions))
	}
}

// BenchmarkFusion compares a late-fusion model with stages with the same model as whole
// graphs: the time and memory of loading, and the time per item.
func BenchmarkFusion(b *testing.B) {
	for _, staged := range []bool{false, true} {
		b.Run(fmt.Sprintf("staged=%v", staged), func(b *testing.B) {
			m := newFusion(1024).write(b, staged)
			rt := open(b)
			defer rt.Close()
			before, began := memory(b), time.Now()
			in, err := rt.Load(b.Context(), m, runtime.Options{Threads: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer in.Close()
			loading := time.Since(began)
			random := rand.New(rand.NewPCG(3, 3))
			items := make([]runtime.Item, 4)
			for i := range items {
				for _, input := range m.Inputs {
					items[i] = append(items[i], runtimetest.Random(random, input.Spec, 0))
				}
			}
			for v := range m.Variants {
				if _, err := in.Run(b.Context(), v, items); err != nil {
					b.Fatal(err)
				}
			}
			grown := memory(b) - before
			for b.Loop() {
				if _, err := in.Run(b.Context(), 2, items); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(loading.Microseconds())/1000, "load-ms")
			b.ReportMetric(float64(grown)/(1<<20), "MiB")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(items)), "us/item")
		})
	}
}

// memory returns the process's memory in bytes, without free memory.
func memory(b *testing.B) int {
	b.Helper()
	debug.FreeOSMemory()
	return resident(b)
}
