package ort

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// The graphs of these tests are written here, field by field of onnx.proto3, so that
// they can be read and nothing needs Python.

// onnxTypes are the numbers of the element types in ONNX files.
var onnxTypes = map[tensor.DType]int{
	tensor.FP32: 1, tensor.Uint8: 2, tensor.Int8: 3, tensor.Uint16: 4, tensor.Int16: 5, tensor.Int32: 6, tensor.Int64: 7,
	tensor.Bool: 9, tensor.FP16: 10, tensor.Bytes: 8, tensor.FP64: 11, tensor.Uint32: 12, tensor.Uint64: 13, tensor.BF16: 16,
}

// message is a protobuf message under construction.
type message []byte

func (m message) number(field protowire.Number, v int) message {
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), uint64(v))
}

func (m message) text(field protowire.Number, v string) message {
	return protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), v)
}

func (m message) nest(field protowire.Number, v message) message { return m.text(field, string(v)) }

// graph is a GraphProto.
type graph struct{ message }

// value declares an input (field 11) or output (12); -1 is the batch, -2 another free
// dimension.
func (g *graph) value(field protowire.Number, name string, d tensor.DType, dims ...int) {
	var shape message
	for _, dim := range dims {
		switch {
		case dim >= 0:
			shape = shape.nest(1, message(nil).number(1, dim))
		case dim == -1:
			shape = shape.nest(1, message(nil).text(2, "batch"))
		default:
			shape = shape.nest(1, message(nil).text(2, "free_"+name))
		}
	}
	kind := message(nil).nest(1, message(nil).number(1, onnxTypes[d]).nest(2, shape))
	g.message = g.nest(field, message(nil).text(1, name).nest(2, kind))
}

func (g *graph) input(name string, d tensor.DType, dims ...int)  { g.value(11, name, d, dims...) }
func (g *graph) output(name string, d tensor.DType, dims ...int) { g.value(12, name, d, dims...) }

// node adds an operator; integer, integers and body make attributes.
func (g *graph) node(op string, inputs, outputs []string, attributes ...message) {
	var n message
	for _, name := range inputs {
		n = n.text(1, name)
	}
	for _, name := range outputs {
		n = n.text(2, name)
	}
	n = n.text(4, op)
	for _, a := range attributes {
		n = n.nest(5, a)
	}
	g.message = g.nest(1, n)
}

func integer(name string, v int) message {
	return message(nil).text(1, name).number(3, v).number(20, 2)
}
func integers(name string, v int) message {
	return message(nil).text(1, name).number(8, v).number(20, 7)
}
func body(name string, g graph) message {
	return message(nil).text(1, name).nest(6, g.message).number(20, 5)
}

// floats adds FP32 weights: n numbers of a fixed pattern.
func (g *graph) floats(name string, dims ...int) {
	w, n := weight(name, tensor.FP32, dims...)
	g.message = g.nest(5, w.text(9, string(pattern(n))))
}

// external adds FP32 weights in another file.
func (g *graph) external(name, file string, dims ...int) {
	w, _ := weight(name, tensor.FP32, dims...)
	w = w.nest(13, message(nil).text(1, "location").text(2, file)).number(14, 1)
	g.message = g.nest(5, w)
}

// constant adds one INT64 or BOOL number.
func (g *graph) constant(name string, d tensor.DType, v int, dims ...int) {
	w, _ := weight(name, d, dims...)
	data := make([]byte, 8)
	binary.LittleEndian.PutUint64(data, uint64(v))
	g.message = g.nest(5, w.text(9, string(data[:d.Size()])))
}

func weight(name string, d tensor.DType, dims ...int) (message, int) {
	var w message
	n := 1
	for _, dim := range dims {
		w = w.number(1, dim)
		n *= dim
	}
	return w.number(2, onnxTypes[d]).text(8, name), n
}

// pattern returns n FP32 numbers between -1 and 1.
func pattern(n int) []byte {
	var data []byte
	for i := range n {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(i*7%11)/5.5-1))
	}
	return data
}

// write makes a ModelProto of the graph, with opset 17, and writes it.
func (g *graph) write(t testing.TB, dir, name string) {
	t.Helper()
	g.writeOpset(t, dir, name, 17)
}

func (g *graph) writeOpset(t testing.TB, dir, name string, opset int) {
	t.Helper()
	model := message(nil).number(1, 8).nest(8, message(nil).text(1, "").number(2, opset)).nest(7, g.text(2, "test"))
	if err := os.WriteFile(filepath.Join(dir, name), model, 0o600); err != nil {
		t.Fatal(err)
	}
}

// twoModalities writes a model with two modalities, a with one input and b with two,
// and all three variants. Input c is an index into a table of 8 rows; larger indices
// make the graph fail.
func twoModalities(t testing.TB) *modelpkg.Model {
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "ab"} {
		var g graph
		var terms []string
		if name != "b" {
			g.input("a", tensor.FP32, -1, 4)
			g.floats("weights_a", 4, 2)
			g.node("MatMul", []string{"a", "weights_a"}, []string{"term_a"})
			terms = append(terms, "term_a")
		}
		if name != "a" {
			g.input("b", tensor.Uint8, -1, 3)
			g.input("c", tensor.Int64, -1, 1)
			g.floats("weights_b", 3, 2)
			g.floats("table", 8, 2)
			g.constant("one", tensor.Int64, 1, 1)
			g.node("Cast", []string{"b"}, []string{"b_float"}, integer("to", 1))
			g.node("MatMul", []string{"b_float", "weights_b"}, []string{"product_b"})
			g.node("Gather", []string{"table", "c"}, []string{"rows"}, integer("axis", 0))
			g.node("Squeeze", []string{"rows", "one"}, []string{"row"})
			g.node("Add", []string{"product_b", "row"}, []string{"term_b"})
			terms = append(terms, "term_b")
		}
		g.node("Sum", terms, []string{"y"})
		g.node("ArgMax", []string{"y"}, []string{"top"}, integer("axis", 1), integer("keepdims", 1))
		g.output("y", tensor.FP32, -1, 2)
		g.output("top", tensor.Int64, -1, 1)
		g.write(t, dir, name+".onnx")
	}
	return &modelpkg.Model{
		Dir: dir, Name: "two",
		Modalities: []modelpkg.Modality{{Name: "a", Inputs: []int{0}}, {Name: "b", Inputs: []int{1, 2}}},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "a", DType: tensor.FP32, Shape: tensor.Shape{4}}},
			{Spec: modelpkg.Spec{Name: "b", DType: tensor.Uint8, Shape: tensor.Shape{3}}, Modality: 1},
			{Spec: modelpkg.Spec{Name: "c", DType: tensor.Int64, Shape: tensor.Shape{1}}, Modality: 1},
		},
		Outputs: []modelpkg.Spec{
			{Name: "y", DType: tensor.FP32, Shape: tensor.Shape{2}},
			{Name: "top", DType: tensor.Int64, Shape: tensor.Shape{1}},
		},
		Variants: []modelpkg.Variant{
			{Name: "a", Modalities: 1, Inputs: []int{0}, Path: "a.onnx"},
			{Name: "b", Modalities: 2, Inputs: []int{1, 2}, Path: "b.onnx"},
			{Name: "ab", Modalities: 3, Inputs: []int{0, 1, 2}, Path: "ab.onnx"},
		},
		Limits: modelpkg.Limits{BatchItemsMax: 8},
	}
}

// one returns a model with one modality and one variant, whose graph the caller writes
// to dir/graph.onnx.
func one(dir string, inputs, outputs []modelpkg.Spec) *modelpkg.Model {
	m := &modelpkg.Model{
		Dir: dir, Name: "one",
		Modalities: []modelpkg.Modality{{Name: "m"}},
		Outputs:    outputs,
		Variants:   []modelpkg.Variant{{Name: "only", Modalities: slo.Modalities(1), Path: "graph.onnx"}},
		Limits:     modelpkg.Limits{BatchItemsMax: 8},
	}
	for i, spec := range inputs {
		m.Inputs = append(m.Inputs, modelpkg.Input{Spec: spec})
		m.Modalities[0].Inputs = append(m.Modalities[0].Inputs, i)
		m.Variants[0].Inputs = append(m.Variants[0].Inputs, i)
	}
	return m
}

// dynamicLength writes a model whose input and second output vary in length.
func dynamicLength(t testing.TB) *modelpkg.Model {
	dir := t.TempDir()
	var g graph
	g.input("x", tensor.FP32, -1, -2)
	g.node("ReduceMean", []string{"x"}, []string{"mean"}, integers("axes", 1), integer("keepdims", 1))
	g.node("Add", []string{"x", "mean"}, []string{"shifted"})
	g.output("mean", tensor.FP32, -1, 1)
	g.output("shifted", tensor.FP32, -1, -2)
	g.write(t, dir, "graph.onnx")
	return one(dir,
		[]modelpkg.Spec{{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{-1}}},
		[]modelpkg.Spec{{Name: "mean", DType: tensor.FP32, Shape: tensor.Shape{1}}, {Name: "shifted", DType: tensor.FP32, Shape: tensor.Shape{-1}}})
}

// endless writes a model whose graph loops until it is terminated.
func endless(t testing.TB) *modelpkg.Model {
	dir := t.TempDir()
	var loop graph
	loop.input("i", tensor.Int64)
	loop.input("go_on", tensor.Bool)
	loop.input("x_in", tensor.FP32, -1, 1)
	loop.node("Identity", []string{"go_on"}, []string{"go_on_out"})
	loop.node("Neg", []string{"x_in"}, []string{"x_out"})
	loop.output("go_on_out", tensor.Bool)
	loop.output("x_out", tensor.FP32, -1, 1)
	loop.message = loop.text(2, "body")
	var g graph
	g.input("x", tensor.FP32, -1, 1)
	g.constant("rounds", tensor.Int64, math.MaxInt64)
	g.constant("true", tensor.Bool, 1)
	g.node("Loop", []string{"rounds", "true", "x"}, []string{"y"}, body("body", loop))
	g.output("y", tensor.FP32, -1, 1)
	g.write(t, dir, "graph.onnx")
	number := func(name string) []modelpkg.Spec {
		return []modelpkg.Spec{{Name: name, DType: tensor.FP32, Shape: tensor.Shape{1}}}
	}
	return one(dir, number("x"), number("y"))
}

// texts writes a model of texts: y is x as it is, same says which texts of x are the
// first of free, and both is free and x together.
func texts(t testing.TB) *modelpkg.Model {
	dir := t.TempDir()
	var g graph
	g.input("x", tensor.Bytes, -1, 2)
	g.input("free", tensor.Bytes, -1, -2)
	g.node("Identity", []string{"x"}, []string{"y"})
	g.constant("first", tensor.Int64, 0, 1)
	g.node("Gather", []string{"free", "first"}, []string{"p"}, integer("axis", 1))
	g.node("Equal", []string{"x", "p"}, []string{"same"})
	g.node("Concat", []string{"free", "x"}, []string{"both"}, integer("axis", 1))
	g.output("y", tensor.Bytes, -1, 2)
	g.output("same", tensor.Bool, -1, 2)
	g.output("both", tensor.Bytes, -1, -2)
	g.writeOpset(t, dir, "graph.onnx", 19) // the first whose Equal compares texts
	return one(dir, []modelpkg.Spec{spec("x", tensor.Bytes, 2), spec("free", tensor.Bytes, -1)},
		[]modelpkg.Spec{spec("y", tensor.Bytes, 2), spec("same", tensor.Bool, 2), spec("both", tensor.Bytes, -1)})
}
