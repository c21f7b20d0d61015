package runtimetest

import (
	"bytes"
	"fmt"
	"math"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// stages runs every variant after every other that shares stages with it, and checks
// that the answers are those of whole runs. An instance that cannot run parts passes.
func (f *fixture) stages() {
	f.with(func(in runtime.Instance) {
		items := f.items(f.Model.Limits.BatchItemsMax)
		for from := range f.Model.Variants {
			for to := range f.Model.Variants {
				shared := f.Model.Handover(to, from)
				if from == to || shared == nil || !runtime.Keeps(in, from) || !runtime.Keeps(in, to) {
					continue
				}
				f.handOver(in.(runtime.Staged), from, to, shared, items)
				f.refusedParts(in.(runtime.Staged), from, to, shared, items)
			}
		}
	})
}

// handOver keeps what one variant computes and runs another with it, in batches of
// other sizes and another order.
func (f *fixture) handOver(in runtime.Staged, from, to int, shared []modelpkg.Intermediate, items []runtime.Item) {
	f.Helper()
	what := fmt.Sprintf("variant %s after %s", f.Model.Variants[to].Name, f.Model.Variants[from].Name)
	first := runtime.Part{Variant: from, Items: items, Keep: shared, KeepBytesMax: math.MaxInt}
	outputs, kept := f.part(in, first)
	f.near(what+": the first answers", outputs[0], outputs[0].Data, f.run(in, from, items)[0].Data)
	rows := make([][]tensor.Tensor, len(kept)) // by tensor and item
	for i, t := range kept {
		if t.Rows() != len(items) {
			f.Fatalf("%s: %q was kept with the shape %v for %d items", what, t.Name, t.Shape, len(items))
		}
		for _, data := range t.Split() {
			shape := append(tensor.Shape{1}, t.Shape[1:]...)
			rows[i] = append(rows[i], tensor.Tensor{Name: t.Name, DType: t.DType, Shape: shape, Data: data})
		}
	}
	_, needed, err := f.Model.Needed(to, shared, nil, false)
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range f.sizes() {
		part := runtime.Part{Variant: to}
		whole := make([]runtime.Item, 0, n)
		for k := range n { // from the last item on
			item := make(runtime.Item, len(f.Model.Inputs))
			for _, input := range needed {
				item[input] = items[len(items)-1-k][input]
			}
			part.Items, whole = append(part.Items, item), append(whole, items[len(items)-1-k])
		}
		for i, value := range shared {
			given := runtime.Given{Intermediate: value}
			for k := range n {
				given.Rows = append(given.Rows, rows[i][len(items)-1-k])
			}
			part.Given = append(part.Given, given)
		}
		got, _ := f.part(in, part)
		want := f.run(in, to, whole)
		for o := range want {
			f.near(fmt.Sprintf("%s, %d items", what, n), want[o], got[o].Data, want[o].Data)
		}
	}
}

// part runs a part that must succeed.
func (f *fixture) part(in runtime.Staged, part runtime.Part) (outputs, kept []tensor.Tensor) {
	f.Helper()
	outputs, kept, err := in.RunStages(f.Context(), part)
	if err != nil {
		f.Fatalf("a part of variant %s, %d items: %v", f.Model.Variants[part.Variant].Name, len(part.Items), err)
	}
	if (outputs == nil) != part.Inner {
		f.Fatalf("outputs %v of an inner part: %v", outputs, part.Inner)
	}
	return outputs, kept
}

// refusedParts has parts that break the contract, and one that keeps more than it may.
func (f *fixture) refusedParts(in runtime.Staged, from, to int, shared []modelpkg.Intermediate, items []runtime.Item) {
	f.Helper()
	keep := runtime.Part{Variant: from, Items: items, Keep: shared, KeepBytesMax: math.MaxInt, Inner: true}
	_, kept := f.part(in, keep)
	keep.KeepBytesMax = 1
	if _, none := f.part(in, keep); none != nil {
		f.Errorf("%d tensors are kept in 1 byte", len(none))
	}
	given := func(change func(rows []tensor.Tensor) []tensor.Tensor) []runtime.Given {
		var list []runtime.Given
		for i, value := range shared {
			var rows []tensor.Tensor
			for _, data := range kept[i].Split() {
				rows = append(rows, tensor.Tensor{DType: kept[i].DType, Shape: append(tensor.Shape{1}, kept[i].Shape[1:]...), Data: data})
			}
			list = append(list, runtime.Given{Intermediate: value, Rows: change(rows)})
		}
		return list
	}
	for name, part := range map[string]runtime.Part{
		"no items":     {Variant: to, Given: given(func([]tensor.Tensor) []tensor.Tensor { return nil })},
		"too few rows": {Variant: to, Items: items, Given: given(func(rows []tensor.Tensor) []tensor.Tensor { return rows[1:] })},
		"rows that differ": {Variant: to, Items: items, Given: given(func(rows []tensor.Tensor) []tensor.Tensor {
			rows[0].Shape, rows[0].Data = append(rows[0].Shape, 2), bytes.Repeat(rows[0].Data, 2)
			return rows
		})},
		"rows that are cut off": {Variant: to, Items: items, Given: given(func(rows []tensor.Tensor) []tensor.Tensor {
			rows[0].Data = rows[0].Data[1:]
			return rows
		})},
		"a tensor that no stage gives": {Variant: to, Items: items, Keep: []modelpkg.Intermediate{{Unit: -1, Name: "x"}}},
		"no inputs":                    {Variant: to, Items: make([]runtime.Item, len(items))},
		"no such variant":              {Variant: len(f.Model.Variants), Items: items},
	} {
		if _, _, err := in.RunStages(f.Context(), part); slo.KindOf(err) != slo.KindInvalid {
			f.Errorf("%s: %v, want an error of kind invalid", name, err)
		}
	}
}
