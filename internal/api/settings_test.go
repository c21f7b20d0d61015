package api

import (
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// TestSettingsForNamedItems names items for a modality whose inputs apply to the whole
// request: their tensors do not show the number of items.
func TestSettingsForNamedItems(t *testing.T) {
	m := choosy()
	m.Inputs[2].Unbatched = true // as the mask is: all of text applies to the whole request
	chars := tensor.Tensor{Name: "chars", DType: tensor.Uint8, Shape: tensor.Shape{3}, Data: []byte{1, 2, 3}}
	for _, tt := range []struct {
		items  string
		inputs []tensor.Tensor
		want   string // an error; "": none
	}{
		{"0", []tensor.Tensor{images(1, 2), chars, mask}, ""},
		{"0-1", []tensor.Tensor{images(1, 2), chars, mask}, ""},
		{"2", []tensor.Tensor{images(1, 2), chars, mask}, "names item 2"},
		{"0-99", []tensor.Tensor{images(1, 2), chars, mask}, "names item 99"},
		{"7", []tensor.Tensor{chars, mask}, "item 0 carries nothing"},
	} {
		x := newExchange(&budget{max: 1 << 20})
		x.request.Inputs = tt.inputs
		x.request.Parameters = oip.Parameters{{Name: "items.text", Value: oip.String(tt.items)}}

		_, err := x.takeItems(m, 100)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.items, err)
		case tt.want != "" && (slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.items, err, tt.want)
		}
	}
}
