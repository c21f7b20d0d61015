package modelpkg

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// CheckRange checks every element of an input against the declared range, if there is
// one. data may be one sample or many. Its error has kind invalid and names the input,
// the element, its value and the range. NaN is in no range.
func (in Input) CheckRange(data []byte) error {
	if in.Range == nil {
		return nil
	}
	var at int
	switch in.DType {
	case tensor.Int64:
		at = outside64(data, in.Range.whole())
	case tensor.Int32:
		at = outside32(data, in.Range.whole())
	case tensor.FP32:
		at = outsideFloat(data, in.Range)
	default:
		at = in.Range.outside(in.DType, data)
	}
	if at < 0 {
		return nil
	}
	return slo.E("", slo.KindInvalid, "input %q: element %d is %s; it must be between %s and %s",
		in.Name, at, elementText(in.DType, data[at*in.DType.Size():]), numberText(in.Range.Low), numberText(in.Range.High))
}

// bounds is a range in integers.
type bounds struct{ low, high int64 }

// whole returns the lowest and the highest int64 inside the range.
func (r *Range) whole() bounds {
	b := bounds{math.MinInt64, math.MaxInt64}
	if low := math.Ceil(r.Low); low >= math.MaxInt64 {
		b.low = math.MaxInt64
	} else if low > math.MinInt64 {
		b.low = int64(low)
	}
	if high := math.Floor(r.High); high < math.MinInt64 {
		b.high = math.MinInt64
	} else if high < math.MaxInt64 {
		b.high = int64(high)
	}
	return b
}

// outside64, outside32, outsideFloat and outside return the index of the first element
// outside the range, -1 if there is none.
func outside64(data []byte, b bounds) int {
	for i := 0; i+8 <= len(data); i += 8 {
		if v := int64(binary.LittleEndian.Uint64(data[i:])); v < b.low || v > b.high {
			return i / 8
		}
	}
	return -1
}

func outside32(data []byte, b bounds) int {
	for i := 0; i+4 <= len(data); i += 4 {
		if v := int64(int32(binary.LittleEndian.Uint32(data[i:]))); v < b.low || v > b.high {
			return i / 4
		}
	}
	return -1
}

func outsideFloat(data []byte, r *Range) int {
	for i := 0; i+4 <= len(data); i += 4 {
		if v := float64(math.Float32frombits(binary.LittleEndian.Uint32(data[i:]))); !(v >= r.Low && v <= r.High) {
			return i / 4
		}
	}
	return -1
}

func (r *Range) outside(d tensor.DType, data []byte) int {
	size, b := d.Size(), r.whole()
	for i := 0; i+size <= len(data); i += size {
		if isFloat(d) {
			if v := floatAt(d, data[i:]); !(v >= r.Low && v <= r.High) {
				return i / size
			}
		} else if v := integerAt(d, data[i:]); v < b.low || v > b.high {
			return i / size
		}
	}
	return -1
}

// notFinite returns the index of the first element that is NaN or infinite, -1 if there
// is none.
func notFinite(d tensor.DType, data []byte) int {
	if !isFloat(d) {
		return -1
	}
	size := d.Size()
	for i := 0; i+size <= len(data); i += size {
		if v := floatAt(d, data[i:]); math.IsNaN(v) || math.IsInf(v, 0) {
			return i / size
		}
	}
	return -1
}

// IsFinite reports whether no element is NaN or infinite. Integers are always finite.
func (in Input) IsFinite(data []byte) bool { return notFinite(in.DType, data) < 0 }

// elementText returns the first element of the data as text.
func elementText(d tensor.DType, data []byte) string {
	switch {
	case isFloat(d):
		return strconv.FormatFloat(floatAt(d, data), 'g', 7, 64)
	case d == tensor.Uint64:
		return strconv.FormatUint(binary.LittleEndian.Uint64(data), 10)
	}
	return strconv.FormatInt(integerAt(d, data), 10)
}

// numberText returns a bound as a person would write it.
func numberText(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
