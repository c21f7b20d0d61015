package runtimetest

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

// Random makes one item of a tensor. Its numbers are valid for every graph: 0 to 7 for
// integers, 0 to 1 for booleans and floats, 1 to 2 for FP16; texts have up to 6 bytes. A dynamic dimension gets
// the given size.
func Random(random *rand.Rand, spec modelpkg.Spec, dynamic int) []byte {
	n := runtime.Elements(spec)
	if slices.Contains(spec.Shape, -1) {
		n *= dynamic
	}
	var data []byte
	for range n {
		data = appendRandom(data, random, spec.DType)
	}
	return data
}

func appendRandom(data []byte, random *rand.Rand, d tensor.DType) []byte {
	float := random.Float32()
	switch d {
	case tensor.FP32:
		return binary.LittleEndian.AppendUint32(data, math.Float32bits(float))
	case tensor.FP64:
		return binary.LittleEndian.AppendUint64(data, math.Float64bits(float64(float)))
	case tensor.FP16: // 1.0 to 1.99
		return binary.LittleEndian.AppendUint16(data, 0x3c00|uint16(random.IntN(0x400)))
	case tensor.BF16:
		return binary.LittleEndian.AppendUint16(data, uint16(math.Float32bits(float)>>16))
	case tensor.Bool:
		return append(data, byte(random.IntN(2)))
	case tensor.Bytes: // cut anywhere, zeros in them
		text := "a\x00bc\xc3\xa9"[:random.IntN(7)]
		return append(binary.LittleEndian.AppendUint32(data, uint32(len(text))), text...)
	default: // little-endian integers
		return append(append(data, byte(random.IntN(8))), make([]byte, d.Size()-1)...)
	}
}
