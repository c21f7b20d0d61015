package api

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip/inference"
)

// dialed is an API over gRPC on a real network.
type dialed struct {
	inference.GRPCInferenceServiceClient
	conn *grpc.ClientConn
	api  *API
}

// grpcAPI serves the fixture's models over gRPC.
func grpcAPI(t *testing.T, s setup) dialed {
	t.Helper()
	a, e := startAPI(t, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := a.GRPC(grpc.WaitForHandlers(true)) // counts are checked after the handlers have ended
	served := make(chan error, 1)
	go func() { served <- server.Serve(a.MeteredListener(l)) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := e.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		if used := a.bodies.used.Load(); used != 0 {
			t.Errorf("%d bytes are counted when all is over", used)
		}
	})
	return dialed{inference.NewGRPCInferenceServiceClient(conn), conn, a}
}

// picture asks the scene about an image, with string parameters.
func picture(id string, parameters ...string) *inference.ModelInferRequest {
	q := &inference.ModelInferRequest{ModelName: "scene", Id: id, Parameters: map[string]*inference.InferParameter{},
		Inputs:           []*inference.ModelInferRequest_InferInputTensor{{Name: "image", Datatype: "UINT8", Shape: []int64{1, 2, 2}}},
		Outputs:          []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: "scores"}},
		RawInputContents: [][]byte{{1, 2, 3, 4}}}
	for i := 0; i < len(parameters); i += 2 {
		q.Parameters[parameters[i]] = &inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: parameters[i+1]}}
	}
	return q
}

func TestAnswerOverGRPC(t *testing.T) {
	d := grpcAPI(t, setup{})
	var header metadata.MD
	q := picture("me", "min_accuracy", "0.7", "deadline_ms", "5000")
	p, err := d.ModelInfer(t.Context(), q, grpc.Header(&header))
	if err != nil {
		t.Fatal(err)
	}
	want := fake.Row(scene().Model, 0, 0, [][]byte{{1, 2, 3, 4}, nil, nil, nil})
	if p.GetModelName() != "scene" || p.GetModelVersion() != "3" || p.GetId() != "me" || len(p.GetOutputs()) != 1 ||
		!slices.Equal(p.GetOutputs()[0].GetShape(), []int64{1, 2}) || string(p.GetRawOutputContents()[0]) != string(want) {
		t.Errorf("%v", p)
	}
	for name, want := range map[string]string{"variant": "image", "modalities": "image", "expected_accuracy": "0.75", "job": p.GetParameters()["job"].GetStringParam()} {
		if got := p.GetParameters()[name].GetStringParam(); got != want || name == "job" && !jobIDs.MatchString(got) {
			t.Errorf("parameter %s is %q, want %q", name, got, want)
		}
		if got := header.Get(factKeys[name]); len(got) != 1 || got[0] != want {
			t.Errorf("metadata %s is %q, want %q", factKeys[name], got, want)
		}
	}
}

func TestEveryErrorOverGRPC(t *testing.T) {
	d := grpcAPI(t, setup{config: func(c *Config) { c.BodyBytesMax = 1 << 20 }, fail: func(r fake.Run) error {
		if r.Items[0][0][0] == 9 {
			return errors.New("boom")
		}
		return nil
	}})
	for _, tt := range []struct {
		name    string
		ask     func(*inference.ModelInferRequest)
		code    codes.Code
		trailer string
	}{
		{"unknown model", func(q *inference.ModelInferRequest) { q.ModelName = "other" }, codes.NotFound, ""},
		{"unknown version", func(q *inference.ModelInferRequest) { q.ModelVersion = "7" }, codes.NotFound, ""},
		{"wrong shape", func(q *inference.ModelInferRequest) { q.Inputs[0].Shape = []int64{1, 4} }, codes.InvalidArgument, ""},
		{"too few bytes", func(q *inference.ModelInferRequest) { q.RawInputContents[0] = []byte{1} }, codes.InvalidArgument, ""},
		{"no raw contents", func(q *inference.ModelInferRequest) { q.RawInputContents = nil }, codes.InvalidArgument, ""},
		{"too many inputs", func(q *inference.ModelInferRequest) { q.Inputs = slices.Repeat(q.Inputs, 100) }, codes.ResourceExhausted, ""},
		{"too large", func(q *inference.ModelInferRequest) { q.RawInputContents[0] = make([]byte, 2<<20) }, codes.ResourceExhausted, ""},
		{"a floor beyond reach", func(q *inference.ModelInferRequest) { q.Parameters = picture("", "min_accuracy", "0.99").Parameters }, codes.FailedPrecondition, "x-mosel-best-accuracy"},
		{"no time", func(q *inference.ModelInferRequest) { q.Parameters = picture("", "deadline_ms", "0.9").Parameters }, codes.ResourceExhausted, "x-mosel-retry-after-ms"},
		{"a failure", func(q *inference.ModelInferRequest) { q.RawInputContents[0] = []byte{9, 9, 9, 9} }, codes.Internal, "x-mosel-job"},
		{"shared memory", func(q *inference.ModelInferRequest) {
			q.Inputs[0].Parameters = picture("", "shared_memory_region", "x").Parameters
		}, codes.Unimplemented, ""},
	} {
		q := picture("")
		tt.ask(q)
		var trailer metadata.MD
		_, err := d.ModelInfer(t.Context(), q, grpc.Trailer(&trailer))
		if status.Code(err) != tt.code || tt.trailer != "" && len(trailer.Get(tt.trailer)) != 1 {
			t.Errorf("%s: %v, trailers %v; want %v and %q", tt.name, err, trailer, tt.code, tt.trailer)
		}
	}
	if _, err := d.ModelInfer(t.Context(), picture("")); err != nil {
		t.Errorf("after all of that: %v", err)
	}
}

// TestEveryKindHasACode checks the table without a transport.
func TestEveryKindHasACode(t *testing.T) {
	for _, kind := range slo.Kinds() {
		if row, ok := statuses[kind]; !ok || row.code == codes.OK || row.code == codes.Unknown {
			t.Errorf("%v has the code %v", kind, row.code)
		}
		if kind != slo.KindUnavailable && statuses[kind].code == codes.Unavailable {
			t.Errorf("%v is UNAVAILABLE, which clients retry by themselves", kind)
		}
	}
}

func TestDeadlineAndCancelOverGRPC(t *testing.T) {
	d := grpcAPI(t, setup{queueJobs: 10, fail: func(r fake.Run) error {
		<-r.Context.Done() // until the client gives up
		return r.Context.Err()
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.ModelInfer(ctx, picture("")); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a call whose deadline goes by while it runs: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	context.AfterFunc(t.Context(), cancel)
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := d.ModelInfer(ctx, picture("")); status.Code(err) != codes.Canceled {
		t.Errorf("a call that is given up: %v", err)
	}
	for { // the places are free once the server has noticed
		counts, _ := d.api.backend.Load().engine.Counts()
		if counts.Queued+counts.Running == 0 {
			break
		}
	}
}

func TestStreamOverGRPC(t *testing.T) {
	const requests = 200
	d := grpcAPI(t, setup{queueJobs: 100, instant: true, config: func(c *Config) { c.StreamWindow = 8 }})
	s, err := d.ModelStreamInfer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for i := range requests {
			q := picture(strconv.Itoa(i), "triton_enable_empty_final_response", "x")
			q.Parameters[finalAsked] = &inference.InferParameter{ParameterChoice: &inference.InferParameter_BoolParam{BoolParam: i%2 == 0}}
			switch i % 5 {
			case 3:
				q.ModelName = "other"
			case 4:
				q.Inputs = slices.Repeat(q.Inputs, 100)
			}
			if err := s.Send(q); err != nil {
				t.Errorf("request %d: %v", i, err)
				return
			}
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
	}()
	for i := range requests {
		m, err := s.Recv()
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		p := m.GetInferResponse()
		wantStatus := map[int]int64{3: 404, 4: 413}[i%5]
		if (m.GetErrorMessage() != "") != (wantStatus != 0) || p.GetParameters()["status"].GetInt64Param() != wantStatus {
			t.Errorf("answer %d: %v", i, m)
		}
		final := i%2 == 0 && i%5 != 4 // a message that cannot be read requests no parameter
		if p.GetId() != strconv.Itoa(i) || p.GetParameters()[finalTold].GetBoolParam() != final {
			t.Errorf("answer %d: %v", i, m)
		}
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last answer: %v", err)
	}
}

func TestStreamIsGivenUp(t *testing.T) {
	d := grpcAPI(t, setup{queueJobs: 100, fail: func(r fake.Run) error {
		<-r.Context.Done()
		return r.Context.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	s, err := d.ModelStreamInfer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := s.Send(picture(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	for { // until all have arrived
		if counts, _ := d.api.backend.Load().engine.Counts(); counts.Queued+counts.Running == 20 {
			break
		}
	}
	cancel()
	for {
		if counts, _ := d.api.backend.Load().engine.Counts(); counts.Queued+counts.Running == 0 {
			break
		}
	}
}

func TestWhoMayCallOverGRPC(t *testing.T) {
	d := grpcAPI(t, setup{})
	for _, tt := range []struct {
		name string
		md   metadata.MD
		code codes.Code
	}{
		{"a program of this machine", nil, codes.OK},
		{"a proxy", metadata.Pairs("x-forwarded-for", "192.0.2.7"), codes.PermissionDenied},
		{"a proxy, behind an empty one", metadata.Pairs("x-forwarded-for", "", "x-forwarded-for", "192.0.2.7"), codes.PermissionDenied},
		{"an empty one", metadata.Pairs("X-Envoy-Internal", ""), codes.PermissionDenied},
	} {
		ctx := metadata.NewOutgoingContext(t.Context(), tt.md)
		if _, err := d.RepositoryModelUnload(ctx, &inference.RepositoryModelUnloadRequest{ModelName: "single"}); status.Code(err) != tt.code {
			t.Errorf("%s unloads: %v, want %v", tt.name, err, tt.code)
		}
		if _, err := d.ModelInfer(ctx, picture("")); err != nil {
			t.Errorf("%s infers: %v", tt.name, err)
		}
	}
	// KServe has the name in the other field.
	p, err := d.RepositoryModelLoad(t.Context(), &inference.RepositoryModelLoadRequest{RepositoryName: "single"})
	if err != nil || p.GetModelName() != "single" || !p.GetIsLoaded() {
		t.Errorf("%v, %v", p, err)
	}
	for name := range inference.GRPCInferenceService_ServiceDesc.Methods {
		method := "/inference.GRPCInferenceService/" + inference.GRPCInferenceService_ServiceDesc.Methods[name].MethodName
		if d.api.roleOf(method) == 0 {
			t.Errorf("%s has no role", method)
		}
	}
}

func TestHealthOverGRPC(t *testing.T) {
	d := grpcAPI(t, setup{})
	h := grpc_health_v1.NewHealthClient(d.conn)
	check := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range []string{"", "inference.GRPCInferenceService"} {
			if p, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service}); err != nil || p.GetStatus() != want {
				t.Errorf("%q: %v, %v, want %v", service, p, err, want)
			}
		}
	}
	check(grpc_health_v1.HealthCheckResponse_SERVING)
	d.api.Drain()
	check(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
}

// TestSlowMessageIsGivenUp begins a call and sends no message.
func TestSlowMessageIsGivenUp(t *testing.T) {
	d := grpcAPI(t, setup{config: func(c *Config) { c.ReceiveTime = 20 * time.Millisecond }})
	s, err := d.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, "/inference.GRPCInferenceService/ModelInfer")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new(inference.ModelInferResponse)); err == nil || status.Code(err) == codes.OK {
		t.Errorf("a call without a message: %v", err)
	}
	if _, err := d.ModelInfer(t.Context(), picture("")); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// TestPanicOverGRPC checks that a panic is answered and the server keeps running.
func TestPanicOverGRPC(t *testing.T) {
	a, e := startAPI(t, setup{})
	info := &grpc.UnaryServerInfo{FullMethod: inference.GRPCInferenceService_ModelInfer_FullMethodName}
	_, err := a.unary(t.Context(), nil, info, func(context.Context, any) (any, error) { panic("a defect") })
	if status.Code(err) != codes.Internal {
		t.Errorf("a panic: %v", err)
	}
	if err := e.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}
