package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// TestAllocationsOfAnInference bounds the allocations of one request between net/http
// and the runtime, over all goroutines. Every object is work for the garbage collector,
// which delays all requests. A budget is the measured number plus a tenth; a
// change that needs more must raise it here, with the reason.
func TestAllocationsOfAnInference(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates, too, and makes pools forget: make test runs this once more without it")
	}
	const samples = 5000 // 10 KB of sound
	audio := `{"name":"audio","shape":[1,5000],"datatype":"INT16","parameters":{"binary_data_size":10000}}`
	binaryHead := `{"parameters":{"min_accuracy":0.97,"deadline_ms":5000,"binary_data_output":true},"inputs":[` +
		`{"name":"image","shape":[1,2,2],"datatype":"UINT8","parameters":{"binary_data_size":4}},` + audio + `,` +
		`{"name":"chars","shape":[1,3],"datatype":"UINT8","parameters":{"binary_data_size":3}},` +
		`{"name":"mask","shape":[1,3],"datatype":"BOOL","parameters":{"binary_data_size":3}}]}`
	numbers := strings.Repeat(",123", 784)[1:]
	inJSON := `{"parameters":{"min_accuracy":0.97,"deadline_ms":5000},"inputs":[` + imageJSON + `,` + textJSON + `,` +
		`{"name":"audio","shape":[1,784],"datatype":"INT16","data":[` + numbers + `]}],"outputs":[{"name":"scores"}]}`
	for _, tc := range []struct {
		name      string
		body      string
		jsonBytes int
		budget    float64
		feedback  bool
	}{
		// The outputs and their shapes, the answer's header and parameters, the call
		// and its channel, the core's record of a job, and the model's name in the
		// path, which net/http keeps. Not the 10 KB.
		{"binary", binaryHead + strings.Repeat("\x01", 2*samples+10), len(binaryHead), 63, false},
		// And the bytes of the four inputs, which are not in the body.
		{"JSON", inJSON, oip.AllJSON, 65, false},
		// To keep answers for labels costs no more.
		{"binary, kept for labels", binaryHead + strings.Repeat("\x01", 2*samples+10), len(binaryHead), 63, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := setup{instant: true, queueJobs: 100}
			if tc.feedback {
				s.config = learning(nil).config
			}
			a, e := startAPI(t, s)
			h := a.REST()
			r, body := resendable(t, tc.body, tc.jsonBytes)
			w := &discard{header: http.Header{}}
			within(t, tc.budget, func() {
				body.Seek(0, io.SeekStart)
				clear(w.header)
				if h.ServeHTTP(w, r); w.status != http.StatusOK {
					t.Fatalf("answered %d", w.status)
				}
			})
			if err := e.Drain(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
}

// within checks that a request allocates no more than its budget.
func within(t *testing.T, budget float64, request func()) {
	t.Helper()
	if got := testing.AllocsPerRun(2000, request); got > budget {
		t.Errorf("%.0f allocations, the budget is %.0f", got, budget)
	} else {
		t.Logf("%.0f allocations, the budget is %.0f", got, budget)
	}
}

// TestAllocationsOfACall is the same over gRPC: from the encoded request to the answer
// before it is encoded.
func TestAllocationsOfACall(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates, too, and makes pools forget: make test runs this once more without it")
	}
	a, e := startAPI(t, setup{instant: true, queueJobs: 100})
	input := func(name, datatype string, shape ...int64) *inference.ModelInferRequest_InferInputTensor {
		return &inference.ModelInferRequest_InferInputTensor{Name: name, Datatype: datatype, Shape: shape}
	}
	q := &inference.ModelInferRequest{ModelName: "scene",
		Inputs: []*inference.ModelInferRequest_InferInputTensor{input("image", "UINT8", 1, 2, 2), input("audio", "INT16", 1, 5000),
			input("chars", "UINT8", 1, 3), input("mask", "BOOL", 1, 3)},
		RawInputContents: [][]byte{make([]byte, 4), make([]byte, 10_000), make([]byte, 3), make([]byte, 3)},
		Parameters: map[string]*inference.InferParameter{
			"min_accuracy": {ParameterChoice: &inference.InferParameter_DoubleParam{DoubleParam: 0.97}},
			"deadline_ms":  {ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: 5000}},
		}}
	wire, err := proto.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{api: a}
	decode := func(v any) error { return newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, v) }
	ctx := grpc.NewContextWithServerTransportStream(t.Context(), unsent{})
	// The message of the answer with its parameters, which are one object each, and the
	// metadata that repeats them; otherwise as over REST.
	within(t, 126, func() {
		if _, err := inferHandler(s, ctx, decode, a.unary); err != nil {
			t.Fatal(err)
		}
	})
	if err := e.Drain(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// unsent is the transport of a call without a client.
type unsent struct{}

func (unsent) Method() string               { return inference.GRPCInferenceService_ModelInfer_FullMethodName }
func (unsent) SetHeader(metadata.MD) error  { return nil }
func (unsent) SendHeader(metadata.MD) error { return nil }
func (unsent) SetTrailer(metadata.MD) error { return nil }

// resendable makes a request that can be served again after its body is reset.
func resendable(t *testing.T, body string, jsonBytes int) (*http.Request, *bytes.Reader) {
	t.Helper()
	reader := bytes.NewReader([]byte(body))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, inferPath, io.NopCloser(reader))
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = int64(len(body))
	if jsonBytes != oip.AllJSON {
		r.Header.Set(oip.HeaderLength, strconv.Itoa(jsonBytes))
	}
	return r, reader
}

// discard is a connection that nobody reads from.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
