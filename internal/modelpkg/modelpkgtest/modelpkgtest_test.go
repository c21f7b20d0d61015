package modelpkgtest_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// TestPackagesAreSound checks that written packages pass every check that real ones do,
// and load as the intended model.
func TestPackagesAreSound(t *testing.T) {
	m := modelpkgtest.Model("scene", []modelpkg.Spec{
		{Name: "image", DType: tensor.Uint8, Shape: tensor.Shape{4, 4}},
		{Name: "wave", DType: tensor.Int16, Shape: tensor.Shape{-1}},
		{Name: "gain", DType: tensor.FP16},
	}, modelpkg.Spec{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{3}}, "image", "image_gain", "image_wave_gain")
	m.Limits.BatchItemsMax = 8
	loaded, err := modelpkgtest.Write(t.TempDir(), m, []modelpkgtest.Measured{
		{Accuracy: 0.8, Item: time.Millisecond}, {Accuracy: 0.9, Item: 2 * time.Millisecond}, {Accuracy: 0.99, Item: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	if problems := modelpkg.Check(loaded.Dir); len(problems) > 0 {
		t.Error(problems)
	}
	p, err := modelpkg.FindProfile(loaded, "")
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Name != "scene" || len(loaded.Inputs) != 3 || !slices.Equal(loaded.Variants[1].Inputs, []int{0, 2}) {
		t.Errorf("loaded as %+v", loaded)
	}
	all := p.Variants[2]
	if all.Accuracy.Mean != 0.99 || len(all.Batches) != 2 || all.Batches[1].Items != 8 || all.Batches[1].P50MS != 8000 {
		t.Errorf("the profile says %+v of all three", all)
	}
}

// TestPackagesKeepDeclarations checks that a model's declarations of inputs are the
// same after its package is loaded.
func TestPackagesKeepDeclarations(t *testing.T) {
	m := modelpkgtest.Model("scene", []modelpkg.Spec{
		{Name: "wave", DType: tensor.Int16, Shape: tensor.Shape{-1}, Max: 16000},
		{Name: "ids", DType: tensor.Int64, Shape: tensor.Shape{-1}},
		{Name: "heat", DType: tensor.FP32},
	}, modelpkg.Spec{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{3}}, "wave_ids_heat")
	m.Inputs[0].Media, m.Inputs[0].SampleRate = modelpkg.MediaAudio, 16000
	m.Inputs[0].Absent = modelpkg.Absence{Kind: modelpkg.AbsentSilence, Below: 0.01}
	m.Inputs[1].Range = &modelpkg.Range{Low: 0, High: 29999}
	m.Inputs[1].Absent = modelpkg.Absence{Kind: modelpkg.AbsentZeros}
	m.Inputs[2].Unbatched = true
	loaded, err := modelpkgtest.Write(t.TempDir(), m, []modelpkgtest.Measured{{Accuracy: 0.8, Item: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(m.Inputs)
	want[1].Max = 1024 // a package must have one
	if len(loaded.Warnings) > 0 || !reflect.DeepEqual(loaded.Inputs, want) {
		t.Errorf("got  %+v\nwant %+v\n%q", loaded.Inputs, want, loaded.Warnings)
	}
}
