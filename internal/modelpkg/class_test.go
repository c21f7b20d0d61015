package modelpkg

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

func TestBestClass(t *testing.T) {
	var data []byte
	for _, s := range []float32{0.1, 0.7, 0.2, 0.4, 0.2, 0.4, float32(math.NaN()), 1, 1} {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(s))
	}
	scores := tensor.Tensor{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{3, 3}, Data: data}
	for item, want := range []int{1, 0} {
		if got, _, err := BestClass(scores, item); err != nil || got != want {
			t.Errorf("item %d: class %d %v, want %d", item, got, err, want)
		}
	}
	if _, score, _ := BestClass(scores, 0); score != 0.7 {
		t.Errorf("score %v", score)
	}
	wrong := scores
	wrong.DType = tensor.FP64
	for name, call := range map[string]func() error{
		"a NaN":        func() error { _, _, err := BestClass(scores, 2); return err },
		"no such item": func() error { _, _, err := BestClass(scores, 3); return err },
		"a type":       func() error { _, _, err := BestClass(wrong, 0); return err },
		"nothing":      func() error { _, _, err := BestClass(tensor.Tensor{}, 0); return err },
	} {
		if call() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
