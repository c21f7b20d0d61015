package runtimetest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
)

func (f *fixture) inputs() {
	f.with(func(in runtime.Instance) {
		last := len(f.Model.Variants) - 1
		items := f.items(2)
		before := bytes.Join(slices.Concat(items...), nil)
		first := f.run(in, last, items)
		if !bytes.Equal(before, bytes.Join(slices.Concat(items...), nil)) {
			f.Error("the run changed its inputs")
		}
		for _, input := range slices.Concat(items...) {
			clear(input)
		}
		same := bytes.Clone(first[0].Data)
		f.run(in, last, f.items(2))
		if !bytes.Equal(first[0].Data, same) {
			f.Error("the outputs change with the bytes of the inputs after the run")
		}
	})
}

func (f *fixture) absent() {
	f.with(func(in runtime.Instance) {
		for v, variant := range f.Model.Variants {
			items := f.items(2)
			for i := range f.Model.Inputs {
				if !slices.Contains(variant.Inputs, i) {
					items[0][i], items[1][i] = nil, nil
				}
			}
			f.run(in, v, items)
			items[1][variant.Inputs[0]] = nil
			f.refuse(in, v, items, slo.KindInvalid)
			items[1] = nil
			f.refuse(in, v, items, slo.KindInvalid)
		}
	})
}

func (f *fixture) ignored() {
	f.with(func(in runtime.Instance) {
		for v, variant := range f.Model.Variants {
			items := f.items(1)
			want := f.run(in, v, items)
			for i, other := range f.items(1)[0] {
				if !slices.Contains(variant.Inputs, i) {
					items[0][i] = append(other, 1) // with a wrong length too
				}
			}
			got := f.run(in, v, items)
			if !bytes.Equal(got[0].Data, want[0].Data) {
				f.Errorf("variant %s: the answer depends on inputs that are not its own", variant.Name)
			}
		}
	})
}

// refuse runs a batch that must fail with an error of the kind.
func (f *fixture) refuse(in runtime.Instance, variant int, items []runtime.Item, kind slo.Kind) {
	f.Helper()
	out, err := in.Run(f.Context(), variant, items)
	switch {
	case err == nil:
		f.Error("no error")
	case slo.KindOf(err) != kind:
		f.Errorf("error of kind %v, want %v: %v", slo.KindOf(err), kind, err)
	case out != nil:
		f.Error("outputs with an error")
	}
}

func (f *fixture) refused() {
	f.with(func(in runtime.Instance) {
		most := f.Model.Limits.BatchItemsMax
		f.refuse(in, 0, nil, slo.KindInvalid)
		f.refuse(in, 0, f.items(most+1), slo.KindTooLarge)
		f.refuse(in, -1, f.items(1), slo.KindInvalid)
		f.refuse(in, len(f.Model.Variants), f.items(1), slo.KindInvalid)
		for v, variant := range f.Model.Variants {
			for _, index := range variant.Inputs {
				whole := f.items(1)[0][index]
				for _, wrong := range [][]byte{{}, whole[1:], append(slices.Clone(whole), 0)} {
					if runtime.ItemBytes(f.Model.Inputs[index].Spec) == 1 && len(wrong) > 0 && slices.Contains(f.Model.Inputs[index].Shape, -1) {
						continue // any number of bytes is valid
					}
					items := f.items(1)
					items[0][index] = wrong
					f.refuse(in, v, items, slo.KindInvalid)
				}
				if slices.Contains(f.Model.Inputs[index].Shape, -1) {
					items := f.items(2)
					items[1][index] = append(items[1][index], items[1][index]...)
					f.refuse(in, v, items, slo.KindInvalid)
				}
			}
		}
	})
}

func (f *fixture) usable() {
	f.with(func(in runtime.Instance) {
		for v, variant := range f.Model.Variants {
			items := f.items(3)
			want := f.run(in, v, items)
			items[2][variant.Inputs[0]] = items[2][variant.Inputs[0]][:0]
			f.refuse(in, v, items, slo.KindInvalid)
			got := f.run(in, v, items[:2])
			for o := range got {
				for i := range 2 {
					f.near(fmt.Sprintf("variant %s, item %d after a failure", variant.Name, i), got[o], got[o].Row(i), want[o].Row(i))
				}
			}
		}
	})
}
