package ort

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/tensor"
)

// fusion writes a late-fusion model of two modalities and three subsets, with stages or
// with whole graphs that have the same weights.
func fusion(t testing.TB, width int, staged bool) *modelpkg.Model {
	t.Helper()
	m, err := modelpkgtest.Fusion{
		Encoders: []modelpkgtest.Encoder{{Name: "text", Width: width, Layers: 2}, {Name: "image", Width: width, Layers: 2}},
		Subsets:  [][]int{{0}, {1}, {0, 1}}, Staged: staged, BatchItemsMax: 8,
	}.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestStagesConform runs the conformance suite on a model with stages.
func TestStagesConform(t *testing.T) {
	runtimetest.Run(t, runtimetest.Suite{Open: func(t testing.TB) runtime.Runtime { return open(t) }, Model: fusion(t, 16, true), Tolerance: 1e-4})
}

// TestStagesAgreeWithWholeGraphs runs the same items on stages and on whole graphs with
// the same weights.
func TestStagesAgreeWithWholeGraphs(t *testing.T) {
	whole, staged := fusion(t, 24, false), fusion(t, 24, true)
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
	m := fusion(t, 8, true)
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
			m := fusion(b, 1024, staged)
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
