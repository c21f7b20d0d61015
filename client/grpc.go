package client

import (
	"context"
	"crypto/tls"
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

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// overGRPC talks to a server in the protocol's gRPC messages, over one connection.
type overGRPC struct {
	conn   *grpc.ClientConn
	calls  inference.GRPCInferenceServiceClient
	target string
}

// reconnectMax bounds the wait between attempts to connect, so that a server that
// comes back is found soon.
const reconnectMax = 5 * time.Second

func newGRPC(at address, opts Options) (*overGRPC, error) {
	t := &overGRPC{target: at.target()}
	security := insecure.NewCredentials()
	if at.secure() {
		config := opts.TLS.Clone()
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		security = credentials.NewTLS(config)
	}
	wait := backoff.DefaultConfig
	wait.BaseDelay, wait.MaxDelay = reconnectMax/50, reconnectMax
	var err error
	t.conn, err = grpc.NewClient("dns:///"+t.target,
		grpc.WithTransportCredentials(security),
		grpc.WithPerRPCCredentials(newCredential(opts)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: wait, MinConnectTimeout: connectTimeout}),
		grpc.WithDisableServiceConfig(), // what a call does is the caller's to say, not the name server's
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(int(min(opts.ResponseBytesMax, math.MaxInt))),
			grpc.MaxCallSendMsgSize(math.MaxInt))) // the request is the caller's, who has it in memory
	if err != nil {
		return nil, fmt.Errorf("server address %s: %w", t.target, err)
	}
	t.calls = inference.NewGRPCInferenceServiceClient(t.conn)
	return t, nil
}

// credential is the metadata that goes with every call. Whether a token may travel
// was decided when the client was made.
type credential map[string]string

func newCredential(opts Options) credential {
	c := credential{}
	if opts.Token != "" {
		c["authorization"] = "Bearer " + opts.Token
	}
	if opts.ClientKey != "" {
		c[strings.ToLower(oip.HeaderClient)] = opts.ClientKey
	}
	return c
}

// GetRequestMetadata is the credential.
func (c credential) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return c, nil
}

// RequireTransportSecurity is never: see Options.check.
func (c credential) RequireTransportSecurity() bool { return false }

func (t *overGRPC) close() { _ = t.conn.Close() } // fails only the second time

func (t *overGRPC) ready(ctx context.Context) (bool, error) {
	answer, err := invoke(ctx, t, t.calls.ServerReady, &inference.ServerReadyRequest{})
	return answer.GetReady(), err
}

func (t *overGRPC) server(ctx context.Context) (oip.ServerMetadata, error) {
	answer, err := invoke(ctx, t, t.calls.ServerMetadata, &inference.ServerMetadataRequest{})
	return inference.DecodeServerMetadata(answer), err
}

func (t *overGRPC) models(ctx context.Context) ([]oip.RepositoryEntry, error) {
	answer, err := invoke(ctx, t, t.calls.RepositoryIndex, &inference.RepositoryIndexRequest{})
	return inference.DecodeRepositoryIndex(answer), err
}

func (t *overGRPC) metadata(ctx context.Context, model string) (oip.ModelMetadata, error) {
	answer, err := invoke(ctx, t, t.calls.ModelMetadata, &inference.ModelMetadataRequest{Name: model})
	return inference.DecodeModelMetadata(answer), err
}

func (t *overGRPC) load(ctx context.Context, model string) error {
	_, err := invoke(ctx, t, t.calls.RepositoryModelLoad, &inference.RepositoryModelLoadRequest{ModelName: model})
	return err
}

func (t *overGRPC) unload(ctx context.Context, model string) error {
	_, err := invoke(ctx, t, t.calls.RepositoryModelUnload, &inference.RepositoryModelUnloadRequest{ModelName: model})
	return err
}

// infer sends a request. The deadline of ctx travels with the call by itself.
func (t *overGRPC) infer(ctx context.Context, r *Request) (*Response, error) {
	m, err := newMessage(r)
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
func invoke[Q, A any](ctx context.Context, t *overGRPC, call func(context.Context, Q, ...grpc.CallOption) (A, error), question Q) (A, error) {
	var h heard
	answer, err := call(ctx, question, grpc.Header(&h.header), grpc.Trailer(&h.trailer))
	if err != nil {
		err = t.failure(ctx, err, h)
	}
	return answer, err
}

// messages are gRPC's requests, kept to be filled again. gRPC has turned one into
// bytes before it waits for the answer.
var messages = sync.Pool{New: func() any { return new(inference.ModelInferRequest) }}

// newMessage writes a request into a message.
func newMessage(r *Request) (*inference.ModelInferRequest, error) {
	wire := wires.Get().(*oip.Request)
	defer discard(wire)
	if err := r.message(wire, r.Deadline); err != nil {
		return nil, err
	}
	m := messages.Get().(*inference.ModelInferRequest)
	m.ModelName, m.ModelVersion = r.Model, r.Version
	if err := inference.EncodeRequest(m, wire); err != nil {
		discardMessage(m)
		return nil, err
	}
	return m, nil
}

// discardMessage keeps a message for another use, and nothing of the caller's in it.
func discardMessage(m *inference.ModelInferRequest) {
	clear(m.RawInputContents)
	for _, in := range m.Inputs {
		in.Shape = nil
	}
	messages.Put(m)
}

// readMessage reads an answer; its outputs are views of the message, which is
// nobody else's.
func readMessage(m *inference.ModelInferResponse) (*Response, error) {
	var wire oip.Response
	err := inference.DecodeResponse(&wire, m, oip.DefaultLimits())
	if err == nil {
		var r *Response
		if r, err = newResponse(&wire); err == nil {
			return r, nil
		}
	}
	return nil, fmt.Errorf("the answer is not what the protocol says: %w", err)
}

// heard is what the server sent around its answer to a call.
type heard struct{ header, trailer metadata.MD }

// failure turns the error of a call into what the SDK says.
func (t *overGRPC) failure(ctx context.Context, err error, h heard) error {
	st := status.Convert(err)
	if h.answered(ctx, st) {
		_, shed := first(h.trailer, oip.HeaderRetryAfter)
		e := &Error{Status: httpStatus(st.Code(), shed), Message: st.Message()}
		e.facts(h.trailer)
		return e
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if st.Code() == codes.DeadlineExceeded {
		return context.DeadlineExceeded // gRPC saw the end of ctx a moment before ctx did
	}
	if code, ok := proxyStatus(st.Message()); ok {
		return &Error{Status: code, Message: st.Message()}
	}
	return fmt.Errorf("%s: %s", t.target, unwrapped(st.Message()))
}

// unwrapped is what gRPC was told, without what it says around it.
func unwrapped(message string) string {
	if _, inner, ok := strings.Cut(message, `desc = "transport: `); ok {
		return strings.TrimPrefix(strings.TrimSuffix(inner, `"`), "Error while dialing: ")
	}
	return message
}

// answered reports whether a status was the server's and not made here, for a
// connection that could not be made, broke, or brought what cannot be read.
func (h heard) answered(ctx context.Context, st *status.Status) bool {
	if len(h.trailer) > 0 || len(h.header) == 0 {
		return len(h.trailer) > 0
	}
	// The server has begun to answer. If it also ended, without facts, that leaves no
	// trace; so it did unless there is another reason.
	switch {
	case ctx.Err() != nil && (st.Code() == codes.Canceled || st.Code() == codes.DeadlineExceeded):
		return false
	case strings.HasPrefix(st.Message(), "grpc: "), strings.HasPrefix(st.Message(), "error reading from server"):
		return false // the words of gRPC on this side
	}
	return true
}

// proxyStatus reads the status of an answer that came over HTTP but is not gRPC's:
// of a proxy, or of another server.
func proxyStatus(message string) (int, bool) {
	_, rest, ok := strings.Cut(message, "unexpected HTTP status code received from server: ")
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, " ")
	code, err := strconv.Atoi(digits)
	return code, err == nil && code >= http.StatusBadRequest
}

// httpStatus is what REST would have answered. A server that is out of something
// and says when to come back has too much to do; one that does not was sent too
// much.
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
		return statusCanceled
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

// facts reads what the trailer says of an error.
func (e *Error) facts(trailer metadata.MD) {
	if text, ok := first(trailer, oip.HeaderRetryAfter); ok {
		e.retryAfter(oip.String(text))
	}
	if text, ok := first(trailer, oip.HeaderBestAccuracy); ok {
		e.bestAccuracy(oip.String(text))
	}
	e.Job, _ = first(trailer, oip.HeaderJob)
}

// first is the first value of a key.
func first(md metadata.MD, key string) (string, bool) {
	values := md.Get(key)
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}
