package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Element is a Go type that corresponds to an element type of fixed size: bool to
// BOOL, uint8 to UINT8, float32 to FP32, Float16 to FP16, and so on.
type Element interface {
	bool | uint8 | uint16 | uint32 | uint64 | int8 | int16 | int32 | int64 | Float16 | BFloat16 | float32 | float64
}

// Of makes a tensor of Go values in row-major order. It returns an error if their
// number does not match the shape. A []uint8 is not copied, so it must not change
// while the tensor is in use; other values are copied.
func Of[T Element](name string, shape Shape, values []T) (Tensor, error) {
	if err := counted(name, shape, len(values)); err != nil {
		return Tensor{}, err
	}
	return New(name, typeOf[T](), shape, encode(values))
}

// Strings makes a tensor of type BYTES from texts, or other data of varying length.
// The texts are copied.
func Strings(name string, shape Shape, texts []string) (Tensor, error) {
	if err := counted(name, shape, len(texts)); err != nil {
		return Tensor{}, err
	}
	size := 0
	for i, text := range texts {
		if uint64(len(text)) > math.MaxUint32 {
			return Tensor{}, fmt.Errorf("tensor %q: element %d has %d bytes, more than a 32-bit length allows", name, i, len(text))
		}
		size += 4 + len(text)
	}
	data := make([]byte, 0, size)
	for _, text := range texts {
		data = append(binary.LittleEndian.AppendUint32(data, uint32(len(text))), text...)
	}
	return Tensor{Name: name, DType: Bytes, Shape: shape, Data: data}, nil
}

// Values returns the elements of a tensor in row-major order. It returns an error if
// T is not the Go type of the tensor's elements (see Element; string for BYTES). A
// []uint8 is a view of the tensor's bytes; other values are copies.
func Values[T Element | string](t Tensor) ([]T, error) {
	if want := typeOf[T](); t.DType != want {
		return nil, fmt.Errorf("tensor %q: the elements are %v, not %v (%T)", t.Name, t.DType, want, *new(T))
	}
	var values []T
	if texts, ok := any(&values).(*[]string); ok {
		var err error
		*texts, err = t.texts()
		return values, err
	}
	if _, err := New(t.Name, t.DType, t.Shape, t.Data); err != nil {
		return nil, err
	}
	decode(t, &values)
	return values, nil
}

// counted checks that the number of values matches the shape.
func counted(name string, shape Shape, values int) error {
	n, err := shape.Elements()
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	if n != values {
		return fmt.Errorf("tensor %q: shape %v has %d elements, got %d values", name, shape, n, values)
	}
	return nil
}

// typeOf returns the element type that corresponds to T.
func typeOf[T Element | string]() DType {
	switch any(*new(T)).(type) {
	case bool:
		return Bool
	case uint8:
		return Uint8
	case uint16:
		return Uint16
	case uint32:
		return Uint32
	case uint64:
		return Uint64
	case int8:
		return Int8
	case int16:
		return Int16
	case int32:
		return Int32
	case int64:
		return Int64
	case Float16:
		return FP16
	case BFloat16:
		return BF16
	case float32:
		return FP32
	case float64:
		return FP64
	default: // string
		return Bytes
	}
}

// encode returns the bytes of values, without a copy if possible.
func encode[T Element](values []T) []byte {
	switch values := any(values).(type) {
	case []uint8:
		return slices.Clip(values)
	case []Float16:
		return encode16(values)
	case []BFloat16:
		return encode16(values)
	}
	data, _ := binary.Append(nil, binary.LittleEndian, values) // fails only for types without a fixed size
	return data
}

// decode reads all elements of a checked tensor.
func decode[T Element | string](t Tensor, values *[]T) {
	switch values := any(values).(type) {
	case *[]uint8:
		*values = slices.Clip(t.Data)
		return
	case *[]Float16:
		*values = decode16[Float16](t.Data)
		return
	case *[]BFloat16:
		*values = decode16[BFloat16](t.Data)
		return
	}
	*values = make([]T, len(t.Data)/t.DType.Size())
	_, _ = binary.Decode(t.Data, binary.LittleEndian, *values) // fails only if there are too few bytes
}

// encode16 and decode16 are faster than encoding/binary for 16-bit types.
func encode16[T ~uint16](values []T) []byte {
	data := make([]byte, 0, 2*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint16(data, uint16(v))
	}
	return data
}

func decode16[T ~uint16](data []byte) []T {
	values := make([]T, len(data)/2)
	for i := range values {
		values[i] = T(binary.LittleEndian.Uint16(data[2*i:]))
	}
	return values
}

// texts reads the elements of a BYTES tensor.
func (t Tensor) texts() ([]string, error) {
	n, err := t.Shape.Elements()
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if n > len(t.Data)/4 { // each has a length of 4 bytes, so this bounds the allocation
		return nil, fmt.Errorf("tensor %q: %d bytes cannot hold the %d elements of shape %v", t.Name, len(t.Data), n, t.Shape)
	}
	texts := make([]string, n)
	rest := t.Data
	for i := range texts {
		if len(rest) < 4 {
			return nil, fmt.Errorf("tensor %q: the bytes end before element %d", t.Name, i)
		}
		size := binary.LittleEndian.Uint32(rest)
		if rest = rest[4:]; uint64(size) > uint64(len(rest)) {
			return nil, fmt.Errorf("tensor %q: element %d has %d bytes, but only %d are left", t.Name, i, size, len(rest))
		}
		texts[i], rest = string(rest[:size]), rest[size:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("tensor %q: %d bytes are left after %d elements", t.Name, len(rest), n)
	}
	return texts, nil
}
