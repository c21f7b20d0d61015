package modelpkg_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

func TestFirstSamplesAreThoseOfTheSet(t *testing.T) {
	m, err := modelpkg.Load("../../models/digits")
	if err != nil {
		t.Fatal(err)
	}
	m.Evaluation.Profile = m.Evaluation.HeldOut // it is smaller
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.Profile), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 3, set.Len() + 1} {
		samples, err := m.FirstSamples(n)
		if err != nil || len(samples) != min(n, set.Len()) {
			t.Fatalf("%d samples of %d, %v", len(samples), n, err)
		}
		for i, sample := range samples {
			for k, data := range sample.Item {
				if !bytes.Equal(data, set.Item(i)[k]) {
					t.Errorf("sample %d, input %d differs", i, k)
				}
			}
		}
	}
}

// few returns a model with a set of these arrays.
func few(t *testing.T, arrays ...tensor.Tensor) *modelpkg.Model {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "set.npz"))
	if err != nil {
		t.Fatal(err)
	}
	if err := modelpkg.WriteNPZ(f, arrays); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	spec := func(name string, shape ...int64) modelpkg.Spec {
		return modelpkg.Spec{Name: name, DType: tensor.Uint8, Shape: shape}
	}
	return &modelpkg.Model{Dir: dir, Evaluation: modelpkg.Evaluation{Profile: "set.npz"}, Inputs: []modelpkg.Input{
		{Spec: spec("x", -1)}, {Spec: spec("k"), Unbatched: true, Range: &modelpkg.Range{Low: 0, High: 9}}}}
}

func array(name string, shape tensor.Shape, data ...byte) tensor.Tensor {
	return tensor.Tensor{Name: name, DType: tensor.Uint8, Shape: shape, Data: data}
}

func TestFirstSamples(t *testing.T) {
	x := array("x", tensor.Shape{3, 2}, 1, 2, 3, 4, 5, 6)
	for _, test := range []struct {
		k    tensor.Tensor
		want byte // in the second sample
	}{{array("k", tensor.Shape{}, 7), 7}, {array("k", tensor.Shape{3}, 7, 8, 9), 8}} {
		samples, err := few(t, x, test.k).FirstSamples(2)
		if err != nil || len(samples) != 2 || !bytes.Equal(samples[1].Item[0], []byte{3, 4}) || !bytes.Equal(samples[1].Item[1], []byte{test.want}) {
			t.Errorf("%v, %v", samples, err)
		}
	}
	for want, m := range map[string]*modelpkg.Model{
		`it has no array "k"`: few(t, x),
		`array "x" has shape`: few(t, array("x", tensor.Shape{2, 2, 1}, 1, 2, 3, 4), array("k", tensor.Shape{}, 7)),
		"no samples":          few(t, array("x", tensor.Shape{0, 2}), array("k", tensor.Shape{}, 7)),
		"is 77":               few(t, x, array("k", tensor.Shape{}, 77)),
	} {
		if samples, err := m.FirstSamples(1); err == nil || slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want %q", samples, err, want)
		}
	}
	m := few(t, x, array("k", tensor.Shape{}, 7))
	m.Evaluation.Profile = "nowhere.npz"
	if _, err := m.FirstSamples(1); slo.KindOf(err) != slo.KindNotFound {
		t.Error(err)
	}
	m.Evaluation.HeldOut = "set.npz"
	if samples, err := m.FirstSamples(1); len(samples) != 1 || err != nil {
		t.Errorf("with a held-out set alone: %v, %v", samples, err)
	}
	m.Evaluation.Profile = ""
	if samples, err := m.FirstSamples(1); samples != nil || err != nil {
		t.Errorf("without a set: %v, %v", samples, err)
	}
}

func BenchmarkFirstSample(b *testing.B) {
	m, err := modelpkg.Load("../../models/digits")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := m.FirstSamples(1); err != nil {
			b.Fatal(err)
		}
	}
}
