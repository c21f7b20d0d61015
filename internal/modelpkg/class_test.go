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
	wrong.DType = tensor.Int32
	for name, call := range map[string]func() error{
		"a NaN":        func() error { _, _, err := BestClass(scores, 2); return err },
		"no such item": func() error { _, _, err := BestClass(scores, 3); return err },
		"a type":       func() error { _, _, err := BestClass(wrong, 0); return err },
		"two dimensions of classes": func() error {
			_, _, err := BestClass(tensor.Tensor{DType: tensor.FP32, Shape: tensor.Shape{1, 3, 3}, Data: data}, 0)
			return err
		},
		"nothing": func() error { _, _, err := BestClass(tensor.Tensor{}, 0); return err },
	} {
		if call() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestBestClassOfOtherForms checks the shapes and types of scores in exported models.
func TestBestClassOfOtherForms(t *testing.T) {
	for _, d := range []tensor.DType{tensor.FP16, tensor.FP32, tensor.FP64} {
		for _, shape := range []tensor.Shape{{2, 3}, {2, 3, 1, 1}, {2, 1, 3}} {
			data := encode(d, 0.25, 0.5, 0.125, 1, -1, 0)
			if d == tensor.FP16 {
				data = []byte{0, 0x34, 0, 0x38, 0, 0x30, 0, 0x3c, 0, 0xbc, 0, 0}
			}
			scores := tensor.Tensor{Name: "p", DType: d, Shape: shape, Data: data}
			first, score, err := BestClass(scores, 0)
			second, _, err2 := BestClass(scores, 1)
			if err != nil || err2 != nil || first != 1 || score != 0.5 || second != 0 {
				t.Errorf("%v %v: class %d with %v, then %d; %v %v", d, shape, first, score, second, err, err2)
			}
		}
	}
}
