// Package clientgrpc connects the SDK to a server over gRPC. It is a package of its own
// so that programs that use REST only do not contain gRPC. Its one function is [Dial]:
//
//	c, err := client.New("grpc://localhost:8001", client.Options{GRPC: clientgrpc.Dial})
//
// Requests, answers, streams and errors are those of package client.
package clientgrpc

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// wire talks to a server in the protocol's gRPC messages, over one connection.
type wire struct {
	conn   *grpc.ClientConn
	calls  inference.GRPCInferenceServiceClient
	target string
}

const (
	connectTimeout = 10 * time.Second
	// reconnectMax bounds the wait between attempts to connect, so that a server that
	// has restarted is found soon.
	reconnectMax = 5 * time.Second
)

// Dial makes a client of a server at host:port, for client.Options.GRPC. All calls share
// one connection, which is opened when the first call needs it and again when it breaks.
// It uses TLS if opts.TLS is not nil.
func Dial(target string, opts client.Options) (client.Wire, error) {
	t := &wire{target: target}
	security := insecure.NewCredentials()
	if opts.TLS != nil {
		security = credentials.NewTLS(opts.TLS.Clone())
	}
	wait := backoff.DefaultConfig
	wait.BaseDelay, wait.MaxDelay = reconnectMax/50, reconnectMax
	var err error
	t.conn, err = grpc.NewClient("dns:///"+target,
		grpc.WithTransportCredentials(security),
		grpc.WithPerRPCCredentials(newCredential(opts)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: wait, MinConnectTimeout: connectTimeout}),
		grpc.WithDisableServiceConfig(), // no settings of calls from a name server
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(int(min(opts.ResponseBytesMax, math.MaxInt))),
			grpc.MaxCallSendMsgSize(math.MaxInt))) // no bound: the caller has the request in memory already
	if err != nil {
		return nil, fmt.Errorf("server address %s: %w", target, err)
	}
	t.calls = inference.NewGRPCInferenceServiceClient(t.conn)
	return t, nil
}

// credential is the metadata of every call. client.New has checked whether a token may
// be sent over the connection.
type credential map[string]string

func newCredential(opts client.Options) credential {
	c := credential{}
	if opts.Token != "" {
		c["authorization"] = "Bearer " + opts.Token
	}
	if opts.ClientKey != "" {
		c[strings.ToLower(oip.HeaderClient)] = opts.ClientKey
	}
	return c
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c credential) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return c, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. client.New has
// checked it.
func (c credential) RequireTransportSecurity() bool { return false }

// Close closes the connection.
func (t *wire) Close() { _ = t.conn.Close() } // fails only the second time

// Ready reports whether the server takes requests.
func (t *wire) Ready(ctx context.Context) (bool, error) {
	answer, err := invoke(ctx, t, t.calls.ServerReady, &inference.ServerReadyRequest{})
	return answer.GetReady(), err
}

// Server says which server this is.
func (t *wire) Server(ctx context.Context) (oip.ServerMetadata, error) {
	answer, err := invoke(ctx, t, t.calls.ServerMetadata, &inference.ServerMetadataRequest{})
	return inference.DecodeServerMetadata(answer), err
}

// Models lists the models.
func (t *wire) Models(ctx context.Context) ([]oip.RepositoryEntry, error) {
	answer, err := invoke(ctx, t, t.calls.RepositoryIndex, &inference.RepositoryIndexRequest{})
	return inference.DecodeRepositoryIndex(answer), err
}

// Metadata describes a model.
func (t *wire) Metadata(ctx context.Context, model, version string) (oip.ModelMetadata, error) {
	answer, err := invoke(ctx, t, t.calls.ModelMetadata, &inference.ModelMetadataRequest{Name: model, Version: version})
	return inference.DecodeModelMetadata(answer), err
}

// Load loads a model, or loads it again.
func (t *wire) Load(ctx context.Context, model string) error {
	_, err := invoke(ctx, t, t.calls.RepositoryModelLoad, &inference.RepositoryModelLoadRequest{ModelName: model})
	return err
}

// Unload unloads a model.
func (t *wire) Unload(ctx context.Context, model string) error {
	_, err := invoke(ctx, t, t.calls.RepositoryModelUnload, &inference.RepositoryModelUnloadRequest{ModelName: model})
	return err
}

// Feedback gives labels.
func (t *wire) Feedback(ctx context.Context, model, version string, records []oip.Feedback) (oip.FeedbackResult, error) {
	answer, err := invoke(ctx, t, t.calls.ModelFeedback, inference.EncodeFeedback(model, version, records))
	return inference.DecodeFeedbackResult(answer), err
}

// Infer sends a request. gRPC sends the deadline of ctx along.
func (t *wire) Infer(ctx context.Context, model, version string, q *oip.Request) (*oip.Response, error) {
	m, err := newMessage(model, version, q)
	if err != nil {
		return nil, err
	}
	defer discardMessage(m)
	got, err := invoke(ctx, t, t.calls.ModelInfer, m)
	if err != nil {
		return nil, err
	}
	return readMessage(got)
}

// invoke makes a call of the service.
func invoke[Q, A any](ctx context.Context, t *wire, call func(context.Context, Q, ...grpc.CallOption) (A, error), question Q) (A, error) {
	var h heard
	answer, err := call(ctx, question, grpc.Header(&h.header), grpc.Trailer(&h.trailer))
	if err != nil {
		err = t.failure(ctx, err, h)
	}
	return answer, err
}

// messages are gRPC's requests, for reuse. gRPC has encoded a request before it waits for
// the answer.
var messages = sync.Pool{New: func() any { return new(inference.ModelInferRequest) }}

// newMessage writes a request into a message.
func newMessage(model, version string, q *oip.Request) (*inference.ModelInferRequest, error) {
	m := messages.Get().(*inference.ModelInferRequest)
	m.ModelName, m.ModelVersion = model, version
	if err := inference.EncodeRequest(m, q); err != nil {
		discardMessage(m)
		return nil, err
	}
	return m, nil
}

// discardMessage puts a message back for reuse, without references to the caller's data.
func discardMessage(m *inference.ModelInferRequest) {
	clear(m.RawInputContents)
	for _, in := range m.Inputs {
		in.Shape = nil
	}
	messages.Put(m)
}

// readMessage reads an answer; its outputs are views of the message, which nobody else
// uses.
func readMessage(m *inference.ModelInferResponse) (*oip.Response, error) {
	answer := new(oip.Response)
	if err := inference.DecodeResponse(answer, m, oip.DefaultLimits()); err != nil {
		return nil, fmt.Errorf("%w: %w", client.ErrAnswer, err)
	}
	return answer, nil
}

// heard is the metadata of an answer.
type heard struct{ header, trailer metadata.MD }

// failure turns the error of a call into the SDK's error.
func (t *wire) failure(ctx context.Context, err error, h heard) error {
	st := status.Convert(err)
	if h.answered(ctx, st) {
		_, shed := first(h.trailer, oip.HeaderRetryAfter)
		e := &client.Error{Status: httpStatus(st.Code(), shed), Message: st.Message()}
		facts(e, h.trailer)
		return e
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if st.Code() == codes.DeadlineExceeded {
		return context.DeadlineExceeded // gRPC saw the end of ctx a moment before ctx did
	}
	if strings.HasPrefix(st.Message(), "grpc: received message ") { // larger than the bound
		return fmt.Errorf("%w: %s", client.ErrAnswer, strings.TrimPrefix(st.Message(), "grpc: "))
	}
	if code, ok := proxyStatus(st.Message()); ok {
		return &client.Error{Status: code, Message: st.Message()}
	}
	return fmt.Errorf("%s: %s", t.target, unwrapped(st.Message()))
}

// unwrapped is the error inside the text that gRPC wraps around errors of connections.
func unwrapped(message string) string {
	if _, inner, ok := strings.Cut(message, `desc = "transport: `); ok {
		return strings.TrimPrefix(strings.TrimSuffix(inner, `"`), "Error while dialing: ")
	}
	return message
}

// answered reports whether a status is from the server. Else gRPC made it on this side,
// because the connection failed or the answer could not be read.
func (h heard) answered(ctx context.Context, st *status.Status) bool {
	if len(h.trailer) > 0 || len(h.header) == 0 {
		return len(h.trailer) > 0
	}
	// The server has begun to answer. Whether the status is its own cannot be seen if
	// there is no trailer, so assume it is unless there is another reason.
	switch {
	case ctx.Err() != nil && (st.Code() == codes.Canceled || st.Code() == codes.DeadlineExceeded):
		return false
	case strings.HasPrefix(st.Message(), "grpc: "), strings.HasPrefix(st.Message(), "error reading from server"):
		return false // the texts of gRPC on this side
	}
	return true
}

// proxyStatus reads the status of an HTTP answer that is not gRPC's, from a proxy or from
// another server.
func proxyStatus(message string) (int, bool) {
	_, rest, ok := strings.Cut(message, "unexpected HTTP status code received from server: ")
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, " ")
	code, err := strconv.Atoi(digits)
	return code, err == nil && code >= http.StatusBadRequest
}

// httpStatus is the status that REST has for a code. RESOURCE_EXHAUSTED has two: with a
// time to retry after, the server is overloaded; without, the request is too large.
func httpStatus(code codes.Code, shed bool) int {
	switch code {
	case codes.InvalidArgument:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.FailedPrecondition:
		return http.StatusUnprocessableEntity
	case codes.ResourceExhausted:
		if shed {
			return http.StatusTooManyRequests
		}
		return http.StatusRequestEntityTooLarge
	case codes.Canceled:
		return oip.StatusClientClosed
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// facts reads the facts about an error from the trailer.
func facts(e *client.Error, trailer metadata.MD) {
	for name, key := range map[string]string{"retry_after_ms": oip.HeaderRetryAfter, "best_accuracy": oip.HeaderBestAccuracy, "job": oip.HeaderJob} {
		if text, ok := first(trailer, key); ok {
			e.SetFact(name, oip.String(text))
		}
	}
}

// first is the first value of a key.
func first(md metadata.MD, key string) (string, bool) {
	values := md.Get(key)
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}
