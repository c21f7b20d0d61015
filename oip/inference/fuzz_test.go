package inference

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// FuzzDecodeRequest: nothing that comes from the wire panics; what is decoded has
// sound tensors and is the same after it was sent on.
func FuzzDecodeRequest(f *testing.F) {
	seed := func(m *ModelInferRequest) {
		wire, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	for _, tt := range typed {
		seed(input(tt.dtype.String(), []int64{3}, tt.c))
		raw := input(tt.dtype.String(), []int64{1, 3}, nil)
		raw.RawInputContents = [][]byte{[]byte(tt.want)}
		raw.Parameters = map[string]*InferParameter{"min_accuracy": parameter(&InferParameter_DoubleParam{0.5}), "n": parameter(&InferParameter_Uint64Param{5})}
		seed(raw)
	}
	var q oip.Request // used again and again, as a server does
	f.Fuzz(func(t *testing.T, wire []byte) {
		if memory, err := Inspect(wire, oip.DefaultLimits()); err == nil && memory < int64(len(wire)) {
			t.Fatalf("a message of %d bytes is said to take %d", len(wire), memory)
		}
		var m, again ModelInferRequest
		if proto.Unmarshal(wire, &m) != nil || DecodeRequest(&q, &m, oip.DefaultLimits()) != nil {
			return
		}
		checkSound(t, q.Inputs)
		if err := EncodeRequest(&again, &q); err != nil {
			t.Fatalf("cannot write %+v: %v", q, err)
		}
		var got ModelInferRequest
		travel(t, &again, &got)
		var back oip.Request
		if err := DecodeRequest(&back, &got, oip.DefaultLimits()); err != nil {
			t.Fatalf("cannot read %v: %v", &got, err)
		}
		if back.ID != q.ID || !slices.Equal(back.Outputs, q.Outputs) || !slices.Equal(back.Parameters, q.Parameters) || !sameTensors(back.Inputs, q.Inputs) {
			t.Fatalf("wrote %+v\nread  %+v", q, back)
		}
	})
}

// FuzzDecodeResponse is the same for what a client reads.
func FuzzDecodeResponse(f *testing.F) {
	for _, tt := range typed {
		wire, err := proto.Marshal(&ModelInferResponse{ModelName: "m", Outputs: []*ModelInferResponse_InferOutputTensor{{Name: "y",
			Datatype: tt.dtype.String(), Shape: []int64{3}, Contents: tt.c}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		var m ModelInferResponse
		var p oip.Response
		if proto.Unmarshal(wire, &m) == nil && DecodeResponse(&p, &m, oip.DefaultLimits()) == nil {
			checkSound(t, p.Outputs)
		}
	})
}

// checkSound checks that tensors have the bytes their shapes ask for.
func checkSound(t *testing.T, list []tensor.Tensor) {
	t.Helper()
	for _, x := range list {
		if err := oip.CheckTensor(x); err != nil {
			t.Fatalf("decoded, but unsound: %v", err)
		}
	}
}
