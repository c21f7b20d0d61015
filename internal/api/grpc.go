package api

import (
	"context"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// GRPC returns the server for everything over gRPC: inference, health and reflection.
// options are settings of the listener, such as TLS.
func (a *API) GRPC(options ...grpc.ServerOption) *grpc.Server {
	options = append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(int(min(a.cfg.BodyBytesMax, math.MaxInt32))),
		grpc.MaxSendMsgSize(math.MaxInt32), // the size of answers depends on the models
		grpc.MaxConcurrentStreams(uint32(a.cfg.MessagesMax)),
		grpc.MaxHeaderListSize(uint32(a.cfg.HeaderBytesMax)),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTime, Time: pingEvery, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingMin, PermitWithoutStream: true}),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.InTapHandle(a.awaitMessage),
		grpc.UnaryInterceptor(a.unary),
		grpc.StreamInterceptor(a.stream),
	}, options...)
	s := grpc.NewServer(options...)
	s.RegisterService(description(), &service{api: a})
	grpc_health_v1.RegisterHealthServer(s, a.health)
	reflection.Register(s)
	return s
}

// Time limits of connections. A client that pings more often than every pingMin is
// disconnected; perf_analyzer and proxies ping every few seconds.
const (
	handshakeTime = 10 * time.Second
	idleTime      = 15 * time.Minute
	pingEvery     = 1 * time.Minute
	pingTimeout   = 20 * time.Second
	pingMin       = 1 * time.Second
)

// tellHealth sets the status of the health service.
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

// roles has the roles of the protocol's calls, by the last part of their names.
var roles = map[string]access.Role{
	"ServerLive": access.Public, "ServerReady": access.Public,
	"ServerMetadata": access.Infer, "ModelReady": access.Infer, "ModelMetadata": access.Infer, "ModelInfer": access.Infer,
	"ModelStreamInfer": access.Infer, "ModelConfig": access.Infer, "ModelStatistics": access.Infer, "RepositoryIndex": access.Infer,
	"RepositoryModelLoad": access.Admin, "RepositoryModelUnload": access.Admin,
}

// roleOf returns the role that a call needs. Labels need the configured one. Other
// services, such as health and reflection, are public. Nobody may make a call of the protocol that is not in roles.
func (a *API) roleOf(method string) access.Role {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if method == inference.GRPCInferenceService_ModelFeedback_FullMethodName {
		return a.cfg.FeedbackRole
	}
	if service == inference.GRPCInferenceService_ServiceDesc.ServiceName {
		return roles[name]
	}
	return access.Public
}

// keys is metadata that is searched by the names of HTTP headers.
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

// call is what is known about a caller over gRPC.
type call struct {
	access.Caller
	header keys
	remote string
}

type callKey struct{}

// callOf returns the call that admit has put into the context.
func callOf(ctx context.Context) call {
	c, _ := ctx.Value(callKey{}).(call)
	return c
}

// admit checks that the caller may make the call.
func (a *API) admit(ctx context.Context, method string) (context.Context, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c := call{header: keys(md)}
	var at netip.AddrPort
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		c.remote = p.Addr.String()
		at, _ = netip.ParseAddrPort(c.remote)
	}
	var err error
	c.Caller, err = a.guard.Check(a.roleOf(method), access.Peer{Remote: at, Host: c.header.Get(":authority"), Header: c.header})
	return context.WithValue(ctx, callKey{}, c), err
}

// unary is the interceptor of calls with one answer.
func (a *API) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (answer any, err error) {
	messageReceived(ctx, request)
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, a.panicked(p, "method", info.FullMethod)
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

// stream is the interceptor of calls with streams.
func (a *API) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	conn := messageReceived(s.Context(), nil) // admitted.RecvMsg waits for each message of the stream
	defer func() {
		if p := recover(); p != nil {
			err = a.panicked(p, "method", info.FullMethod)
		}
		if err != nil {
			err = a.refuse(s.Context(), info.FullMethod, err)
		}
	}()
	ctx, err := a.admit(s.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return handle(srv, &admitted{ServerStream: s, ctx: ctx, conn: conn})
}

// refuse turns an error into a status, with its facts as trailers. Errors that are a
// status already, from health, reflection or the transport, are not changed.
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
		_ = grpc.SetTrailer(ctx, trailer) // fails only if the call is over
	}
	return status.Error(f.code, f.body.Error)
}
