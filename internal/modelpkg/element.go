package modelpkg

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/mosel-serve/mosel/tensor"
)

// Element returns a number as an element of a tensor. For the 16-bit types, precision is
// cut towards zero, and numbers out of range become the closest in range.
func Element(d tensor.DType, number float64) []byte {
	switch d {
	case tensor.FP64:
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(number))
	case tensor.FP32:
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(number)))
	case tensor.BF16:
		return binary.LittleEndian.AppendUint16(nil, uint16(math.Float32bits(float32(number))>>16))
	case tensor.FP16:
		return binary.LittleEndian.AppendUint16(nil, half(number))
	case tensor.Bytes: // the number in words, as a graph may read it
		text := strconv.FormatFloat(number, 'g', -1, 64)
		return append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...)
	case tensor.Bool:
		if number != 0 {
			return []byte{1}
		}
		return []byte{0}
	default: // integers, two's complement
		if number >= 1<<63 {
			return binary.LittleEndian.AppendUint64(nil, uint64(number))
		}
		return binary.LittleEndian.AppendUint64(nil, uint64(int64(number)))[:max(d.Size(), 1)]
	}
}

// half returns a number in FP16, 0 if it is too small for it.
func half(number float64) uint16 {
	bits := math.Float32bits(float32(number))
	sign, exponent := uint16(bits>>16&0x8000), int(bits>>23&0xff)-127+15
	switch {
	case exponent <= 0:
		return sign
	case exponent >= 31:
		return sign | 0x7bff // the largest
	}
	return sign | uint16(exponent<<10) | uint16(bits>>13&0x03ff)
}

// NumberAt reads the first element of data as a number; Element is its inverse. BYTES hold
// no number: 0.
func NumberAt(d tensor.DType, data []byte) float64 {
	switch {
	case isFloat(d):
		return floatAt(d, data)
	case d == tensor.Bytes:
		return 0
	case d == tensor.Uint64:
		return float64(binary.LittleEndian.Uint64(data))
	}
	return float64(integerAt(d, data))
}
