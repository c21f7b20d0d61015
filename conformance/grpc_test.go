package conformance_test

import (
	"context"
	"encoding/binary"
	"math"
	"net/http"
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/oip/inference"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Short names for gRPC's long ones.
type (
	inferRequest  = inference.ModelInferRequest
	inferResponse = inference.ModelInferResponse
	inputTensor   = inference.ModelInferRequest_InferInputTensor
	wantedOutput  = inference.ModelInferRequest_InferRequestedOutputTensor
	contents      = inference.InferTensorContents
	parameter     = inference.InferParameter
)

// grpcModels runs a test over gRPC for every model.
func grpcModels(t *testing.T, test func(t *testing.T, m *model)) {
	t.Helper()
	subject.needsGRPC(t)
	eachModel(t, test)
}

// request returns a valid request for all outputs of the model, in raw contents.
func (m *model) request(items int64) *inferRequest {
	r := &inferRequest{ModelName: m.Name}
	for _, v := range m.values(items) {
		r.Inputs = append(r.Inputs, &inputTensor{Name: v.Name, Datatype: v.Datatype, Shape: v.Shape})
		r.RawInputContents = append(r.RawInputContents, v.bytes())
	}
	return r
}

// typed returns the same in typed contents, which have no field for FP16 and BF16.
func (m *model) typed(t *testing.T, items int64) *inferRequest {
	t.Helper()
	if m.halves(m.Inputs) {
		t.Skipf("the metadata of model %s gives an input of FP16 or BF16, which have no typed contents: %v", m.Name, m.Inputs)
	}
	r := &inferRequest{ModelName: m.Name}
	for _, v := range m.values(items) {
		r.Inputs = append(r.Inputs, &inputTensor{Name: v.Name, Datatype: v.Datatype, Shape: v.Shape, Contents: v.contents()})
	}
	return r
}

// contents returns the tensor's elements in the field for its datatype.
func (v value) contents() *contents {
	c := &contents{}
	for _, raw := range v.raw {
		var wide [8]byte
		copy(wide[:], raw)
		bits := binary.LittleEndian.Uint64(wide[:])
		switch v.Datatype {
		case "BOOL":
			c.BoolContents = append(c.BoolContents, bits != 0)
		case "INT8", "INT16", "INT32":
			unused := 64 - 8*len(raw)
			c.IntContents = append(c.IntContents, int32(int64(bits<<unused)>>unused))
		case "INT64":
			c.Int64Contents = append(c.Int64Contents, int64(bits))
		case "UINT8", "UINT16", "UINT32":
			c.UintContents = append(c.UintContents, uint32(bits))
		case "UINT64":
			c.Uint64Contents = append(c.Uint64Contents, bits)
		case "FP32":
			c.Fp32Contents = append(c.Fp32Contents, math.Float32frombits(uint32(bits)))
		case "FP64":
			c.Fp64Contents = append(c.Fp64Contents, math.Float64frombits(bits))
		case "BYTES":
			c.BytesContents = append(c.BytesContents, raw[4:])
		}
	}
	return c
}

// fromContents converts typed contents to binary form.
func fromContents(datatype string, c *contents) []byte {
	var raw []byte
	put := func(bits uint64) {
		raw = append(raw, binary.LittleEndian.AppendUint64(nil, bits)[:sizes[datatype]]...)
	}
	for _, b := range c.GetBoolContents() {
		put(map[bool]uint64{true: 1}[b])
	}
	for _, i := range c.GetIntContents() {
		put(uint64(i))
	}
	for _, i := range c.GetInt64Contents() {
		put(uint64(i))
	}
	for _, i := range c.GetUintContents() {
		put(uint64(i))
	}
	for _, i := range c.GetUint64Contents() {
		put(i)
	}
	for _, f := range c.GetFp32Contents() {
		put(uint64(math.Float32bits(f)))
	}
	for _, f := range c.GetFp64Contents() {
		put(math.Float64bits(f))
	}
	for _, word := range c.GetBytesContents() {
		raw = append(binary.LittleEndian.AppendUint32(raw, uint32(len(word))), word...)
	}
	return raw
}

// reply is the result of a call: an answer or an error, and metadata.
type reply struct {
	response        *inferResponse
	err             error
	header, trailer metadata.MD
}

// call sends a request. pairs is metadata, as alternating keys and values.
func (s *target) call(ctx context.Context, r *inferRequest, pairs ...string) reply {
	var got reply
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, pairs...), clientTimeout)
	defer cancel()
	got.response, got.err = s.grpc.ModelInfer(ctx, r, grpc.Header(&got.header), grpc.Trailer(&got.trailer))
	return got
}

// replied reads a successful reply in the form of REST's results.
func (m *model) replied(t *testing.T, got reply) result {
	t.Helper()
	if got.err != nil {
		t.Fatalf("ModelInfer: %v", got.err)
	}
	r := m.response(t, got.response)
	r.header = http.Header{}
	for _, md := range []metadata.MD{got.header, got.trailer} {
		for key, values := range md {
			r.header.Set(key, values[0])
		}
	}
	return r
}

// response reads a response and checks it against the model's metadata.
func (m *model) response(t *testing.T, resp *inferResponse) result {
	t.Helper()
	if resp.GetModelName() != m.Name {
		t.Errorf("model_name is %q, want %q", resp.GetModelName(), m.Name)
	}
	r := result{ModelName: resp.GetModelName(), ModelVersion: resp.GetModelVersion(), ID: resp.GetId(), Parameters: map[string]any{}}
	for name, p := range resp.GetParameters() {
		r.Parameters[name] = plainParameter(p)
	}
	raw := resp.GetRawOutputContents()
	if len(raw) > 0 && len(raw) != len(resp.GetOutputs()) {
		t.Fatalf("%d raw contents for %d outputs", len(raw), len(resp.GetOutputs()))
	}
	for i, o := range resp.GetOutputs() {
		out := output{tensorSpec: tensorSpec{Name: o.GetName(), Datatype: o.GetDatatype(), Shape: o.GetShape()}}
		at := slices.IndexFunc(m.Outputs, func(spec tensorSpec) bool { return spec.Name == out.Name })
		if at < 0 || m.Outputs[at].Datatype != out.Datatype || !fits(out.Shape, m.Outputs[at].Shape) {
			t.Fatalf("output %s %s %v is not in the metadata: %v", out.Name, out.Datatype, out.Shape, m.Outputs)
		}
		if len(raw) > 0 {
			out.raw = raw[i]
		} else {
			out.raw = fromContents(out.Datatype, o.GetContents())
		}
		checkElements(t, out.Name, out.Datatype, out.Shape, out.raw)
		r.Outputs = append(r.Outputs, out)
	}
	return r
}

// plainParameter returns a parameter's value.
func plainParameter(p *parameter) any {
	switch choice := p.GetParameterChoice().(type) {
	case *inference.InferParameter_BoolParam:
		return choice.BoolParam
	case *inference.InferParameter_Int64Param:
		return choice.Int64Param
	case *inference.InferParameter_StringParam:
		return choice.StringParam
	case *inference.InferParameter_DoubleParam:
		return choice.DoubleParam
	case *inference.InferParameter_Uint64Param:
		return choice.Uint64Param
	}
	return nil
}

// Parameters by kind.
func paramBool(b bool) *parameter {
	return &parameter{ParameterChoice: &inference.InferParameter_BoolParam{BoolParam: b}}
}

func paramInt(i int64) *parameter {
	return &parameter{ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: i}}
}

func paramUint(i uint64) *parameter {
	return &parameter{ParameterChoice: &inference.InferParameter_Uint64Param{Uint64Param: i}}
}

func paramText(s string) *parameter {
	return &parameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: s}}
}

func paramDouble(f float64) *parameter {
	return &parameter{ParameterChoice: &inference.InferParameter_DoubleParam{DoubleParam: f}}
}

// raw returns a source of answers to a request, for agree.
func (m *model) raw(t *testing.T, r *inferRequest, pairs ...string) func() result {
	return func() result { return m.replied(t, m.server.call(t.Context(), r, pairs...)) }
}

// failure lists the codes that do not blame the client.
var failure = []codes.Code{codes.OK, codes.Unknown, codes.Internal, codes.Unavailable, codes.DataLoss, codes.DeadlineExceeded, codes.Canceled}

// failed checks that an error has one of the codes. If the server is not checked
// strictly, any code that blames the client passes.
func (s *target) failed(t *testing.T, err error, want ...codes.Code) {
	t.Helper()
	code := status.Code(err)
	if slices.Contains(want, code) {
		if status.Convert(err).Message() == "" {
			t.Errorf("%v: there are no words that say what is wrong", err)
		}
		return
	}
	if s.strict || slices.Contains(failure, code) {
		t.Errorf("code %v (%v), want %v", code, err, want)
	}
}

// implemented skips a test of a call that the server does not have, and fails the test
// after any other error.
func (s *target) implemented(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if status.Code(err) == codes.Unimplemented && !s.strict {
		t.Skipf("the server answers UNIMPLEMENTED, and its metadata's extensions %q do not list \"mosel\": %v", s.meta.Extensions, err)
	}
	t.Fatal(err)
}

// readyGRPC checks that the server still accepts requests over gRPC.
func (s *target) readyGRPC(t *testing.T) {
	t.Helper()
	got, err := s.grpc.ServerReady(t.Context(), &inference.ServerReadyRequest{})
	if err != nil || !got.GetReady() {
		t.Errorf("afterwards the server is not ready: %v, %v", got, err)
	}
}
