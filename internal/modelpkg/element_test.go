package modelpkg

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

// TestElement writes numbers as elements of every type, in hexadecimal, the lowest byte
// first.
func TestElement(t *testing.T) {
	for _, c := range []struct {
		dtype  tensor.DType
		number float64
		want   string
	}{
		{tensor.Bool, 0, "00"}, {tensor.Bool, 3, "01"}, {tensor.Uint8, 255, "ff"}, {tensor.Int8, -1, "ff"}, {tensor.Uint16, 258, "0201"},
		{tensor.Int16, -2, "feff"}, {tensor.Uint32, 1 << 31, "00000080"}, {tensor.Int32, -100, "9cffffff"}, {tensor.Int64, -100, "9cffffffffffffff"},
		{tensor.Uint64, 1 << 63, "0000000000000080"}, {tensor.Uint64, 7, "0700000000000000"},
		{tensor.FP16, 1, "003c"}, {tensor.FP16, -2, "00c0"}, {tensor.FP16, 65504, "ff7b"}, {tensor.FP16, 1e9, "ff7b"}, {tensor.FP16, -1e9, "fffb"}, {tensor.FP16, 1e-9, "0000"},
		{tensor.BF16, 1, "803f"}, {tensor.BF16, -100, "c8c2"}, {tensor.FP32, 0.5, "0000003f"}, {tensor.FP64, -0.5, "000000000000e0bf"},
		{tensor.Bytes, -1.5, "040000002d312e35"},
	} {
		if got := hex.EncodeToString(Element(c.dtype, c.number)); got != c.want {
			t.Errorf("%v as %v is %s, want %s", c.number, c.dtype, got, c.want)
		}
	}
}

// TestPads fills items of every type up with their declared element.
func TestPads(t *testing.T) {
	for _, c := range []struct {
		dtype tensor.DType
		pad   float64
	}{
		{tensor.Bool, 1}, {tensor.Uint8, 200}, {tensor.Int16, -3}, {tensor.Int64, -100}, {tensor.FP16, -1}, {tensor.BF16, -1}, {tensor.FP32, 0.25}, {tensor.FP64, 1e300},
	} {
		pad := Element(c.dtype, c.pad)
		in := Input{Spec: Spec{Name: "x", DType: c.dtype, Shape: tensor.Shape{-1}},
			Buckets: &Buckets{Shapes: []tensor.Shape{{2}, {4}}, Pad: pad, Mask: -1, Types: -1, Length: -1}}
		m := &Model{Inputs: []Input{in}, sized: 1}
		own := bytes.Repeat(Element(c.dtype, 0), 3)
		f, err := m.Fit([][]byte{own}, nil)
		if want := append(bytes.Clone(own), pad...); err != nil || !bytes.Equal(f.Item[0], want) || f.Sizes.Bucket(0) != 1 {
			t.Errorf("%v: %x, want %x; %v", c.dtype, f.Item[0], want, err)
		}
		if got := in.trimmed(f.Item[0], tensor.Shape{4}); !got.Equal(tensor.Shape{3}) {
			t.Errorf("%v: cut to %v again", c.dtype, got)
		}
	}
}
