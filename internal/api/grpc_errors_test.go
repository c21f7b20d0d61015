package api

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip/inference"
)

// piped is an API behind gRPC, on a network in memory with virtual time.
type piped struct {
	*testing.T
	inference.GRPCInferenceServiceClient
	conn   *grpc.ClientConn
	api    *API
	engine *engine.Engine
	muted  chan struct{} // closed: clients' writes are not sent
}

// overGRPC runs a test against a server. At the end nothing of the server may be left.
func overGRPC(t *testing.T, s setup, test func(t *testing.T, d piped)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, e := startAPI(t, s)
		network := &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
		server := a.GRPC()
		go func() { _ = server.Serve(network) }()
		muted := make(chan struct{})
		dial := func(context.Context, string) (net.Conn, error) {
			return &mutable{Conn: network.dial(), muted: muted, gone: make(chan struct{})}, nil
		}
		conn, err := grpc.NewClient("passthrough:///pipes", grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		test(t, piped{t, inference.NewGRPCInferenceServiceClient(conn), conn, a, e, muted})
		if err := errors.Join(conn.Close(), e.Drain(context.WithoutCancel(t.Context()))); err != nil {
			t.Error(err)
		}
		server.Stop()
	})
}

// mutable is a connection that can stop sending writes.
type mutable struct {
	net.Conn
	muted, gone chan struct{}
}

func (m *mutable) Write(p []byte) (int, error) {
	select {
	case <-m.muted:
		<-m.gone
		return 0, net.ErrClosed
	default:
		return m.Conn.Write(p)
	}
}

func (m *mutable) Close() error {
	defer func() { _ = recover() }() // it may be closed twice
	close(m.gone)
	return m.Conn.Close()
}

// Inputs of the scene as messages of one item.
func imageInput() *inference.ModelInferRequest_InferInputTensor {
	return &inference.ModelInferRequest_InferInputTensor{Name: "image", Datatype: "UINT8", Shape: []int64{1, 2, 2},
		Contents: &inference.InferTensorContents{UintContents: []uint32{1, 2, 3, 4}}}
}

func textInputs() []*inference.ModelInferRequest_InferInputTensor {
	return []*inference.ModelInferRequest_InferInputTensor{
		{Name: "chars", Datatype: "UINT8", Shape: []int64{1, 3}, Contents: &inference.InferTensorContents{UintContents: []uint32{7, 8, 9}}},
		{Name: "mask", Datatype: "BOOL", Shape: []int64{1, 3}, Contents: &inference.InferTensorContents{BoolContents: []bool{true, true, false}}},
	}
}

// question asks scene for scores, with parameters by name.
func question(params map[string]any, inputs ...*inference.ModelInferRequest_InferInputTensor) *inference.ModelInferRequest {
	q := &inference.ModelInferRequest{ModelName: "scene", Id: "7", Inputs: inputs, Parameters: map[string]*inference.InferParameter{},
		Outputs: []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: "scores"}}}
	for name, value := range params {
		p := new(inference.InferParameter)
		switch v := value.(type) {
		case bool:
			p.ParameterChoice = &inference.InferParameter_BoolParam{BoolParam: v}
		case int:
			p.ParameterChoice = &inference.InferParameter_Int64Param{Int64Param: int64(v)}
		case string:
			p.ParameterChoice = &inference.InferParameter_StringParam{StringParam: v}
		}
		q.Parameters[name] = p
	}
	return q
}

// everyModality runs for 10 ms.
func everyModality() *inference.ModelInferRequest {
	audio := &inference.ModelInferRequest_InferInputTensor{Name: "audio", Datatype: "INT16", Shape: []int64{1, 2},
		Contents: &inference.InferTensorContents{IntContents: []int32{1, -2}}}
	return question(map[string]any{"modalities": "image,audio,text"}, append(textInputs(), imageInput(), audio)...)
}

// asBytes is a codec for messages that a test encodes itself.
type asBytes struct{ encoding.CodecV2 }

func (c asBytes) Marshal(v any) (mem.BufferSlice, error) {
	if wire, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(wire)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func byHand() grpc.CallOption { return grpc.ForceCodecV2(asBytes{encoding.GetCodecV2(proto.Name)}) }

// grpcFailures has, for every kind of error, a way to cause it over gRPC, and what the
// client must see.
var grpcFailures = map[slo.Kind]struct {
	setup    setup
	do       func(d piped, trailer grpc.CallOption) error
	code     codes.Code
	want     string
	trailers map[string]string // "*": any value
}{
	slo.KindInternal: {
		setup: setup{fail: func(fake.Run) error { return errors.New("out of luck") }},
		do:    inferring(question(nil, imageInput())), code: codes.Internal, want: "out of luck", trailers: map[string]string{"x-mosel-job": "*"},
	},
	slo.KindInvalid: {
		do: func(d piped, trailer grpc.CallOption) error {
			return d.conn.Invoke(d.Context(), inference.GRPCInferenceService_ModelInfer_FullMethodName, []byte("\xff\xff"), new(inference.ModelInferResponse), byHand(), trailer)
		},
		code: codes.InvalidArgument, want: "not a valid ModelInferRequest",
	},
	slo.KindNotFound: {
		do: inferring(&inference.ModelInferRequest{ModelName: "other"}), code: codes.NotFound, want: `no model "other"`,
	},
	slo.KindInfeasible: {
		do:   inferring(question(map[string]any{"min_accuracy": "0.96"}, append(textInputs(), imageInput())...)),
		code: codes.FailedPrecondition, want: "the best is 0.95", trailers: map[string]string{"x-mosel-best-accuracy": "0.95", "x-mosel-job": "*"},
	},
	slo.KindOverloaded: {
		do: func(d piped, trailer grpc.CallOption) error {
			for range 2 {
				go func() { _, _ = d.ModelInfer(d.Context(), everyModality()) }()
				synctest.Wait()
			}
			return inferring(question(nil, imageInput()))(d, trailer)
		},
		code: codes.ResourceExhausted, want: "the queue was full", trailers: map[string]string{"x-mosel-retry-after-ms": "10", "x-mosel-job": "*"},
	},
	slo.KindDeadlineExceeded: {
		setup: setup{fail: func(fake.Run) error { time.Sleep(10 * time.Second); return nil }},
		do:    inferring(question(map[string]any{"deadline_ms": 5000}, imageInput())), code: codes.DeadlineExceeded, want: "deadline",
		trailers: map[string]string{"x-mosel-job": "*"},
	},
	slo.KindTooLarge: {
		do: inferring(&inference.ModelInferRequest{Inputs: make([]*inference.ModelInferRequest_InferInputTensor, 65)}), code: codes.ResourceExhausted,
		want: "more than 64 inputs",
	},
	slo.KindCancelled: {
		do: func(d piped, trailer grpc.CallOption) error {
			ctx, cancel := context.WithCancel(d.Context())
			time.AfterFunc(time.Millisecond, cancel)
			_, err := d.ModelInfer(ctx, everyModality(), trailer)
			return err
		},
		code: codes.Canceled, want: "cancel",
	},
	slo.KindUnavailable: {
		do: func(d piped, trailer grpc.CallOption) error {
			if err := d.engine.Drain(d.Context()); err != nil {
				d.Error(err)
			}
			return inferring(question(nil, imageInput()))(d, trailer)
		},
		code: codes.Unavailable, want: "shut", trailers: map[string]string{"x-mosel-retry-after-ms": "1000"},
	},
	slo.KindUnsupported: {
		do: func(d piped, trailer grpc.CallOption) error {
			in := imageInput()
			in.Parameters = question(map[string]any{"shared_memory_region": "x"}).GetParameters()
			return inferring(question(nil, in))(d, trailer)
		},
		code: codes.Unimplemented, want: "shared memory",
	},
	slo.KindUnauthenticated: {
		setup: setup{guard: tokens("{name: a, role: infer, sha256: " + strings.Repeat("0", 64) + "}")},
		do:    inferring(question(nil, imageInput())), code: codes.Unauthenticated, want: "token",
	},
	slo.KindForbidden: {
		do: func(d piped, trailer grpc.CallOption) error {
			_, err := d.RepositoryModelUnload(d.Context(), &inference.RepositoryModelUnloadRequest{ModelName: "scene"}, trailer)
			return err
		},
		code: codes.PermissionDenied, want: "only programs on the server's machine",
	},
}

func inferring(q *inference.ModelInferRequest) func(d piped, trailer grpc.CallOption) error {
	return func(d piped, trailer grpc.CallOption) error {
		_, err := d.ModelInfer(d.Context(), q, trailer)
		return err
	}
}

// tokens returns a guard with a tokens file.
func tokens(entries string) *access.Guard {
	dir, err := os.MkdirTemp("", "mosel-api-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "tokens.yaml")
	if err := os.WriteFile(file, []byte("tokens: ["+entries+"]"), 0o600); err != nil {
		panic(err)
	}
	guard, _, err := access.New(file, slog.New(slog.DiscardHandler))
	if err != nil {
		panic(err)
	}
	return guard
}

func TestGRPCEveryKindEndToEnd(t *testing.T) {
	for _, kind := range slo.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			tt, ok := grpcFailures[kind]
			if !ok {
				t.Fatal("there is no test for this kind")
			}
			overGRPC(t, tt.setup, func(t *testing.T, d piped) {
				var trailer metadata.MD
				err := tt.do(d, grpc.Trailer(&trailer))
				if status.Code(err) != tt.code || !strings.Contains(status.Convert(err).Message(), tt.want) {
					t.Errorf("%v, want code %v and %q", err, tt.code, tt.want)
				}
				for _, name := range []string{"x-mosel-job", "x-mosel-retry-after-ms", "x-mosel-best-accuracy"} {
					said, want := strings.Join(trailer.Get(name), ","), tt.trailers[name]
					if said != want && (want != "*" || said == "") {
						t.Errorf("trailer %s is %q, want %q", name, said, want)
					}
				}
				if got, err := d.ServerLive(t.Context(), &inference.ServerLiveRequest{}); err != nil || !got.GetLive() {
					t.Errorf("the server is not live any more: %v, %v", got, err)
				}
			})
		})
	}
}

// TestGRPCAccess makes calls of each role, from this machine and with tokens.
func TestGRPCAccess(t *testing.T) {
	user, entryUser, err := access.NewToken("user", access.Infer)
	if err != nil {
		t.Fatal(err)
	}
	admin, entryAdmin, err := access.NewToken("admin", access.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		guard *access.Guard
		token string
		infer codes.Code
		admin codes.Code
	}{
		"this machine, without tokens": {nil, "", codes.OK, codes.OK},
		"no token":                     {tokens(entryUser.String()), "", codes.Unauthenticated, codes.Unauthenticated},
		"a stranger's token":           {tokens(entryUser.String()), admin, codes.Unauthenticated, codes.Unauthenticated},
		"the token of a user":          {tokens(entryUser.String()), user, codes.OK, codes.PermissionDenied},
		"the token of an admin":        {tokens(entryAdmin.String()), admin, codes.OK, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			a, e := startAPI(t, setup{instant: true, guard: tt.guard})
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := a.GRPC()
			go func() { _ = server.Serve(listener) }()
			defer server.Stop()
			conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			client := inference.NewGRPCInferenceServiceClient(conn)
			ctx := t.Context()
			if tt.token != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+tt.token)
			}
			if _, err := client.ServerReady(t.Context(), &inference.ServerReadyRequest{}); err != nil {
				t.Errorf("health is for all: %v", err)
			}
			if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
				t.Errorf("health is for all: %v", err)
			}
			_, err = client.ModelInfer(ctx, question(nil, imageInput()))
			if status.Code(err) != tt.infer {
				t.Errorf("inference: %v, want %v", err, tt.infer)
			}
			stream, err := client.ModelStreamInfer(ctx)
			if err == nil {
				_ = stream.Send(question(nil, imageInput())) // the server may have refused already
				_, err = stream.Recv()
			}
			if status.Code(err) != tt.infer {
				t.Errorf("a stream: %v, want %v", err, tt.infer)
			}
			_, err = client.RepositoryModelUnload(ctx, &inference.RepositoryModelUnloadRequest{ModelName: "single"})
			if status.Code(err) != tt.admin {
				t.Errorf("administration: %v, want %v", err, tt.admin)
			}
			if err := e.Drain(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestGRPCSlowMessagesAreCutOff has a client that begins a message and does not
// continue.
func TestGRPCSlowMessagesAreCutOff(t *testing.T) {
	const receiveTime = 5 * time.Second
	overGRPC(t, setup{config: func(c *Config) { c.ReceiveTime = receiveTime }}, func(t *testing.T, d piped) {
		if _, err := d.ServerLive(t.Context(), &inference.ServerLiveRequest{}); err != nil { // the connection exists
			t.Fatal(err)
		}
		stream, err := d.conn.NewStream(t.Context(), &grpc.StreamDesc{}, inference.GRPCInferenceService_ModelInfer_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the head is sent
		close(d.muted)
		began := time.Now()
		if err := stream.SendMsg(question(nil, imageInput())); err != nil {
			t.Fatal(err)
		}
		err = stream.RecvMsg(new(inference.ModelInferResponse))
		if took := time.Since(began); status.Code(err) != codes.DeadlineExceeded || took != receiveTime {
			t.Errorf("%v after %v, want DEADLINE_EXCEEDED after %v", err, took, receiveTime)
		}
	})
}

func TestGRPCPanicInAStreamIsAnsweredAndLogged(t *testing.T) {
	var log bytes.Buffer
	a := New(DefaultConfig(), new(access.Guard), newLog(&log))
	m := (&service{api: a}).streamed(t.Context(), nil, &frame{buffer: mem.SliceBuffer(nil)})
	if !strings.Contains(m.GetErrorMessage(), "an internal error of the server") || m.GetInferResponse().GetParameters()["status"].GetInt64Param() != 500 {
		t.Errorf("%v", m)
	}
	if text := log.String(); !strings.Contains(text, "level=ERROR msg=panic") || !strings.Contains(text, "grpc_errors_test.go") {
		t.Errorf("the log has no trace of it: %s", text)
	}
}

// TestGRPCBudget fills the budget for bodies, and checks that it is returned.
func TestGRPCBudget(t *testing.T) {
	overGRPC(t, setup{config: func(c *Config) { c.BodyBytesMax, c.BodyBytesInFlight = 1000, 5000 }}, func(t *testing.T, d piped) {
		d.api.bodies.used.Add(4950)
		_, err := d.ModelInfer(t.Context(), question(nil, imageInput()))
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "5000 bytes") {
			t.Errorf("%v, want RESOURCE_EXHAUSTED", err)
		}
		d.api.bodies.release(4950)
		for range 3 {
			if _, err := d.ModelInfer(t.Context(), question(nil, imageInput())); err != nil {
				t.Error(err)
			}
		}
		if left := d.api.bodies.used.Load(); left != 0 {
			t.Errorf("%d bytes of the budget are still held", left)
		}
		large := question(map[string]any{"x": strings.Repeat("x", 1000)}, imageInput())
		if _, err := d.ModelInfer(t.Context(), large); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a message above the bound: %v", err)
		}
	})
}

func TestGRPCMessagesMayBeDeflated(t *testing.T) {
	overGRPC(t, setup{}, func(t *testing.T, d piped) {
		for _, encoding := range []string{"gzip", "deflate"} {
			if _, err := d.ModelInfer(t.Context(), question(nil, imageInput()), grpc.UseCompressor(encoding)); err != nil {
				t.Errorf("%s: %v", encoding, err)
			}
		}
	})
}
