package oip

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

func float32s(name string, shape tensor.Shape, values ...float32) tensor.Tensor {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return tensor.Tensor{Name: name, DType: tensor.FP32, Shape: shape, Data: data}
}

func TestAppendResponse(t *testing.T) {
	answer := Response{
		ModelName: "digits", ModelVersion: "1", ID: `a"b`,
		Parameters: Parameters{{"variant", String("image+text")}, {"expected_accuracy", Float(0.9712)}, {"queue_us", Int(120)}, {"late", Bool(true)}},
		Outputs: []tensor.Tensor{
			float32s("scores", tensor.Shape{1, 3}, 0.1, 1e-9, -1e21),
			{Name: "label", DType: tensor.Bytes, Shape: tensor.Shape{1}, Data: []byte("\x05\x00\x00\x00se\\v\x01")},
			{Name: "raw", DType: tensor.Int8, Shape: tensor.Shape{2}, Data: []byte{0xff, 0x80}},
		},
	}
	head := `{"model_name":"digits","model_version":"1","id":"a\"b","parameters":{"variant":"image+text","expected_accuracy":0.9712,` +
		`"queue_us":120,"late":true},"outputs":[{"name":"scores","shape":[1,3],"datatype":"FP32",`
	for _, tt := range []struct {
		name  string
		forms []Form
		text  string
		part  string
	}{
		{"JSON", []Form{JSON, JSON, JSON}, head + `"data":[0.1,1e-09,-1e+21]},` +
			`{"name":"label","shape":[1],"datatype":"BYTES","data":["se\\v\u0001"]},{"name":"raw","shape":[2],"datatype":"INT8","data":[-1,-128]}]}`, ""},
		{"mixed", []Form{Binary, JSON, Binary}, head + `"parameters":{"binary_data_size":12}},` +
			`{"name":"label","shape":[1],"datatype":"BYTES","data":["se\\v\u0001"]},` +
			`{"name":"raw","shape":[2],"datatype":"INT8","parameters":{"binary_data_size":2}}]}`, string(answer.Outputs[0].Data) + "\xff\x80"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, n, err := answer.Append([]byte("before"), tt.forms)
			if err != nil {
				t.Fatal(err)
			}
			if want := "before" + tt.text + tt.part; string(out) != want {
				t.Errorf("got  %q\nwant %q", out, want)
			}
			if want := len(tt.text); tt.part != "" && n != want || tt.part == "" && n != AllJSON {
				t.Errorf("length of the JSON part %d, want %d or none", n, want)
			}
			var back Response
			if err := back.Decode(out[len("before"):], n, DefaultLimits()); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(back) != fmt.Sprint(answer) {
				t.Errorf("decoded %v\nwant    %v", back, answer)
			}
		})
	}
}

func TestAppendFails(t *testing.T) {
	for name, tt := range map[string]struct {
		output  tensor.Tensor
		notJSON bool
		want    string
	}{
		"FP16":    {tensor.Tensor{Name: "y", DType: tensor.FP16, Shape: tensor.Shape{1}, Data: []byte{0, 0}}, true, `FP16 has no JSON form`},
		"bytes":   {tensor.Tensor{Name: "y", DType: tensor.Bytes, Shape: tensor.Shape{1}, Data: []byte("\x01\x00\x00\x00\xff")}, true, `element 0 is not UTF-8`},
		"unsound": {tensor.Tensor{Name: "y", DType: tensor.FP32, Shape: tensor.Shape{1}, Data: []byte{1}}, false, `needs 1 elements of 4 bytes, got 1`},
	} {
		answer := Response{ModelName: "m", Outputs: []tensor.Tensor{tt.output}}
		_, _, err := answer.Append(nil, []Form{JSON})
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrNotJSON) != tt.notJSON {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
		if _, _, err := answer.Append(nil, []Form{Binary}); (err == nil) != tt.notJSON {
			t.Errorf("%s in binary form: error %v", name, err)
		}
	}
	unnamed := Request{Parameters: Parameters{{"min_accuracy", Float(math.NaN())}}}
	if _, _, err := unnamed.Append(nil, Binary); err == nil || !strings.Contains(err.Error(), `parameter "min_accuracy" has no value`) {
		t.Errorf("NaN as a parameter: %v", err)
	}
}

// TestGaps checks that numbers which JSON does not have are null in answers, and
// nothing in requests.
func TestGaps(t *testing.T) {
	none := float32s("y", tensor.Shape{4}, 1, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)))
	answer := Response{ModelName: "m", Outputs: []tensor.Tensor{none}}
	body, n, err := answer.Append(nil, []Form{JSON})
	if err != nil || !strings.Contains(string(body), `"data":[1,null,null,null]`) {
		t.Fatalf("%s, %v", body, err)
	}
	var back Response
	if err := back.Decode(body, n, DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, true, true} {
		if f := math.Float32frombits(binary.LittleEndian.Uint32(back.Outputs[0].Data[4*i:])); math.IsNaN(float64(f)) != want {
			t.Errorf("element %d is read as %v", i, f)
		}
	}
	request := Request{Inputs: []tensor.Tensor{none}}
	if _, _, err := request.Append(nil, JSON); !errors.Is(err, ErrNotJSON) || !strings.Contains(err.Error(), `tensor "y": element 1 is NaN, which JSON cannot carry`) {
		t.Errorf("in a request: %v", err)
	}
	var q Request
	if err := q.Decode([]byte(`{"inputs":[{"name":"y","shape":[1],"datatype":"FP32","data":[null]}]}`), AllJSON, DefaultLimits()); err == nil {
		t.Error("null is taken for a number of a request")
	}
}

func TestAppendRequest(t *testing.T) {
	request := Request{
		ID:         "7",
		Parameters: Parameters{{"min_accuracy", Float(1)}},
		Inputs:     []tensor.Tensor{{Name: "x", DType: tensor.Uint16, Shape: tensor.Shape{1, 2}, Data: []byte{1, 0, 0, 1}}},
		Outputs:    []Output{{"y", Binary}, {"z", JSON}},
		OutputForm: Binary,
	}
	head := `{"id":"7","parameters":{"binary_data_output":true,"min_accuracy":1.0},"inputs":[{"name":"x","shape":[1,2],"datatype":"UINT16",`
	tail := `}],"outputs":[{"name":"y"},{"name":"z","parameters":{"binary_data":false}}]}`
	out, n, err := request.Append(nil, Binary)
	if want := head + `"parameters":{"binary_data_size":4}` + tail; err != nil || n != len(want) || string(out) != want+"\x01\x00\x00\x01" {
		t.Errorf("binary: %d %q %v", n, out, err)
	}
	out, n, err = request.Append(nil, JSON)
	if want := head + `"data":[1,256]` + tail; err != nil || n != AllJSON || string(out) != want {
		t.Errorf("JSON: %d %q %v", n, out, err)
	}
}

func TestDecodeResponseErrors(t *testing.T) {
	for body, want := range map[string]string{
		`{"outputs":[{"name":"y","shape":[1],"datatype":"INT8","data":[1]}]} x`: `"x" stands where the end should be`,
		`{"outputs":[],"outputs":[]}`:                                           `"outputs" is given twice`,
		`{"model_name":1}`:                                                      `stands where model_name (a string) should be`,
		`{"outputs":[{"name":"y","shape":[1],"datatype":"INT8","parameters":{"binary_data_size":1}}]}`: `only 0 bytes are left`,
	} {
		var p Response
		if err := p.Decode([]byte(body), AllJSON, DefaultLimits()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", body, err, want)
		}
	}
}

func TestValue(t *testing.T) {
	for _, tt := range []struct {
		v       Value
		text    string
		integer int64
		float   float64
		isInt   bool
		isFloat bool
	}{
		{Int(970), "970", 970, 970, true, true},
		{Float(1), "1.0", 0, 1, false, true},
		{Float(0.25), "0.25", 0, 0.25, false, true},
		{Float(1e300), "1e+300", 0, 1e300, false, true},
		{String("12.5"), "12.5", 0, 12.5, false, true},
		{String("NaN"), "NaN", 0, 0, false, false},
		{String("-Inf"), "-Inf", 0, 0, false, false},
		{String("infinity"), "infinity", 0, 0, false, false},
		{String("1_000"), "1_000", 0, 0, false, false},
		{String("0x1p-3"), "0x1p-3", 0, 0, false, false},
		{String("0X10p0"), "0X10p0", 0, 0, false, false},
		{String("0b11"), "0b11", 0, 0, false, false},
		{String(""), "", 0, 0, false, false},
		{String(" 1"), " 1", 0, 0, false, false},
		{String("1e3"), "1e3", 0, 1000, false, true},
		{Null(), "", 0, 0, false, false},
		{String("1e999"), "1e999", 0, 0, false, false},
		{Bool(true), "true", 0, 0, false, false},
		{Float(math.Inf(1)), "", 0, 0, false, false},
	} {
		integer, err := tt.v.Int64()
		if integer != tt.integer || (err == nil) != tt.isInt {
			t.Errorf("%v as an integer: %v, %v", tt.v, integer, err)
		}
		float, err := tt.v.Float64()
		if float != tt.float || (err == nil) != tt.isFloat {
			t.Errorf("%v as a float: %v, %v", tt.v, float, err)
		}
		if tt.v.Text() != tt.text {
			t.Errorf("%v has text %q, want %q", tt.v, tt.v.Text(), tt.text)
		}
	}
	if b, err := Bool(true).Bool(); !b || err != nil {
		t.Error("true is not true")
	}
	if _, err := String("true").Bool(); err == nil {
		t.Error(`"true" is taken for true`)
	}
	if got := String(strings.Repeat("x", 100)).String(); len(got) > 50 {
		t.Errorf("a long value is printed in full: %s", got)
	}
}

// TestStringsAgreeWithTheStandardLibrary writes and reads texts that need care.
func TestStringsAgreeWithTheStandardLibrary(t *testing.T) {
	for _, s := range []string{"", "plain", "\x00\x1f\x7f", `"\/`, "\b\f\n\r\t", "ü€😀", "\u2028", "a\"", "\\u0041"} {
		out, ok := appendText(nil, s)
		var back string
		if err := json.Unmarshal(out, &back); !ok || err != nil || back != s {
			t.Errorf("%q is written as %s: %v", s, out, err)
		}
		theirs, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		r := reader{buf: theirs, lim: DefaultLimits()}
		if got, err := r.text("a string"); err != nil || string(got) != s {
			t.Errorf("%s is read as %q: %v", theirs, got, err)
		}
	}
	if _, ok := appendText(nil, []byte{0xc3}); ok {
		t.Error("half a character is UTF-8")
	}
}

// sameRequest compares what two requests say.
func sameRequest(a, b *Request) bool {
	return a.ID == b.ID && slices.Equal(a.Parameters, b.Parameters) && slices.Equal(a.Outputs, b.Outputs) && a.OutputForm == b.OutputForm &&
		slices.EqualFunc(a.Inputs, b.Inputs, func(x, y tensor.Tensor) bool {
			return x.Name == y.Name && x.DType == y.DType && x.Shape.Equal(y.Shape) && bytes.Equal(x.Data, y.Data)
		})
}

// checkRoundTrip writes a decoded request in both forms and reads it again.
func checkRoundTrip(t *testing.T, q *Request) {
	t.Helper()
	for _, form := range []Form{JSON, Binary} {
		out, n, err := q.Append(nil, form)
		if form == JSON && errors.Is(err, ErrNotJSON) {
			continue // it is in binary form
		}
		if err != nil {
			t.Fatalf("cannot write %+v: %v", q, err)
		}
		text := out
		if n != AllJSON {
			text = out[:n]
		}
		if !json.Valid(text) {
			t.Fatalf("not JSON: %q", text)
		}
		var back Request
		if err := back.Decode(out, n, DefaultLimits()); err != nil {
			t.Fatalf("cannot read %q: %v", out, err)
		}
		if !sameRequest(q, &back) {
			t.Fatalf("form %v: wrote %+v\nread  %+v", form, q, back)
		}
	}
}
