package modelpkgtest

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// Long is a graph that takes as long as its input says, for tests of servers with the
// real runtime. Input x and output y are FP32 [batch, 2].
type Long func() []byte

// WriteLong makes a package of a model with one variant, with such a graph.
func WriteLong(dir, name string, graph Long) (*modelpkg.Model, error) {
	return WriteLongIn(dir, name, graph, modelpkg.IsolationNone)
}

// WriteLongIn is WriteLong of a model that is isolated.
func WriteLongIn(dir, name string, graph Long, isolation modelpkg.Isolation) (*modelpkg.Model, error) {
	m := Model(name, []modelpkg.Spec{{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{2}}},
		modelpkg.Spec{Name: "y", DType: tensor.FP32, Shape: tensor.Shape{2}}, "x")
	m.Isolation = isolation
	m.Limits.BatchItemsMax = 1 // one request cannot hold up another in its own batch
	return WriteGraphs(dir, m, []Measured{{Accuracy: 0.9, Item: time.Millisecond}}, func(modelpkg.Variant) []byte { return graph() })
}

// Rounds loops x times, some microseconds each. The runtime can abort it.
func Rounds() []byte {
	var g long
	g.node("ReduceMax", names("x"), names("most"), Integer("keepdims", 0))
	g.node("Cast", names("most"), names("rounds"), Integer("to", 7))
	return g.loop()
}

// Endless loops for ever, whatever x is. The runtime can abort it.
func Endless() []byte {
	var g long
	g.constant("rounds", 7, int64Bytes(math.MaxInt64))
	return g.loop()
}

// Stuck runs one operator whose time grows with the square of x, about a minute for
// 200,000. Nothing can abort it.
func Stuck() []byte {
	var g long
	g.constant("one", 7, int64Bytes(1), 1)
	g.constant("four", 7, int64Bytes(4), 1)
	g.constant("zero", 7, int64Bytes(0))
	g.node("ReduceMax", names("x"), names("most"), Integer("keepdims", 0))
	g.node("Cast", names("most"), names("scalar"), Integer("to", 7))
	g.node("Reshape", names("scalar", "one"), names("n"))
	g.node("Concat", names("one", "n", "four"), names("boxes_shape"), Integer("axis", 0))
	g.node("Concat", names("one", "one", "n"), names("scores_shape"), Integer("axis", 0))
	g.node("ConstantOfShape", names("boxes_shape"), names("boxes"))
	g.node("ConstantOfShape", names("scores_shape"), names("scores"))
	g.node("NonMaxSuppression", names("boxes", "scores", "n"), names("selected"))
	g.node("Shape", names("selected"), names("selected_shape"))
	g.node("Gather", names("selected_shape", "zero"), names("count"))
	g.node("Cast", names("count"), names("count_float"), Integer("to", 1))
	g.node("Add", names("x", "count_float"), names("y"))
	return g.model()
}

// long is a GraphProto under construction; the numbers are those of onnx.proto3.
type long []byte

func names(names ...string) []string { return names }

func int64Bytes(v int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(v)) }

func (g *long) node(op string, inputs, outputs []string, attributes ...[]byte) {
	*g = append(*g, node("", op, inputs, outputs, attributes)...)
}

func (g *long) constant(name string, element uint64, data []byte, dims ...uint64) {
	var w []byte
	for _, d := range dims {
		w = append(w, number(1, d)...)
	}
	*g = append(*g, message(5, slices.Concat(w, number(2, element), message(8, []byte(name)), message(9, data)))...)
}

// value declares an input (field 11) or output (12).
func (g *long) value(field protowire.Number, name string, element uint64, dims ...[]byte) {
	var shape []byte
	for _, d := range dims {
		shape = append(shape, message(1, d)...)
	}
	kind := message(1, slices.Concat(number(1, element), message(2, shape)))
	*g = append(*g, message(field, slices.Concat(message(1, []byte(name)), message(2, kind)))...)
}

var free, pair = message(2, []byte("batch")), number(1, 2) // dimensions

// loop computes y from x in a number of rounds.
func (g *long) loop() []byte {
	var body long
	body.value(11, "i", 7)
	body.value(11, "go_on", 9)
	body.value(11, "x_in", 1, free, pair)
	body.node("Identity", names("go_on"), names("go_on_out"))
	body.node("Neg", names("x_in"), names("x_out"))
	body.value(12, "go_on_out", 9)
	body.value(12, "x_out", 1, free, pair)
	body = append(body, message(2, []byte("body"))...)
	g.constant("true", 9, []byte{1})
	g.node("Loop", names("rounds", "true", "x"), names("y"), slices.Concat(message(1, []byte("body")), message(6, body), number(20, 5)))
	return g.model()
}

func (g *long) model() []byte {
	g.value(11, "x", 1, free, pair)
	g.value(12, "y", 1, free, pair)
	const irVersion, opset = 8, 17
	return slices.Concat(number(1, irVersion), message(7, append(*g, message(2, []byte("long"))...)), message(8, number(2, opset)))
}
