package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// overGRPC is what clients do over gRPC.
var overGRPC = []sort{
	{"gRPC sound", 30, (*soakClient).soundCall},
	{"gRPC stream", 8, (*soakClient).stream},
	{"gRPC stream given up", 4, (*soakClient).streamGivenUp},
	{"gRPC mutated", 20, (*soakClient).mutatedCall},
	{"gRPC hostile", 8, (*soakClient).hostileCall},
	{"gRPC given up", 8, (*soakClient).callGivenUp},
	{"gRPC cut off", 4, (*soakClient).callCutOff},
	{"gRPC looked up", 4, (*soakClient).lookUpCall},
	{"gRPC elsewhere", 2, (*soakClient).elsewhereCall},
}

// statusOf returns the status that REST would have answered, by the protocol's
// document.
func statusOf(err error, trailer metadata.MD) int {
	code := grpcstatus.Code(err)
	if code == codes.ResourceExhausted && len(trailer.Get(oip.HeaderRetryAfter)) == 0 {
		return http.StatusRequestEntityTooLarge
	}
	return map[codes.Code]int{
		codes.OK: 200, codes.InvalidArgument: 400, codes.NotFound: 404, codes.FailedPrecondition: 422, codes.ResourceExhausted: 429,
		codes.Canceled: 499, codes.Unimplemented: 501, codes.Unavailable: 503, codes.DeadlineExceeded: 504,
	}[code] // 0 for codes that no client should ever see
}

// grpcConn returns the client's connection, made on first use.
func (c *soakClient) grpcConn() *grpc.ClientConn {
	if c.conn == nil {
		c.conn = c.connect()
	}
	return c.conn
}

func (c *soakClient) connect(options ...grpc.DialOption) *grpc.ClientConn {
	conn, err := grpc.NewClient("passthrough:///"+c.grpcAddr, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		c.fail("a gRPC client: %v", err)
	}
	return conn
}

// wireContext returns the context of a call with a time limit that no call should
// reach, for a random client.
func (c *soakClient) wireContext(within time.Duration) (context.Context, context.CancelFunc) {
	ctx := metadata.AppendToOutgoingContext(context.Background(), oip.HeaderClient, c.onBehalf())
	return context.WithTimeout(ctx, within)
}

// compression draws how a call is compressed.
func (c *soakClient) compression() []grpc.CallOption {
	if which := []string{"", "", "gzip", "deflate"}[c.random.IntN(4)]; which != "" {
		return []grpc.CallOption{grpc.UseCompressor(which)}
	}
	return nil
}

// message encodes a question as a message, with its tensors as raw or as typed
// contents.
func (c *soakClient) message(q *question) *inference.ModelInferRequest {
	m := &inference.ModelInferRequest{ModelName: q.model.Name}
	if err := inference.EncodeRequest(m, q.wire()); err != nil {
		c.fail("a question cannot be encoded: %v", err)
	}
	if c.chance(30) {
		m.RawInputContents = nil
		for i, t := range q.inputs() {
			contents, err := inference.Contents(t)
			if err != nil {
				c.fail("a question cannot be encoded: %v", err)
			}
			m.Inputs[i].Contents = contents
		}
	}
	return m
}

// checkCall returns what is wrong with the answer to a question over gRPC.
func (q *question) checkCall(m *inference.ModelInferResponse, err error, trailer metadata.MD) (int, error) {
	answered := statusOf(err, trailer)
	if ran, wrong := q.may(answered); wrong != nil {
		return answered, fmt.Errorf("%w: %w", wrong, err)
	} else if ran {
		var r oip.Response
		if err := inference.DecodeResponse(&r, m, oip.DefaultLimits()); err != nil {
			return answered, fmt.Errorf("the answer cannot be read: %w", err)
		}
		return answered, q.checkResponse(&r)
	}
	if (answered == 422) != (len(trailer.Get(oip.HeaderBestAccuracy)) > 0) {
		return answered, fmt.Errorf("answered %w with the trailer %v", err, trailer)
	}
	return answered, nil
}

func (c *soakClient) soundCall() int {
	q := c.ask()
	ctx, cancel := c.wireContext(wireMax)
	defer cancel()
	var trailer metadata.MD
	m, err := inference.NewGRPCInferenceServiceClient(c.grpcConn()).ModelInfer(ctx, c.message(q), append(c.compression(), grpc.Trailer(&trailer))...)
	answered, wrong := q.checkCall(m, err, trailer)
	if wrong != nil {
		c.fail("gRPC: %v: %v", q, wrong)
	}
	return answered
}

// callGivenUp makes a call whose deadline may be too short, or that is cancelled.
func (c *soakClient) callGivenUp() int {
	q := c.ask()
	limit := time.Duration(c.random.IntN(3000)) * time.Microsecond
	ctx, cancel := c.wireContext(limit)
	if c.chance(50) {
		cancel()
		ctx, cancel = c.wireContext(wireMax)
		time.AfterFunc(limit, cancel)
	}
	defer cancel()
	var trailer metadata.MD
	m, err := inference.NewGRPCInferenceServiceClient(c.grpcConn()).ModelInfer(ctx, c.message(q), grpc.Trailer(&trailer))
	if code := grpcstatus.Code(err); code == codes.DeadlineExceeded || code == codes.Canceled {
		return 0
	}
	answered, wrong := q.checkCall(m, err, trailer)
	if wrong != nil {
		c.fail("gRPC, given up: %v: %v", q, wrong)
	}
	return answered
}

// stream sends several questions, which are answered in order.
func (c *soakClient) stream() int {
	ctx, cancel := c.wireContext(wireMax)
	defer cancel()
	answered, err := c.streamed(ctx, c.questions(20), 20)
	if err != nil {
		c.fail("gRPC stream: %v", err)
	}
	return answered
}

// streamGivenUp leaves a stream before its end.
func (c *soakClient) streamGivenUp() int {
	ctx, cancel := c.wireContext(time.Duration(c.random.IntN(10_000)) * time.Microsecond)
	defer cancel()
	questions := c.questions(30)
	for _, q := range questions {
		q.callDeadline = true
	}
	_, err := c.streamed(ctx, questions, c.random.IntN(10))
	if code := grpcstatus.Code(err); err != nil && code != codes.DeadlineExceeded && code != codes.Canceled {
		c.fail("gRPC stream, given up: %v", err)
	}
	return 0
}

func (c *soakClient) questions(most int) (list []*question) {
	for range 1 + c.random.IntN(most) {
		list = append(list, c.ask())
	}
	return list
}

// streamed sends questions in a stream and reads up to most answers.
func (c *soakClient) streamed(ctx context.Context, questions []*question, most int) (answered int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := inference.NewGRPCInferenceServiceClient(c.grpcConn()).ModelStreamInfer(ctx, c.compression()...)
	if err != nil {
		return 0, err
	}
	var messages []*inference.ModelInferRequest
	for _, q := range questions {
		messages = append(messages, c.message(q))
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, m := range messages {
			if stream.Send(m) != nil { // Recv returns the reason
				return
			}
		}
		_ = stream.CloseSend() // never fails
	}()
	defer func() {
		cancel()
		<-sent
	}()
	for i, q := range questions {
		if i == most {
			return answered, nil
		}
		m, err := stream.Recv()
		if err != nil {
			return 0, err
		}
		if answered, err = q.checkStreamed(m); err != nil {
			return 0, fmt.Errorf("answer %d of %d: %w", i, len(questions), err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("after the last answer: %w", err)
	}
	return answered, nil
}

// checkStreamed returns what is wrong with an answer in a stream.
func (q *question) checkStreamed(m *inference.ModelStreamInferResponse) (int, error) {
	if m.GetErrorMessage() == "" {
		return q.checkCall(m.GetInferResponse(), nil, nil)
	}
	facts := m.GetInferResponse().GetParameters()
	answered := int(facts["status"].GetInt64Param())
	if ran, err := q.may(answered); err != nil || ran || m.GetInferResponse().GetId() != q.id {
		return answered, fmt.Errorf("%v: answered %d to %s: %s (%w)", q, answered, m.GetInferResponse().GetId(), m.GetErrorMessage(), err)
	}
	if (answered == 429) != (facts["retry_after_ms"].GetInt64Param() > 0) || (answered == 422) != (facts["best_accuracy"] != nil) {
		return answered, fmt.Errorf("answered %d with the facts %v", answered, facts)
	}
	return answered, nil
}

// bytesCodec sends bytes as they are.
type bytesCodec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// sendBytes sends an encoded message, alone or in a stream. The answer must have one of
// the statuses.
func (c *soakClient) sendBytes(what string, wire []byte, statuses ...int) int {
	ctx, cancel := c.wireContext(wireMax)
	defer cancel()
	var trailer metadata.MD
	options := append(c.compression(), grpc.ForceCodecV2(bytesCodec{encoding.GetCodecV2(proto.Name)}), grpc.Trailer(&trailer))
	var err error
	var answered int
	if c.chance(70) {
		err = c.grpcConn().Invoke(ctx, inference.GRPCInferenceService_ModelInfer_FullMethodName, wire, new(inference.ModelInferResponse), options...)
		answered = statusOf(err, trailer)
	} else {
		answered, err = c.streamBytes(ctx, wire, options)
	}
	if !slices.Contains(statuses, answered) {
		c.fail("gRPC: %s is answered %d, not one of %v: %v", what, answered, statuses, err)
	}
	return answered
}

func (c *soakClient) streamBytes(ctx context.Context, wire []byte, options []grpc.CallOption) (int, error) {
	stream, err := c.grpcConn().NewStream(ctx, &inference.GRPCInferenceService_ServiceDesc.Streams[0],
		inference.GRPCInferenceService_ModelStreamInfer_FullMethodName, options...)
	if err != nil {
		return statusOf(err, nil), err
	}
	if err := stream.SendMsg(wire); err != nil && !errors.Is(err, io.EOF) {
		return statusOf(err, nil), err
	}
	_ = stream.CloseSend() // never fails
	m := new(inference.ModelStreamInferResponse)
	if err := stream.RecvMsg(m); err != nil {
		return statusOf(err, stream.Trailer()), err
	}
	answered := http.StatusOK
	if m.GetErrorMessage() != "" {
		answered, err = int(m.GetInferResponse().GetParameters()["status"].GetInt64Param()), errors.New(m.GetErrorMessage())
	}
	for stream.RecvMsg(m) == nil { // to its end
		c.fail("gRPC: one message is answered twice")
	}
	return answered, err
}

// mutatedCall changes some bytes of a valid message.
func (c *soakClient) mutatedCall() int {
	wire, err := encoding.GetCodecV2(proto.Name).Marshal(c.message(c.ask()))
	if err != nil {
		c.fail("a question cannot be encoded: %v", err)
		return 0
	}
	body := wire.Materialize()
	wire.Free()
	for range 1 + c.random.IntN(4) {
		body = c.mutate(body, oip.AllJSON)
		if c.chance(70) { // the part with names, shapes and parameters
			body = c.mutate(body, min(len(body), 100))
		}
	}
	return c.sendBytes(fmt.Sprintf("a mutated message %.300q", body), body, mistakes...)
}

// hostileMessages are messages that an attacker might send.
func hostileMessages() (list [][]byte) {
	field := func(number protowire.Number, content []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
	}
	model := field(1, []byte("bytes"))
	many := func(part []byte, n int) []byte { return append(slices.Clone(model), slices.Repeat(part, n)...) }
	input := func(shape ...int64) []byte {
		in := append(field(1, []byte("x")), field(2, []byte("UINT8"))...)
		for _, d := range shape {
			in = protowire.AppendVarint(protowire.AppendTag(in, 3, protowire.VarintType), uint64(d))
		}
		return field(5, in)
	}
	raw := field(7, make([]byte, 1000))
	return [][]byte{
		{}, {0xff}, []byte("not a message"), model, model[:3],
		many(field(5, nil), 50_000), many(field(6, nil), 50_000), many(field(7, nil), 50_000), many(field(4, nil), 50_000), many(field(200, nil), 50_000),
		many(field(5, field(5, slices.Repeat([]byte{0x32, 0}, 50_000))), 1), // a hundred thousand numbers without content
		append(many(input(9223372036854775807, 9223372036854775807), 1), raw...), append(many(input(-1, -1000), 1), raw...),
		append(many(input(4294967296, 4294967296), 1), raw...), append(many(input(slices.Repeat([]int64{1}, 1000)...), 1), raw...),
		append(many(input(0, 1000), 1), field(7, nil)...), append(many(input(1, 1000), 1), slices.Repeat(raw, 2)...), many(input(1, 1000), 1),
		append(many(input(1, 1000), 30), slices.Repeat(raw, 30)...), many(field(3, []byte(strings.Repeat("i", 10_000))), 1),
		many(field(7, make([]byte, soakBodyMax)), 1), // too large
		append(many(input(1, 1000), 1), protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.BytesType), 1<<40)...),
		many(slices.Repeat([]byte{0x2b}, 20_000), 1), // groups in groups
	}
}

func (c *soakClient) hostileCall() int {
	list := hostileMessages()
	at := c.random.IntN(len(list))
	return c.sendBytes(fmt.Sprintf("the hostile message %d", at), list[at], 400, 404, 413, 429, 501)
}

// cutting is a connection that breaks after some number of bytes.
type cutting struct {
	*net.TCPConn
	left int
}

// Write implements net.Conn.
func (c *cutting) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left >= 0 {
		return c.TCPConn.Write(p)
	}
	_, _ = c.TCPConn.Write(p[:max(0, len(p)+c.left)])
	_ = c.SetLinger(0)
	_ = c.Close()
	return 0, net.ErrClosed
}

// callCutOff has the connection break in a call or a stream.
func (c *soakClient) callCutOff() int {
	after := c.random.IntN(10_000)
	dialled := false
	conn := c.connect(grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		if dialled {
			return nil, net.ErrClosed
		}
		dialled = true
		tcp, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return &cutting{tcp.(*net.TCPConn), after}, nil
	}))
	whole := c.conn
	c.conn = conn
	defer func() {
		_ = conn.Close() // fails only the second time
		c.conn = whole
	}()
	ctx, cancel := c.wireContext(time.Second)
	defer cancel()
	if c.chance(50) {
		_, _ = c.streamed(ctx, c.questions(10), 10) // any result is fine
		return 0
	}
	_, _ = inference.NewGRPCInferenceServiceClient(conn).ModelInfer(ctx, c.message(c.ask())) // the same
	return 0
}

func (c *soakClient) lookUpCall() int {
	ctx, cancel := c.wireContext(wireMax)
	defer cancel()
	calls := inference.NewGRPCInferenceServiceClient(c.grpcConn())
	var err error
	switch c.random.IntN(6) {
	case 0:
		_, err = calls.ServerReady(ctx, &inference.ServerReadyRequest{})
	case 1:
		_, err = calls.ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: "scene"})
	case 2:
		_, err = calls.ModelConfig(ctx, &inference.ModelConfigRequest{Name: "numbers", Version: "1"})
	case 3:
		_, err = calls.ModelStatistics(ctx, &inference.ModelStatisticsRequest{})
	case 4:
		_, err = calls.RepositoryIndex(ctx, &inference.RepositoryIndexRequest{})
	case 5:
		_, err = grpc_health_v1.NewHealthClient(c.grpcConn()).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	}
	if err != nil {
		c.fail("gRPC: a look: %v", err)
	}
	return statusOf(err, nil)
}

// elsewhereCall asks for things that do not exist.
func (c *soakClient) elsewhereCall() int {
	ctx, cancel := c.wireContext(wireMax)
	defer cancel()
	calls := inference.NewGRPCInferenceServiceClient(c.grpcConn())
	var err error
	want := codes.NotFound
	switch c.random.IntN(4) {
	case 0:
		_, err = calls.ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: "nosuch"})
	case 1:
		_, err = calls.ModelInfer(ctx, &inference.ModelInferRequest{ModelName: "bytes", ModelVersion: strconv.Itoa(2 + c.random.IntN(9))})
	case 2:
		_, err = calls.RepositoryModelLoad(ctx, &inference.RepositoryModelLoadRequest{ModelName: "../numbers"})
	case 3:
		err = c.grpcConn().Invoke(ctx, "/inference.GRPCInferenceService/NoSuch", &inference.ServerLiveRequest{}, &inference.ServerLiveResponse{})
		want = codes.Unimplemented
	}
	if grpcstatus.Code(err) != want {
		c.fail("gRPC: what is not there is answered %v, not %v", err, want)
	}
	return statusOf(err, nil)
}
