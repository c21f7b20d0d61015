package profiler

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// scripted is a runtime whose outputs the test makes.
type scripted struct {
	load error
	run  func(variant int, items []runtime.Item) ([]tensor.Tensor, error)
	runs []int // items of each
}

func (s *scripted) Name() string    { return "scripted" }
func (s *scripted) Version() string { return "1" }
func (s *scripted) Close() error    { return nil }
func (s *scripted) Load(context.Context, *modelpkg.Model, runtime.Options) (runtime.Instance, error) {
	return scriptedInstance{s}, s.load
}

type scriptedInstance struct{ *scripted }

func (in scriptedInstance) Slots() int { return 1 }

func (in scriptedInstance) Run(_ context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	in.runs = append(in.runs, len(items))
	return in.run(variant, items)
}

// scoresOf makes scores of three classes, with score for each item.
func scoresOf(items []runtime.Item, score func(i int) float32) []tensor.Tensor {
	var data []byte
	for i := range items {
		for class := range 3 {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(score(i)*float32(class)))
		}
	}
	return []tensor.Tensor{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{int64(len(items)), 3}, Data: data}}
}

func TestTry(t *testing.T) {
	failing := func(from int) func(int, []runtime.Item) ([]tensor.Tensor, error) {
		return func(_ int, items []runtime.Item) ([]tensor.Tensor, error) {
			if len(items) >= from {
				return nil, slo.E("run", slo.KindInternal, "no luck")
			}
			return scoresOf(items, func(int) float32 { return 1 }), nil
		}
	}
	off := func(share float32) func(int, []runtime.Item) ([]tensor.Tensor, error) {
		return func(_ int, items []runtime.Item) ([]tensor.Tensor, error) {
			return scoresOf(items, func(int) float32 { return 1 + share*float32(len(items)-1) }), nil
		}
	}
	for _, c := range []struct {
		name string
		rt   scripted
		want string
	}{
		{"sound", scripted{run: off(0)}, ""},
		{"the noise of other kernels", scripted{run: off(0.001)}, ""},
		{"no load", scripted{load: errors.New("max supported IR version: 10")}, "variant half: the graph's IR version is newer than the installed ONNX Runtime can read: " +
			"export it with an older onnx package, or install a newer ONNX Runtime (it cannot be loaded: max supported IR version: 10)"},
		{"no run", scripted{run: failing(1)}, "variant half: it fails: run: no luck"},
		{"no batch", scripted{run: failing(2)}, "variant half: single items run, but a batch of 2 fails: run: no luck. Is there an operator that fixes the batch, " +
			"such as a Reshape to [1, ...]? Export the graph with a dynamic batch, or set limits.max_batch: 1"},
		{"no large batch", scripted{run: failing(6)}, "variant half: single items run, but a batch of 6 fails: run: no luck. Is there"},
		{"another batch, another answer", scripted{run: off(0.1)}, `variant half: the output "scores" of an item depends on the other items of its batch: alone and in a batch of 6, ` +
			"6 of 6 answers differ by up to 33 % of their largest number. Is there an operator over the batch axis, such as a Softmax or a normalization over axis 0?"},
		{"another type", scripted{run: func(_ int, items []runtime.Item) ([]tensor.Tensor, error) {
			return []tensor.Tensor{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{int64(len(items)), 2}, Data: make([]byte, 8*len(items))}}, nil
		}}, `variant half: in a batch of 1 the output "scores" is FP32 [1,2]; it is declared FP32 [1,3]`},
	} {
		m, set := testModel(t, 40)
		got, err := Try(t.Context(), &c.rt, m, set)
		if err != nil || len(got.Warnings) > 0 || (len(got.Problems) > 0) != (c.want != "") {
			t.Errorf("%s: %+v %v", c.name, got, err)
			continue
		}
		if c.want != "" && !strings.HasPrefix(got.Problems[0].Message, c.want) {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got.Problems[0].Message, c.want)
		}
	}
}

// TestTryWithoutSamples checks that a model without samples runs on made-up ones, and
// that a failure on these is no problem of the model.
func TestTryWithoutSamples(t *testing.T) {
	m, _ := testModel(t, 1)
	m.Inputs[0].Spec = modelpkg.Spec{Name: "x", DType: tensor.Int32, Shape: tensor.Shape{-1}, Max: 100000}
	m.Inputs[0].Range = &modelpkg.Range{Low: 5, High: 9}
	rt := scripted{run: func(_ int, items []runtime.Item) ([]tensor.Tensor, error) {
		if len(items[0][0]) != 4*madeUpLength || m.Inputs[0].CheckRange(items[0][0]) != nil {
			t.Errorf("a made-up item is %v", items[0][0])
		}
		return nil, slo.E("run", slo.KindInternal, "division by zero")
	}}
	got, err := Try(t.Context(), &rt, m, nil)
	want := "variant half: it fails: run: division by zero (on made-up samples of zeros, because the package has no evaluation.profile)"
	if err != nil || len(got.Problems) > 0 || len(got.Warnings) != 2 || got.Warnings[0] != want {
		t.Errorf("%+v %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Try(ctx, &rt, m, nil); slo.KindOf(err) != slo.KindCancelled {
		t.Errorf("cancelled: %v", err)
	}
}

// TestProfileRefusesDependence checks that a model whose answers depend on the rest of
// the batch is not profiled.
func TestProfileRefusesDependence(t *testing.T) {
	m, set := testModel(t, 40)
	rt := &scripted{run: func(_ int, items []runtime.Item) ([]tensor.Tensor, error) {
		return scoresOf(items, func(int) float32 { return 1 / float32(len(items)) }), nil
	}}
	_, err := Run(t.Context(), func(context.Context) (runtime.Runtime, error) { return rt, nil }, m, set, options())
	if slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), `profile toy: variant half: the output "scores" of an item depends on the other items of its batch`) {
		t.Error(err)
	}
}

// TestUnbatchedSettings checks that samples with different values of a whole-batch
// input never share a batch, and that every answer is stored at its sample.
func TestUnbatchedSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, set := testModel(t, 50)
		m.Inputs = append(m.Inputs, modelpkg.Input{Spec: modelpkg.Spec{Name: "rate", DType: tensor.Uint8}, Unbatched: true})
		m.Variants[0].Inputs, m.Variants[1].Inputs = []int{0, 1}, []int{0, 1}
		set = withRate(t, m, set)
		rt := &scripted{run: func(_ int, items []runtime.Item) ([]tensor.Tensor, error) {
			for _, item := range items {
				if item[1][0] != items[0][1][0] {
					t.Errorf("a batch has rates %d and %d", items[0][1][0], item[1][0])
				}
			}
			var data []byte
			for _, item := range items {
				for class := range 3 {
					score := float32(0)
					if class == int(item[0][0])%3 {
						score = 1
					}
					data = binary.LittleEndian.AppendUint32(data, math.Float32bits(score))
				}
			}
			return []tensor.Tensor{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{int64(len(items)), 3}, Data: data}}, nil
		}}
		got, err := Run(t.Context(), func(context.Context) (runtime.Runtime, error) { return rt, nil }, m, set, options())
		if err != nil {
			t.Fatal(err)
		}
		if a := got.Profile.Variants[1].Accuracy; a.Correct != 50 || a.Samples != 50 {
			t.Errorf("accuracy %+v", a)
		}
		if !slices.Contains(rt.runs, 6) {
			t.Errorf("no full batch: %v", rt.runs)
		}
	})
}

// TestLengths checks that a profile records the sizes that its times hold for.
func TestLengths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, set := testModel(t, 40)
		m.Inputs[0].Spec = modelpkg.Spec{Name: "x", DType: tensor.Uint8, Shape: tensor.Shape{-1}, Max: 512}
		got, err := Run(t.Context(), newDouble().open, m, set, options())
		if err != nil {
			t.Fatal(err)
		}
		if got.Profile.Lengths["x"] != 1 || len(got.Profile.Lengths) != 1 {
			t.Errorf("lengths %v", got.Profile.Lengths)
		}
		want := "times hold for x of size 1; up to 512 (max) is served, which may take longer: profile with samples as long as the expected requests"
		if !slices.Contains(got.Warnings, want) {
			t.Errorf("warnings %q", got.Warnings)
		}
	})
}
