package api

import (
	"maps"
	"testing"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// TestPropertiesOfDeclarations checks that clients see the package's optional
// declarations of inputs.
func TestPropertiesOfDeclarations(t *testing.T) {
	m := &modelpkg.Model{
		Modalities: []modelpkg.Modality{{Name: "m", Inputs: []int{0, 1, 2}}},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "ids", DType: tensor.Int64, Shape: tensor.Shape{-1}, Max: 512}, Range: &modelpkg.Range{High: 2147483647}},
			{Spec: modelpkg.Spec{Name: "wave", DType: tensor.Int16, Shape: tensor.Shape{8000}}, Absent: modelpkg.Absence{Kind: modelpkg.AbsentSilence, Below: 0.001}},
			{Spec: modelpkg.Spec{Name: "heat", DType: tensor.FP32}, Unbatched: true},
		},
		Outputs: []modelpkg.Spec{{Name: "boxes", Shape: tensor.Shape{-1}, Max: 100}},
	}
	got := properties(engine.Served{Model: m, Profile: &modelpkg.Profile{}})
	want := map[string]string{"modalities": "m", "modality.m": "ids,wave,heat", "variants": "", "max.ids": "512", "range.ids": "0,2147483647",
		"absent.wave": "silence", "silence_below.wave": "0.001", "batched.heat": "false", "max.boxes": "100"}
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
