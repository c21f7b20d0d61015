// Package runtimetest is the conformance suite of package runtime: whatever
// runs graphs must pass it, so that the engine and the profiler need not know
// which runtime they have. A new implementation calls Run from its own tests.
package runtimetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Suite is a runtime to be tested, with a model it can run. The model should
// have more than one modality and variant, and Limits.BatchItemsMax >= 3.
type Suite struct {
	// Open makes a runtime; the suite closes it.
	Open  func(t testing.TB) runtime.Runtime
	Model *modelpkg.Model
	// Tolerance is by how much a number may differ, relative to the larger of
	// itself and 1, when an item runs in another batch.
	Tolerance float64
}

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*fixture)
	}{
		{"identity", (*fixture).identity},
		{"shapes", (*fixture).shapes},
		{"batches agree with single runs", (*fixture).batches},
		{"outputs are the caller's", (*fixture).ownership},
		{"inputs are not kept or changed", (*fixture).inputs},
		{"absent modalities", (*fixture).absent},
		{"other modalities are ignored", (*fixture).ignored},
		{"refused batches", (*fixture).refused},
		{"a failure leaves the instance usable", (*fixture).usable},
		{"cancelled before the run", (*fixture).cancelled},
		{"a context that ends later", (*fixture).cancellable},
		{"some variants only", (*fixture).some},
		{"refused options", (*fixture).options},
		{"a load that its context ends", (*fixture).abandoned},
		{"several instances", (*fixture).instances},
		{"close", (*fixture).close},
	} {
		t.Run(test.name, func(t *testing.T) {
			rt := s.Open(t)
			f := &fixture{T: t, Suite: s, runtime: rt, random: rand.New(rand.NewPCG(1, 2))}
			test.run(f)
			if err := rt.Close(); err != nil {
				t.Errorf("close the runtime: %v", err)
			}
		})
	}
}

// fixture is what one test of the suite works with.
type fixture struct {
	*testing.T
	Suite
	runtime runtime.Runtime
	random  *rand.Rand
}

// load makes an instance of all variants; the suite closes it before the runtime.
func (f *fixture) load(variants ...int) runtime.Instance {
	f.Helper()
	in, err := f.runtime.Load(f.Context(), f.Model, runtime.Options{Threads: 1, Variants: variants})
	if err != nil {
		f.Fatal(err)
	}
	return in
}

// with runs the test's body with an instance and closes that.
func (f *fixture) with(body func(in runtime.Instance)) {
	f.Helper()
	in := f.load()
	defer func() {
		if err := in.Close(); err != nil {
			f.Errorf("close the instance: %v", err)
		}
	}()
	body(in)
}

// run runs a batch that must succeed.
func (f *fixture) run(in runtime.Instance, variant int, items []runtime.Item) []tensor.Tensor {
	f.Helper()
	out, err := in.Run(f.Context(), variant, items)
	if err != nil {
		f.Fatalf("variant %s, %d items: %v", f.Model.Variants[variant].Name, len(items), err)
	}
	return out
}

// items makes random items that carry every input. A dynamic dimension gets
// the same size in all of them.
func (f *fixture) items(n int) []runtime.Item {
	items := make([]runtime.Item, n)
	for i := range items {
		for _, in := range f.Model.Inputs {
			items[i] = append(items[i], Random(f.random, in.Spec, 3))
		}
	}
	return items
}

// Random makes one item of a tensor: numbers that every graph bears, from 0 to
// 7, or to 1 for floats and booleans. A dynamic dimension gets the given size.
func Random(random *rand.Rand, spec modelpkg.Spec, dynamic int) []byte {
	n := runtime.ItemBytes(spec) / spec.DType.Size()
	if slices.Contains(spec.Shape, -1) {
		n *= dynamic
	}
	var data []byte
	for range n {
		data = appendRandom(data, random, spec.DType)
	}
	return data
}

func appendRandom(data []byte, random *rand.Rand, d tensor.DType) []byte {
	float := random.Float32()
	switch d {
	case tensor.FP32:
		return binary.LittleEndian.AppendUint32(data, math.Float32bits(float))
	case tensor.FP64:
		return binary.LittleEndian.AppendUint64(data, math.Float64bits(float64(float)))
	case tensor.FP16: // 1.0 to 1.99
		return binary.LittleEndian.AppendUint16(data, 0x3c00|uint16(random.IntN(0x400)))
	case tensor.BF16:
		return binary.LittleEndian.AppendUint16(data, uint16(math.Float32bits(float)>>16))
	case tensor.Bool:
		return append(data, byte(random.IntN(2)))
	default: // little-endian integers
		return append(append(data, byte(random.IntN(8))), make([]byte, d.Size()-1)...)
	}
}

func (f *fixture) identity() {
	if f.runtime.Name() == "" || f.runtime.Version() == "" {
		f.Errorf("name %q, version %q: profiles need both", f.runtime.Name(), f.runtime.Version())
	}
}

func (f *fixture) shapes() {
	f.with(func(in runtime.Instance) {
		for v, variant := range f.Model.Variants {
			for _, n := range f.sizes() {
				out := f.run(in, v, f.items(n))
				if len(out) != len(f.Model.Outputs) {
					f.Fatalf("%s: %d outputs, want %d", variant.Name, len(out), len(f.Model.Outputs))
				}
				for i, spec := range f.Model.Outputs {
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
			clear(t.Data) // must hurt nobody
		}
		f.run(in, last, f.items(2))
	})
}

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
		f.run(in, last, items)
		if !bytes.Equal(first[0].Data, same) {
			f.Error("the outputs follow the inputs' bytes")
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
					items[0][i] = append(other, 1) // not even of the right length
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
						continue // any number of bytes is right
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

func (f *fixture) cancelled() {
	f.with(func(in runtime.Instance) {
		ctx, cancel := context.WithCancel(f.Context())
		cancel()
		_, err := in.Run(ctx, 0, f.items(1))
		if !errors.Is(err, context.Canceled) || slo.KindOf(err) != slo.KindCancelled {
			f.Errorf("after a cancel: %v (kind %v)", err, slo.KindOf(err))
		}
		late, cancel := context.WithTimeout(f.Context(), 0)
		defer cancel()
		_, err = in.Run(late, 0, f.items(1))
		if !errors.Is(err, context.DeadlineExceeded) || slo.KindOf(err) != slo.KindDeadlineExceeded {
			f.Errorf("after the deadline: %v (kind %v)", err, slo.KindOf(err))
		}
		f.run(in, 0, f.items(1))
	})
}

// cancellable runs under contexts that end at any time, and checks that one
// run's end is not the next one's.
func (f *fixture) cancellable() {
	f.with(func(in runtime.Instance) {
		items := f.items(1)
		want := f.run(in, 0, items)
		for range 20 {
			ctx, cancel := context.WithCancel(f.Context())
			go cancel()
			if _, err := in.Run(ctx, 0, items); err != nil && !errors.Is(err, context.Canceled) {
				f.Fatal(err)
			}
			f.near("item after a cancelled run", want[0], f.run(in, 0, items)[0].Data, want[0].Data)
		}
	})
}

func (f *fixture) some() {
	last := len(f.Model.Variants) - 1
	in := f.load(last)
	defer in.Close()
	f.run(in, last, f.items(1))
	if last > 0 {
		f.refuse(in, 0, f.items(1), slo.KindInvalid)
	}
}

func (f *fixture) options() {
	for _, opts := range []runtime.Options{
		{Threads: 0},
		{Threads: -1},
		{Threads: 1, Variants: []int{-1}},
		{Threads: 1, Variants: []int{0, len(f.Model.Variants)}},
	} {
		if _, err := f.runtime.Load(f.Context(), f.Model, opts); slo.KindOf(err) != slo.KindInvalid {
			f.Errorf("%+v: %v, want an error of kind invalid", opts, err)
		}
	}
}

// abandoned loads under contexts that have ended or end at any time. Nothing of such
// a load is left: the runtime can be closed.
func (f *fixture) abandoned() {
	ended, cancel := context.WithCancel(f.Context())
	cancel()
	late, cancel := context.WithTimeout(f.Context(), 0)
	defer cancel()
	for ctx, kind := range map[context.Context]slo.Kind{ended: slo.KindCancelled, late: slo.KindDeadlineExceeded} {
		in, err := f.runtime.Load(ctx, f.Model, runtime.Options{Threads: 1})
		if in != nil || !errors.Is(err, ctx.Err()) || slo.KindOf(err) != kind {
			f.Errorf("under a context that has ended: %v, %v (kind %v), want %v", in, err, slo.KindOf(err), kind)
		}
	}
	for range 10 {
		ctx, cancel := context.WithCancel(f.Context())
		go cancel()
		in, err := f.runtime.Load(ctx, f.Model, runtime.Options{Threads: 1})
		switch {
		case err == nil:
			f.run(in, 0, f.items(1)) // what is loaded does not depend on the context
			if err := in.Close(); err != nil {
				f.Error(err)
			}
		case !errors.Is(err, context.Canceled) || in != nil:
			f.Errorf("%v, %v", in, err)
		}
	}
	f.with(func(in runtime.Instance) { f.run(in, 0, f.items(1)) })
}

// instances runs several at once, and one of them with two threads.
func (f *fixture) instances() {
	items := f.items(2)
	reference := f.load()
	var want [][]tensor.Tensor
	for v := range f.Model.Variants {
		want = append(want, f.run(reference, v, items))
	}
	others := []runtime.Instance{f.load(), f.load()}
	threaded, err := f.runtime.Load(f.Context(), f.Model, runtime.Options{Threads: 2})
	if err != nil {
		f.Fatal(err)
	}
	others = append(others, threaded)
	if err := reference.Close(); err != nil { // the others do not depend on it
		f.Error(err)
	}
	done := make(chan error)
	for _, in := range others {
		go func() { done <- f.compareRuns(in, items, want) }()
	}
	for range others {
		if err := <-done; err != nil {
			f.Error(err)
		}
	}
}

// compareRuns runs every variant a few times, wants what another instance
// answered, and closes the instance.
func (f *fixture) compareRuns(in runtime.Instance, items []runtime.Item, want [][]tensor.Tensor) error {
	for range 5 {
		for v := range want {
			out, err := in.Run(f.Context(), v, items)
			if err != nil {
				return errors.Join(err, in.Close())
			}
			f.near("another instance", out[0], out[0].Data, want[v][0].Data)
		}
	}
	return in.Close()
}

func (f *fixture) close() {
	in := f.load()
	f.run(in, 0, f.items(1))
	if err := in.Close(); err != nil {
		f.Fatal(err)
	}
	f.refuse(in, 0, f.items(1), slo.KindUnavailable)
	if err := in.Close(); err != nil {
		f.Errorf("the second Close: %v", err)
	}
}
