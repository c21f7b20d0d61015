package modelpkg

import (
	"errors"
	"strconv"

	"github.com/mosel-serve/mosel/tensor"
	"google.golang.org/protobuf/encoding/protowire"
)

// graphValue is an input or output of a graph. Shape is nil if the graph gives none; -1
// is a dimension that is named or unknown.
type graphValue struct {
	Spec
	kind string // in ONNX's words, such as "sequence(map(int64,tensor(float)))"
}

// readValue reads a ValueInfoProto.
func readValue(d *decoder) (graphValue, error) {
	var v graphValue
	err := d.message(func(number protowire.Number, kind protowire.Type) (err error) {
		switch {
		case number == 1 && kind == protowire.BytesType:
			v.Name, err = d.text()
		case number == 2 && kind == protowire.BytesType:
			v.kind, err = readType(d, &v.Spec)
		default:
			err = d.skip(kind)
		}
		return err
	})
	return v, err
}

// readType reads a TypeProto and returns its name. For a tensor it also sets the
// datatype and shape of s, which is nil for types inside others.
func readType(d *decoder, s *Spec) (name string, err error) {
	err = d.message(func(number protowire.Number, kind protowire.Type) (err error) {
		inner := ""
		switch {
		case kind != protowire.BytesType:
			return d.skip(kind)
		case number == 1: // tensor_type
			name, err = readTensorType(d, s)
		case number == 4: // sequence_type
			inner, err = readElement(d)
			name = "sequence(" + inner + ")"
		case number == 5: // map_type
			name, err = readMapType(d)
		case number == 8: // sparse_tensor_type
			inner, err = readTensorType(d, nil)
			name = "sparse_" + inner
		case number == 9: // optional_type
			inner, err = readElement(d)
			name = "optional(" + inner + ")"
		default:
			err = d.skip(kind)
		}
		return err
	})
	if len(name) > onnxNameMax { // types may be nested as deep as messages
		name = name[:onnxNameMax]
	}
	return name, err
}

// readElement reads the element type of a sequence or an optional.
func readElement(d *decoder) (name string, err error) {
	err = d.message(func(number protowire.Number, kind protowire.Type) (err error) {
		if number == 1 && kind == protowire.BytesType {
			name, err = readType(d, nil)
			return err
		}
		return d.skip(kind)
	})
	return name, err
}

func readMapType(d *decoder) (string, error) {
	key, value := "", ""
	err := d.message(func(number protowire.Number, kind protowire.Type) (err error) {
		switch {
		case number == 1 && kind == protowire.VarintType:
			var code int64
			code, err = d.varint()
			key = onnxTypeName(code)
		case number == 2 && kind == protowire.BytesType:
			value, err = readType(d, nil)
		default:
			err = d.skip(kind)
		}
		return err
	})
	return "map(" + key + "," + value + ")", err
}

// readTensorType reads a TypeProto.Tensor.
func readTensorType(d *decoder, s *Spec) (string, error) {
	element := int64(0)
	err := d.message(func(number protowire.Number, kind protowire.Type) (err error) {
		switch {
		case number == 1 && kind == protowire.VarintType: // elem_type
			element, err = d.varint()
		case number == 2 && kind == protowire.BytesType && s != nil: // shape
			s.Shape = tensor.Shape{}
			err = d.message(func(n protowire.Number, k protowire.Type) error {
				if n != 1 || k != protowire.BytesType {
					return d.skip(k)
				}
				dim, err := readDimension(d)
				if len(s.Shape) > dimensionsMax {
					return errors.New("too many dimensions")
				}
				s.Shape = append(s.Shape, dim)
				return err
			})
		default:
			err = d.skip(kind)
		}
		return err
	})
	if s != nil {
		s.DType = onnxDType(element)
	}
	return "tensor(" + onnxTypeName(element) + ")", err
}

// onnxTypes lists TensorProto.DataType in ONNX's words and, if it has them, in the
// protocol's.
var onnxTypes = [...]struct {
	name  string
	dtype tensor.DType
}{
	{"undefined", tensor.Invalid}, {"float", tensor.FP32}, {"uint8", tensor.Uint8}, {"int8", tensor.Int8}, {"uint16", tensor.Uint16},
	{"int16", tensor.Int16}, {"int32", tensor.Int32}, {"int64", tensor.Int64}, {"string", tensor.Bytes}, {"bool", tensor.Bool},
	{"float16", tensor.FP16}, {"double", tensor.FP64}, {"uint32", tensor.Uint32}, {"uint64", tensor.Uint64},
	{"complex64", tensor.Invalid}, {"complex128", tensor.Invalid}, {"bfloat16", tensor.BF16},
	{"float8e4m3fn", tensor.Invalid}, {"float8e4m3fnuz", tensor.Invalid}, {"float8e5m2", tensor.Invalid}, {"float8e5m2fnuz", tensor.Invalid},
	{"uint4", tensor.Invalid}, {"int4", tensor.Invalid}, {"float4e2m1", tensor.Invalid},
}

// onnxDType converts a TensorProto.DataType; Invalid if the protocol does not have it.
func onnxDType(code int64) tensor.DType {
	if code < 0 || code >= int64(len(onnxTypes)) {
		return tensor.Invalid
	}
	return onnxTypes[code].dtype
}

func onnxTypeName(code int64) string {
	if code < 0 || code >= int64(len(onnxTypes)) {
		return "type " + strconv.FormatInt(code, 10)
	}
	return onnxTypes[code].name
}
