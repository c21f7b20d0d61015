package tensor_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

func TestDTypesAreReadAsTheyAreNamed(t *testing.T) {
	sizes := map[tensor.DType]int{tensor.Bool: 1, tensor.Uint8: 1, tensor.Int16: 2, tensor.FP16: 2, tensor.BF16: 2, tensor.FP32: 4,
		tensor.Int64: 8, tensor.FP64: 8, tensor.Bytes: 0}
	for d, size := range sizes {
		if got, err := tensor.ParseDType(d.String()); err != nil || got != d || d.Size() != size {
			t.Errorf("%v is read as %v, %v, and has %d bytes", d, got, err, d.Size())
		}
	}
	for _, name := range []string{"", "fp32", "INVALID", "FP33"} {
		if d, err := tensor.ParseDType(name); err == nil {
			t.Errorf("%q is read as %v", name, d)
		}
	}
	if d := tensor.DType(200); d.String() != "INVALID" || d.Size() != 0 {
		t.Errorf("a type that does not exist is %v of %d bytes", d, d.Size())
	}
}

func TestElements(t *testing.T) {
	for _, c := range []struct {
		shape tensor.Shape
		want  int // -1: an error
	}{
		{nil, 1}, {tensor.Shape{3, 4}, 12}, {tensor.Shape{0, math.MaxInt64}, 0}, {tensor.Shape{math.MaxInt64, 0}, 0},
		{tensor.Shape{-1, 4}, -1}, {tensor.Shape{math.MaxInt64, 2}, -1}, {tensor.Shape{1 << 32, 1 << 32}, -1},
	} {
		if got, err := c.shape.Elements(); (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("%v has %d elements, %v", c.shape, got, err)
		}
	}
}

func TestShapes(t *testing.T) {
	spec := tensor.Shape{-1, 28}
	if !(tensor.Shape{5, 28}).Fits(spec) || (tensor.Shape{5, 27}).Fits(spec) || (tensor.Shape{5}).Fits(spec) {
		t.Errorf("what fits %v is wrong", spec)
	}
	if !spec.Equal(tensor.Shape{-1, 28}) || spec.Equal(tensor.Shape{-1}) || spec.Equal(tensor.Shape{1, 28}) || spec.String() != "[-1,28]" {
		t.Errorf("%v is not itself", spec)
	}
}

func TestNewChecksBytes(t *testing.T) {
	for _, c := range []struct {
		d     tensor.DType
		shape tensor.Shape
		bytes int
		fits  bool
	}{
		{tensor.FP32, tensor.Shape{2, 3}, 24, true}, {tensor.FP32, tensor.Shape{2, 3}, 23, false}, {tensor.Uint8, tensor.Shape{0, 4}, 0, true},
		{tensor.Bytes, tensor.Shape{1}, 4, true}, {tensor.Bytes, tensor.Shape{2}, 4, false}, {tensor.Bytes, tensor.Shape{1}, 5, false}, {tensor.FP64, tensor.Shape{1 << 61}, 0, false}, {tensor.Uint8, tensor.Shape{-1}, 1, false},
	} {
		if _, err := tensor.New("x", c.d, c.shape, make([]byte, c.bytes)); (err == nil) != c.fits {
			t.Errorf("%v %v of %d bytes: %v", c.d, c.shape, c.bytes, err)
		}
	}
}

func TestRowsAreViews(t *testing.T) {
	x, err := tensor.New("x", tensor.Int16, tensor.Shape{3, 2}, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
	if err != nil {
		t.Fatal(err)
	}
	row := x.Row(1)
	if x.Rows() != 3 || !bytes.Equal(row, []byte{4, 5, 6, 7}) || cap(row) != 4 {
		t.Errorf("row 1 is %v of capacity %d", row, cap(row))
	}
	row[0] = 99
	if x.Data[4] != 99 {
		t.Error("a row is a copy")
	}
	if (tensor.Tensor{}).Rows() != 0 {
		t.Error("a scalar has rows")
	}
}

func TestRowsOfTexts(t *testing.T) {
	x, err := tensor.Strings("x", tensor.Shape{3, 2}, []string{"a", "", "bcd", "e", "", ""})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"\x01\x00\x00\x00a\x00\x00\x00\x00", "\x03\x00\x00\x00bcd\x01\x00\x00\x00e", "\x00\x00\x00\x00\x00\x00\x00\x00"}
	for i, row := range x.Split() {
		if string(row) != want[i] || string(x.Row(i)) != want[i] {
			t.Errorf("row %d is %q and %q, want %q", i, row, x.Row(i), want[i])
		}
		if n, whole := tensor.Count(tensor.Bytes, row); n != 2 || !whole {
			t.Errorf("row %d has %d elements (whole: %v), want 2", i, n, whole)
		}
	}
	for _, cut := range []string{"\x01", "\x01\x00\x00\x00", "\xff\xff\xff\xffabc"} {
		if _, whole := tensor.Count(tensor.Bytes, []byte(cut)); whole {
			t.Errorf("%q counts as whole", cut)
		}
	}
	if n, whole := tensor.Count(tensor.Int16, make([]byte, 5)); n != 2 || whole {
		t.Errorf("5 bytes of INT16 are %d elements (whole: %v)", n, whole)
	}
	none := tensor.Tensor{DType: tensor.FP32, Shape: tensor.Shape{2, 0}}
	if rows := none.Split(); len(rows) != 2 || len(rows[1]) != 0 {
		t.Errorf("rows without elements: %v", rows)
	}
}
