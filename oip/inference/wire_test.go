package inference

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/mosel-serve/mosel/oip"
)

func TestInspect(t *testing.T) {
	lim := oip.Limits{Tensors: 2, Rank: 3, Parameters: 2}
	marshal := func(m *ModelInferRequest) []byte {
		wire, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return wire
	}
	params := func(n int) map[string]*InferParameter {
		m := map[string]*InferParameter{}
		for i := range n {
			m[strings.Repeat("p", i)] = &InferParameter{}
		}
		return m
	}
	in := func(p, rank int) *ModelInferRequest_InferInputTensor {
		return &ModelInferRequest_InferInputTensor{Name: "x", Shape: slices.Repeat([]int64{1 << 62}, rank), Parameters: params(p),
			Contents: &InferTensorContents{BoolContents: make([]bool, 100)}}
	}
	out := func(p int) *ModelInferRequest_InferRequestedOutputTensor {
		return &ModelInferRequest_InferRequestedOutputTensor{Name: "y", Parameters: params(p)}
	}
	within := marshal(&ModelInferRequest{ModelName: "m", Parameters: params(2), RawInputContents: make([][]byte, 2),
		Inputs:  []*ModelInferRequest_InferInputTensor{in(2, 3), in(0, 0)},
		Outputs: []*ModelInferRequest_InferRequestedOutputTensor{out(2), out(0)}})
	for n := range len(within) + 1 {
		if _, err := Inspect(within[:n], lim); err != nil {
			t.Errorf("%d bytes of a good request: %v", n, err)
		}
	}
	dims := []byte{5<<3 | 2, 8, 3 << 3, 1, 3 << 3, 1, 3 << 3, 1, 3 << 3, 1}
	for want, wire := range map[string][]byte{
		"more than 2 parameters":              marshal(&ModelInferRequest{Parameters: params(3)}),
		"more than 2 inputs":                  marshal(&ModelInferRequest{Inputs: []*ModelInferRequest_InferInputTensor{in(0, 0), in(0, 0), in(0, 0)}}),
		"more than 2 outputs":                 marshal(&ModelInferRequest{Outputs: []*ModelInferRequest_InferRequestedOutputTensor{out(0), out(0), out(0)}}),
		"more than 2 raw contents":            marshal(&ModelInferRequest{RawInputContents: make([][]byte, 3)}),
		"more than 2 parameters of an input":  marshal(&ModelInferRequest{Inputs: []*ModelInferRequest_InferInputTensor{in(3, 0)}}),
		"more than 2 parameters of an output": marshal(&ModelInferRequest{Outputs: []*ModelInferRequest_InferRequestedOutputTensor{out(3)}}),
		"a shape of 36 bytes":                 marshal(&ModelInferRequest{Inputs: []*ModelInferRequest_InferInputTensor{in(0, 4)}}),
		"more than 3 pieces of a shape":       dims,
	} {
		if _, err := Inspect(wire, lim); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, oip.ErrTooLarge) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	for _, malformed := range []string{"\x2a\xff", "\x00", "\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x2b\x2a"} {
		if _, err := Inspect([]byte(malformed), lim); err != nil {
			t.Errorf("%q: %v", malformed, err)
		}
	}
}

func BenchmarkInspect(b *testing.B) {
	_, m := digits(b)
	wire, err := proto.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Inspect(wire, oip.DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMemory holds the bound against what a request of many small elements
// really takes, in the worst spelling of each type.
func TestMemory(t *testing.T) {
	const n = 1000
	for name, tt := range map[string]struct {
		c    *InferTensorContents
		real int64 // of the list in the message and of the tensor
	}{
		"BOOL":   {&InferTensorContents{BoolContents: make([]bool, n)}, n * (1 + 1)},
		"INT32":  {&InferTensorContents{IntContents: make([]int32, n)}, n * (4 + 4)},
		"INT64":  {&InferTensorContents{Int64Contents: make([]int64, n)}, n * (8 + 8)},
		"UINT32": {&InferTensorContents{UintContents: make([]uint32, n)}, n * (4 + 4)},
		"UINT64": {&InferTensorContents{Uint64Contents: make([]uint64, n)}, n * (8 + 8)},
		"FP32":   {&InferTensorContents{Fp32Contents: make([]float32, n)}, n * (4 + 4)},
		"FP64":   {&InferTensorContents{Fp64Contents: make([]float64, n)}, n * (8 + 8)},
		"BYTES":  {&InferTensorContents{BytesContents: make([][]byte, n)}, n * (24 + 4)},
	} {
		m := &ModelInferRequest{Inputs: []*ModelInferRequest_InferInputTensor{{Name: "x", Datatype: name, Shape: []int64{n}, Contents: tt.c}}}
		wire, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Inspect(wire, oip.DefaultLimits()); err != nil || got < tt.real || got > 3*tt.real {
			t.Errorf("%s: %d bytes, %v; it takes %d", name, got, err, tt.real)
		}
	}
	raw, err := proto.Marshal(&ModelInferRequest{ModelName: "m", RawInputContents: [][]byte{make([]byte, n)}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Inspect(raw, oip.DefaultLimits()); err != nil || got != int64(len(raw)) {
		t.Errorf("raw contents: %d bytes, %v; the message has %d", got, err, len(raw))
	}
}

func TestRequestID(t *testing.T) {
	lim := oip.Limits{NameBytes: 4}
	for wire, want := range map[string]string{"": "", "\x1a\x03abc": "abc", "\x1a\x03abc\x1a\x01d": "d", "\x0a\x01m\x1a\x03abc\xff": "abc",
		"\x1a\x05abcde": "", "\x1a\x02\xff\xff": "", "\x1a\x09abc": "", "\x18\x01": ""} {
		if got := RequestID([]byte(wire), lim); got != want {
			t.Errorf("%q: %q, want %q", wire, got, want)
		}
	}
}
