package inference

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// input is an input of a request with contents.
func input(datatype string, shape []int64, c *InferTensorContents) *ModelInferRequest {
	return &ModelInferRequest{Inputs: []*ModelInferRequest_InferInputTensor{{Name: "x", Datatype: datatype, Shape: shape, Contents: c}}}
}

func parameter(choice isInferParameter_ParameterChoice) *InferParameter {
	return &InferParameter{ParameterChoice: choice}
}

// typed has one message with three elements of every datatype that has contents
// by type, and the bytes they stand for.
var typed = []struct {
	dtype tensor.DType
	c     *InferTensorContents
	want  string
}{
	{tensor.Bool, &InferTensorContents{BoolContents: []bool{true, false, true}}, "\x01\x00\x01"},
	{tensor.Uint8, &InferTensorContents{UintContents: []uint32{0, 255, 7}}, "\x00\xff\x07"},
	{tensor.Uint16, &InferTensorContents{UintContents: []uint32{0, 65535, 7}}, "\x00\x00\xff\xff\x07\x00"},
	{tensor.Uint32, &InferTensorContents{UintContents: []uint32{0, math.MaxUint32, 7}}, "\x00\x00\x00\x00\xff\xff\xff\xff\x07\x00\x00\x00"},
	{tensor.Uint64, &InferTensorContents{Uint64Contents: []uint64{0, math.MaxUint64, 7}},
		"\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x07\x00\x00\x00\x00\x00\x00\x00"},
	{tensor.Int8, &InferTensorContents{IntContents: []int32{-128, 127, -1}}, "\x80\x7f\xff"},
	{tensor.Int16, &InferTensorContents{IntContents: []int32{-32768, 32767, -1}}, "\x00\x80\xff\x7f\xff\xff"},
	{tensor.Int32, &InferTensorContents{IntContents: []int32{math.MinInt32, math.MaxInt32, -1}}, "\x00\x00\x00\x80\xff\xff\xff\x7f\xff\xff\xff\xff"},
	{tensor.Int64, &InferTensorContents{Int64Contents: []int64{math.MinInt64, math.MaxInt64, -1}},
		"\x00\x00\x00\x00\x00\x00\x00\x80\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff\xff"},
	{tensor.FP32, &InferTensorContents{Fp32Contents: []float32{1, -2.5, float32(math.Inf(1))}}, "\x00\x00\x80\x3f\x00\x00\x20\xc0\x00\x00\x80\x7f"},
	{tensor.FP64, &InferTensorContents{Fp64Contents: []float64{1, -2.5, math.Inf(1)}},
		"\x00\x00\x00\x00\x00\x00\xf0\x3f\x00\x00\x00\x00\x00\x00\x04\xc0\x00\x00\x00\x00\x00\x00\xf0\x7f"},
	{tensor.Bytes, &InferTensorContents{BytesContents: [][]byte{[]byte("seven"), {}, []byte("\xff")}}, "\x05\x00\x00\x00seven\x00\x00\x00\x00\x01\x00\x00\x00\xff"},
}

func TestTypedContents(t *testing.T) {
	for _, tt := range typed {
		t.Run(tt.dtype.String(), func(t *testing.T) {
			var q oip.Request
			if err := DecodeRequest(&q, input(tt.dtype.String(), []int64{3, 1}, tt.c), oip.DefaultLimits()); err != nil {
				t.Fatal(err)
			}
			in := q.Inputs[0]
			if in.Name != "x" || in.DType != tt.dtype || !in.Shape.Equal(tensor.Shape{3, 1}) || string(in.Data) != tt.want {
				t.Errorf("got %+v, want the bytes %q", in, tt.want)
			}
			back, err := Contents(in)
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(back, tt.c) {
				t.Errorf("contents of it: %v, want %v", back, tt.c)
			}
			for _, shape := range [][]int64{{2}, {4}, {}} {
				if err := DecodeRequest(&q, input(tt.dtype.String(), shape, tt.c), oip.DefaultLimits()); err == nil || !strings.Contains(err.Error(), "needs") {
					t.Errorf("shape %v: %v", shape, err)
				}
			}
		})
	}
	for _, d := range []tensor.DType{tensor.FP16, tensor.BF16} {
		if _, err := Contents(tensor.Tensor{Name: "x", DType: d, Shape: tensor.Shape{1}, Data: []byte{0, 0}}); err == nil {
			t.Errorf("%v has contents by type", d)
		}
	}
	if _, err := Contents(tensor.Tensor{Name: "x", DType: tensor.Bytes, Shape: tensor.Shape{1}, Data: []byte{9, 0, 0, 0}}); err == nil {
		t.Error("an unsound tensor has contents")
	}
}

func TestDecodeRequest(t *testing.T) {
	raw := []byte{1, 0, 2, 0}
	m := &ModelInferRequest{ModelName: "m", Id: "7",
		Parameters: map[string]*InferParameter{
			"min_accuracy":       parameter(&InferParameter_DoubleParam{0.97}),
			"deadline_ms":        parameter(&InferParameter_StringParam{"50"}),
			"timeout":            parameter(&InferParameter_Int64Param{-1}),
			"priority":           parameter(&InferParameter_Uint64Param{math.MaxUint64}),
			"flag":               parameter(&InferParameter_BoolParam{true}),
			"binary_data_output": parameter(&InferParameter_BoolParam{false}),
			"nothing":            parameter(nil),
		},
		Inputs: []*ModelInferRequest_InferInputTensor{{Name: "a", Datatype: "INT16", Shape: []int64{1, 2}, Contents: &InferTensorContents{},
			Parameters: map[string]*InferParameter{"content_type": parameter(&InferParameter_StringParam{"np"})}},
			{Name: "b", Datatype: "BF16", Shape: []int64{1, 0}}},
		RawInputContents: [][]byte{raw, {}},
		Outputs: []*ModelInferRequest_InferRequestedOutputTensor{{Name: "y",
			Parameters: map[string]*InferParameter{"binary_data": parameter(&InferParameter_BoolParam{false})}}},
	}
	var q oip.Request
	for range 2 { // the second time into a used one
		if err := DecodeRequest(&q, m, oip.DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		want := oip.Parameters{{Name: "deadline_ms", Value: oip.String("50")}, {Name: "flag", Value: oip.Bool(true)},
			{Name: "min_accuracy", Value: oip.Float(0.97)}, {Name: "nothing", Value: oip.Null()}, {Name: "priority", Value: oip.Uint(math.MaxUint64)}, {Name: "timeout", Value: oip.Int(-1)}}
		if q.ID != "7" || q.OutputForm != oip.Binary || !slices.Equal(q.Parameters, want) || !slices.Equal(q.Outputs, []oip.Output{{Name: "y", Form: oip.Binary}}) {
			t.Errorf("got %+v", q)
		}
		if len(q.Inputs) != 2 || !bytes.Equal(q.Inputs[0].Data, raw) || &q.Inputs[0].Data[0] != &raw[0] || cap(q.Inputs[0].Data) != len(raw) {
			t.Errorf("inputs %+v are not a view of the message", q.Inputs)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() {
		if err := DecodeRequest(&q, m, oip.DefaultLimits()); err != nil {
			t.Error(err)
		}
	}); allocs > 4 {
		t.Errorf("%v allocations to decode into a used request, want the texts of two numbers", allocs)
	}
}

func TestDecodeRequestErrors(t *testing.T) {
	edit := func(change func(m *ModelInferRequest)) *ModelInferRequest {
		m := input("UINT8", []int64{2}, nil)
		m.RawInputContents = [][]byte{{1, 2}}
		change(m)
		return m
	}
	region := map[string]*InferParameter{"shared_memory_region": parameter(&InferParameter_StringParam{"r"})}
	many := map[string]*InferParameter{}
	for i := range 65 {
		many[strconv.Itoa(i)] = parameter(&InferParameter_BoolParam{true})
	}
	long := strings.Repeat("n", 1025)
	for name, tt := range map[string]struct {
		m    *ModelInferRequest
		want string
		is   error
	}{
		"nothing":            {nil, "the request has no inputs", nil},
		"no inputs":          {&ModelInferRequest{}, "the request has no inputs", nil},
		"a nil input":        {&ModelInferRequest{Inputs: []*ModelInferRequest_InferInputTensor{nil}}, `unknown datatype ""`, nil},
		"no datatype":        {edit(func(m *ModelInferRequest) { m.Inputs[0].Datatype = long }), `unknown datatype "nnn`, nil},
		"negative dimension": {edit(func(m *ModelInferRequest) { m.Inputs[0].Shape = []int64{-2, -1} }), "negative dimension", nil},
		"overflow":           {edit(func(m *ModelInferRequest) { m.Inputs[0].Shape = []int64{1 << 40, 1 << 40} }), "overflows", nil},
		"elements":           {edit(func(m *ModelInferRequest) { m.Inputs[0].Shape = []int64{1 << 29} }), "has 536870912 elements", oip.ErrTooLarge},
		"rank":               {edit(func(m *ModelInferRequest) { m.Inputs[0].Shape = make([]int64, 17) }), "17 dimensions", oip.ErrTooLarge},
		"too few bytes":      {edit(func(m *ModelInferRequest) { m.Inputs[0].Shape[0] = 3 }), "needs 3 elements of 1 bytes, got 2", nil},
		"too many bytes":     {edit(func(m *ModelInferRequest) { m.Inputs[0].Shape[0] = 1 }), "needs 1 elements of 1 bytes, got 2", nil},
		"not a BOOL":         {edit(func(m *ModelInferRequest) { m.Inputs[0].Datatype = "BOOL" }), "element 1: 2 is neither", nil},
		"cut BYTES":          {edit(func(m *ModelInferRequest) { m.Inputs[0].Datatype = "BYTES" }), "do not fit", nil},
		"raw for more":       {edit(func(m *ModelInferRequest) { m.RawInputContents = make([][]byte, 2) }), "2 raw contents for 1 tensors", nil},
		"both": {edit(func(m *ModelInferRequest) { m.Inputs[0].Contents = &InferTensorContents{BoolContents: []bool{true}} }),
			"both contents and raw contents", nil},
		"neither":         {input("FP32", []int64{1}, nil), "neither contents nor raw contents", nil},
		"typed FP16":      {input("FP16", []int64{1}, &InferTensorContents{Fp32Contents: []float32{1}}), "FP16 exists only as raw contents", nil},
		"another's field": {input("FP32", []int64{1}, &InferTensorContents{Fp64Contents: []float64{1}}), "must be in fp32_contents, but 1 are in other fields", nil},
		"two fields":      {input("INT8", []int64{1}, &InferTensorContents{IntContents: []int32{1}, UintContents: []uint32{1}}), "must be in int_contents", nil},
		"above its range": {input("UINT8", []int64{2}, &InferTensorContents{UintContents: []uint32{1, 256}}), "element 1 is out of range for UINT8", nil},
		"below its range": {input("INT16", []int64{1}, &InferTensorContents{IntContents: []int32{-32769}}), "element 0 is out of range for INT16", nil},
		"NaN": {edit(func(m *ModelInferRequest) {
			m.Parameters = map[string]*InferParameter{"p": parameter(&InferParameter_DoubleParam{math.NaN()})}
		}), `parameter "p": NaN`, nil},
		"a long id":        {edit(func(m *ModelInferRequest) { m.Id = long }), "id has 1025 bytes", oip.ErrTooLarge},
		"a long name":      {edit(func(m *ModelInferRequest) { m.Inputs[0].Name = long }), "1025 bytes", oip.ErrTooLarge},
		"a long parameter": {edit(func(m *ModelInferRequest) { m.Parameters = map[string]*InferParameter{long: nil} }), "1025 bytes", oip.ErrTooLarge},
		"parameters":       {edit(func(m *ModelInferRequest) { m.Parameters = many }), "65 parameters", oip.ErrTooLarge},
		"parameters of it": {edit(func(m *ModelInferRequest) { m.Inputs[0].Parameters = many }), `tensor "x": 65 parameters`, oip.ErrTooLarge},
		"inputs":           {&ModelInferRequest{Inputs: make([]*ModelInferRequest_InferInputTensor, 65)}, "65 tensors", oip.ErrTooLarge},
		"outputs":          {edit(func(m *ModelInferRequest) { m.Outputs = make([]*ModelInferRequest_InferRequestedOutputTensor, 65) }), "65 outputs", oip.ErrTooLarge},
		"shared memory":    {edit(func(m *ModelInferRequest) { m.Inputs[0].Parameters = region }), "shared memory is not supported", oip.ErrUnsupported},
		"output in shared memory": {edit(func(m *ModelInferRequest) {
			m.Outputs = []*ModelInferRequest_InferRequestedOutputTensor{{Name: "y", Parameters: region}}
		}), `output "y": shared memory`, oip.ErrUnsupported},
		"classification": {edit(func(m *ModelInferRequest) {
			m.Outputs = []*ModelInferRequest_InferRequestedOutputTensor{{Parameters: map[string]*InferParameter{"classification": parameter(&InferParameter_Int64Param{3})}}}
		}), "classification is not supported", oip.ErrUnsupported},
		"parameters of an output": {edit(func(m *ModelInferRequest) {
			m.Outputs = []*ModelInferRequest_InferRequestedOutputTensor{{Name: "y", Parameters: many}}
		}), `output "y": 65 parameters`, oip.ErrTooLarge},
	} {
		var q oip.Request
		err := DecodeRequest(&q, tt.m, oip.DefaultLimits())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
		if large, unsupported := errors.Is(err, oip.ErrTooLarge), errors.Is(err, oip.ErrUnsupported); large != (tt.is == oip.ErrTooLarge) || unsupported != (tt.is == oip.ErrUnsupported) {
			t.Errorf("%s: error %v, want a kind of %v", name, err, tt.is)
		}
	}
}

func TestEncodeFails(t *testing.T) {
	for name, tt := range map[string]struct {
		q    oip.Request
		want string
	}{
		"unsound":              {oip.Request{Inputs: []tensor.Tensor{{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{1}}}}, "needs 1 elements"},
		"invalid":              {oip.Request{Inputs: []tensor.Tensor{{Name: "x"}}}, "INVALID"},
		"name":                 {oip.Request{Inputs: []tensor.Tensor{{Name: "\xff", DType: tensor.Bool, Shape: tensor.Shape{0}}}}, "is not UTF-8"},
		"id":                   {oip.Request{ID: "\xff"}, "id \"\\xff\" is not UTF-8"},
		"output":               {oip.Request{Outputs: []oip.Output{{Name: "\xff"}}}, "is not UTF-8"},
		"name of a parameter":  {oip.Request{Parameters: oip.Parameters{{Name: "\xff", Value: oip.Int(1)}}}, "is not UTF-8"},
		"text of a parameter":  {oip.Request{Parameters: oip.Parameters{{Name: "p", Value: oip.String("\xff")}}}, `parameter "p" is not UTF-8`},
		"value of a parameter": {oip.Request{Parameters: oip.Parameters{{Name: "p"}}}, `parameter "p" has no value`},
	} {
		if err := EncodeRequest(&ModelInferRequest{}, &tt.q); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
	for _, p := range []oip.Response{{ModelName: "\xff"}, {ModelVersion: "\xff"}, {ID: "\xff"}, {Outputs: []tensor.Tensor{{}}},
		{Parameters: oip.Parameters{{Name: "p"}}}} {
		if err := EncodeResponse(&ModelInferResponse{}, &p); err == nil {
			t.Errorf("%+v can be sent", p)
		}
	}
}

// random draws a sound tensor.
func random(rnd *rand.Rand, name string) tensor.Tensor {
	x := tensor.Tensor{Name: name, DType: tensor.Bool + tensor.DType(rnd.IntN(int(tensor.Bytes))), Shape: tensor.Shape{}}
	n := 1
	for range rnd.IntN(4) {
		d := rnd.IntN(4)
		n *= d
		x.Shape = append(x.Shape, int64(d))
	}
	if x.DType == tensor.Bytes {
		for range n {
			size := rnd.IntN(5)
			x.Data = order.AppendUint32(x.Data, uint32(size))
			x.Data = append(x.Data, "\xffabcd"[:size]...)
		}
		return x
	}
	x.Data = make([]byte, n*x.DType.Size())
	for i := range x.Data {
		if x.Data[i] = byte(rnd.Uint32()); x.DType == tensor.Bool {
			x.Data[i] &= 1
		}
	}
	return x
}

// quiet makes the NaNs of a tensor quiet ones: a conversion between float types
// may change a signalling one, and nobody sends those.
func quiet(x tensor.Tensor) tensor.Tensor {
	for i := 0; x.DType == tensor.FP32 && i < len(x.Data); i += 4 {
		if v := math.Float32frombits(order.Uint32(x.Data[i:])); v != v {
			order.PutUint32(x.Data[i:], math.Float32bits(float32(math.NaN())))
		}
	}
	return x
}

func randomParameters(rnd *rand.Rand) oip.Parameters {
	values := []oip.Value{oip.Int(rnd.Int64()), oip.Int(-rnd.Int64N(1000)), oip.Uint(rnd.Uint64()), oip.Float(rnd.NormFloat64()), oip.Float(3),
		oip.String("ü"), oip.String(""), oip.Bool(true), oip.Bool(false)}
	var list oip.Parameters
	for i, v := range values[:rnd.IntN(len(values)+1)] {
		list = append(list, oip.Parameter{Name: "p" + strconv.Itoa(i), Value: v})
	}
	return list
}

func sameTensors(a, b []tensor.Tensor) bool {
	return slices.EqualFunc(a, b, func(x, y tensor.Tensor) bool {
		return x.Name == y.Name && x.DType == y.DType && x.Shape.Equal(y.Shape) && bytes.Equal(x.Data, y.Data)
	})
}

// travel sends a message over the wire.
func travel[M proto.Message](t *testing.T, from, to M) {
	t.Helper()
	wire, err := proto.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(wire, to); err != nil {
		t.Fatal(err)
	}
}

// TestRoundTrips sends random requests and responses over the wire, with raw
// contents and, where there are such, with typed ones; what arrives is what was
// sent. Messages and requests are used again, as a server and a client do.
func TestRoundTrips(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var q oip.Request
	var p oip.Response
	var m ModelInferRequest
	var a ModelInferResponse
	for range 500 {
		sent := oip.Request{ID: strconv.Itoa(rnd.IntN(3)), Parameters: randomParameters(rnd), OutputForm: oip.Binary}
		for i := range 1 + rnd.IntN(4) {
			sent.Inputs = append(sent.Inputs, quiet(random(rnd, strconv.Itoa(i))))
		}
		for i := range rnd.IntN(3) {
			sent.Outputs = append(sent.Outputs, oip.Output{Name: strconv.Itoa(i), Form: oip.Binary})
		}
		if err := EncodeRequest(&m, &sent); err != nil {
			t.Fatal(err)
		}
		var got ModelInferRequest
		travel(t, &m, &got)
		forms := []*ModelInferRequest{&got}
		if other, ok := withContents(t, &got, sent.Inputs); ok {
			forms = append(forms, other)
		}
		for _, form := range forms {
			if err := DecodeRequest(&q, form, oip.DefaultLimits()); err != nil {
				t.Fatalf("%v: %v", form, err)
			}
			if q.ID != sent.ID || !slices.Equal(q.Parameters, sent.Parameters) || !slices.Equal(q.Outputs, sent.Outputs) || !sameTensors(q.Inputs, sent.Inputs) {
				t.Fatalf("sent %+v\ngot  %+v", sent, q)
			}
		}
		answer := oip.Response{ModelName: "m", ModelVersion: "1", ID: sent.ID, Parameters: sent.Parameters, Outputs: sent.Inputs}
		if err := EncodeResponse(&a, &answer); err != nil {
			t.Fatal(err)
		}
		var gotAnswer ModelInferResponse
		travel(t, &a, &gotAnswer)
		if err := DecodeResponse(&p, &gotAnswer, oip.DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		if p.ModelName != "m" || p.ModelVersion != "1" || p.ID != sent.ID || !slices.Equal(p.Parameters, sent.Parameters) || !sameTensors(p.Outputs, sent.Inputs) {
			t.Fatalf("sent %+v\ngot  %+v", answer, p)
		}
	}
}

// withContents is m with contents by type in place of raw ones, if all its
// tensors can have such.
func withContents(t *testing.T, m *ModelInferRequest, inputs []tensor.Tensor) (*ModelInferRequest, bool) {
	t.Helper()
	out := proto.Clone(m).(*ModelInferRequest)
	out.RawInputContents = nil
	for i, in := range inputs {
		if in.DType == tensor.FP16 || in.DType == tensor.BF16 {
			return nil, false
		}
		c, err := Contents(in)
		if err != nil {
			t.Fatal(err)
		}
		out.Inputs[i].Contents = c
	}
	back := &ModelInferRequest{}
	travel(t, out, back)
	return back, true
}

func TestDecodeResponseErrors(t *testing.T) {
	for want, m := range map[string]*ModelInferResponse{
		"model_name has 1025 bytes": {ModelName: strings.Repeat("n", 1025)},
		"model_version has 1025":    {ModelVersion: strings.Repeat("n", 1025)},
		"id has 1025":               {Id: strings.Repeat("n", 1025)},
		`parameter "queue_us"`:      {Parameters: map[string]*InferParameter{"queue_us": parameter(&InferParameter_DoubleParam{math.Inf(1)})}},
		"1 raw contents for 0":      {RawOutputContents: [][]byte{{}}},
	} {
		var p oip.Response
		if err := DecodeResponse(&p, m, oip.DefaultLimits()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q", m, err, want)
		}
	}
}
