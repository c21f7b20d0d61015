package modelpkg

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/mosel-serve/mosel/internal/strictyaml"
	"google.golang.org/protobuf/encoding/protowire"
)

// graph is what a package check needs from an ONNX file: its interface and the files
// with its weights.
type graph struct {
	opset    int64 // of the standard operators
	inputs   []graphValue
	outputs  []graphValue
	external map[string]int64 // by location: the bytes that the file must have at least
	nodes    []node           // of the main graph, see arithmetic.go
	kept     int              // bytes of their names
}

// Bounds of an ONNX file. Protobuf itself is limited to 2 GiB.
const (
	onnxBytesMax   = math.MaxInt32
	onnxNameMax    = 4096
	onnxTensorsMax = 4096    // inputs, outputs, external files
	onnxWeightsMax = 1 << 20 // initializers
	onnxDepthMax   = 64      // nested messages, including subgraphs
)

// errONNX is the cause of every error for bytes that are no ONNX model.
var errONNX = errors.New("not an ONNX model")

// readGraph reads the interface of an ONNX file as a stream. It skips weights of any
// size without holding them in memory. It reads the file to the last byte, so r may
// hash it.
func readGraph(r io.Reader, size int64) (*graph, error) {
	if size > onnxBytesMax {
		return nil, fmt.Errorf("%w: %d bytes is more than protobuf allows; keep weights in an external data file", errONNX, size)
	}
	g := &graph{external: map[string]int64{}}
	d := &decoder{bufio.NewReaderSize(r, 64<<10), 0, size, 0}
	weights := map[string]bool{}
	graphs := 0
	err := d.fields(func(number protowire.Number, kind protowire.Type) error {
		switch {
		case number == 7 && kind == protowire.BytesType: // ModelProto.graph
			graphs++
			return d.message(func(n protowire.Number, k protowire.Type) error { return g.graphField(d, n, k, weights) })
		case number == 8 && kind == protowire.BytesType: // ModelProto.opset_import
			return g.readOpset(d)
		case number == 25 && kind == protowire.BytesType: // ModelProto.functions
			return d.message(func(n protowire.Number, k protowire.Type) error { return g.functionField(d, n, k) })
		}
		return d.skip(kind)
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errONNX, err)
	}
	if graphs != 1 || g.opset == 0 {
		return nil, fmt.Errorf("%w: it has %d graphs and opset %d", errONNX, graphs, g.opset)
	}
	kept := g.inputs[:0]
	for _, in := range g.inputs { // old files list weights as inputs with a default
		if !weights[in.Name] {
			kept = append(kept, in)
		}
	}
	g.inputs = kept
	return g, nil
}

func (g *graph) readOpset(d *decoder) error {
	domain, version := "", int64(0)
	err := d.message(func(number protowire.Number, kind protowire.Type) (err error) {
		switch {
		case number == 1 && kind == protowire.BytesType:
			domain, err = d.text()
		case number == 2 && kind == protowire.VarintType:
			version, err = d.varint()
		default:
			err = d.skip(kind)
		}
		return err
	})
	if domain == "" || domain == "ai.onnx" {
		g.opset = version
	}
	return err
}

// graphField reads one field of the main graph.
func (g *graph) graphField(d *decoder, number protowire.Number, kind protowire.Type, weights map[string]bool) error {
	if kind != protowire.BytesType {
		return d.skip(kind)
	}
	switch number {
	case 1: // node
		return g.readNode(d)
	case 5: // initializer
		name, err := g.readWeight(d)
		if len(weights) >= onnxWeightsMax {
			return errors.New("too many initializers")
		}
		weights[name] = true
		return err
	case 11, 12: // input, output
		spec, err := readValue(d)
		if len(g.inputs)+len(g.outputs) >= onnxTensorsMax {
			return errors.New("too many inputs and outputs")
		}
		if number == 11 {
			g.inputs = append(g.inputs, spec)
		} else {
			g.outputs = append(g.outputs, spec)
		}
		return err
	case 15: // sparse_initializer; its name is that of its values
		name, err := g.readSparse(d)
		weights[name] = true
		return err
	}
	return d.skip(kind)
}

// functionField, nodeField, attributeField and subgraphField find tensors whose data
// are in other files: a Constant's value, or weights in a loop's body.
func (g *graph) functionField(d *decoder, number protowire.Number, kind protowire.Type) error {
	if number == 7 && kind == protowire.BytesType {
		return d.message(func(n protowire.Number, k protowire.Type) error { return g.nodeField(d, n, k) })
	}
	return d.skip(kind)
}

func (g *graph) nodeField(d *decoder, number protowire.Number, kind protowire.Type) error {
	if number == 5 && kind == protowire.BytesType {
		return d.message(func(n protowire.Number, k protowire.Type) error { return g.attributeField(d, n, k) })
	}
	return d.skip(kind)
}

func (g *graph) attributeField(d *decoder, number protowire.Number, kind protowire.Type) (err error) {
	if kind != protowire.BytesType {
		return d.skip(kind)
	}
	switch number {
	case 5, 10: // t, tensors
		_, err = g.readWeight(d)
	case 6, 11: // g, graphs
		err = d.message(func(n protowire.Number, k protowire.Type) error { return g.subgraphField(d, n, k) })
	case 22, 23: // sparse_tensor, sparse_tensors
		_, err = g.readSparse(d)
	default:
		err = d.skip(kind)
	}
	return err
}

func (g *graph) subgraphField(d *decoder, number protowire.Number, kind protowire.Type) (err error) {
	if kind != protowire.BytesType {
		return d.skip(kind)
	}
	switch number {
	case 1:
		err = d.message(func(n protowire.Number, k protowire.Type) error { return g.nodeField(d, n, k) })
	case 5:
		_, err = g.readWeight(d)
	case 15:
		_, err = g.readSparse(d)
	default:
		err = d.skip(kind)
	}
	return err
}

// readSparse reads a SparseTensorProto: values and indices are tensors.
func (g *graph) readSparse(d *decoder) (name string, err error) {
	err = d.message(func(number protowire.Number, kind protowire.Type) error {
		if kind != protowire.BytesType || (number != 1 && number != 2) {
			return d.skip(kind)
		}
		n, err := g.readWeight(d)
		if number == 1 {
			name = n
		}
		return err
	})
	return name, err
}

// readWeight reads a TensorProto's name and where its data are.
func (g *graph) readWeight(d *decoder) (name string, err error) {
	var external bool
	var location string
	var offset, length int64
	err = d.message(func(number protowire.Number, kind protowire.Type) (err error) {
		switch {
		case number == 8 && kind == protowire.BytesType:
			name, err = d.text()
		case number == 14 && kind == protowire.VarintType: // data_location
			var v int64
			v, err = d.varint()
			external = v == 1
		case number == 13 && kind == protowire.BytesType: // external_data
			key, value, e := readEntry(d)
			switch err = e; key {
			case "location":
				location = value
			case "offset":
				offset, err = strconv.ParseInt(value, 10, 64)
			case "length":
				length, err = strconv.ParseInt(value, 10, 64)
			}
		default:
			err = d.skip(kind)
		}
		return err
	})
	if err != nil || !external {
		return name, err
	}
	if offset < 0 || length < 0 || offset > math.MaxInt64-length {
		return name, fmt.Errorf("tensor %q: external data at %d + %d", strictyaml.Clip(name, 80), offset, length)
	}
	if len(g.external) >= onnxTensorsMax {
		return name, errors.New("too many external data files")
	}
	g.external[location] = max(g.external[location], offset+length)
	return name, nil
}

func readEntry(d *decoder) (key, value string, err error) {
	err = d.message(func(number protowire.Number, kind protowire.Type) (err error) {
		switch {
		case number == 1 && kind == protowire.BytesType:
			key, err = d.text()
		case number == 2 && kind == protowire.BytesType:
			value, err = d.text()
		default:
			err = d.skip(kind)
		}
		return err
	})
	return key, value, err
}

func readDimension(d *decoder) (int64, error) {
	size := int64(-1)
	err := d.message(func(number protowire.Number, kind protowire.Type) (err error) {
		if number == 1 && kind == protowire.VarintType { // dim_value
			size, err = d.varint()
			if size < 0 {
				size = -1
			}
			return err
		}
		return d.skip(kind)
	})
	return size, err
}
