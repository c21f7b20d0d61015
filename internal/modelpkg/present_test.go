package modelpkg

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// encode returns numbers as elements of a type.
func encode(d tensor.DType, values ...float64) []byte {
	var data []byte
	for _, v := range values {
		switch d {
		case tensor.FP64:
			data = binary.LittleEndian.AppendUint64(data, math.Float64bits(v))
		case tensor.FP32:
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(v)))
		case tensor.BF16:
			data = binary.LittleEndian.AppendUint16(data, uint16(math.Float32bits(float32(v))>>16))
		case tensor.Int64, tensor.Uint64:
			data = binary.LittleEndian.AppendUint64(data, uint64(int64(v)))
		case tensor.Int32, tensor.Uint32:
			data = binary.LittleEndian.AppendUint32(data, uint32(int64(v)))
		case tensor.Int16, tensor.Uint16:
			data = binary.LittleEndian.AppendUint16(data, uint16(int64(v)))
		default:
			data = append(data, byte(int64(v)))
		}
	}
	return data
}

// constant returns n copies of a value.
func constant(d tensor.DType, n int, v float64) []byte {
	values := make([]float64, n)
	for i := range values {
		values[i] = v
	}
	return encode(d, values...)
}

func TestIsAbsent(t *testing.T) {
	input := func(d tensor.DType, kind AbsentKind, below float64) Input {
		return Input{Spec: Spec{Name: "x", DType: d, Shape: tensor.Shape{-1}}, Absent: Absence{kind, below}}
	}
	last := func(data []byte, b byte) []byte { data[len(data)-1] = b; return data }
	half := math.Sqrt(0.5)
	for _, c := range []struct {
		name string
		in   Input
		data []byte
		want bool
	}{
		{"nothing is declared", input(tensor.Uint8, AbsentNever, 0), make([]byte, 784), false},
		{"nothing is declared and nothing is there", input(tensor.Uint8, AbsentNever, 0), nil, false},
		{"zeros", input(tensor.Uint8, AbsentZeros, 0), make([]byte, 784), true},
		{"zeros of no round length", input(tensor.Uint8, AbsentZeros, 0), make([]byte, 77), true},
		{"the last byte of many", input(tensor.Uint8, AbsentZeros, 0), last(make([]byte, 784), 1), false},
		{"the last byte of no round length", input(tensor.Uint8, AbsentZeros, 0), last(make([]byte, 67), 1), false},
		{"the first byte", input(tensor.Uint8, AbsentZeros, 0), append([]byte{1}, make([]byte, 99)...), false},
		{"an empty tensor", input(tensor.Uint8, AbsentZeros, 0), []byte{}, true},
		{"negative zeros of FP32", input(tensor.FP32, AbsentZeros, 0), constant(tensor.FP32, 33, math.Copysign(0, -1)), true},
		{"negative zeros of FP64", input(tensor.FP64, AbsentZeros, 0), constant(tensor.FP64, 9, math.Copysign(0, -1)), true},
		{"negative zeros of FP16", input(tensor.FP16, AbsentZeros, 0), []byte{0, 0x80, 0, 0x80, 0, 0x80}, true},
		{"the least integer is no negative zero", input(tensor.Int32, AbsentZeros, 0), constant(tensor.Int32, 16, math.MinInt32), false},
		{"NaN is no zero", input(tensor.FP32, AbsentZeros, 0), constant(tensor.FP32, 16, math.NaN()), false},
		{"silence", input(tensor.Int16, AbsentSilence, 0.001), make([]byte, 16000), true},
		{"hiss below the level", input(tensor.Int16, AbsentSilence, 0.001), constant(tensor.Int16, 8000, 32), true},
		{"hiss at the level", input(tensor.Int16, AbsentSilence, 0.001), constant(tensor.Int16, 8000, 33), false},
		{"one click in silence", input(tensor.Int16, AbsentSilence, 0.001), append(make([]byte, 15998), encode(tensor.Int16, -32768)...), false},
		{"a sound of full scale", input(tensor.Int16, AbsentSilence, 1), constant(tensor.Int16, 8000, -32768), false},
		{"FP32 below the level", input(tensor.FP32, AbsentSilence, 0.75), constant(tensor.FP32, 100, half), true},
		{"FP32 above the level", input(tensor.FP32, AbsentSilence, 0.7), constant(tensor.FP32, 100, half), false},
		{"NaN is not silent", input(tensor.FP32, AbsentSilence, 0.5), constant(tensor.FP32, 100, math.NaN()), false},
		{"no level means exact silence", input(tensor.FP32, AbsentSilence, 0), make([]byte, 400), true},
		{"no level and a whisper", input(tensor.FP32, AbsentSilence, 0), constant(tensor.FP32, 100, 1e-6), false},
		{"blank", input(tensor.Uint8, AbsentBlank, 0), []byte("  \t\r\n\x00\x00\x00"), true},
		{"a word", input(tensor.Uint8, AbsentBlank, 0), []byte("   six\x00\x00\x00"), false},
		{"spaces beyond ASCII", input(tensor.Uint8, AbsentBlank, 0), []byte("\u00a0\u2003\u3000\x00"), true},
		{"a word beyond ASCII", input(tensor.Uint8, AbsentBlank, 0), []byte("\u00e9\x00"), false},
		{"half a character", input(tensor.Uint8, AbsentBlank, 0), []byte{0xc2}, false},
		{"codes of 32 bits", input(tensor.Int32, AbsentBlank, 0), encode(tensor.Int32, 32, 0, 0x3000, 0), true},
		{"codes of 64 bits", input(tensor.Int64, AbsentBlank, 0), encode(tensor.Int64, 32, 0, 65), false},
		{"no character", input(tensor.Int64, AbsentBlank, 0), encode(tensor.Int64, -1), false},
	} {
		if got := c.in.IsAbsent(c.data); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestCheckRange(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name  string
		dtype tensor.DType
		r     *Range
		data  []byte
		want  string
	}{
		{"no range", tensor.Int64, nil, encode(tensor.Int64, -5), ""},
		{"inside", tensor.Int64, &Range{0, 29999}, encode(tensor.Int64, 0, 29999, 7), ""},
		{"an id that is too large", tensor.Int64, &Range{0, 29999}, encode(tensor.Int64, 0, 1, 30000),
			`input "x": element 2 is 30000; it must be between 0 and 29999`},
		{"a negative id", tensor.Int32, &Range{0, 29}, encode(tensor.Int32, 3, -1), `input "x": element 1 is -1; it must be between 0 and 29`},
		{"fractions bound whole numbers", tensor.Int32, &Range{0.5, 2.5}, encode(tensor.Int32, 1, 2, 3),
			`input "x": element 2 is 3; it must be between 0.5 and 2.5`},
		{"the least int64", tensor.Int64, &Range{0, 9}, encode(tensor.Int64, math.MinInt64), `input "x": element 0 is -9223372036854775808; it must be between 0 and 9`},
		{"all of int64", tensor.Int64, &Range{-math.MaxFloat64, math.MaxFloat64}, encode(tensor.Int64, math.MinInt64, -1), ""},
		{"float", tensor.FP32, &Range{-1, 1}, encode(tensor.FP32, -1, 1, 1.5), `input "x": element 2 is 1.5; it must be between -1 and 1`},
		{"not a number", tensor.FP32, &Range{-1, 1}, encode(tensor.FP32, 0, nan), `input "x": element 1 is NaN; it must be between -1 and 1`},
		{"infinite", tensor.FP64, &Range{-1, 1}, encode(tensor.FP64, math.Inf(-1)), `input "x": element 0 is -Inf; it must be between -1 and 1`},
		{"half", tensor.FP16, &Range{0, 1}, []byte{0, 0x3c, 0, 0x40}, `input "x": element 1 is 2; it must be between 0 and 1`},
		{"brain float", tensor.BF16, &Range{0, 1}, encode(tensor.BF16, 1, -2), `input "x": element 1 is -2; it must be between 0 and 1`},
		{"a byte", tensor.Uint8, &Range{0, 100}, []byte{100, 101}, `input "x": element 1 is 101; it must be between 0 and 100`},
		{"signed byte", tensor.Int8, &Range{0, 100}, []byte{0xff}, `input "x": element 0 is -1; it must be between 0 and 100`},
		{"16 bits", tensor.Uint16, &Range{0, 65534}, encode(tensor.Uint16, 65535), `input "x": element 0 is 65535; it must be between 0 and 65534`},
		{"32 bits", tensor.Uint32, &Range{0, 9}, encode(tensor.Uint32, 4294967295), `input "x": element 0 is 4294967295; it must be between 0 and 9`},
		{"beyond int64", tensor.Uint64, &Range{0, 9}, encode(tensor.Uint64, -1), `input "x": element 0 is 18446744073709551615; it must be between 0 and 9`},
	} {
		in := Input{Spec: Spec{Name: "x", DType: c.dtype}, Range: c.r}
		err := in.CheckRange(c.data)
		if got := errorText(err); got != c.want || err != nil && slo.KindOf(err) != slo.KindInvalid {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestHalfFloat(t *testing.T) {
	for h, want := range map[uint16]float64{0: 0, 0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 1: math.Ldexp(1, -24), 0x7c00: math.Inf(1), 0x03ff: 1023 * math.Ldexp(1, -24)} {
		if got := halfFloat(h); got != want {
			t.Errorf("%#x is %v, want %v", h, got, want)
		}
	}
	if !math.IsNaN(halfFloat(0x7e00)) {
		t.Error("NaN")
	}
}

// BenchmarkIsAbsent measures the worst case: an absent input, which is read to its end.
func BenchmarkIsAbsent(b *testing.B) {
	for name, in := range map[string]Input{
		"zeros/UINT8":   {Spec: Spec{DType: tensor.Uint8}, Absent: Absence{Kind: AbsentZeros}},
		"silence/INT16": {Spec: Spec{DType: tensor.Int16}, Absent: Absence{AbsentSilence, 0.001}},
		"silence/FP32":  {Spec: Spec{DType: tensor.FP32}, Absent: Absence{AbsentSilence, 0.001}},
		"blank/UINT8":   {Spec: Spec{DType: tensor.Uint8}, Absent: Absence{Kind: AbsentBlank}},
	} {
		b.Run(name, func(b *testing.B) {
			data := make([]byte, 16000)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if !in.IsAbsent(data) {
					b.Fatal("present")
				}
			}
		})
	}
}

func BenchmarkCheckRange(b *testing.B) {
	for _, d := range []tensor.DType{tensor.Int64, tensor.Int32, tensor.FP32, tensor.Uint8} {
		b.Run(d.String(), func(b *testing.B) {
			in := Input{Spec: Spec{DType: d}, Range: &Range{0, 9}}
			data := make([]byte, 16000)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := in.CheckRange(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
