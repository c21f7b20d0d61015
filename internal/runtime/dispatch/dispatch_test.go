package dispatch_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/dispatch"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// model has its first variant here and the others elsewhere.
func model() *modelpkg.Model {
	return &modelpkg.Model{
		Name:       "m",
		Modalities: []modelpkg.Modality{{Name: "a", Inputs: []int{0}}, {Name: "b", Inputs: []int{1}}},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "a", DType: tensor.FP32, Shape: tensor.Shape{4}}},
			{Spec: modelpkg.Spec{Name: "b", DType: tensor.Uint8, Shape: tensor.Shape{3}}, Modality: 1},
		},
		Outputs: []modelpkg.Spec{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{10}}},
		Variants: []modelpkg.Variant{
			{Name: "a", Modalities: 1, Inputs: []int{0}, Path: "a.onnx"},
			{Name: "b", Modalities: 2, Inputs: []int{1}, Remote: &modelpkg.Remote{}},
			{Name: "ab", Modalities: 3, Inputs: []int{0, 1}, Remote: &modelpkg.Remote{}},
		},
		Limits: modelpkg.Limits{BatchItemsMax: 4},
	}
}

func TestConformance(t *testing.T) {
	runtimetest.Run(t, runtimetest.Suite{Model: model(), Open: func(testing.TB) runtime.Runtime {
		return dispatch.New(dispatch.Config{Graphs: fake.New(fake.Config{}), Remote: fake.New(fake.Config{Slots: 4})})
	}})
}

// place is a runtime that notes what is done with it. It cannot be compared, as a
// runtime need not be.
type place struct {
	runtime.Runtime
	note func(string)
	fail error // of Load
}

func (p place) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	if p.fail != nil {
		return nil, p.fail
	}
	p.note("load")
	if slices.Contains(opts.Variants, 0) && len(opts.Variants) > 1 {
		p.note("load all")
	}
	in, err := p.Runtime.Load(ctx, m, opts)
	return noted{in, p.note}, err
}

func (p place) Close() error {
	p.note("close the runtime")
	return p.Runtime.Close()
}

type noted struct {
	runtime.Instance
	note func(string)
}

func (n noted) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	n.note("run " + model().Variants[variant].Name)
	return n.Instance.Run(ctx, variant, items)
}

func (n noted) Close() error {
	n.note("close")
	return n.Instance.Close()
}

// TestVariantsRunInTheirPlaces looks at what each place is asked to do.
func TestVariantsRunInTheirPlaces(t *testing.T) {
	var log []string
	at := func(name string, slots int, fail error) place {
		return place{fake.New(fake.Config{Slots: slots}), func(what string) { log = append(log, name+": "+what) }, fail}
	}
	see := func(want ...string) {
		t.Helper()
		if !slices.Equal(log, want) {
			t.Errorf("got  %q\nwant %q", log, want)
		}
		log = nil
	}
	rt := dispatch.New(dispatch.Config{Graphs: at("here", 3, nil), Remote: at("there", 2, nil)})
	in, err := rt.Load(t.Context(), model(), runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if in.Slots() != 2 {
		t.Errorf("%d slots, want the least of 3 and 2", in.Slots())
	}
	item := runtime.Item{make([]byte, 16), make([]byte, 3)}
	for v := range 3 {
		if _, err := in.Run(t.Context(), v, []runtime.Item{item}); err != nil {
			t.Error(err)
		}
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	see("here: load", "there: load", "here: run a", "there: run b", "there: run ab", "here: close", "there: close")
	if in, err = rt.Load(t.Context(), model(), runtime.Options{Threads: 1, Variants: []int{2, 1}}); err != nil || in.Slots() != 2 {
		t.Errorf("%v, %v", in, err)
	}
	see("there: load")
	m := model()
	m.Isolation = modelpkg.IsolationProcess
	if in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1}); in != nil || slo.KindOf(err) != slo.KindUnsupported {
		t.Errorf("no process apart: %v, %v", in, err)
	}
	rt = dispatch.New(dispatch.Config{Graphs: at("here", 3, nil), Isolated: at("apart", 1, nil), Remote: at("there", 2, nil)})
	if in, err = rt.Load(t.Context(), m, runtime.Options{Threads: 1}); err != nil || in.Slots() != 1 {
		t.Errorf("%v, %v", in, err)
	}
	see("apart: load", "there: load")
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	see("here: close the runtime", "there: close the runtime", "apart: close the runtime")
	gone := slo.E("load", slo.KindUnavailable, "gone")
	rt = dispatch.New(dispatch.Config{Graphs: at("here", 1, nil), Remote: at("there", 1, gone)})
	if in, err := rt.Load(t.Context(), model(), runtime.Options{Threads: 1}); in != nil || !errors.Is(err, gone) || slo.KindOf(err) != slo.KindUnavailable {
		t.Errorf("%v, %v", in, err)
	}
	see("here: load", "here: close")
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	see("here: close the runtime", "there: close the runtime")
}
