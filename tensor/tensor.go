// Package tensor describes the inputs and outputs of models: an element type, a
// shape and the bytes, row-major and little-endian. A Tensor is a view: passing it on
// and slicing it by rows copies no bytes. The package has no arithmetic.
//
// [Of] and [Strings] make tensors from Go values, and [Values] reads the values. [New]
// makes a tensor from existing bytes.
package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// DType is an element type, with the name that the Open Inference Protocol uses.
type DType uint8

// The element types of the protocol. Bytes elements have no fixed size.
const (
	Invalid DType = iota
	Bool
	Uint8
	Uint16
	Uint32
	Uint64
	Int8
	Int16
	Int32
	Int64
	FP16
	BF16
	FP32
	FP64
	Bytes
	dtypeEnd
)

var dtypes = [...]struct {
	name string
	size int
}{
	{"INVALID", 0}, {"BOOL", 1}, {"UINT8", 1}, {"UINT16", 2}, {"UINT32", 4}, {"UINT64", 8},
	{"INT8", 1}, {"INT16", 2}, {"INT32", 4}, {"INT64", 8},
	{"FP16", 2}, {"BF16", 2}, {"FP32", 4}, {"FP64", 8}, {"BYTES", 0},
}

// ParseDType parses the protocol's name of a type, such as "FP32".
func ParseDType(name string) (DType, error) {
	for d := Bool; d < dtypeEnd; d++ {
		if dtypes[d].name == name {
			return d, nil
		}
	}
	return Invalid, fmt.Errorf("unknown datatype %.40q: use one of %s", name, dtypeNames())
}

// dtypeNames lists the names of the types: "BOOL, UINT8, ...".
func dtypeNames() string {
	names := make([]string, 0, dtypeEnd)
	for d := Bool; d < dtypeEnd; d++ {
		names = append(names, dtypes[d].name)
	}
	return strings.Join(names, ", ")
}

// String is the protocol's name of the type.
func (d DType) String() string {
	if d >= dtypeEnd {
		return "INVALID"
	}
	return dtypes[d].name
}

// Size is the number of bytes of one element, 0 for Bytes and Invalid.
func (d DType) Size() int {
	if d >= dtypeEnd {
		return 0
	}
	return dtypes[d].size
}

// Shape lists dimensions, outermost first. A dimension of -1 is dynamic; it
// occurs in specifications, never in the shape of actual data.
type Shape []int64

// Elements returns the product of the dimensions. It returns an error if a dimension
// is negative or the product does not fit an int.
func (s Shape) Elements() (int, error) {
	n := int64(1)
	for _, d := range s {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", s)
		}
		if d != 0 && n > math.MaxInt64/d {
			return 0, fmt.Errorf("shape %v overflows", s)
		}
		n *= d
	}
	if n > math.MaxInt {
		return 0, fmt.Errorf("shape %v overflows", s)
	}
	return int(n), nil
}

// Equal reports whether both shapes have the same dimensions.
func (s Shape) Equal(t Shape) bool {
	if len(s) != len(t) {
		return false
	}
	for i := range s {
		if s[i] != t[i] {
			return false
		}
	}
	return true
}

// Fits reports whether data of this shape matches spec, in which -1 means any size.
func (s Shape) Fits(spec Shape) bool {
	if len(s) != len(spec) {
		return false
	}
	for i := range s {
		if spec[i] != -1 && s[i] != spec[i] {
			return false
		}
	}
	return true
}

// String returns the shape in the form "[1,28,28]".
func (s Shape) String() string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = strconv.FormatInt(d, 10)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// Tensor is named data: len(Data) = elements x size of the type. For Bytes,
// Data holds each element as a little-endian uint32 length and its bytes.
type Tensor struct {
	Name  string
	DType DType
	Shape Shape
	Data  []byte
}

// New checks that data has exactly the bytes, or for Bytes the elements, that type and
// shape ask for and returns a view of it.
func New(name string, d DType, shape Shape, data []byte) (Tensor, error) {
	n, err := shape.Elements()
	if err != nil {
		return Tensor{}, fmt.Errorf("tensor %q: %w", name, err)
	}
	size := d.Size()
	if d == Bytes {
		if have, whole := Count(d, data); !whole || have != n {
			return Tensor{}, fmt.Errorf("tensor %q: shape %v of BYTES needs %d elements, each with its length before it; the %d bytes have %d (whole: %v)",
				name, shape, n, len(data), have, whole)
		}
		return Tensor{Name: name, DType: d, Shape: shape, Data: data}, nil
	}
	if size == 0 {
		return Tensor{}, fmt.Errorf("tensor %q: datatype %v is none", name, d)
	}
	if n > math.MaxInt/size || len(data) != n*size {
		return Tensor{}, fmt.Errorf("tensor %q: shape %v of %v needs %d elements of %d bytes, got %d bytes",
			name, shape, d, n, size, len(data))
	}
	return Tensor{Name: name, DType: d, Shape: shape, Data: data}, nil
}

// Rows returns the size of the first dimension: the number of items in a batch.
func (t Tensor) Rows() int {
	if len(t.Shape) == 0 {
		return 0
	}
	return int(t.Shape[0])
}

// Row returns the bytes of item i of a batch: a view, not a copy. It panics when i is
// out of range, as slicing does. For Bytes it reads the lengths of all elements before
// the row; Split is faster for all rows.
func (t Tensor) Row(i int) []byte {
	n := t.Rows()
	if t.DType == Bytes {
		return t.Split()[i]
	}
	size := len(t.Data) / n
	return t.Data[i*size : (i+1)*size : (i+1)*size]
}

// Split returns the bytes of all items of a batch, as Row does of one. It panics when
// Data does not have the elements that the shape says.
func (t Tensor) Split() [][]byte {
	n := t.Rows()
	rows := make([][]byte, n)
	if t.DType != Bytes {
		for i := range rows {
			rows[i] = t.Row(i)
		}
		return rows
	}
	each, err := t.Shape[1:].Elements()
	if err != nil {
		panic(err)
	}
	rest := t.Data
	for i := range rows {
		size := 0
		for range each {
			size += 4 + int(binary.LittleEndian.Uint32(rest[size:]))
		}
		rows[i], rest = rest[:size:size], rest[size:]
	}
	return rows
}

// Count is how many elements of type d there are in data; false when data ends within
// an element.
func Count(d DType, data []byte) (n int, whole bool) {
	if d != Bytes {
		size := max(d.Size(), 1)
		return len(data) / size, len(data)%size == 0
	}
	for len(data) > 0 {
		_, rest, ok := CutBytes(data)
		if !ok {
			return n, false
		}
		n, data = n+1, rest
	}
	return n, true
}

// CutBytes takes the first element, without its length, off the data of a Bytes tensor;
// false when data ends within it.
func CutBytes(data []byte) (element, rest []byte, ok bool) {
	if len(data) < 4 {
		return nil, nil, false
	}
	n := uint64(binary.LittleEndian.Uint32(data))
	if n > uint64(len(data)-4) {
		return nil, nil, false
	}
	return data[4 : 4+n : 4+n], data[4+n:], true
}
