package client

import (
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// TestFailedItemsOfAServer reads which items failed, of a server that is not believed
// to have answered more items than there are.
func TestFailedItemsOfAServer(t *testing.T) {
	for _, tt := range []struct {
		list string
		want []int // nil: an error
	}{{"0,2", []int{0, 2}}, {"3", nil}, {"0-2000000000", nil}} {
		r, err := newResponse(&oip.Response{Outputs: []tensor.Tensor{{Name: "y", DType: tensor.Uint8, Shape: tensor.Shape{3, 1}, Data: make([]byte, 3)}},
			Parameters: oip.Parameters{{Name: "failed_items", Value: oip.String(tt.list)}}})
		if (err == nil) != (tt.want != nil) || err == nil && !slices.Equal(r.FailedItems, tt.want) {
			t.Errorf("%s: %+v, %v", tt.list, r, err)
		}
	}
}
