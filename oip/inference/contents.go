package inference

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/mosel-serve/mosel/tensor"
)

// order is the byte order of numbers in tensors.
var order = binary.LittleEndian

// Contents turns the bytes of a tensor into elements by type, the form of clients that do
// not use raw contents. It fails for a malformed tensor, and for FP16 and BF16, which the
// protocol has only as raw contents.
func Contents(t tensor.Tensor) (*InferTensorContents, error) {
	if err := sound(t); err != nil {
		return nil, err
	}
	c, n := &InferTensorContents{}, 0
	if size := t.DType.Size(); size > 0 {
		n = len(t.Data) / size
	}
	switch t.DType {
	case tensor.Bool:
		c.BoolContents = list(n, func(i int) bool { return t.Data[i] != 0 })
	case tensor.Uint8:
		c.UintContents = list(n, func(i int) uint32 { return uint32(t.Data[i]) })
	case tensor.Uint16:
		c.UintContents = list(n, func(i int) uint32 { return uint32(order.Uint16(t.Data[2*i:])) })
	case tensor.Uint32:
		c.UintContents = list(n, func(i int) uint32 { return order.Uint32(t.Data[4*i:]) })
	case tensor.Uint64:
		c.Uint64Contents = list(n, func(i int) uint64 { return order.Uint64(t.Data[8*i:]) })
	case tensor.Int8:
		c.IntContents = list(n, func(i int) int32 { return int32(int8(t.Data[i])) })
	case tensor.Int16:
		c.IntContents = list(n, func(i int) int32 { return int32(int16(order.Uint16(t.Data[2*i:]))) })
	case tensor.Int32:
		c.IntContents = list(n, func(i int) int32 { return int32(order.Uint32(t.Data[4*i:])) })
	case tensor.Int64:
		c.Int64Contents = list(n, func(i int) int64 { return int64(order.Uint64(t.Data[8*i:])) })
	case tensor.FP32:
		c.Fp32Contents = list(n, func(i int) float32 { return math.Float32frombits(order.Uint32(t.Data[4*i:])) })
	case tensor.FP64:
		c.Fp64Contents = list(n, func(i int) float64 { return math.Float64frombits(order.Uint64(t.Data[8*i:])) })
	case tensor.Bytes:
		for rest := t.Data; len(rest) > 0; {
			end := 4 + int(order.Uint32(rest))
			c.BytesContents = append(c.BytesContents, rest[4:end:end])
			rest = rest[end:]
		}
	default:
		return nil, fmt.Errorf("tensor %q: %v exists only as raw contents", t.Name, t.DType)
	}
	return c, nil
}

func list[T any](n int, at func(i int) T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = at(i)
	}
	return all
}

// fillNumbers writes the elements of a datatype of fixed size into data, which
// has room for them, and returns the index of the first that is out of range;
// their number if none is.
func fillNumbers(d tensor.DType, data []byte, c *InferTensorContents) int {
	switch d {
	case tensor.Bool:
		for i, v := range c.GetBoolContents() {
			if v {
				data[i] = 1
			}
		}
		return len(data)
	case tensor.Uint8, tensor.Uint16, tensor.Uint32:
		return narrow(data, d.Size(), c.GetUintContents(), 0, math.MaxUint32>>(32-8*d.Size()))
	case tensor.Int8, tensor.Int16, tensor.Int32:
		high := int32(math.MaxInt32 >> (32 - 8*d.Size()))
		return narrow(data, d.Size(), c.GetIntContents(), -high-1, high)
	case tensor.Int64:
		return wide(data, c.GetInt64Contents())
	case tensor.Uint64:
		return wide(data, c.GetUint64Contents())
	case tensor.FP32:
		for _, v := range c.GetFp32Contents() {
			order.PutUint32(data, math.Float32bits(v))
			data = data[4:]
		}
		return len(c.GetFp32Contents())
	default:
		for _, v := range c.GetFp64Contents() {
			order.PutUint64(data, math.Float64bits(v))
			data = data[8:]
		}
		return len(c.GetFp64Contents())
	}
}

// narrow writes integers of which the message has more bytes than the datatype.
func narrow[T int32 | uint32](data []byte, size int, values []T, low, high T) int {
	for i, v := range values {
		if v < low || v > high {
			return i
		}
		switch size {
		case 1:
			data[i] = byte(v)
		case 2:
			order.PutUint16(data[2*i:], uint16(v))
		default:
			order.PutUint32(data[4*i:], uint32(v))
		}
	}
	return len(values)
}

func wide[T int64 | uint64](data []byte, values []T) int {
	for _, v := range values {
		order.PutUint64(data, uint64(v))
		data = data[8:]
	}
	return len(values)
}
