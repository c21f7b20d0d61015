package modelpkgtest

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mosel-serve/mosel/tensor"
)

// Graph is an ONNX graph of a few operators, for tests that must run a graph. The field
// numbers are those of onnx.proto3. The zero value is empty.
type Graph struct {
	Opset  uint64 // 0: 17
	IR     uint64 // 0: 8
	Domain string // of a second imported opset
	fields []byte
}

// Batch is a dynamic dimension, as is any negative one.
const Batch = -1

// Input declares an input.
func (g *Graph) Input(name string, d tensor.DType, dims ...int) { g.tensor(11, name, d, dims) }

// Output declares an output.
func (g *Graph) Output(name string, d tensor.DType, dims ...int) { g.tensor(12, name, d, dims) }

func (g *Graph) tensor(field protowire.Number, name string, d tensor.DType, dims []int) {
	var shape []byte
	for _, dim := range dims {
		var size []byte
		if dim >= 0 {
			size = number(1, uint64(dim))
		}
		shape = append(shape, message(1, size)...)
	}
	g.Typed(field, name, message(1, slices.Concat(number(1, elements[d]), message(2, shape))))
}

// Typed declares an input (field 11) or an output (12) of any type, as a TypeProto.
func (g *Graph) Typed(field protowire.Number, name string, kind []byte) {
	g.fields = append(g.fields, message(field, slices.Concat(message(1, []byte(name)), message(2, kind)))...)
}

// ZipMap returns the type of a classifier's scores as converters make them:
// sequence(map(int64,tensor(float))).
func ZipMap() []byte {
	scores := message(1, number(1, elements[tensor.FP32]))
	table := message(5, slices.Concat(number(1, elements[tensor.Int64]), message(2, scores)))
	return message(4, message(1, table))
}

// Weight adds a constant tensor.
func (g *Graph) Weight(name string, d tensor.DType, data []byte, dims ...int) {
	var w []byte
	for _, dim := range dims {
		w = append(w, number(1, uint64(dim))...)
	}
	w = slices.Concat(w, number(2, elements[d]), message(8, []byte(name)), message(9, data))
	g.fields = append(g.fields, message(5, w)...)
}

// Node adds an operator of the standard domain. Integer and Integers make attributes.
func (g *Graph) Node(op string, inputs, outputs []string, attributes ...[]byte) {
	g.NodeOf("", op, inputs, outputs, attributes...)
}

// NodeOf is Node for another domain.
func (g *Graph) NodeOf(domain, op string, inputs, outputs []string, attributes ...[]byte) {
	g.fields = append(g.fields, node(domain, op, inputs, outputs, attributes)...)
}

// node returns an operator as a field of a GraphProto.
func node(domain, op string, inputs, outputs []string, attributes [][]byte) []byte {
	var n []byte
	for _, name := range inputs {
		n = append(n, message(1, []byte(name))...)
	}
	for _, name := range outputs {
		n = append(n, message(2, []byte(name))...)
	}
	n = append(n, message(4, []byte(op))...)
	for _, a := range attributes {
		n = append(n, message(5, a)...)
	}
	if domain != "" {
		n = append(n, message(7, []byte(domain))...)
	}
	return message(1, n)
}

// Integer returns an attribute with one integer.
func Integer(name string, v int) []byte {
	return slices.Concat(message(1, []byte(name)), number(3, uint64(v)), number(20, 2))
}

// Integers returns an attribute with a list of integers.
func Integers(name string, values ...int) []byte {
	a := message(1, []byte(name))
	for _, v := range values {
		a = append(a, number(8, uint64(v))...)
	}
	return append(a, number(20, 7)...)
}

// File returns the ONNX file.
func (g *Graph) File() []byte {
	opset, ir := max(g.Opset, 1), max(g.IR, 1)
	if g.Opset == 0 {
		opset = 17
	}
	if g.IR == 0 {
		ir = 8
	}
	file := slices.Concat(number(1, ir), message(7, slices.Concat(g.fields, message(2, []byte("test")))), message(8, number(2, opset)))
	if g.Domain != "" {
		file = append(file, message(8, slices.Concat(message(1, []byte(g.Domain)), number(2, 1)))...)
	}
	return file
}
