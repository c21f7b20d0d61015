// Package runtimetest is the conformance suite of package runtime. Every runtime must
// pass it, so that the engine and the profiler can use any of them. A new runtime calls
// Run in its own tests.
package runtimetest

import (
	"math/rand/v2"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

// Suite is a runtime to test, with a model that it can run. The model must have
// Limits.BatchItemsMax >= 3, and should have several modalities and variants.
type Suite struct {
	// Open makes a runtime. The suite closes it.
	Open  func(t testing.TB) runtime.Runtime
	Model *modelpkg.Model
	// Tolerance is how much a number of an answer may differ when its item runs in
	// another batch, relative to the larger of the number and 1.
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
		{"later runs leave outputs unchanged", (*fixture).ownership},
		{"inputs are not kept or changed", (*fixture).inputs},
		{"absent modalities", (*fixture).absent},
		{"inputs of other modalities are ignored", (*fixture).ignored},
		{"refused batches", (*fixture).refused},
		{"a failure leaves the instance usable", (*fixture).usable},
		{"cancelled before the run", (*fixture).cancelled},
		{"cancelled during the run", (*fixture).cancellable},
		{"an instance of some variants", (*fixture).some},
		{"refused options", (*fixture).options},
		{"cancelled during the load", (*fixture).abandoned},
		{"all slots at a time", (*fixture).slots},
		{"parts of variants with stages", (*fixture).stages},
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

// fixture is what a test of the suite works with.
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

// with calls body with an instance, and closes the instance.
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

// items makes random items that carry every input. A dynamic dimension has the same
// size in all of them.
func (f *fixture) items(n int) []runtime.Item {
	items := make([]runtime.Item, n)
	for i := range items {
		for _, in := range f.Model.Inputs {
			items[i] = append(items[i], Random(f.random, in.Spec, 3))
		}
	}
	return items
}

func (f *fixture) identity() {
	if f.runtime.Name() == "" || f.runtime.Version() == "" {
		f.Errorf("name %q, version %q: profiles need both", f.runtime.Name(), f.runtime.Version())
	}
}
