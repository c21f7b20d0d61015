package runtimetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

func (f *fixture) shapes() {
	f.with(func(in runtime.Instance) {
		for v, variant := range f.Model.Variants {
			for _, n := range f.sizes() {
				out := f.run(in, v, f.items(n))
				specs := f.Model.OutputsOf(v)
				if len(out) != len(specs) {
					f.Fatalf("%s: %d outputs, want %d", variant.Name, len(out), len(specs))
				}
				for i, spec := range specs {
					want := append(tensor.Shape{int64(n)}, spec.Shape...)
					if out[i].Name != spec.Name || out[i].DType != spec.DType || !out[i].Shape.Fits(want) {
						f.Errorf("%s: output %q %v %v, want %q %v %v", variant.Name, out[i].Name, out[i].DType, out[i].Shape, spec.Name, spec.DType, want)
					}
					if _, err := tensor.New(out[i].Name, out[i].DType, out[i].Shape, out[i].Data); err != nil {
						f.Errorf("%s: %v", variant.Name, err)
					}
				}
			}
		}
	})
}

// sizes lists batch sizes up to the limit: 1, 2, 4, ..., the largest.
func (f *fixture) sizes() []int {
	var sizes []int
	for n := 1; n < f.Model.Limits.BatchItemsMax; n *= 2 {
		sizes = append(sizes, n)
	}
	return append(sizes, f.Model.Limits.BatchItemsMax)
}

func (f *fixture) batches() {
	f.with(func(in runtime.Instance) {
		items := f.items(f.Model.Limits.BatchItemsMax)
		for v := range f.Model.Variants {
			var single [][]tensor.Tensor
			for i := range items {
				single = append(single, f.run(in, v, items[i:i+1]))
			}
			for _, n := range slices.Backward(f.sizes()) {
				out := f.run(in, v, items[:n])
				for o := range out {
					for i := range n {
						f.near(fmt.Sprintf("variant %s, item %d of %d", f.Model.Variants[v].Name, i, n), out[o], out[o].Row(i), single[i][o].Data)
					}
				}
			}
		}
	})
}

// near compares numbers of one item within the tolerance.
func (f *fixture) near(what string, t tensor.Tensor, got, want []byte) {
	f.Helper()
	switch {
	case bytes.Equal(got, want):
		return
	case len(got) != len(want):
		f.Errorf("%s: output %q has %d bytes, want %d", what, t.Name, len(got), len(want))
		return
	case t.DType != tensor.FP32:
		f.Errorf("%s: output %q is % x, in the first run % x", what, t.Name, got, want)
		return
	}
	for i := 0; i < len(got); i += 4 {
		g, w := number(got[i:]), number(want[i:])
		if !(math.Abs(g-w) <= f.Tolerance*max(1, math.Abs(w))) {
			f.Errorf("%s: output %q element %d is %v, in the first run %v", what, t.Name, i/4, g, w)
			return
		}
	}
}

func number(b []byte) float64 {
	return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
}

func (f *fixture) ownership() {
	f.with(func(in runtime.Instance) {
		last := len(f.Model.Variants) - 1
		kept := f.run(in, last, f.items(2))
		before := make([][]byte, 0, len(kept))
		for _, t := range kept {
			before = append(before, bytes.Clone(t.Data))
		}
		for v := range f.Model.Variants {
			for range 3 {
				f.run(in, v, f.items(2))
			}
		}
		for i, t := range kept {
			if !bytes.Equal(t.Data, before[i]) {
				f.Errorf("output %q of the first run changed in later runs", t.Name)
			}
			clear(t.Data) // the bytes are the caller's, so later runs must not need them
		}
		f.run(in, last, f.items(2))
	})
}
