package oip

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

func decodeJSON(body string) (Request, error) {
	var q Request
	err := q.Decode([]byte(body), AllJSON, DefaultLimits())
	return q, err
}

// wantData are the bytes of numbers in little-endian order.
func wantData(t *testing.T, order any) []byte {
	t.Helper()
	data, err := binary.Append(nil, binary.LittleEndian, order)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDecodeEveryDatatype(t *testing.T) {
	for _, tt := range []struct {
		dtype tensor.DType
		data  string
		want  any
	}{
		{tensor.Bool, `[true,false,true]`, []byte{1, 0, 1}},
		{tensor.Uint8, `[0,255,7]`, []uint8{0, 255, 7}},
		{tensor.Uint16, `[0,65535,7]`, []uint16{0, 65535, 7}},
		{tensor.Uint32, `[0,4294967295,7]`, []uint32{0, math.MaxUint32, 7}},
		{tensor.Uint64, `[0,18446744073709551615,7]`, []uint64{0, math.MaxUint64, 7}},
		{tensor.Int8, `[-128,127,-0]`, []int8{-128, 127, 0}},
		{tensor.Int16, `[-32768,32767,-1]`, []int16{-32768, 32767, -1}},
		{tensor.Int32, `[-2147483648,2147483647,-1]`, []int32{math.MinInt32, math.MaxInt32, -1}},
		{tensor.Int64, `[-9223372036854775808,9223372036854775807,-1]`, []int64{math.MinInt64, math.MaxInt64, -1}},
		{tensor.FP32, `[0.1,-2.5e-3,3.4028235e38]`, []float32{0.1, -2.5e-3, math.MaxFloat32}},
		{tensor.FP64, `[0.1,-0,1.7976931348623157E+308]`, []float64{0.1, math.Copysign(0, -1), math.MaxFloat64}},
		{tensor.Bytes, `["seven","","\u00fc\n"]`, []byte("\x05\x00\x00\x00seven\x00\x00\x00\x00\x03\x00\x00\x00ü\n")},
	} {
		t.Run(tt.dtype.String(), func(t *testing.T) {
			q, err := decodeJSON(`{"inputs":[{"name":"x","shape":[3],"datatype":"` + tt.dtype.String() + `","data":` + tt.data + `}]}`)
			if err != nil {
				t.Fatal(err)
			}
			in := q.Inputs[0]
			if in.Name != "x" || in.DType != tt.dtype || !in.Shape.Equal(tensor.Shape{3}) || !slices.Equal(in.Data, wantData(t, tt.want)) {
				t.Errorf("got %+v, want the bytes of %v", in, tt.want)
			}
		})
	}
}

func TestDecodeEnvelope(t *testing.T) {
	q, err := decodeJSON(` {
		"model_name": "ignored", "unknown": {"deep": [1, {"er": null}], "t": true, "s": "\"}"},
		"outputs": [{"name": "scores"}, {"parameters": {"binary_data": false, "other": [1]}, "name": "label", "x": 1}],
		"parameters": {"min_accuracy": 0.97, "deadline_ms": "50", "late": "run", "priority": 3, "nothing": null,
			"flag": true, "binary_data_output": true},
		"inputs": [
			{"data": [[1, 2, 3], [4, 5, 6]], "parameters": {"content_type": "np"}, "shape": [2, 3], "datatype": "UINT8", "name": "late"},
			{"name": "t\u0065xt", "shape": [1, 1], "datatype": "BYTES", "data": ["a"], "parameters": null}
		],
		"id": "42" } `)
	if err != nil {
		t.Fatal(err)
	}
	if q.ID != "42" || q.OutputForm != Binary {
		t.Errorf("id %q, output form %v", q.ID, q.OutputForm)
	}
	wantParams := Parameters{{"min_accuracy", Float(0.97)}, {"deadline_ms", String("50")}, {"late", String("run")},
		{"priority", Int(3)}, {"nothing", Null()}, {"flag", Bool(true)}}
	if !slices.Equal(q.Parameters, wantParams) {
		t.Errorf("parameters %v, want %v", q.Parameters, wantParams)
	}
	if want := []Output{{"scores", Binary}, {"label", JSON}}; !slices.Equal(q.Outputs, want) {
		t.Errorf("outputs %v, want %v", q.Outputs, want)
	}
	if len(q.Inputs) != 2 || q.Inputs[0].Name != "late" || q.Inputs[1].Name != "text" {
		t.Fatalf("inputs %+v", q.Inputs)
	}
	if !slices.Equal(q.Inputs[0].Data, []byte{1, 2, 3, 4, 5, 6}) || !q.Inputs[0].Shape.Equal(tensor.Shape{2, 3}) {
		t.Errorf("first input %+v", q.Inputs[0])
	}
}

func TestDecodeNesting(t *testing.T) {
	for _, tt := range []struct {
		shape, data string
		ok          bool
	}{
		{`[2,2,2]`, `[1,2,3,4,5,6,7,8]`, true},
		{`[2,2,2]`, `[[[1,2],[3,4]],[[5,6],[7,8]]]`, true},
		{`[2,2,2]`, `[[1,2,3,4],[5,6,7,8]]`, true}, // nested over the batch only
		{`[2,2,2]`, `[[1,2,3,4],[[5,6],[7,8]]]`, true},
		{`[2,2,2]`, `[[1,2],[3,4],[5,6],[7,8]]`, true}, // the last dimension only
		{`[2,2,2]`, `[[1,2,3],[4,5,6,7,8]]`, false},
		{`[2,2,2]`, `[[1,2,3,4],[5,6],[7,8]]`, false}, // ragged
		{`[2,2,2]`, `[[[1,2],[3,4]],[[5,6],[7]]]`, false},
		{`[2,2,2]`, `[[1,2,3,4],[]]`, false},
		{`[2,2,2]`, `[1,2,3,4,5,6,7]`, false},
		{`[2,2,2]`, `[1,2,3,4,5,6,7,8,9]`, false},
		{`[2,2,2]`, `[[1,2,3,4],[5,6,7,8],[9,10,11,12]]`, false},
		{`[2,2,2]`, `[1,[2],3,4,5,6,7,8]`, false},
		{`[2,2,2]`, `[[1,2,3,4],5,6,7,8]`, false},
		{`[2,3]`, `[[1,2],[3,4],[5,6]]`, false}, // rows and columns swapped
		{`[1,2,3]`, `[[1,2,3],[4,5,6]]`, true},  // a batch of one, without its brackets
		{`[2,3]`, `[[[1,2,3],[4,5,6]]]`, true},  // with one pair too many
		{`[8]`, `[1,2,3,4,5,6,7,8]`, true},
		{`[]`, `[1]`, true},
		{`[]`, `1`, false},
		{`[]`, `[[1]]`, true},
		{`[2,0]`, `[[],[]]`, true},
		{`[0]`, `[]`, true},
		{`[1]`, `[]`, false},
	} {
		for _, order := range []string{
			`{"name":"x","datatype":"INT16","shape":` + tt.shape + `,"data":` + tt.data + `}`,
			`{"data":` + tt.data + `,"shape":` + tt.shape + `,"datatype":"INT16","name":"x"}`,
		} {
			q, err := decodeJSON(`{"inputs":[` + order + `]}`)
			if (err == nil) != tt.ok {
				t.Errorf("%s: error %v, want ok %v", order, err, tt.ok)
			}
			if err != nil {
				if !strings.Contains(err.Error(), `tensor "x"`) {
					t.Errorf("%s: %q does not name the tensor", order, err)
				}
				continue
			}
			for i := range len(q.Inputs[0].Data) / 2 {
				if got := binary.LittleEndian.Uint16(q.Inputs[0].Data[2*i:]); int(got) != i+1 {
					t.Errorf("%s: element %d is %d", order, i, got)
				}
			}
		}
	}
}

// input wraps a tensor into a request with nothing else.
func input(shape, dtype, data string) string {
	return `{"inputs":[{"name":"x","shape":` + shape + `,"datatype":"` + dtype + `","data":` + data + `}]}`
}

// malformed are requests with one thing wrong, and what the error must say.
var malformed = []struct {
	name, body, want string
	is               error
}{
	{"empty", ``, `JSON at byte 0: ends where a request (an object) should be`, nil},
	{"not an object", `[1]`, `"[" stands where a request (an object) should be`, nil},
	{"cut off", `{"inputs":[{"name":"x`, `ends where the end of a string should be`, nil},
	{"more behind", input(`[1]`, "INT8", `[1]`) + `x`, `"x" stands where the end should be`, nil},
	{"no inputs", `{"id":"1"}`, `the request has no inputs`, nil},
	{"inputs null", `{"inputs":null}`, `the request has no inputs`, nil},
	{"inputs empty", `{"inputs":[]}`, `the request has no inputs`, nil},
	{"inputs not array", `{"inputs":{}}`, `"{" stands where inputs (an array) should be`, nil},
	{"inputs twice", `{"inputs":[],"inputs":[]}`, `"inputs" is given twice`, nil},
	{"id number", `{"id":1}`, `"1" stands where id (a string) should be`, nil},
	{"parameter object", `{"parameters":{"p":{}}}`, `parameter "p": JSON at byte 19: "{" stands where a parameter (a string, number or boolean)`, nil},
	{"parameter twice", `{"parameters":{"p":1,"p":2}}`, `parameter "p" is given twice`, nil},
	{"binary_data_output", `{"parameters":{"binary_data_output":1}}`, `"1" stands where binary_data_output (true or false)`, nil},
	{"no name", `{"inputs":[{"shape":[1],"datatype":"INT8","data":[1]}]}`, `a tensor has no name`, nil},
	{"no shape", `{"inputs":[{"name":"x","datatype":"INT8","data":[1]}]}`, `tensor "x" has no shape`, nil},
	{"no datatype", `{"inputs":[{"name":"x","shape":[1],"data":[1]}]}`, `tensor "x" has no datatype`, nil},
	{"no data", `{"inputs":[{"name":"x","shape":[1],"datatype":"INT8"}]}`, `tensor "x" has neither data nor binary_data_size`, nil},
	{"name twice", `{"inputs":[{"name":"x","name":"x"}]}`, `"name" is given twice`, nil},
	{"unknown datatype", input(`[1]`, "FP31", `[1]`), `unknown datatype "FP31"`, nil},
	{"lower case datatype", input(`[1]`, "fp32", `[1]`), `unknown datatype "fp32"`, nil},
	{"negative dimension", input(`[-1]`, "INT8", `[1]`), `tensor "x": shape [-1] has a negative dimension`, nil},
	{"fraction in shape", input(`[1.5]`, "INT8", `[1]`), `dimension 1.5 is not a whole number`, nil},
	{"huge dimension", input(`[99999999999999999999]`, "INT8", `[1]`), `is not a whole number of 62 bits`, nil},
	{"overflow", input(`[4294967296,4294967296]`, "INT8", `[1]`), `tensor "x": shape [4294967296,4294967296] overflows`, nil},
	{"too many elements", input(`[1000000000]`, "INT8", `[1]`), `has 1000000000 elements, the bound is 268435456`, ErrTooLarge},
	{"more than the body", input(`[1000000]`, "INT8", `[1]`), `shape [1000000] needs 1000000 elements, data has fewer`, nil},
	{"300 in UINT8", input(`[2]`, "UINT8", `[1,300]`), `tensor "x": element 1: 300 is out of range for UINT8 (0..255)`, nil},
	{"-1 in UINT16", input(`[1]`, "UINT16", `[-1]`), `element 0: -1 is out of range for UINT16 (0..65535)`, nil},
	{"128 in INT8", input(`[1]`, "INT8", `[128]`), `128 is out of range for INT8 (-128..127)`, nil},
	{"-129 in INT8", input(`[1]`, "INT8", `[-129]`), `-129 is out of range for INT8 (-128..127)`, nil},
	{"2^64", input(`[1]`, "UINT64", `[18446744073709551616]`), `18446744073709551616 is out of range for UINT64`, nil},
	{"2^63", input(`[1]`, "INT64", `[9223372036854775808]`), `out of range for INT64 (-9223372036854775808..9223372036854775807)`, nil},
	{"many digits", input(`[1]`, "UINT64", `[100000000000000000000000000000000000000000000]`), `0000... is out of range for UINT64`, nil},
	{"fraction", input(`[1]`, "INT32", `[1.0]`), `tensor "x": element 0: 1.0 is not a whole number, as INT32 needs`, nil},
	{"exponent", input(`[1]`, "INT32", `[1e2]`), `1e2 is not a whole number, as INT32 needs`, nil},
	{"FP32 range", input(`[1]`, "FP32", `[1e39]`), `1e39 is out of range for FP32`, nil},
	{"FP64 range", input(`[1]`, "FP64", `[-1e400]`), `-1e400 is out of range for FP64`, nil},
	{"FP64 exponent", input(`[1]`, "FP64", `[1e99999999999999999999999]`), `out of range for FP64`, nil},
	{"NaN", input(`[1]`, "FP32", `[NaN]`), `"NaN" is not a number in JSON: send the tensor in binary form`, nil},
	{"Infinity", input(`[1]`, "FP32", `[-Infinity]`), `"Infinity" is not a number in JSON`, nil},
	{"FP16", input(`[1]`, "FP16", `[1]`), `tensor "x": FP16 exists only in binary form`, nil},
	{"BF16", input(`[1]`, "BF16", `[1]`), `tensor "x": BF16 exists only in binary form`, nil},
	{"boolean as number", input(`[1]`, "INT8", `[true]`), `element 0: JSON at byte 61: "true" stands where a number should be`, nil},
	{"number as boolean", input(`[1]`, "BOOL", `[1]`), `"1" stands where a BOOL (true or false) should be`, nil},
	{"string as number", input(`[1]`, "FP32", `["1"]`), `stands where a number should be`, nil},
	{"number as string", input(`[1]`, "BYTES", `[1]`), `"1" stands where an element of BYTES (a string) should be`, nil},
	{"null element", input(`[1]`, "FP32", `[null]`), `"null" stands where a number should be`, nil},
	{"leading zero", input(`[1]`, "FP32", `[01]`), `"1" stands where the end of a number should be`, nil},
	{"leading plus", input(`[1]`, "FP32", `[+1]`), `stands where a number should be`, nil},
	{"no fraction", input(`[1]`, "FP32", `[1.]`), `stands where a digit should be`, nil},
	{"no exponent", input(`[1]`, "FP32", `[1e]`), `stands where a digit should be`, nil},
	{"trailing comma", input(`[1]`, "FP32", `[1,]`), `tensor "x": shape [1] needs 1 elements, data has more`, nil},
	{"control character", input(`[1]`, "BYTES", "[\"a\nb\"]"), `a string holds the control character 0x0a`, nil},
	{"not UTF-8", input(`[1]`, "BYTES", "[\"\xff\"]"), `a string is not UTF-8: send bytes in binary form`, nil},
	{"not UTF-8 behind an escape", input(`[1]`, "BYTES", "[\"\\n\xff\"]"), `a string is not UTF-8`, nil},
	{"lone surrogate", input(`[1]`, "BYTES", `["\ud800"]`), `\ud800 is half of a surrogate pair`, nil},
	{"swapped surrogates", input(`[1]`, "BYTES", `["\udc00\ud800"]`), `\udc00 is half of a surrogate pair`, nil},
	{"bad escape", input(`[1]`, "BYTES", `["\x"]`), `"x" stands where an escape should be`, nil},
	{"bad hex", input(`[1]`, "BYTES", `["\u00g0"]`), `stands where four hexadecimal digits should be`, nil},
	{"shared memory in", `{"inputs":[{"name":"x","parameters":{"shared_memory_region":"r"}}]}`, `tensor "x": shared memory is not supported`, ErrUnsupported},
	{"shared memory out", `{"outputs":[{"name":"y","parameters":{"shared_memory_region":"r"}}]}`, `shared memory is not supported`, ErrUnsupported},
	{"classification", `{"outputs":[{"name":"y","parameters":{"classification":3}}]}`, `classification is not supported`, ErrUnsupported},
	{"output without name", `{"outputs":[{}]}`, `an output has no name`, nil},
	{"binary size without binary part", `{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","parameters":{"binary_data_size":1}}]}`,
		`tensor "x": binary_data_size is 1, but only 0 bytes are left`, nil},
	{"negative binary size", `{"inputs":[{"name":"x","parameters":{"binary_data_size":-1}}]}`, `binary_data_size -1 is not a size`, nil},
}

func TestDecodeErrors(t *testing.T) {
	for _, tt := range malformed {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decodeJSON(tt.body)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v\nshould contain %s", err, tt.want)
			}
			if (tt.is != nil) != (errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnsupported)) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is of the wrong sort, want %v", err, tt.is)
			}
		})
	}
}

func TestDecodeBounds(t *testing.T) {
	one := `{"name":"x","shape":[1],"datatype":"INT8","data":[1]}`
	deep := strings.Repeat("[", 100_000)
	for name, body := range map[string]string{
		"depth of data":            input(`[1]`, "INT8", deep),
		"depth of ignored arrays":  `{"x":` + deep,
		"depth of ignored objects": `{"x":` + strings.Repeat(`{"a":`, 100_000),
		"depth of deferred data":   `{"inputs":[{"data":` + deep,
		"tensors":                  `{"inputs":[` + strings.Repeat(one+",", 64) + one + `]}`,
		"outputs":                  `{"outputs":[` + strings.Repeat(`{"name":"y"},`, 65) + `]}`,
		"rank":                     input(`[`+strings.Repeat("1,", 16)+`1]`, "INT8", `[1]`),
		"long name":                `{"inputs":[{"name":"` + strings.Repeat("n", 1025) + `"}]}`,
		"long id":                  `{"id":"` + strings.Repeat("n", 1025) + `"}`,
		"long parameter":           `{"parameters":{"` + strings.Repeat("n", 1025) + `":1}}`,
		"long text of a parameter": `{"parameters":{"p":"` + strings.Repeat("v", 64<<10+1) + `"}}`,
		"long number":              `{"parameters":{"p":` + strings.Repeat("1", 64<<10+1) + `}}`,
		"input parameters":         `{"inputs":[{"parameters":{` + strings.Repeat(`"p":1,`, 65) + `"q":1}}]}`,
		"output parameters":        `{"outputs":[{"parameters":{` + strings.Repeat(`"p":1,`, 65) + `"q":1}}]}`,
		"parameters": func() string {
			var b strings.Builder
			for i := range 65 {
				b.WriteString(`,"p` + strconv.Itoa(i) + `":1`)
			}
			return `{"parameters":{` + b.String()[1:] + `}}`
		}(),
	} {
		if _, err := decodeJSON(body); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v, want an error that is ErrTooLarge", name, err)
		}
	}
}

func TestFloatsRoundOnce(t *testing.T) {
	for _, text := range []string{
		"16777217", "1.00000005960464477539062500000000001", "1.000000059604644775390625", "1.00000005960464477539062499999",
		"0.3", "1e-45", "1.401298464324817e-45", "7e-46", "1e-50", "3.4028235677973366e38", "9007199254740993", "123456789012345678",
		"8.5899346e9", "1.1754944e-38", "0.1000000014901161", "0.10000000149011612", "5e-324", "2.2250738585072011e-308",
		"0.000000000000000000000000000000000000000000001", "100000000000000000000000", "1e22", "1e23", "00", "-0.0", "0e5", "0.0e-400",
		strings.Repeat("9", 400) + "e-399", "0." + strings.Repeat("0", 400) + "1e400",
	} {
		for _, size := range []int{32, 64} {
			want, wantErr := strconv.ParseFloat(text, size)
			r := reader{buf: []byte(text), lim: DefaultLimits()}
			d, err := r.decimal()
			if text == "00" {
				if err == nil {
					t.Errorf("%s is a number", text)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			got, ok := d.float([]byte(text), size)
			if ok != (wantErr == nil) {
				t.Errorf("%.40s in %d bits: ok %v, strconv says %v", text, size, ok, wantErr)
			}
			checkPlain(t, text, d)
			if ok && (size == 64 && math.Float64bits(got) != math.Float64bits(want) ||
				size == 32 && math.Float32bits(float32(got)) != math.Float32bits(float32(want))) {
				t.Errorf("%.40s in %d bits: %v, strconv says %v", text, size, got, want)
			}
		}
	}
}

// checkPlain checks that the short way, where it is taken, reads what the long
// one does.
func checkPlain(t *testing.T, text string, want decimal) {
	t.Helper()
	var got decimal
	r := reader{buf: []byte(text), lim: DefaultLimits()}
	if r.plain(&got) && (got != want || r.pos != len(text)) {
		t.Errorf("%s is read in short as %+v, in full as %+v", text, got, want)
	}
}

// TestFloat32sAgreeWithTheStandardLibrary reads what is printed of float32s and
// of the middles between them, where one digit decides.
func TestFloat32sAgreeWithTheStandardLibrary(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		f := math.Float32frombits(random.Uint32())
		if random.IntN(2) == 0 {
			f = random.Float32()
		}
		above := math.Nextafter32(f, math.MaxFloat32)
		middle := float64(f) + (float64(above)-float64(f))/2
		if math.IsNaN(middle) || math.IsInf(middle, 0) {
			continue
		}
		for _, text := range []string{
			strconv.FormatFloat(float64(f), 'g', -1, 32),
			strconv.FormatFloat(float64(f), 'f', random.IntN(20), 64),
			strconv.FormatFloat(float64(f), 'g', 17, 64),
			strconv.FormatFloat(middle, 'g', 15+random.IntN(6), 64),
			strconv.FormatFloat(math.Nextafter(middle, 0), 'g', 17+random.IntN(2), 64),
			strconv.FormatFloat(math.Nextafter(middle, math.MaxFloat64), 'g', 17+random.IntN(2), 64),
		} {
			want, wantErr := strconv.ParseFloat(text, 32)
			r := reader{buf: []byte(text), lim: DefaultLimits()}
			d, err := r.decimal()
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			checkPlain(t, text, d)
			got, ok := d.float([]byte(text), 32)
			if ok != (wantErr == nil) || ok && math.Float32bits(float32(got)) != math.Float32bits(float32(want)) {
				t.Fatalf("%s is read as %v, %v, by strconv as %v, %v", text, float32(got), ok, float32(want), wantErr)
			}
		}
	}
}

func TestDecodeBinary(t *testing.T) {
	head := `{"inputs":[{"name":"a","shape":[1,2],"datatype":"INT16","parameters":{"binary_data_size":4}},` +
		`{"name":"b","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}},` +
		`{"name":"c","shape":[1],"datatype":"UINT8","data":[9]},` +
		`{"name":"d","shape":[1],"datatype":"FP16","parameters":{"binary_data_size":2}}]}`
	part := "\x01\x00\x02\x00" + "\x03\x00\x00\x00abc\x00\x00\x00\x00" + "\x00\x3c"
	body := []byte(head + part)
	var q Request
	if err := q.Decode(body, len(head), DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{part[:4], part[4:15], "\x09", part[15:]} {
		if string(q.Inputs[i].Data) != want {
			t.Errorf("input %d is %q, want %q", i, q.Inputs[i].Data, want)
		}
	}
	if &q.Inputs[0].Data[0] != &body[len(head)] {
		t.Error("binary input is a copy, not a view of the body")
	}
}

func TestDecodeBinaryErrors(t *testing.T) {
	head := func(dtype, shape, size string) string {
		return `{"inputs":[{"name":"x","shape":` + shape + `,"datatype":"` + dtype + `","parameters":{"binary_data_size":` + size + `}}]}`
	}
	for _, tt := range []struct {
		name, head, part string
		jsonBytes        int // 0: length of head
		want             string
	}{
		{"too few bytes", head("INT16", `[2]`, "4"), "123", 0, `tensor "x": binary_data_size is 4, but only 3 bytes are left of the binary part (3 bytes)`},
		{"too many bytes", head("INT16", `[2]`, "4"), "12345", 0, `the binary part has 5 bytes, the tensors' binary_data_size add up to 4`},
		{"size against shape", head("INT16", `[2]`, "5"), "12345", 0, `tensor "x": shape [2] of INT16 needs 2 elements of 2 bytes, got 5 bytes`},
		{"fraction", head("INT16", `[2]`, "4.0"), "1234", 0, `binary_data_size 4.0 is not a size`},
		{"string", head("INT16", `[2]`, `"4"`), "1234", 0, `stands where a number should be`},
		{"huge", head("INT16", `[2]`, `99999999999999999999`), "1234", 0, `is not a size`},
		{"boolean of 2", head("BOOL", `[2]`, "2"), "\x00\x02", 0, `tensor "x": element 1: 2 is neither 0 (false) nor 1 (true)`},
		{"BYTES cut in length", head("BYTES", `[1]`, "3"), "\x00\x00\x00", 0, `tensor "x": element 0 of 1: its length and bytes do not fit`},
		{"BYTES cut in element", head("BYTES", `[1]`, "6"), "\x03\x00\x00\x00ab", 0, `do not fit into the 6 bytes left`},
		{"BYTES huge length", head("BYTES", `[1]`, "6"), "\xff\xff\xff\xffab", 0, `do not fit into the 6 bytes left`},
		{"BYTES more elements", head("BYTES", `[1]`, "8"), "\x00\x00\x00\x00\x00\x00\x00\x00", 0, `needs 1 elements, 4 bytes follow them`},
		{"BYTES fewer elements", head("BYTES", `[2]`, "4"), "\x00\x00\x00\x00", 0, `element 1 of 2`},
		{"length beyond body", head("INT16", `[2]`, "4"), "1234", 10_000, `Inference-Header-Content-Length 10000 is more than`},
		{"negative length", head("INT16", `[2]`, "4"), "1234", -7, `Inference-Header-Content-Length -7 is negative`},
		{"length inside the JSON", head("INT16", `[2]`, "4"), "1234", 20, `ends where`},
		{"length too long", head("INT16", `[2]`, "4"), "1234", len(head("INT16", `[2]`, "4")) + 1, `"1" stands where the end should be`},
		{"data and binary", `{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[1],"parameters":{"binary_data_size":1}}]}`, "1", 0,
			`tensor "x" has both data and binary_data_size`},
		{"binary part unused", input(`[1]`, "INT8", `[1]`), "1", 0, `the binary part has 1 bytes, the tensors' binary_data_size add up to 0`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := tt.jsonBytes
			if n == 0 {
				n = len(tt.head)
			}
			var q Request
			err := q.Decode([]byte(tt.head+tt.part), n, DefaultLimits())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v\nshould contain %s", err, tt.want)
			}
		})
	}
}

func TestDecodeRaw(t *testing.T) {
	for _, tt := range []struct {
		dtype tensor.DType
		spec  tensor.Shape
		body  string
		want  tensor.Shape // nil: an error
	}{
		{tensor.Uint8, tensor.Shape{-1, 2, 2}, "12345678", tensor.Shape{2, 2, 2}},
		{tensor.Int16, tensor.Shape{1, -1}, "12345678", tensor.Shape{1, 4}},
		{tensor.Int16, tensor.Shape{1, 4}, "12345678", tensor.Shape{1, 4}},
		{tensor.Uint8, tensor.Shape{-1, 3}, "12345678", nil},
		{tensor.Uint8, tensor.Shape{1, 3}, "12345678", nil},
		{tensor.Uint8, tensor.Shape{-1, 3}, "", nil},
		{tensor.Uint8, tensor.Shape{-1, -1}, "12", nil},
		{tensor.Uint8, tensor.Shape{math.MaxInt64, math.MaxInt64}, "12", nil},
		{tensor.Bytes, tensor.Shape{2}, "12", nil},
		{tensor.Bytes, tensor.Shape{1, 2}, "12", nil},
		{tensor.Bool, tensor.Shape{1, 2}, "12", nil},
	} {
		q := Request{ID: "old", Parameters: Parameters{{"p", Int(1)}}}
		err := q.DecodeRaw([]byte(tt.body), tensor.Tensor{Name: "x", DType: tt.dtype, Shape: tt.spec})
		if (err == nil) != (tt.want != nil) {
			t.Errorf("%v %v of %q: error %v", tt.dtype, tt.spec, tt.body, err)
		}
		if err == nil && (!q.Inputs[0].Shape.Equal(tt.want) || string(q.Inputs[0].Data) != tt.body || q.OutputForm != Binary || q.ID != "") {
			t.Errorf("%v %v of %q: %+v, want shape %v", tt.dtype, tt.spec, tt.body, q, tt.want)
		}
	}
}

func TestDecodeRawText(t *testing.T) {
	for _, shape := range []tensor.Shape{{-1}, {-1, 1}, {1, -1}} {
		for body, want := range map[string]string{"": "\x00\x00\x00\x00", "a\x00b": "\x03\x00\x00\x00a\x00b"} {
			var q Request
			err := q.DecodeRaw([]byte(body), tensor.Tensor{Name: "x", DType: tensor.Bytes, Shape: shape})
			if err != nil || string(q.Inputs[0].Data) != want || CheckTensor(q.Inputs[0]) != nil {
				t.Errorf("%v of %q: %+v, %v", shape, body, q, err)
			}
		}
	}
}

func TestDecodeAgainKeepsNothing(t *testing.T) {
	var q Request
	big := `{"id":"1","parameters":{"a":1,"b":2},"outputs":[{"name":"y"},{"name":"z"}],"inputs":[` +
		`{"name":"x","shape":[2],"datatype":"INT8","data":[1,2]},{"name":"y","shape":[1,1],"datatype":"INT8","data":[3]}]}`
	small := input(`[1]`, "UINT8", `[7]`)
	for _, body := range []string{big, small, big, `{`, small} {
		_ = q.Decode([]byte(body), AllJSON, DefaultLimits())
	}
	if q.ID != "" || len(q.Parameters) != 0 || len(q.Outputs) != 0 || len(q.Inputs) != 1 || string(q.Inputs[0].Data) != "\x07" ||
		!q.Inputs[0].Shape.Equal(tensor.Shape{1}) {
		t.Errorf("after a small request: %+v", q)
	}
}
