package ort

import (
	"errors"
	"math"
	"strconv"

	onnx "github.com/yalue/onnxruntime_go"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mosel-serve/mosel/tensor"
)

// initializer is a weight of a graph that is kept in a file beside it.
type initializer struct {
	name           string
	element        onnx.TensorElementDataType
	shape          tensor.Shape
	location       string // of the file, relative to the graph's directory
	offset, length int64
}

var errGraph = errors.New("not an ONNX graph")

// externalWeights returns those constant weights of an ONNX file's main graph that are in
// other files. Files that it does not understand have none.
func externalWeights(file []byte) (list []initializer, err error) {
	inputs := map[string]bool{} // a weight that is also an input is only a default
	err = eachField(file, func(number protowire.Number, graph []byte, _ uint64) error {
		if number != 7 { // ModelProto.graph
			return nil
		}
		return eachField(graph, func(number protowire.Number, content []byte, _ uint64) error {
			switch number {
			case 5: // initializer
				w, external, err := readInitializer(content)
				if external {
					list = append(list, w)
				}
				return err
			case 11: // input
				return eachField(content, func(number protowire.Number, name []byte, _ uint64) error {
					if number == 1 {
						inputs[string(name)] = true
					}
					return nil
				})
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	constant := list[:0]
	for _, w := range list {
		if !inputs[w.name] {
			constant = append(constant, w)
		}
	}
	return constant, nil
}

// readInitializer reads a TensorProto.
func readInitializer(content []byte) (w initializer, external bool, err error) {
	err = eachField(content, func(number protowire.Number, content []byte, v uint64) error {
		switch {
		case number == 1 && content == nil:
			w.shape = append(w.shape, int64(v))
		case number == 1: // packed
			for len(content) > 0 {
				v, n := protowire.ConsumeVarint(content)
				if n < 0 {
					return errGraph
				}
				w.shape, content = append(w.shape, int64(v)), content[n:]
			}
		case number == 2 && v <= math.MaxInt32:
			w.element = onnx.TensorElementDataType(v)
		case number == 8:
			w.name = string(content)
		case number == 13:
			return w.readEntry(content)
		case number == 14:
			external = v == 1
		}
		return nil
	})
	return w, external, err
}

// readEntry reads a StringStringEntryProto that says where the data are.
func (w *initializer) readEntry(content []byte) error {
	var key, value string
	err := eachField(content, func(number protowire.Number, content []byte, _ uint64) error {
		switch number {
		case 1:
			key = string(content)
		case 2:
			value = string(content)
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch key {
	case "location":
		w.location = value
	case "offset":
		w.offset, err = strconv.ParseInt(value, 10, 64)
	case "length":
		w.length, err = strconv.ParseInt(value, 10, 64)
	}
	return err
}

// eachField calls a function with each field of a message: with its content, nil for a
// number, which is v.
func eachField(message []byte, field func(number protowire.Number, content []byte, v uint64) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errGraph
		}
		message = message[n:]
		var content []byte
		var v uint64
		switch kind {
		case protowire.BytesType:
			content, n = protowire.ConsumeBytes(message)
			if n >= 0 && content == nil {
				content = []byte{}
			}
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
			number = 0 // no field that is read here has such a value
		}
		if n < 0 {
			return errGraph
		}
		message = message[n:]
		if number != 0 {
			if err := field(number, content, v); err != nil {
				return err
			}
		}
	}
	return nil
}
