package modelpkg

import (
	"encoding/binary"
	"math"
	"unicode"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/tensor"
)

// IsAbsent reports whether the bytes of one sample match the package's definition of an
// absent input. If there is a definition, no bytes at all count as absent. It stops at
// the first element that shows that the input is present.
func (in Input) IsAbsent(data []byte) bool {
	switch in.Absent.Kind {
	case AbsentZeros:
		return allZero(in.DType, data)
	case AbsentSilence:
		return isSilent(in.DType, data, in.Absent.Below)
	case AbsentBlank:
		if in.DType == tensor.Bytes {
			return blankTexts(data)
		}
		return isBlank(in.DType, data)
	case AbsentNever:
	}
	return false
}

// zeroMask clears the bits that a zero may have set: the sign of a float.
func zeroMask(d tensor.DType) uint64 {
	switch d {
	case tensor.FP16, tensor.BF16:
		return 0x7fff_7fff_7fff_7fff
	case tensor.FP32:
		return 0x7fff_ffff_7fff_ffff
	case tensor.FP64:
		return 0x7fff_ffff_ffff_ffff
	default:
		return math.MaxUint64
	}
}

// allZero reports whether every element is zero, eight bytes at a time.
func allZero(d tensor.DType, data []byte) bool {
	mask := zeroMask(d)
	for len(data) >= 64 {
		b := data[:64]
		words := binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) |
			binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:]) |
			binary.LittleEndian.Uint64(b[32:]) | binary.LittleEndian.Uint64(b[40:]) |
			binary.LittleEndian.Uint64(b[48:]) | binary.LittleEndian.Uint64(b[56:])
		if words&mask != 0 {
			return false
		}
		data = data[64:]
	}
	for len(data) > 0 {
		var word [8]byte
		n := copy(word[:], data)
		if binary.LittleEndian.Uint64(word[:])&mask != 0 {
			return false
		}
		data = data[n:]
	}
	return true
}

// silenceStep is how many elements are summed between two checks of the sum.
const silenceStep = 64

// isSilent reports whether the root mean square is below a share of full scale, which
// is 32768 for INT16 and 1 for FP32. A sound with NaN in it is not silent.
func isSilent(d tensor.DType, data []byte, below float64) bool {
	size := d.Size()
	n := len(data) / size
	limit := below * below * float64(n)
	sum := 0.0
	for len(data) >= size {
		step := data[:min(silenceStep*size, len(data)/size*size)]
		data = data[len(step):]
		switch d {
		case tensor.Int16:
			whole := int64(0) // 64 squares of 2^15 fit
			for i := 0; i+2 <= len(step); i += 2 {
				v := int64(int16(binary.LittleEndian.Uint16(step[i:])))
				whole += v * v
			}
			sum += float64(whole) / (1 << 30)
		case tensor.FP32:
			for i := 0; i+4 <= len(step); i += 4 {
				v := float64(math.Float32frombits(binary.LittleEndian.Uint32(step[i:])))
				sum += v * v
			}
		default:
			return false
		}
		if sum != 0 && !(sum < limit) {
			return false
		}
	}
	return true
}

// isBlank reports whether all character codes are zeros or white space. UINT8 codes are
// read as UTF-8.
func isBlank(d tensor.DType, data []byte) bool {
	if d == tensor.Uint8 {
		for len(data) > 0 {
			r, size := rune(data[0]), 1
			if r >= utf8.RuneSelf {
				r, size = utf8.DecodeRune(data)
			}
			if !blankCode(int64(r)) {
				return false
			}
			data = data[size:]
		}
		return true
	}
	for size := d.Size(); len(data) >= size; data = data[size:] {
		if !blankCode(integerAt(d, data)) {
			return false
		}
	}
	return true
}

func blankCode(code int64) bool {
	return code == 0 || code > 0 && code <= unicode.MaxRune && unicode.IsSpace(rune(code))
}

// integerAt reads the first element of any integer type. A UINT64 above the int64 range
// becomes the largest int64.
func integerAt(d tensor.DType, b []byte) int64 {
	switch d {
	case tensor.Int8:
		return int64(int8(b[0]))
	case tensor.Uint16:
		return int64(binary.LittleEndian.Uint16(b))
	case tensor.Int16:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case tensor.Uint32:
		return int64(binary.LittleEndian.Uint32(b))
	case tensor.Int32:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	case tensor.Int64:
		return int64(binary.LittleEndian.Uint64(b))
	case tensor.Uint64:
		return int64(min(binary.LittleEndian.Uint64(b), math.MaxInt64))
	default:
		return int64(b[0]) // UINT8, BOOL
	}
}

// isFloat reports whether the elements may be NaN or infinite.
func isFloat(d tensor.DType) bool {
	return d == tensor.FP16 || d == tensor.BF16 || d == tensor.FP32 || d == tensor.FP64
}

// floatAt reads the first element of any floating-point type.
func floatAt(d tensor.DType, b []byte) float64 {
	switch d {
	case tensor.FP16:
		return halfFloat(binary.LittleEndian.Uint16(b))
	case tensor.BF16:
		return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16))
	case tensor.FP32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	default:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
}

// halfFloat widens an IEEE half: 1 sign bit, 5 exponent bits, 10 fraction bits.
func halfFloat(h uint16) float64 {
	exponent, fraction := int(h>>10&31), float64(h&1023)
	var v float64
	switch exponent {
	case 0:
		v = math.Ldexp(fraction, -24)
	case 31:
		v = math.Inf(1)
		if fraction != 0 {
			v = math.NaN()
		}
	default:
		v = math.Ldexp(1024+fraction, exponent-25)
	}
	if h>>15 != 0 {
		v = -v
	}
	return v
}
