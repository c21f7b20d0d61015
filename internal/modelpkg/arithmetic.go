package modelpkg

import (
	"io"
	"slices"

	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
	"google.golang.org/protobuf/encoding/protowire"
)

// This file finds integer divisions by numbers that a client sends. The lowest integer
// divided by -1 has no result: amd64 processors raise a signal. On Linux, package ort
// catches it; on other systems it ends the process.

// node is an operator of the main graph, with what the search needs.
type node struct {
	op      string
	inputs  []string
	outputs []string
	to      int64 // for Cast: the target type
}

// nodeNamesMax bounds the bytes of names in memory. Larger graphs are not searched.
const nodeNamesMax = 16 << 20

// readNode reads a NodeProto and its attributes.
func (g *graph) readNode(d *decoder) error {
	var n node
	err := d.message(func(number protowire.Number, kind protowire.Type) (err error) {
		if kind != protowire.BytesType {
			return d.skip(kind)
		}
		name := ""
		switch number {
		case 1:
			name, err = g.keptName(d)
			n.inputs = append(n.inputs, name)
		case 2:
			name, err = g.keptName(d)
			n.outputs = append(n.outputs, name)
		case 4:
			n.op, err = g.keptName(d)
		case 5:
			var code int64
			err = d.message(func(number protowire.Number, kind protowire.Type) (err error) {
				if number == 3 && kind == protowire.VarintType { // i: only for Cast's "to"
					code, err = d.varint()
					return err
				}
				return g.attributeField(d, number, kind)
			})
			n.to = max(n.to, code)
		default:
			err = d.skip(kind)
		}
		return err
	})
	if g.kept += nodeCost; g.kept <= nodeNamesMax {
		g.nodes = append(g.nodes, n)
	} else {
		g.nodes = nil
	}
	return err
}

// nodeCost is the cost of a name or a node in addition to its bytes.
const nodeCost = 64

// keptName reads a name, or skips it if the bound is reached or the name is too long.
func (g *graph) keptName(d *decoder) (string, error) {
	n, err := d.length()
	if err != nil {
		return "", err
	}
	if n > onnxNameMax {
		g.kept = nodeNamesMax + 1 // no search without it
	}
	if g.kept > nodeNamesMax {
		return "", d.discard(n)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(d.r, b)
	d.pos += n
	g.kept += int(n) + nodeCost
	return string(b), err
}

// flow describes a tensor inside a graph.
type flow struct {
	whole  bool // integers
	client bool // computed from a client's numbers, without bounds
}

// divisions returns the operators that divide integers by a client's numbers. Inputs
// with a range are bounded, and trusted.
func (g *graph) divisions(bounded func(input string) bool) []string {
	known := map[string]flow{}
	for _, in := range g.inputs {
		whole := in.DType != tensor.Invalid && !isFloat(in.DType) && in.DType != tensor.Bool && in.DType != tensor.Bytes
		known[in.Name] = flow{whole, !bounded(in.Name)}
	}
	var found []string
	for _, n := range g.nodes {
		var of flow
		for i, name := range n.inputs {
			of.client = of.client || known[name].client
			if i == kindSource(n.op) {
				of.whole = known[name].whole
			}
		}
		if (n.op == "Div" || n.op == "Mod") && len(n.inputs) == 2 && known[n.inputs[1]].client && (of.whole || known[n.inputs[1]].whole) {
			found = append(found, n.op)
		}
		for _, name := range n.outputs {
			known[name] = n.result(of)
		}
	}
	return slices.Compact(found)
}

// kindSource returns the index of the input that an operator's result has its element
// type from.
func kindSource(op string) int {
	switch op {
	case "Where", "CastLike":
		return 1
	case "OneHot":
		return 2
	}
	return 0
}

// result returns the flow of an operator's result, from that of its inputs.
func (n node) result(of flow) flow {
	switch n.op {
	case "Cast":
		d := onnxDType(n.to)
		of.whole = d != tensor.Invalid && !isFloat(d) && d != tensor.Bool && d != tensor.Bytes
	case "Shape", "Size":
		return flow{whole: true} // sizes, which have their own bounds
	case "ArgMax", "ArgMin", "NonZero":
		of.whole = true
	case "Max", "Clip": // how a graph guards its divisor
		of.client = false
	case "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf",
		"Loop", "If", "Scan", "DequantizeLinear", "DynamicQuantizeLinear":
		of.whole = false
	}
	return of
}

// checkDivisions warns about graphs with which a client can end the process.
func (r *report) checkDivisions(m *Model, of, file string, at place, g *graph) {
	bounded := func(name string) bool {
		return slices.ContainsFunc(m.Inputs, func(in Input) bool { return in.Name == name && in.Range != nil })
	}
	if m.Isolation == IsolationProcess {
		return // it ends a process that is started again
	}
	for _, op := range g.divisions(bounded) {
		r.warn(at, "%s: %s divides whole numbers by what a client sends (%s): on amd64 under systems other than Linux, the least number divided by -1 ends the process of the server; "+
			"give the input a range, guard the divisor with Max, compute with floating-point numbers, or run the graphs in a separate process (isolation: process)", of, strictyaml.Clip(file, 80), op)
	}
}
