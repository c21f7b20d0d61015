package modelpkg

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

func TestLevel(t *testing.T) {
	input := func(d tensor.DType, pad []byte) Input {
		in := Input{Spec: Spec{DType: d}}
		if pad != nil {
			in.Buckets = &Buckets{Pad: pad}
		}
		return in
	}
	sound := func(numbers ...int16) []byte {
		var b []byte
		for _, v := range numbers {
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		}
		return b
	}
	text := func(s string) []byte { return append(binary.LittleEndian.AppendUint32(nil, uint32(len(s))), s...) }
	for _, c := range []struct {
		name  string
		in    Input
		data  []byte
		level float64
		blank bool
	}{
		{"a picture", input(tensor.Uint8, nil), []byte{0, 100, 200}, 100, false},
		{"a black picture", input(tensor.Uint8, nil), make([]byte, 10_000), 0, true},
		{"a white picture", input(tensor.Uint8, nil), bytes.Repeat([]byte{255}, 784), 255, true},
		{"a sound", input(tensor.Int16, nil), sound(-300, 100, 300, -100), 200, false},
		{"silence", input(tensor.Int16, nil), sound(0, 0, 0), 0, true},
		{"a sound that is filled up", input(tensor.Int16, sound(0)), sound(-300, 300, 0, 0, 0, 0), 300, false},
		{"silence that is filled up", input(tensor.Int16, sound(0)), sound(0, 0), 0, true},
		{"floats", input(tensor.FP32, nil), append(Element(tensor.FP32, -1.5), Element(tensor.FP32, 0.5)...), 1, false},
		{"half floats", input(tensor.FP16, nil), append(Element(tensor.FP16, -1.5), Element(tensor.FP16, 0.5)...), 1, false},
		{"a text", input(tensor.Bytes, nil), text(" seven "), 5, false},
		{"an empty text", input(tensor.Bytes, nil), text(""), 0, true},
		{"a text of spaces", input(tensor.Bytes, nil), text("  "), 0, true},
		{"nothing", input(tensor.Uint8, nil), nil, 0, true},
	} {
		if level, blank := c.in.Level(c.data); level != c.level || blank != c.blank {
			t.Errorf("%s: level %v, blank %v; want %v, %v", c.name, level, blank, c.level, c.blank)
		}
	}
	if a := testing.AllocsPerRun(100, func() { in := input(tensor.Uint8, nil); in.Level(make([]byte, 0)) }); a > 0 {
		t.Errorf("%v allocations", a)
	}
}

// TestNumberAt: what Element writes is read again.
func TestNumberAt(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Uint8, tensor.Int8, tensor.Uint16, tensor.Int16, tensor.Uint32, tensor.Int32, tensor.Uint64, tensor.Int64,
		tensor.FP16, tensor.BF16, tensor.FP32, tensor.FP64} {
		for _, v := range []float64{0, 1, 100} {
			if got := NumberAt(d, Element(d, v)); got != v {
				t.Errorf("%v: %v is read as %v", d, v, got)
			}
		}
	}
}
