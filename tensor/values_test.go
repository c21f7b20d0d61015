package tensor_test

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

// roundTrip makes a tensor of values, checks its bytes and reads the values back.
func roundTrip[T tensor.Element](t *testing.T, d tensor.DType, data string, values ...T) {
	t.Helper()
	shape := tensor.Shape{int64(len(values)), 1}
	x, err := tensor.Of("x", shape, values)
	if err != nil || x.Name != "x" || x.DType != d || !x.Shape.Equal(shape) || string(x.Data) != data {
		t.Errorf("%v makes %+v, %v", values, x, err)
		return
	}
	if got, err := tensor.Values[T](x); err != nil || !slices.Equal(got, values) {
		t.Errorf("%v is read as %v, %v", values, got, err)
	}
}

func TestValuesOfEveryType(t *testing.T) {
	roundTrip(t, tensor.Bool, "\x01\x00", true, false)
	roundTrip(t, tensor.Uint8, "\x00\xff", uint8(0), 255)
	roundTrip(t, tensor.Uint16, "\x02\x01", uint16(0x102))
	roundTrip(t, tensor.Uint32, "\x04\x03\x02\x01", uint32(0x1020304))
	roundTrip(t, tensor.Uint64, "\x08\x07\x06\x05\x04\x03\x02\x01", uint64(0x102030405060708))
	roundTrip(t, tensor.Int8, "\xff\x7f", int8(-1), 127)
	roundTrip(t, tensor.Int16, "\xfe\xff", int16(-2))
	roundTrip(t, tensor.Int32, "\xfe\xff\xff\xff", int32(-2))
	roundTrip(t, tensor.Int64, "\xfe\xff\xff\xff\xff\xff\xff\xff", int64(-2))
	roundTrip(t, tensor.FP16, "\x00\x3c\x00\xc0", tensor.ToFloat16(1), tensor.ToFloat16(-2))
	roundTrip(t, tensor.BF16, "\x80\x3f\x00\xc0", tensor.ToBFloat16(1), tensor.ToBFloat16(-2))
	roundTrip(t, tensor.FP32, "\x00\x00\x80\x3f\x00\x00\x00\xc0", float32(1), -2)
	roundTrip(t, tensor.FP64, "\x00\x00\x00\x00\x00\x00\xf0\x3f", 1.0)
	roundTrip[float32](t, tensor.FP32, "")
}

func TestBytesAreNotCopied(t *testing.T) {
	pixels := []uint8{1, 2, 3, 4}[:2]
	x, err := tensor.Of("x", tensor.Shape{2}, pixels)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tensor.Values[uint8](x)
	if err != nil || &got[0] != &pixels[0] || cap(got) != 2 || cap(x.Data) != 2 {
		t.Errorf("%v of capacities %d and %d, %v", got, cap(x.Data), cap(got), err)
	}
}

func TestOfFails(t *testing.T) {
	for want, shape := range map[string]tensor.Shape{
		`tensor "x": shape [2,2] has 4 elements, got 3 values`:   {2, 2},
		`tensor "x": shape [] has 1 elements, got 3 values`:      nil,
		`tensor "x": shape [-1] has a negative dimension`:        {-1},
		`tensor "x": shape [4611686018427387904,8] overflows`:    {1 << 62, 8},
		`tensor "x": shape [3,0] has 0 elements, got 3 values`:   {3, 0},
		`tensor "x": shape [1,3,2] has 6 elements, got 3 values`: {1, 3, 2},
	} {
		if _, err := tensor.Of("x", shape, []int16{1, 2, 3}); err == nil || err.Error() != want {
			t.Errorf("of %v: %v, want %s", shape, err, want)
		}
		if _, err := tensor.Strings("x", shape, []string{"a", "b", "c"}); err == nil || err.Error() != want {
			t.Errorf("strings of %v: %v, want %s", shape, err, want)
		}
	}
}

func TestValuesFail(t *testing.T) {
	x := tensor.Tensor{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{2}, Data: make([]byte, 8)}
	_, err := tensor.Values[int64](x)
	if err == nil || err.Error() != `tensor "x": the elements are FP32, not INT64 (int64)` {
		t.Errorf("of another type: %v", err)
	}
	_, err = tensor.Values[string](x)
	if err == nil || err.Error() != `tensor "x": the elements are FP32, not BYTES (string)` {
		t.Errorf("of texts: %v", err)
	}
	for _, bad := range []tensor.Tensor{
		{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{2}, Data: make([]byte, 7)},
		{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{-2}, Data: make([]byte, 8)},
		{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{1 << 62}, Data: nil},
	} {
		if got, err := tensor.Values[float32](bad); err == nil {
			t.Errorf("%v of %d bytes has the values %v", bad.Shape, len(bad.Data), got)
		}
	}
}

func TestStrings(t *testing.T) {
	texts := []string{"cat", "", "a\x00b"}
	x, err := tensor.Strings("x", tensor.Shape{3}, texts)
	if err != nil || x.DType != tensor.Bytes || string(x.Data) != "\x03\x00\x00\x00cat\x00\x00\x00\x00\x03\x00\x00\x00a\x00b" {
		t.Fatalf("%+v, %v", x, err)
	}
	if got, err := tensor.Values[string](x); err != nil || !slices.Equal(got, texts) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestBadStrings(t *testing.T) {
	for want, c := range map[string]struct {
		shape tensor.Shape
		data  string
	}{
		"7 bytes cannot hold the 2 elements of shape [2]": {tensor.Shape{2}, "\x03\x00\x00\x00cat"},
		"cannot hold the 4611686018427387904 elements":    {tensor.Shape{1 << 62}, "\x03\x00\x00\x00cat"},
		"the bytes end before element 1":                  {tensor.Shape{2}, "\x04\x00\x00\x00cats"},
		"element 0 has 4 bytes, but only 3 are left":      {tensor.Shape{1}, "\x04\x00\x00\x00cat"},
		"element 0 has 4294967295 bytes":                  {tensor.Shape{1}, "\xff\xff\xff\xffcat"},
		"1 bytes are left after 1 elements":               {tensor.Shape{1}, "\x03\x00\x00\x00cats"},
		"4 bytes are left after 0 elements":               {tensor.Shape{0}, "\x00\x00\x00\x00"},
		"has a negative dimension":                        {tensor.Shape{-1}, "\x03\x00\x00\x00cat"},
	} {
		got, err := tensor.Values[string](tensor.Tensor{Name: "x", DType: tensor.Bytes, Shape: c.shape, Data: []byte(c.data)})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), `tensor "x": `) {
			t.Errorf("%q of %v: %q, %v, want %q", c.data, c.shape, got, err, want)
		}
	}
}

// nearest finds what x must be rounded to by trying all numbers of the type.
func nearest[T ~uint16](x float32, wide func(T) float32) T {
	best, least := T(0), math.Inf(1)
	for i := range 1 << 16 {
		v := T(i)
		if math.IsInf(float64(wide(v)), 0) || wide(v) != wide(v) || math.Signbit(float64(wide(v))) != math.Signbit(float64(x)) {
			continue
		}
		off := math.Abs(float64(wide(v)) - float64(x))
		if off < least || off == least && v&1 == 0 {
			best, least = v, off
		}
	}
	return best
}

func TestSixteenBits(t *testing.T) {
	for i := range 1 << 16 {
		half, brain := tensor.Float16(i), tensor.BFloat16(i)
		if wide := half.Float32(); wide == wide && tensor.ToFloat16(wide) != half || wide != wide && !isNaN16(tensor.ToFloat16(wide)) {
			t.Fatalf("FP16 %#04x is %v is %#04x", i, wide, tensor.ToFloat16(wide))
		}
		if wide, back := brain.Float32(), tensor.ToBFloat16(brain.Float32()); wide == wide && back != brain || wide != wide && back.Float32() == back.Float32() {
			t.Fatalf("BF16 %#04x is %v is %#04x", i, wide, back)
		}
	}
	for _, x := range []float32{0, 1, -1, 0.1, -1.0 / 3, 65504, -65519, 2049, 2051, 1e-7, 2.9802322e-8, 2.9802326e-8, 5.96e-8, 6.1e-5, 6.097555e-5, 8.9e-8, 1e-30, 3.14159} {
		if got, want := tensor.ToFloat16(x), nearest(x, tensor.Float16.Float32); got != want {
			t.Errorf("%v is %v in FP16, want %v", x, got.Float32(), want.Float32())
		}
		if got, want := tensor.ToBFloat16(x), nearest(x, tensor.BFloat16.Float32); got != want {
			t.Errorf("%v is %v in BF16, want %v", x, got.Float32(), want.Float32())
		}
	}
	for x, want := range map[float32]tensor.Float16{65520: 0x7c00, -1e10: 0xfc00, float32(math.Inf(1)): 0x7c00, float32(math.Copysign(0, -1)) - 1e-30: 0x8000} {
		if got := tensor.ToFloat16(x); got != want {
			t.Errorf("%v is %#04x, want %#04x", x, got, want)
		}
	}
	if got := tensor.ToBFloat16(math.MaxFloat32); got != 0x7f80 {
		t.Errorf("the largest float32 is %#04x, want infinity", got)
	}
}

func isNaN16(f tensor.Float16) bool { return f&0x7fff > 0x7c00 }

func FuzzStrings(f *testing.F) {
	f.Add(int64(2), []byte("\x03\x00\x00\x00cat\x00\x00\x00\x00"))
	f.Add(int64(1)<<62, []byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, n int64, data []byte) {
		texts, err := tensor.Values[string](tensor.Tensor{Name: "x", DType: tensor.Bytes, Shape: tensor.Shape{n}, Data: data})
		if err != nil {
			return
		}
		x, err := tensor.Strings("x", tensor.Shape{n}, texts)
		if err != nil || !bytes.Equal(x.Data, data) {
			t.Errorf("%q is read as %q and written as %q, %v", data, texts, x.Data, err)
		}
	})
}

func BenchmarkValues(b *testing.B) {
	values := make([]float32, 1<<16)
	b.SetBytes(4 << 16)
	for b.Loop() {
		x, err := tensor.Of("x", tensor.Shape{1 << 16}, values)
		if err == nil {
			_, err = tensor.Values[float32](x)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
