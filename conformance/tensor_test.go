package conformance_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
)

// sizes lists the protocol's datatypes with the bytes of an element; that of BYTES
// varies.
var sizes = map[string]int{"BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
	"FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8, "BYTES": 0}

// kind groups the datatypes by how their elements are written in JSON.
func kind(datatype string) string {
	switch {
	case strings.HasPrefix(datatype, "INT"):
		return "signed"
	case strings.HasPrefix(datatype, "UINT"):
		return "unsigned"
	case datatype == "FP32" || datatype == "FP64":
		return "float"
	case datatype == "FP16" || datatype == "BF16":
		return "half" // they have no JSON form
	}
	return datatype // BOOL, BYTES
}

// tensorSpec is an input or an output in the metadata of a model.
type tensorSpec struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"` // -1: any size
}

// dynamicSize is the size for all dynamic dimensions. It is one constant, because some
// models need equal sizes in several inputs.
const dynamicSize = 4

// value is a tensor to send: its shape has no dynamic dimension.
type value struct {
	tensorSpec
	text []string // of each element in JSON; "" if there is no JSON form
	raw  [][]byte // of each element in binary form
}

// fill makes a tensor of a spec with a fixed pattern of small values, which any model
// accepts as pixels, samples, token ids or flags.
func fill(spec tensorSpec, items int64) value {
	v := value{tensorSpec: spec}
	v.Shape = append([]int64(nil), spec.Shape...)
	count := int64(1)
	for i := range v.Shape {
		switch {
		case v.Shape[i] >= 0:
		case i == 0:
			v.Shape[i] = items
		default:
			v.Shape[i] = dynamicSize
		}
		count *= v.Shape[i]
	}
	for i := range count {
		text, raw := element(spec.Datatype, int(i))
		v.text, v.raw = append(v.text, text), append(v.raw, raw)
	}
	return v
}

// element returns element i of the pattern, in JSON and in binary form.
func element(datatype string, i int) (text string, raw []byte) {
	whole, fraction := uint64(i%3), float64(i%8)/8
	switch kind(datatype) {
	case "BOOL":
		return strconv.FormatBool(i%2 == 1), []byte{byte(i % 2)}
	case "BYTES":
		word := strings.Repeat("w", i%3)
		return strconv.Quote(word), append(binary.LittleEndian.AppendUint32(nil, uint32(len(word))), word...)
	case "half":
		ones := map[string]uint16{"FP16": 0x3c00, "BF16": 0x3f80}
		return "", binary.LittleEndian.AppendUint16(nil, uint16(i%2)*ones[datatype])
	case "float":
		return strconv.FormatFloat(fraction, 'g', -1, 64), floatBytes(datatype, fraction)
	}
	if datatype == "INT16" {
		whole *= 1000 // if it is sound, loud enough not to count as silence
	}
	return strconv.FormatUint(whole, 10), binary.LittleEndian.AppendUint64(nil, whole)[:sizes[datatype]]
}

func floatBytes(datatype string, f float64) []byte {
	if datatype == "FP32" {
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(f)))
	}
	return binary.LittleEndian.AppendUint64(nil, math.Float64bits(f))
}

// bytes returns the tensor in binary form.
func (v value) bytes() []byte {
	var all []byte
	for _, raw := range v.raw {
		all = append(all, raw...)
	}
	return all
}

// flat returns the tensor's data as one array of JSON.
func (v value) flat() string { return "[" + strings.Join(v.text, ",") + "]" }

// nested returns the data as nested arrays along the first depth dimensions; the rest
// is flat.
func (v value) nested(depth int) string { return nest(v.text, v.Shape, depth) }

func nest(text []string, shape []int64, depth int) string {
	if depth <= 1 || len(shape) <= 1 {
		return "[" + strings.Join(text, ",") + "]"
	}
	var parts []string
	step := len(text) / int(shape[0])
	for i := range int(shape[0]) {
		parts = append(parts, nest(text[i*step:(i+1)*step], shape[1:], depth-1))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// with returns the tensor with one element replaced by other text.
func (v value) with(at int, text string) value {
	v.text = append([]string(nil), v.text...)
	v.text[at] = text
	return v
}

// object returns the tensor as a member of "inputs" with the given data.
func (v value) object(data string) string {
	return fmt.Sprintf(`{"name":%s,"shape":%s,"datatype":"%s","data":%s}`, quote(v.Name), dims(v.Shape), v.Datatype, data)
}

// binary returns the tensor as a member of "inputs" whose bytes follow the JSON.
func (v value) binary() string {
	return fmt.Sprintf(`{"name":%s,"shape":%s,"datatype":"%s","parameters":{"binary_data_size":%d}}`, quote(v.Name), dims(v.Shape), v.Datatype, len(v.bytes()))
}

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings can always be written
	}
	return string(text)
}

func dims(shape []int64) string {
	parts := make([]string, len(shape))
	for i, d := range shape {
		parts[i] = strconv.FormatInt(d, 10)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func count(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}

// fits reports whether the spec allows a shape.
func fits(shape, spec []int64) bool {
	if len(shape) != len(spec) {
		return false
	}
	for i := range shape {
		if spec[i] >= 0 && shape[i] != spec[i] {
			return false
		}
	}
	return true
}

// numbers reads elements of any numeric datatype; BOOL counts as numeric.
func numbers(t *testing.T, datatype string, raw []byte) []float64 {
	t.Helper()
	size := sizes[datatype]
	if size == 0 || len(raw)%size != 0 {
		t.Fatalf("%d bytes are not elements of %s", len(raw), datatype)
	}
	var list []float64
	for ; len(raw) > 0; raw = raw[size:] {
		list = append(list, number(datatype, raw[:size]))
	}
	return list
}

func number(datatype string, raw []byte) float64 {
	var wide [8]byte
	copy(wide[:], raw)
	bits := binary.LittleEndian.Uint64(wide[:])
	unused := 64 - 8*len(raw)
	switch datatype {
	case "FP64":
		return math.Float64frombits(bits)
	case "FP32":
		return float64(math.Float32frombits(uint32(bits)))
	case "BF16":
		return float64(math.Float32frombits(uint32(bits) << 16))
	case "FP16":
		return half(uint16(bits))
	case "INT8", "INT16", "INT32", "INT64":
		return float64(int64(bits<<unused) >> unused)
	}
	return float64(bits)
}

// half reads an IEEE 754 number of 16 bits.
func half(bits uint16) float64 {
	sign, exponent, mantissa := 1-2*float64(bits>>15), int(bits>>10&31), float64(bits&1023)
	switch exponent {
	case 0:
		return sign * math.Ldexp(mantissa, -24)
	case 31:
		if mantissa == 0 {
			return math.Inf(int(sign))
		}
		return math.NaN()
	}
	return sign * math.Ldexp(1024+mantissa, exponent-25)
}

// fromJSON converts the data of an output, flat or nested, to binary form.
func fromJSON(t *testing.T, datatype string, data json.RawMessage) []byte {
	t.Helper()
	var array []json.RawMessage
	if err := json.Unmarshal(data, &array); err != nil {
		t.Fatalf("data is no array: %v: %.100s", err, data)
	}
	var raw []byte
	for _, part := range array {
		if len(part) > 0 && part[0] == '[' {
			raw = append(raw, fromJSON(t, datatype, part)...)
		} else {
			raw = append(raw, elementFromJSON(t, datatype, string(part))...)
		}
	}
	return raw
}

func elementFromJSON(t *testing.T, datatype, text string) []byte {
	t.Helper()
	var err error
	var bits uint64
	switch kind(datatype) {
	case "BOOL":
		if text == "true" {
			bits = 1
		} else if text != "false" {
			err = fmt.Errorf("neither true nor false")
		}
	case "BYTES":
		var word string
		if err = json.Unmarshal([]byte(text), &word); err == nil {
			return append(binary.LittleEndian.AppendUint32(nil, uint32(len(word))), word...)
		}
	case "float":
		var f float64
		if f, err = strconv.ParseFloat(text, 8*sizes[datatype]); err == nil {
			return floatBytes(datatype, f)
		}
	case "signed":
		var i int64
		i, err = strconv.ParseInt(text, 10, 8*sizes[datatype])
		bits = uint64(i)
	case "unsigned":
		bits, err = strconv.ParseUint(text, 10, 8*sizes[datatype])
	default:
		err = fmt.Errorf("it exists only in binary form")
	}
	if err != nil {
		t.Fatalf("element %s of %s: %v", text, datatype, err)
	}
	return binary.LittleEndian.AppendUint64(nil, bits)[:sizes[datatype]]
}
