package clientgrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
	"github.com/mosel-serve/mosel/tensor"
)

// strange is a server that answers by functions, in ways that ours does not.
type strange struct {
	inference.UnimplementedGRPCInferenceServiceServer
	one    func(ctx context.Context, m *inference.ModelInferRequest) (*inference.ModelInferResponse, error)
	stream func(s inference.GRPCInferenceService_ModelStreamInferServer) error
}

func (s *strange) ModelInfer(ctx context.Context, m *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	return s.one(ctx, m)
}

func (s *strange) ModelStreamInfer(stream inference.GRPCInferenceService_ModelStreamInferServer) error {
	return s.stream(stream)
}

// dial makes a client of a server that speaks gRPC at addr.
func dial(t testing.TB, addr string, opts client.Options) *client.Client {
	t.Helper()
	opts.GRPC = Dial
	c, err := client.New("grpc://"+addr, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestTypedAnswers: other servers send outputs by type.
func TestTypedAnswers(t *testing.T) {
	c := dial(t, listenGRPC(t, &strange{one: func(context.Context, *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		return &inference.ModelInferResponse{ModelName: "m", Outputs: []*inference.ModelInferResponse_InferOutputTensor{
			{Name: "p", Datatype: "FP32", Shape: []int64{1, 2}, Contents: &inference.InferTensorContents{Fp32Contents: []float32{1, -2}}},
			{Name: "label", Datatype: "BYTES", Shape: []int64{1}, Contents: &inference.InferTensorContents{BytesContents: [][]byte{[]byte("cat")}}}}}, nil
	}}), client.Options{})
	got, err := c.Infer(t.Context(), numbered(1))
	if err != nil {
		t.Fatal(err)
	}
	want := []tensor.Tensor{{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{1, 2}, Data: []byte("\x00\x00\x80\x3f\x00\x00\x00\xc0")},
		{Name: "label", DType: tensor.Bytes, Shape: tensor.Shape{1}, Data: []byte("\x03\x00\x00\x00cat")}}
	if fmt.Sprint(got.Outputs) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got.Outputs, want)
	}
}

func TestBadGRPCAnswers(t *testing.T) {
	for want, answer := range map[string]*inference.ModelInferResponse{
		`parameter "queue_us"`:         {Parameters: map[string]*inference.InferParameter{"queue_us": {ParameterChoice: &inference.InferParameter_StringParam{StringParam: "soon"}}}},
		"1 raw contents for 0 tensors": {RawOutputContents: [][]byte{{1}}},
		"larger than max":              {ModelName: strings.Repeat("x", 1000)},
	} {
		c := dial(t, listenGRPC(t, &strange{one: func(context.Context, *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
			return answer, nil
		}}), client.Options{ResponseBytesMax: 500})
		_, err := c.Infer(t.Context(), numbered(1))
		if _, ok := errors.AsType[*client.Error](err); ok || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q and no *Error", err, want)
		}
	}
}

// TestGRPCErrors: what other servers answer, and what only looks like an answer.
func TestGRPCErrors(t *testing.T) {
	late := func(ctx context.Context, header, trailer metadata.MD) {
		if header != nil {
			if err := grpc.SendHeader(ctx, header); err != nil {
				t.Error(err)
			}
		}
		if err := grpc.SetTrailer(ctx, trailer); err != nil {
			t.Error(err)
		}
	}
	for name, tt := range map[string]struct {
		answer func(ctx context.Context) error
		want   *client.Error
	}{
		"after a header": {func(ctx context.Context) error {
			late(ctx, metadata.Pairs("a", "b"), nil)
			return status.Error(codes.Unavailable, "draining")
		}, &client.Error{Status: 503, Message: "draining"}},
		"facts after a header": {func(ctx context.Context) error {
			late(ctx, metadata.Pairs("a", "b"), metadata.Pairs(oip.HeaderRetryAfter, "20", oip.HeaderJob, "j"))
			return status.Error(codes.ResourceExhausted, "full")
		}, &client.Error{Status: 429, Message: "full", RetryAfter: 20 * time.Millisecond, Job: "j"}},
		"facts that make no sense": {func(ctx context.Context) error {
			late(ctx, nil, metadata.Pairs(oip.HeaderRetryAfter, "soon", oip.HeaderBestAccuracy, "NaN"))
			return status.Error(codes.ResourceExhausted, "full")
		}, &client.Error{Status: 429, Message: "full"}},
		"a code of no status": {func(context.Context) error { return status.Error(codes.DataLoss, "lost") }, &client.Error{Status: 500, Message: "lost"}},
		"canceled":            {func(context.Context) error { return status.Error(codes.Canceled, "stopped") }, &client.Error{Status: 499, Message: "stopped"}},
		"words of gRPC":       {func(context.Context) error { return status.Error(codes.ResourceExhausted, "grpc: too large") }, &client.Error{Status: 413, Message: "grpc: too large"}},
	} {
		c := dial(t, listenGRPC(t, &strange{one: func(ctx context.Context, _ *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
			return nil, tt.answer(ctx)
		}}), client.Options{})
		_, err := c.Infer(t.Context(), numbered(1))
		if got, ok := errors.AsType[*client.Error](err); !ok || *got != *tt.want {
			t.Errorf("%s: %#v of %v, want %#v", name, got, err, tt.want)
		}
	}
}

// TestGRPCIsNotSpoken: what listens there is a proxy, another server, or breaks off.
func TestGRPCIsNotSpoken(t *testing.T) {
	proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	proxy.Config.Protocols = new(http.Protocols)
	proxy.Config.Protocols.SetUnencryptedHTTP2(true)
	proxy.Start()
	defer proxy.Close()
	_, err := dial(t, proxy.Listener.Addr().String(), client.Options{}).Infer(t.Context(), numbered(1))
	if !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("a proxy without a server: %v", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	_, err = dial(t, l.Addr().String(), client.Options{}).Infer(t.Context(), numbered(1))
	if _, ok := errors.AsType[*client.Error](err); ok || err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("a server that hangs up: %v", err)
	}
}

// TestConnectionBreaks: a call that has no answer when the server dies is not an
// answer, before and after the server has begun with one.
func TestConnectionBreaks(t *testing.T) {
	for _, begun := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		arrived := make(chan struct{})
		inference.RegisterGRPCInferenceServiceServer(s, &strange{one: func(ctx context.Context, _ *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
			if begun {
				if err := grpc.SendHeader(ctx, metadata.Pairs("a", "b")); err != nil {
					t.Error(err)
				}
			}
			close(arrived)
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		call := dial(t, l.Addr().String(), client.Options{}).Go(t.Context(), numbered(1))
		<-arrived
		s.Stop()
		<-served
		_, err = call.Result()
		if _, ok := errors.AsType[*client.Error](err); ok || err == nil {
			t.Errorf("begun %v: %v", begun, err)
		}
	}
}

// answersOf is a stream's answers to three requests, one result a line.
func answersOf(t *testing.T, stream func(s inference.GRPCInferenceService_ModelStreamInferServer) error) (lines []string, s *client.Stream) {
	t.Helper()
	c := dial(t, listenGRPC(t, &strange{stream: stream}), client.Options{})
	s, err := c.Stream(t.Context(), client.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	sent := 0
	for sent < 3 && s.Send(numbered(sent)) == nil {
		sent++
	}
	for range sent {
		answer, err := s.Recv()
		if err != nil {
			lines = append(lines, err.Error())
			if errors.Is(err, io.EOF) {
				t.Error("io.EOF in place of a result")
			}
			continue
		}
		lines = append(lines, "answer "+answer.ID)
	}
	return lines, s
}

// take receives n requests.
func take(t *testing.T, s inference.GRPCInferenceService_ModelStreamInferServer, n int) {
	t.Helper()
	for range n {
		if _, err := s.Recv(); err != nil {
			t.Error(err)
		}
	}
}

func streamed(message, id string) *inference.ModelStreamInferResponse {
	return &inference.ModelStreamInferResponse{ErrorMessage: message, InferResponse: &inference.ModelInferResponse{Id: id}}
}

// TestStreamsOfOtherServers: errors without facts, and streams that end.
func TestStreamsOfOtherServers(t *testing.T) {
	for name, tt := range map[string]struct {
		send []*inference.ModelStreamInferResponse
		end  error // nil: waits for the client
		want []string
	}{
		"errors without facts": {
			[]*inference.ModelStreamInferResponse{streamed("bad", ""), {ErrorMessage: "worse"}, streamed("", "")}, nil,
			[]string{"infer m: 500 Internal Server Error: bad", "infer m: 500 Internal Server Error: worse", "answer "}},
		"facts that make no sense": {
			[]*inference.ModelStreamInferResponse{
				{ErrorMessage: "bad", InferResponse: &inference.ModelInferResponse{Parameters: map[string]*inference.InferParameter{
					"status": {ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: 200}}}}},
				{ErrorMessage: "bad", InferResponse: &inference.ModelInferResponse{Id: strings.Repeat("x", 5000)}},
				streamed("", "2")}, errors.New("x"),
			[]string{"infer m: 500 Internal Server Error: bad", `infer m: the server has answered request "xxxxx`, `infer m: the server has answered`}},
		"fails as a whole": {
			[]*inference.ModelStreamInferResponse{streamed("", "0")}, status.Error(codes.Unavailable, "draining"),
			[]string{"answer 0", "infer m: 503 Service Unavailable: draining", "infer m: 503 Service Unavailable: draining"}},
		"ends early": {
			[]*inference.ModelStreamInferResponse{streamed("", "0")}, io.EOF,
			[]string{"answer 0", "infer m: the server has ended the stream", "infer m: the server has ended the stream"}},
		"out of order": {
			[]*inference.ModelStreamInferResponse{streamed("", "1")}, nil,
			[]string{`infer m: the server has answered request "1" before "0"`, `infer m: the server has answered`, `infer m: the server has answered`}},
	} {
		t.Run(name, func(t *testing.T) {
			lines, s := answersOf(t, func(s inference.GRPCInferenceService_ModelStreamInferServer) error {
				take(t, s, 3)
				for _, m := range tt.send {
					if err := s.Send(m); err != nil {
						break // the client has had enough
					}
				}
				if errors.Is(tt.end, io.EOF) {
					return nil
				}
				if tt.end == nil {
					_, _ = s.Recv()
				}
				return tt.end
			})
			if !slices.EqualFunc(lines, tt.want, strings.HasPrefix) {
				t.Errorf("got %q\nwant %q", lines, tt.want)
			}
			if tt.end == nil && name != "out of order" {
				s.CloseSend()
			}
			if answer, err := s.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %+v, %v", answer, err)
			}
			if err := s.Send(numbered(4)); err == nil {
				t.Error("Send after the end")
			}
		})
	}
}

func TestStreamIsRefused(t *testing.T) {
	lines, s := answersOf(t, func(inference.GRPCInferenceService_ModelStreamInferServer) error {
		return status.Error(codes.Unauthenticated, "who?")
	})
	for _, line := range lines {
		if line != "infer m: 401 Unauthorized: who?" {
			t.Error(line)
		}
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if err := s.Send(numbered(1)); !errors.Is(err, client.ErrUnauthenticated) {
		t.Errorf("Send says %v", err)
	}
}

func TestMoreAnswersThanRequests(t *testing.T) {
	c := dial(t, listenGRPC(t, &strange{stream: func(s inference.GRPCInferenceService_ModelStreamInferServer) error {
		return errors.Join(s.Send(streamed("", "1")), s.Send(streamed("", "2")))
	}}), client.Options{})
	s, err := c.Stream(t.Context(), client.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if answer, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("%+v, %v", answer, err)
	}
	if err := s.Send(numbered(1)); err == nil || !strings.Contains(err.Error(), "more requests than were sent") {
		t.Error(err)
	}
}

func TestStreamToNobody(t *testing.T) {
	s, err := dial(t, "127.0.0.1:1", client.Options{}).Stream(t.Context(), client.StreamOptions{})
	if err == nil {
		s.Close()
		t.Fatal("a stream to nobody")
	}
	if !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
}

// TestMessagesHoldNothing: what a message was made of does not stay in the pool.
func TestMessagesHoldNothing(t *testing.T) {
	r := numbered(1)
	m, err := newMessage(r.Model, r.Version, &oip.Request{Inputs: r.Inputs})
	if err != nil {
		t.Fatal(err)
	}
	discardMessage(m)
	if m.RawInputContents[0] != nil || m.Inputs[0].Shape != nil {
		t.Error("a discarded message still refers to the caller's tensors")
	}
}

// listenGRPC serves gRPC at the address that it returns.
func listenGRPC(t testing.TB, f inference.GRPCInferenceServiceServer, opts ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(64<<20))...)
	inference.RegisterGRPCInferenceServiceServer(s, f)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-ended
	})
	return l.Addr().String()
}

func numbered(i int) client.Request {
	return client.Request{Model: "m", ID: strconv.Itoa(i), Inputs: []tensor.Tensor{{Name: "image", DType: tensor.Uint8, Shape: tensor.Shape{1, 2}, Data: make([]byte, 2)}}}
}
