package ort

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
)

// batch returns n items with every input of the model.
func batch(m *modelpkg.Model, n int) []runtime.Item {
	random := rand.New(rand.NewPCG(1, 2))
	items := make([]runtime.Item, n)
	for i := range items {
		for _, in := range m.Inputs {
			items[i] = append(items[i], runtimetest.Random(random, in.Spec, 100))
		}
	}
	return items
}

// TestRunAllocatesLittle bounds the allocations of a run: for each of the two outputs
// its bytes and its shape, which the caller owns, and those of the binding; a handle
// for each tensor; a few slices. The number does not depend on the number of items.
func TestRunAllocatesLittle(t *testing.T) {
	const most = 24
	m := twoModalities(t)
	in := load(t, m)
	var counts []float64
	for _, n := range []int{1, 8} {
		items := batch(m, n)
		count := testing.AllocsPerRun(50, func() {
			if _, err := in.Run(t.Context(), 2, items); err != nil {
				t.Fatal(err)
			}
		})
		if count > most {
			t.Errorf("%d items: %v allocations per run, at most %v are expected", n, count, most)
		}
		counts = append(counts, count)
	}
	if counts[1] > counts[0] {
		t.Errorf("%v allocations for 1 item, %v for 8", counts[0], counts[1])
	}
}

// BenchmarkRun runs a graph with almost no computation, to measure the overhead around
// it.
func BenchmarkRun(b *testing.B) {
	m := twoModalities(b)
	in := load(b, m)
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("items=%d", n), func(b *testing.B) {
			benchmark(b, in, 2, batch(m, n))
		})
	}
}

// digits returns the shipped model with a limit on batches.
func digits(t testing.TB, batchItemsMax int) *modelpkg.Model {
	t.Helper()
	const dir = "../../../models/digits"
	if _, err := os.Stat(filepath.Join(dir, "onnx")); errors.Is(err, os.ErrNotExist) {
		t.Skip("models/digits has no graphs")
	}
	m, err := modelpkg.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	m.Limits.BatchItemsMax = batchItemsMax
	return m
}

// BenchmarkDigits runs the shipped model.
func BenchmarkDigits(b *testing.B) {
	m := digits(b, 32)
	in := load(b, m)
	for v, variant := range m.Variants {
		for _, n := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("variant=%s/items=%d", variant.Name, n), func(b *testing.B) {
				benchmark(b, in, v, batch(m, n))
			})
		}
	}
}

func benchmark(b *testing.B, in runtime.Instance, variant int, items []runtime.Item) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := in.Run(b.Context(), variant, items); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(items))/b.Elapsed().Seconds(), "items/s")
}
