// Package tensor describes the inputs and outputs of models: an element type, a
// shape and the bytes, row-major and little-endian. A Tensor is a view: passing it on
// and slicing it by rows copies no bytes. The package has no arithmetic.
//
// [Of] and [Strings] make tensors from Go values, and [Values] reads the values. [New]
// makes a tensor from existing bytes.
package tensor

import (
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

// New returns a tensor that is a view of data. It returns an error if the number of
// bytes does not match type and shape.
func New(name string, d DType, shape Shape, data []byte) (Tensor, error) {
	n, err := shape.Elements()
	if err != nil {
		return Tensor{}, fmt.Errorf("tensor %q: %w", name, err)
	}
	size := d.Size()
	if size == 0 {
		return Tensor{}, fmt.Errorf("tensor %q: datatype %v has no fixed size", name, d)
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

// Row returns the bytes of item i of a batch of fixed-size elements, as a view. It
// panics if i is out of range.
func (t Tensor) Row(i int) []byte {
	n := t.Rows()
	size := len(t.Data) / n
	return t.Data[i*size : (i+1)*size : (i+1)*size]
}
