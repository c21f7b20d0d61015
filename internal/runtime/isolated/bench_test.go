//go:build unix

package isolated_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/runtime/isolated"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/tensor"
)

// graphs is how a worker is started that runs real graphs.
const graphs = "graphs-worker"

// openGraphs opens ONNX Runtime, in a worker or in this process.
func openGraphs(ctx context.Context) (runtime.Runtime, error) {
	return ort.Open(ctx, ort.Config{NoInstall: true})
}

// pair is a model in this process and in a worker.
func pair(t testing.TB) (m *modelpkg.Model, here, apart runtime.Instance) {
	t.Helper()
	m, err := modelpkg.Load("../../../models/digits")
	if err != nil {
		t.Fatal(err)
	}
	rt, err := ort.Open(t.Context(), ort.Config{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	workers := isolated.New(isolated.Config{Name: rt.Name(), Version: rt.Version(), Command: []string{os.Args[0], graphs},
		Env: []string{"MOSEL_ONNXRUNTIME=" + rt.Library().Path}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	here, err = rt.Load(t.Context(), m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if apart, err = workers.Load(t.Context(), m, runtime.Options{Threads: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(here.Close(), apart.Close(), rt.Close()); err != nil {
			t.Error(err)
		}
	})
	return m, here, apart
}

func drawn(m *modelpkg.Model, n int) []runtime.Item {
	random := rand.New(rand.NewPCG(1, 2))
	items := make([]runtime.Item, n)
	for i := range items {
		for _, in := range m.Inputs {
			items[i] = append(items[i], runtimetest.Random(random, in.Spec, 1))
		}
	}
	return items
}

// TestGraphs has real graphs run in a worker, from a package: the answers are those of
// this process.
func TestGraphs(t *testing.T) {
	m, here, apart := pair(t)
	for v := range m.Variants {
		items := drawn(m, 5)
		want, err := here.Run(t.Context(), v, items)
		if err != nil {
			t.Fatal(err)
		}
		got, err := apart.Run(t.Context(), v, items)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if !bytes.Equal(got[i].Data, want[i].Data) || !got[i].Shape.Equal(want[i].Shape) {
				t.Errorf("variant %s: output %s differs", m.Variants[v].Name, want[i].Name)
			}
		}
	}
}

// BenchmarkBatch measures batches in this process and in a worker by turns, so that
// what disturbs the machine falls on both, and tells the medians and what isolation
// adds to a batch.
func BenchmarkBatch(b *testing.B) {
	m, here, apart := pair(b)
	for _, v := range []int{0, len(m.Variants) - 1} {
		for _, n := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("%s/%d", m.Variants[v].Name, n), func(b *testing.B) {
				items := drawn(m, n)
				compare(b, here, apart, v, items)
			})
		}
	}
}

// BenchmarkBytes is BenchmarkBatch for large inputs of which little is made: what is
// added is what it costs to move them, beside reading each byte once.
func BenchmarkBytes(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20, 16 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			m := model()
			m.Inputs[0] = modelpkg.Input{Spec: modelpkg.Spec{Name: "a", DType: tensor.Uint8, Shape: tensor.Shape{int64(size)}}}
			apart, err := open(new(journal), sound).Load(b.Context(), m, runtime.Options{Threads: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer apart.Close()
			here, err := fake.New(fake.Config{}).Load(b.Context(), m, runtime.Options{Threads: 1})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			compare(b, here, apart, 0, []runtime.Item{{make([]byte, size)}})
		})
	}
}

// compare runs batches here and apart by turns.
func compare(b *testing.B, here, apart runtime.Instance, variant int, items []runtime.Item) {
	var times [2][]time.Duration
	for b.Loop() {
		for i, in := range []runtime.Instance{here, apart} {
			began := time.Now()
			if _, err := in.Run(b.Context(), variant, items); err != nil {
				b.Fatal(err)
			}
			times[i] = append(times[i], time.Since(began))
		}
	}
	median := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)/2].Nanoseconds()) / 1e3
	}
	inside, outside := median(times[0]), median(times[1])
	b.ReportMetric(inside, "us-here")
	b.ReportMetric(outside, "us-apart")
	b.ReportMetric(outside-inside, "us-added")
	b.ReportMetric(outside/inside, "ratio")
}
