package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
	"github.com/mosel-serve/mosel/tensor"
)

// fake is a server of the protocol, over REST and over gRPC, that leaves to its test
// what it answers.
type fake struct {
	inference.UnimplementedGRPCInferenceServiceServer
	t      testing.TB
	infer  func(c call) (oip.Response, *client.Error)
	admin  func(what, model string) *client.Error
	labels func(model, version string, records []oip.Feedback) (oip.FeedbackResult, *client.Error)
	ready  bool
	down   bool // ready answers 503
	models []oip.RepositoryEntry
	model  oip.ModelMetadata
}

// call is an inference request as the server sees it.
type call struct {
	ctx            context.Context
	model, version string
	token, key     string
	remaining      time.Duration // until the deadline of the connection, which only gRPC has; 0: none
	q              *oip.Request
}

// echo answers with the inputs, as soon as it is asked.
func echo(c call) (oip.Response, *client.Error) {
	return oip.Response{ModelName: c.model, ModelVersion: c.version, ID: c.q.ID, Outputs: c.q.Inputs}, nil
}

// notFound answers for every model but one.
func (f *fake) notFound(model string) *client.Error {
	if model != f.model.Name {
		return &client.Error{Status: http.StatusNotFound, Message: "no model " + strconv.Quote(model)}
	}
	return nil
}

// transports lists the ways to a server; start makes it listen and returns the
// address.
var transports = []struct {
	name  string
	start func(t testing.TB, f *fake) (addr string)
}{{"REST", startREST}, {"gRPC", startGRPC}}

// over runs a test over each transport, with a client of a server that answers by f.
func over(t *testing.T, f *fake, opts client.Options, test func(t *testing.T, c *client.Client)) {
	t.Helper()
	for _, way := range transports {
		t.Run(way.name, func(t *testing.T) {
			mine := &fake{t: t, infer: f.infer, admin: f.admin, labels: f.labels, ready: f.ready, down: f.down, models: f.models, model: f.model}
			opts.GRPC = clientgrpc.Dial
			c, err := client.New(way.start(t, mine), opts)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			test(t, c)
		})
	}
}

func startREST(t testing.TB, f *fake) string {
	f.t = t
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

func startGRPC(t testing.TB, f *fake) string {
	t.Helper()
	return "grpc://" + listenGRPC(t, f)
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

// ServeHTTP is the server over REST.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(r.URL.EscapedPath(), "/")[2:]
	for i, segment := range path {
		path[i], _ = url.PathUnescape(segment)
	}
	what := r.Method + " " + strings.Join(path, " ")
	var answer any
	var failure *client.Error
	switch {
	case what == "GET " && len(path) == 0:
		answer = oip.ServerMetadata{Name: "mosel", Version: "1"}
	case what == "GET health ready":
		if answer = (oip.ServerReady{Ready: f.ready}); f.down || !f.ready {
			failure = &client.Error{Status: http.StatusServiceUnavailable, Message: "not yet"}
		}
	case what == "POST repository index":
		answer = f.models
	case r.Method == "POST" && len(path) == 4 && path[0] == "repository":
		failure = f.admin(path[3], path[2])
	case r.Method == "GET" && len(path) == 2:
		answer, failure = f.model, f.notFound(path[1])
	case r.Method == "GET" && len(path) == 4 && path[2] == "versions":
		answer, failure = f.describe(path[3]), f.notFound(path[1])
	case r.Method == "POST" && path[len(path)-1] == "infer":
		f.inferREST(w, r, path)
		return
	case r.Method == "POST" && path[len(path)-1] == "feedback":
		answer, failure = f.labelsREST(r, path)
	default:
		f.t.Errorf("%s", what)
	}
	if failure != nil {
		sendError(w, failure)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (f *fake) labelsREST(r *http.Request, path []string) (oip.FeedbackResult, *client.Error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Error(err)
	}
	records, err := oip.DecodeFeedback(body)
	if err != nil {
		return oip.FeedbackResult{}, &client.Error{Status: http.StatusBadRequest, Message: err.Error()}
	}
	version := ""
	if len(path) == 5 {
		version = path[3]
	}
	return f.labels(path[1], version, records)
}

func (f *fake) inferREST(w http.ResponseWriter, r *http.Request, path []string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // given up
	}
	n, err := strconv.Atoi(r.Header.Get(oip.HeaderLength))
	if err != nil {
		f.t.Error(err)
	}
	c := call{ctx: r.Context(), model: path[1], token: r.Header.Get("Authorization"), key: r.Header.Get(oip.HeaderClient), q: &oip.Request{}}
	if len(path) == 5 {
		c.version = path[3]
	}
	if err := c.q.Decode(body, n, oip.DefaultLimits()); err != nil {
		f.t.Error(err)
	}
	answer, failure := f.infer(c)
	if failure != nil {
		sendError(w, failure)
		return
	}
	send(f.t, w, answer)
}

// send sends a response in binary form.
func send(t testing.TB, w http.ResponseWriter, p oip.Response) {
	body, n, err := p.Append(nil, slices.Repeat([]oip.Form{oip.Binary}, len(p.Outputs)))
	if err != nil {
		t.Error(err)
	}
	if n != oip.AllJSON {
		w.Header().Set(oip.HeaderLength, strconv.Itoa(n))
	}
	w.Write(body)
}

func sendError(w http.ResponseWriter, e *client.Error) {
	words := oip.ErrorBody{Error: e.Message, RetryAfterMS: e.RetryAfter.Milliseconds(), Job: e.Job}
	if e.BestAccuracy > 0 {
		words.BestAccuracy = &e.BestAccuracy
	}
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(words)
}

// grpcCodes are the codes that the server answers with in place of a status.
var grpcCodes = map[int]codes.Code{400: codes.InvalidArgument, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 404: codes.NotFound,
	413: codes.ResourceExhausted, 422: codes.FailedPrecondition, 429: codes.ResourceExhausted, 499: codes.Canceled, 500: codes.Internal,
	501: codes.Unimplemented, 503: codes.Unavailable, 504: codes.DeadlineExceeded}

// fail sends an error over gRPC, with its facts in the trailer.
func fail(ctx context.Context, e *client.Error) error {
	if e == nil {
		return nil
	}
	trailer := metadata.MD{}
	if e.RetryAfter > 0 {
		trailer.Set(oip.HeaderRetryAfter, strconv.FormatInt(e.RetryAfter.Milliseconds(), 10))
	}
	if e.BestAccuracy > 0 {
		trailer.Set(oip.HeaderBestAccuracy, strconv.FormatFloat(e.BestAccuracy, 'g', -1, 64))
	}
	if e.Job != "" {
		trailer.Set(oip.HeaderJob, e.Job)
	}
	if err := grpc.SetTrailer(ctx, trailer); err != nil {
		return err
	}
	return status.Error(grpcCodes[e.Status], e.Message)
}

// received reads a request of gRPC.
func (f *fake) received(ctx context.Context, m *inference.ModelInferRequest) (oip.Response, *client.Error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c := call{ctx: ctx, model: m.GetModelName(), version: m.GetModelVersion(), q: &oip.Request{}}
	c.token = strings.Join(md.Get("authorization"), "")
	c.key = strings.Join(md.Get(oip.HeaderClient), "")
	if end, ok := ctx.Deadline(); ok {
		c.remaining = time.Until(end)
	}
	if err := inference.DecodeRequest(c.q, m, oip.DefaultLimits()); err != nil {
		return oip.Response{}, &client.Error{Status: http.StatusBadRequest, Message: err.Error()}
	}
	return f.infer(c)
}

func (f *fake) ModelInfer(ctx context.Context, m *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	p, failure := f.received(ctx, m)
	if failure != nil {
		return nil, fail(ctx, failure)
	}
	var answer inference.ModelInferResponse
	return &answer, inference.EncodeResponse(&answer, &p)
}

func (f *fake) ModelStreamInfer(s inference.GRPCInferenceService_ModelStreamInferServer) error {
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p, failure := f.received(s.Context(), m)
		answer := &inference.ModelStreamInferResponse{InferResponse: &inference.ModelInferResponse{}}
		if failure != nil {
			p = oip.Response{ID: m.GetId(), Parameters: oip.Parameters{{Name: "status", Value: oip.Int(int64(failure.Status))},
				{Name: "retry_after_ms", Value: oip.Int(failure.RetryAfter.Milliseconds())},
				{Name: "best_accuracy", Value: oip.Float(failure.BestAccuracy)}, {Name: "job", Value: oip.String(failure.Job)}}}
			answer.ErrorMessage = failure.Message
		}
		if err := inference.EncodeResponse(answer.InferResponse, &p); err != nil {
			return err
		}
		if err := s.Send(answer); err != nil {
			return err
		}
	}
}

func (f *fake) ServerReady(ctx context.Context, _ *inference.ServerReadyRequest) (*inference.ServerReadyResponse, error) {
	if f.down {
		return nil, fail(ctx, &client.Error{Status: http.StatusServiceUnavailable, Message: "not yet"})
	}
	return &inference.ServerReadyResponse{Ready: f.ready}, nil
}

func (f *fake) ServerMetadata(context.Context, *inference.ServerMetadataRequest) (*inference.ServerMetadataResponse, error) {
	return inference.EncodeServerMetadata(oip.ServerMetadata{Name: "mosel", Version: "1"}), nil
}

func (f *fake) ModelMetadata(ctx context.Context, m *inference.ModelMetadataRequest) (*inference.ModelMetadataResponse, error) {
	return inference.EncodeModelMetadata(f.describe(m.GetVersion())), fail(ctx, f.notFound(m.GetName()))
}

// describe is the model as a version of it is described; "" is whichever is served.
func (f *fake) describe(version string) oip.ModelMetadata {
	m := f.model
	if version != "" {
		m.Versions = []string{version}
	}
	return m
}

func (f *fake) ModelFeedback(ctx context.Context, m *inference.ModelFeedbackRequest) (*inference.ModelFeedbackResponse, error) {
	records, err := inference.DecodeFeedback(m)
	if err != nil {
		return nil, fail(ctx, &client.Error{Status: http.StatusBadRequest, Message: err.Error()})
	}
	result, failure := f.labels(m.GetModelName(), m.GetModelVersion(), records)
	return inference.EncodeFeedbackResult(result), fail(ctx, failure)
}

func (f *fake) RepositoryIndex(context.Context, *inference.RepositoryIndexRequest) (*inference.RepositoryIndexResponse, error) {
	return inference.EncodeRepositoryIndex(f.models), nil
}

func (f *fake) RepositoryModelLoad(ctx context.Context, m *inference.RepositoryModelLoadRequest) (*inference.RepositoryModelLoadResponse, error) {
	return &inference.RepositoryModelLoadResponse{}, fail(ctx, f.admin("load", m.GetModelName()))
}

func (f *fake) RepositoryModelUnload(ctx context.Context, m *inference.RepositoryModelUnloadRequest) (*inference.RepositoryModelUnloadResponse, error) {
	return &inference.RepositoryModelUnloadResponse{}, fail(ctx, f.admin("unload", m.GetModelName()))
}

func pixels(n int) tensor.Tensor {
	return tensor.Tensor{Name: "image", DType: tensor.Uint8, Shape: tensor.Shape{int64(n), 2}, Data: make([]byte, 2*n)}
}
