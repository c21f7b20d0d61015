package api

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// GRPC makes the server of everything over gRPC: inference, health and reflection.
// Options are for what the listener needs, such as TLS.
func (a *API) GRPC(options ...grpc.ServerOption) *grpc.Server {
	options = append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(int(min(a.cfg.BodyBytesMax, math.MaxInt32))),
		grpc.MaxSendMsgSize(math.MaxInt32), // answers are the models'
		grpc.MaxConcurrentStreams(uint32(a.cfg.MessagesMax)),
		grpc.MaxHeaderListSize(uint32(a.cfg.HeaderBytesMax)),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTime, Time: pingEvery, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingMin, PermitWithoutStream: true}),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.InTapHandle(a.expect),
		grpc.UnaryInterceptor(a.unary),
		grpc.StreamInterceptor(a.stream),
	}, options...)
	s := grpc.NewServer(options...)
	s.RegisterService(description(), &service{api: a})
	grpc_health_v1.RegisterHealthServer(s, a.health)
	reflection.Register(s)
	return s
}

// What a connection may do without saying anything. Clients that ping more often
// than pingMin are cut off; perf_analyzer and proxies ping every few seconds.
const (
	handshakeTime = 10 * time.Second
	idleTime      = 15 * time.Minute
	pingEvery     = 1 * time.Minute
	pingTimeout   = 20 * time.Second
	pingMin       = 1 * time.Second
)

// tellHealth tells the health service whether the server is ready.
func (a *API) tellHealth() {
	a.telling.Lock()
	defer a.telling.Unlock()
	s := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if a.ready() {
		s = grpc_health_v1.HealthCheckResponse_SERVING
	}
	a.health.SetServingStatus("", s)
	a.health.SetServingStatus(inference.GRPCInferenceService_ServiceDesc.ServiceName, s)
}

// expectation is of a request that is to come.
type expectation struct {
	timer    *time.Timer // until when
	line     *line       // over which
	given    sync.Once
	watching func() bool // ends the watch for a call that ends before its request has come
}

// end says that the request has come whole, with so many bytes, or never will.
func (e *expectation) end(size int64, whole bool) {
	e.given.Do(func() {
		e.timer.Stop()
		e.line.taken(size, whole)
	})
}

type expectationKey struct{}

// expect begins a request: its message must come within a time, so that clients
// that send little by little cannot hold memory and streams for ever.
func (a *API) expect(ctx context.Context, _ *tap.Info) (context.Context, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	e := &expectation{line: a.lineOf(ctx), timer: time.AfterFunc(a.cfg.ReceiveTime, func() { cancel(errSlow) })}
	e.line.begin()
	e.watching = context.AfterFunc(ctx, func() { e.end(0, false) })
	return hurried{context.WithValue(ctx, expectationKey{}, e)}, nil
}

// hurried is the context of a request that is to come: of its error grpc makes the
// status of one that has not.
type hurried struct{ context.Context }

// Err implements context.Context.
func (h hurried) Err() error {
	if errors.Is(context.Cause(h.Context), errSlow) {
		return context.DeadlineExceeded
	}
	return h.Context.Err()
}

var errSlow = slo.E("", slo.KindDeadlineExceeded, "the request took too long to come")

// came ends the expectation: the request is there. It returns the line of the call.
func came(ctx context.Context, request any) *line {
	e, ok := ctx.Value(expectationKey{}).(*expectation)
	if !ok {
		return nil
	}
	e.watching()
	e.end(messageBytes(request), true)
	return e.line
}

// roles of the calls, by the last part of their names; what is not listed, as all
// of the health and reflection services, is public.
var roles = map[string]access.Role{
	"ServerLive": access.Public, "ServerReady": access.Public,
	"ServerMetadata": access.Infer, "ModelReady": access.Infer, "ModelMetadata": access.Infer, "ModelInfer": access.Infer,
	"ModelStreamInfer": access.Infer, "ModelConfig": access.Infer, "ModelStatistics": access.Infer, "RepositoryIndex": access.Infer,
	"RepositoryModelLoad": access.Admin, "RepositoryModelUnload": access.Admin,
}

// roleOf is what a call needs. A call of the protocol that has no role is for
// nobody.
func roleOf(method string) access.Role {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if service == inference.GRPCInferenceService_ServiceDesc.ServiceName {
		return roles[name]
	}
	return access.Public
}

// keys finds metadata by the names of HTTP headers.
type keys metadata.MD

// Get implements access.Header.
func (k keys) Get(name string) string {
	if values := k.Values(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Values implements access.Header.
func (k keys) Values(name string) []string {
	var room [64]byte
	lower := append(room[:0], name...)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return k[string(lower)]
}

// call is what is known of a caller over gRPC.
type call struct {
	access.Caller
	header keys
	remote string
}

type callKey struct{}

// callOf is what admit found out.
func callOf(ctx context.Context) call {
	c, _ := ctx.Value(callKey{}).(call)
	return c
}

// admit lets a caller in who may make the call.
func (a *API) admit(ctx context.Context, method string) (context.Context, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c := call{header: keys(md)}
	var at netip.AddrPort
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		c.remote = p.Addr.String()
		at, _ = netip.ParseAddrPort(c.remote)
	}
	var err error
	c.Caller, err = a.guard.Check(roleOf(method), access.Peer{Remote: at, Host: c.header.Get(":authority"), Header: c.header})
	return context.WithValue(ctx, callKey{}, c), err
}

// unary surrounds every call that is answered once.
func (a *API) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (answer any, err error) {
	came(ctx, request)
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, a.panicked(info.FullMethod, p)
		}
		if err != nil {
			answer, err = nil, a.refuse(ctx, info.FullMethod, err)
		}
	}()
	if ctx, err = a.admit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

// stream surrounds every call of many messages.
func (a *API) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	line := came(s.Context(), nil) // what comes over it, comes message by message
	defer func() {
		if p := recover(); p != nil {
			err = a.panicked(info.FullMethod, p)
		}
		if err != nil {
			err = a.refuse(s.Context(), info.FullMethod, err)
		}
	}()
	ctx, err := a.admit(s.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return handle(srv, &admitted{ServerStream: s, ctx: ctx, line: line})
}

// admitted is a stream whose caller is known.
type admitted struct {
	grpc.ServerStream
	ctx  context.Context
	line *line
}

// RecvMsg implements grpc.ServerStream.
func (s *admitted) RecvMsg(m any) error {
	s.line.begin()
	err := s.ServerStream.RecvMsg(m)
	s.line.taken(messageBytes(m), err == nil)
	return err
}

// Context implements grpc.ServerStream.
func (s *admitted) Context() context.Context { return s.ctx }

// panicked notes a defect; the server lives on.
func (a *API) panicked(method string, p any) error {
	id := incident()
	a.log.Error("panic", "incident", id, "method", method, "panic", p, "stack", string(debug.Stack()))
	return defect(id)
}

// refuse makes a status of an error, with the facts as trailers. What is a status
// already (of health, of reflection, of the transport) stays what it is.
func (a *API) refuse(ctx context.Context, method string, err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	f := failureOf(err)
	a.logFailure(ctx, f, err, "method", method, "code", f.code.String())
	trailer := metadata.MD{}
	if f.retry > 0 {
		trailer.Set(oip.HeaderRetryAfter, strconv.FormatInt(f.body.RetryAfterMS, 10))
	}
	if f.body.BestAccuracy != nil {
		trailer.Set(oip.HeaderBestAccuracy, strconv.FormatFloat(*f.body.BestAccuracy, 'f', -1, 64))
	}
	if f.body.Job != "" {
		trailer.Set(oip.HeaderJob, f.body.Job)
	}
	if len(trailer) > 0 {
		_ = grpc.SetTrailer(ctx, trailer) // fails only when the call is over
	}
	return status.Error(f.code, f.body.Error)
}

// service is the protocol's calls.
type service struct {
	inference.UnimplementedGRPCInferenceServiceServer
	api *API
}

// ServerLive implements the protocol.
func (s *service) ServerLive(context.Context, *inference.ServerLiveRequest) (*inference.ServerLiveResponse, error) {
	return &inference.ServerLiveResponse{Live: !s.api.dead.Load()}, nil
}

// ServerReady implements the protocol.
func (s *service) ServerReady(context.Context, *inference.ServerReadyRequest) (*inference.ServerReadyResponse, error) {
	return &inference.ServerReadyResponse{Ready: s.api.ready()}, nil
}

// ModelReady implements the protocol.
func (s *service) ModelReady(_ context.Context, q *inference.ModelReadyRequest) (*inference.ModelReadyResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	ready, err := b.modelIsReady(q.GetName(), q.GetVersion())
	return &inference.ModelReadyResponse{Ready: ready && s.api.ready()}, err
}

// ServerMetadata implements the protocol.
func (s *service) ServerMetadata(context.Context, *inference.ServerMetadataRequest) (*inference.ServerMetadataResponse, error) {
	return inference.EncodeServerMetadata(s.api.describeServer()), nil
}

// ModelMetadata implements the protocol.
func (s *service) ModelMetadata(_ context.Context, q *inference.ModelMetadataRequest) (*inference.ModelMetadataResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	answer, err := b.describeModel(q.GetName(), q.GetVersion())
	if err != nil {
		return nil, err
	}
	return inference.EncodeModelMetadata(answer), nil
}

// ModelConfig implements Triton's extension.
func (s *service) ModelConfig(_ context.Context, q *inference.ModelConfigRequest) (*inference.ModelConfigResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	answer, err := b.configure(q.GetName(), q.GetVersion())
	if err != nil {
		return nil, err
	}
	return &inference.ModelConfigResponse{Config: inference.EncodeModelConfig(answer)}, nil
}

// ModelStatistics implements Triton's extension.
func (s *service) ModelStatistics(_ context.Context, q *inference.ModelStatisticsRequest) (*inference.ModelStatisticsResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	answer, err := b.statistics(q.GetName(), q.GetVersion())
	if err != nil {
		return nil, err
	}
	return inference.EncodeStatistics(answer), nil
}

// RepositoryIndex implements Triton's extension.
func (s *service) RepositoryIndex(_ context.Context, q *inference.RepositoryIndexRequest) (*inference.RepositoryIndexResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	return inference.EncodeRepositoryIndex(b.listed(q.GetReady())), nil
}

// named is the model of a request to load or unload one, in both dialects.
func named(q interface {
	GetRepositoryName() string
	GetModelName() string
}) string {
	if name := q.GetModelName(); name != "" {
		return name
	}
	return q.GetRepositoryName()
}

// RepositoryModelLoad implements Triton's and KServe's extension.
func (s *service) RepositoryModelLoad(_ context.Context, q *inference.RepositoryModelLoadRequest) (*inference.RepositoryModelLoadResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	if err := noOverrides(len(q.GetParameters())); err != nil {
		return nil, err
	}
	if err := b.models.Load(named(q)); err != nil {
		return nil, err
	}
	return &inference.RepositoryModelLoadResponse{ModelName: named(q), IsLoaded: true}, nil
}

// RepositoryModelUnload implements Triton's and KServe's extension.
func (s *service) RepositoryModelUnload(_ context.Context, q *inference.RepositoryModelUnloadRequest) (*inference.RepositoryModelUnloadResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	if err := b.models.Unload(named(q)); err != nil {
		return nil, err
	}
	return &inference.RepositoryModelUnloadResponse{ModelName: named(q), IsUnloaded: true}, nil
}

// call answers ModelInfer.
func (s *service) call(ctx context.Context, f *frame) (_ *inference.ModelInferResponse, err error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	t := s.api.trace(ctx, callOf(ctx).header, b.engine.Now())
	defer func() { t.end(err) }()
	answer, err := s.infer(ctx, b, f, new(inference.ModelInferRequest), t)
	if err != nil {
		return nil, err
	}
	md := make(metadata.MD, len(answer.Parameters))
	for _, p := range answer.Parameters {
		if key := factKeys[p.Name]; key != "" && mirrored(p) {
			md[key] = []string{p.Value.Text()}
		}
	}
	if err := grpc.SetHeader(ctx, md); err != nil {
		s.api.log.Debug("answer not sent", "error", err)
	}
	return encode(answer)
}

// infer runs one message, of a call or of a stream, which it decodes into q; t is its
// trace, nil for none.
func (s *service) infer(ctx context.Context, b *backend, f *frame, q *inference.ModelInferRequest, t *tracing) (oip.Response, error) {
	c := callOf(ctx)
	from := origin{arrived: b.engine.Now(), header: c.header, client: s.api.client(c.header, c.Caller, c.remote), trace: t}
	from.deadline, _ = ctx.Deadline()
	x := newExchange(&s.api.bodies)
	defer x.release()
	if err := f.decode(q, x, s.api.cfg.Tensors); err != nil {
		return oip.Response{}, err
	}
	t.of(q.GetModelName())
	l, err := b.engine.Use(q.GetModelName(), q.GetModelVersion())
	if err != nil {
		return oip.Response{}, err
	}
	defer l.Release()
	if err := undecodable(inference.DecodeRequest(&x.request, q, s.api.cfg.Tensors)); err != nil {
		return oip.Response{}, err
	}
	q.Inputs, q.RawInputContents = nil, nil // the tensors have what is needed
	x.hold(dataBytes(x.request.Inputs) - x.reserved)
	answer, _, err := s.api.run(ctx, x, l, from)
	return answer, err
}

// encode makes a message of an answer. Fractions go as strings: the messages of
// some clients have no field for numbers that are not whole, and all read those.
func encode(answer oip.Response) (*inference.ModelInferResponse, error) {
	for i, p := range answer.Parameters {
		switch p.Name {
		case "expected_accuracy", "min_accuracy", "deadline_ms":
			answer.Parameters[i].Value = oip.String(p.Value.Text())
		}
	}
	m := new(inference.ModelInferResponse)
	if err := inference.EncodeResponse(m, &answer); err != nil {
		return nil, slo.E("encode the answer", slo.KindInternal, "%w", err)
	}
	return m, nil
}

// factKeys are factHeaders as metadata has them.
var factKeys = func() map[string]string {
	lower := map[string]string{}
	for name, header := range factHeaders {
		lower[name] = strings.ToLower(header)
	}
	return lower
}()

// stream answers ModelStreamInfer, Triton's extension: requests one after the other,
// answered in their order, while up to so many are under way. One that fails is
// answered with its error and the stream goes on.
func (s *service) stream(stream grpc.ServerStream) error {
	b, err := s.api.current()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	answers := make(chan chan *inference.ModelStreamInferResponse, s.api.cfg.StreamWindow)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for answer := range answers {
			if m := <-answer; ctx.Err() == nil {
				if err := stream.SendMsg(m); err != nil {
					cancel(err) // what is under way is given up
				}
			}
		}
	}()
	for err == nil && ctx.Err() == nil {
		f := new(frame)
		if err = stream.RecvMsg(f); err != nil {
			break
		}
		answer := make(chan *inference.ModelStreamInferResponse, 1)
		answers <- answer // waits while the window is full
		go func() { answer <- s.streamed(ctx, b, f) }()
	}
	close(answers)
	<-sent
	if cause := context.Cause(ctx); cause != nil {
		return slo.E("", slo.KindCancelled, "the stream was given up: %w", cause)
	}
	return ended(err)
}

// finalAsked is the parameter by which Triton's clients ask that an answer says
// whether it is the last to its request, and finalTold how it says so.
const finalAsked, finalTold = "triton_enable_empty_final_response", "triton_final_response"

// streamed answers one request of a stream.
func (s *service) streamed(ctx context.Context, b *backend, f *frame) (m *inference.ModelStreamInferResponse) {
	m = new(inference.ModelStreamInferResponse)
	var answer oip.Response
	q := new(inference.ModelInferRequest)
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = s.api.panicked("ModelStreamInfer", p)
			}
		}()
		t := s.api.trace(ctx, callOf(ctx).header, b.engine.Now())
		defer func() { t.end(err) }()
		if answer, err = s.infer(ctx, b, f, q, t); err == nil {
			m.InferResponse, err = encode(answer)
		}
		return err
	}()
	if err != nil {
		m.ErrorMessage, m.InferResponse = failed(q, failureOf(err))
	}
	if q.GetParameters()[finalAsked].GetBoolParam() {
		if m.InferResponse.Parameters == nil {
			m.InferResponse.Parameters = map[string]*inference.InferParameter{}
		}
		m.InferResponse.Parameters[finalTold] = &inference.InferParameter{ParameterChoice: &inference.InferParameter_BoolParam{BoolParam: true}}
	}
	return m
}

// failed says in a stream what went wrong with a request, and which it was.
func failed(q *inference.ModelInferRequest, f failure) (string, *inference.ModelInferResponse) {
	m := &inference.ModelInferResponse{ModelName: q.GetModelName(), ModelVersion: q.GetModelVersion(), Id: q.GetId()}
	number := func(v int64) *inference.InferParameter {
		return &inference.InferParameter{ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: v}}
	}
	text := func(v string) *inference.InferParameter {
		return &inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: v}}
	}
	m.Parameters = map[string]*inference.InferParameter{"status": number(int64(f.status))}
	if f.retry > 0 {
		m.Parameters["retry_after_ms"] = number(f.body.RetryAfterMS)
	}
	if f.body.BestAccuracy != nil {
		m.Parameters["best_accuracy"] = text(strconv.FormatFloat(*f.body.BestAccuracy, 'f', -1, 64))
	}
	if f.body.Job != "" {
		m.Parameters["job"] = text(f.body.Job)
	}
	return f.body.Error, m
}
