package tensor

import "math"

// Float16 is a number of FP16: IEEE 754 with 5 bits of exponent and 10 of
// fraction.
type Float16 uint16

// BFloat16 is a number of BF16: the upper half of a float32.
type BFloat16 uint16

// ToFloat16 rounds to the nearest FP16, ties to even. Values too large for FP16, whose
// largest number is 65504, become an infinity.
func ToFloat16(x float32) Float16 {
	bits := math.Float32bits(x)
	sign := Float16(bits >> 16 & 0x8000)
	magnitude := bits & 0x7fffffff
	switch {
	case magnitude > 0x7f800000: // NaN, which stays one with its upper bits
		return sign | 0x7e00 | Float16(magnitude>>13&0x3ff)
	case magnitude >= 0x477ff000: // nearer to 65536 than to 65504
		return sign | 0x7c00
	case magnitude >= 0x38800000: // the exponents that both types have
		return sign | Float16(halve(magnitude-(127-15)<<23, 13))
	case magnitude < 0x33000000: // less than half of the smallest
		return sign
	}
	// Subnormal: a multiple of 2^-24.
	fraction := magnitude&0x7fffff | 0x800000
	return sign | Float16(halve(fraction, 126-magnitude>>23))
}

// Float32 converts to the same number as a float32.
func (f Float16) Float32() float32 {
	sign, exponent, fraction := uint32(f&0x8000)<<16, uint32(f>>10&0x1f), uint32(f&0x3ff)
	switch exponent {
	case 0:
		small := float32(fraction) / (1 << 24)
		return math.Float32frombits(sign | math.Float32bits(small))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// ToBFloat16 rounds to the nearest BF16, ties to even.
func ToBFloat16(x float32) BFloat16 {
	bits := math.Float32bits(x)
	if bits&0x7fffffff > 0x7f800000 { // NaN, which stays one
		return BFloat16(bits>>16) | 0x40
	}
	return BFloat16(halve(bits, 16))
}

// Float32 converts to the same number as a float32.
func (f BFloat16) Float32() float32 { return math.Float32frombits(uint32(f) << 16) }

// halve drops the lower bits of x, at least one, and rounds to the nearest, ties to
// even. A carry correctly changes the exponent.
func halve(x, bits uint32) uint32 {
	odd := x >> bits & 1
	return uint32((uint64(x) + 1<<(bits-1) - 1 + uint64(odd)) >> bits)
}
