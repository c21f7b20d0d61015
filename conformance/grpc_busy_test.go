package conformance_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/oip/inference"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// health asks gRPC's health service about the whole server.
func (b *busy) health(t *testing.T) healthpb.HealthCheckResponse_ServingStatus {
	t.Helper()
	got, err := healthpb.NewHealthClient(b.conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetStatus()
}

func TestGRPCStartingServerIsLiveAndNotReady(t *testing.T) {
	b := starting(t)
	b.needsGRPC(t)
	if got, err := b.grpc.ServerLive(t.Context(), &inference.ServerLiveRequest{}); err != nil || !got.GetLive() {
		t.Errorf("ServerLive: %v, %v", got, err)
	}
	if got, err := b.grpc.ServerReady(t.Context(), &inference.ServerReadyRequest{}); err != nil || got.GetReady() {
		t.Errorf("ServerReady: %v, %v", got, err)
	}
	if got, err := b.grpc.ModelReady(t.Context(), &inference.ModelReadyRequest{Name: slow.name}); err == nil && got.GetReady() {
		t.Error("the model is ready")
	}
	b.failed(t, b.call(t.Context(), &inferRequest{ModelName: slow.name}).err, codes.Unavailable)
	_, err := b.grpc.ModelMetadata(t.Context(), &inference.ModelMetadataRequest{Name: slow.name})
	b.failed(t, err, codes.Unavailable)
	if got := b.health(t); got != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("the health service says %v", got)
	}
	watch, err := healthpb.NewHealthClient(b.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("who watches sees %v, %v", got, err)
	}
	b.warm(t)
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("when it is warm, who watches sees %v, %v", got, err)
	}
	b.readyGRPC(t)
	b.model.replied(t, b.call(t.Context(), b.model.request(1)))
}

// called sends a call in another goroutine.
func (b *busy) called(ctx context.Context, r *inferRequest) *pending[reply] {
	return later(func() reply { return b.call(ctx, r) })
}

// noRoom reports whether there is no room for another call. The probe is cancelled. It
// has no deadline of its own, which would be a reason to refuse it.
func (b *busy) noRoom(t *testing.T) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(probeTime, cancel).Stop()
	defer cancel()
	return status.Code(b.call(ctx, b.model.request(1)).err) == codes.ResourceExhausted
}

// occupied is a call that takes the only place for waiting.
func (b *busy) occupied(ctx context.Context, t *testing.T) *pending[reply] {
	t.Helper()
	return occupy(t, func() *pending[reply] { return b.called(ctx, b.model.request(1)) }, func() bool { return b.noRoom(t) })
}

func TestGRPCStoppingServerFinishesWhatItHasTaken(t *testing.T) {
	b, first := running(t)
	b.needsGRPC(t)
	second := b.occupied(t.Context(), t)
	stopped := make(chan error, 1)
	go func() { stopped <- b.server.Shutdown(context.WithoutCancel(t.Context())) }()
	limit, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	for b.get(t, "/v2/health/ready").status == http.StatusOK && limit.Err() == nil { // until the server has noticed
	}
	if got, err := b.grpc.ServerReady(t.Context(), &inference.ServerReadyRequest{}); err != nil || got.GetReady() {
		t.Errorf("ServerReady: %v, %v", got, err)
	}
	if got := b.health(t); got != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("the health service says %v", got)
	}
	b.failed(t, b.call(t.Context(), b.model.request(1)).err, codes.Unavailable)
	b.gate.open()
	b.model.replied(t, second.wait())
	b.model.result(t, first.wait().must(t))
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestGRPCStoppingServerDoesNotWaitForTheIdle has a client that watches the health and
// one with an idle stream: neither ends by itself.
func TestGRPCStoppingServerDoesNotWaitForTheIdle(t *testing.T) {
	b := starting(t)
	b.needsGRPC(t)
	b.warm(t)
	stream := b.stream(t.Context(), t)
	sendAll(t, stream, b.model.numbered(0))
	b.model.streamed(t, stream)
	watch, err := healthpb.NewHealthClient(b.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("who watches sees %v, %v", got, err)
	}
	limit, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.server.Shutdown(limit); err != nil || limit.Err() != nil {
		t.Errorf("%v, %v", err, limit.Err())
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("who watches sees %v, %v", got, err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ends with %v, want UNAVAILABLE", err)
	}
}

// TestGRPCOverloadIsToldAtOnce is TestOverloadIsToldAtOnce over gRPC.
func TestGRPCOverloadIsToldAtOnce(t *testing.T) {
	b, first := running(t)
	b.needsGRPC(t)
	const rest = 4
	answers := make(chan reply, rest+1)
	for range rest + 1 {
		go func() { answers <- b.call(t.Context(), b.model.request(1)) }()
	}
	for range rest {
		got := <-answers
		if status.Code(got.err) != codes.ResourceExhausted {
			t.Errorf("%v, want RESOURCE_EXHAUSTED: there is no room", got.err)
		}
		tooLateCall(t, got)
	}
	b.readyGRPC(t) // an overloaded server is still available
	b.gate.open()
	b.model.replied(t, <-answers)
	b.model.result(t, first.wait().must(t))
}

// TestGRPCCancelFreesThePlace cancels a waiting call: its place must become free while
// nothing else moves.
func TestGRPCCancelFreesThePlace(t *testing.T) {
	b, first := running(t)
	b.needsGRPC(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waiting := b.occupied(ctx, t)
	cancel()
	if got := waiting.wait(); status.Code(got.err) != codes.Canceled {
		t.Errorf("%v, want CANCELLED", got.err)
	}
	vacant(t, func() bool { return b.noRoom(t) })
	b.gate.open()
	b.model.result(t, first.wait().must(t))
}

// TestGRPCDeadlinePassesWhileACallWaits checks that the call is answered while nothing
// moves, and that its place is free again.
func TestGRPCDeadlinePassesWhileACallWaits(t *testing.T) {
	b, first := running(t)
	b.needsGRPC(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	tooLateCall(t, b.call(ctx, b.model.request(1)))
	vacant(t, func() bool { return b.noRoom(t) })
	b.gate.open()
	b.model.result(t, first.wait().must(t))
}

// TestGRPCDeadlineBelowTheTimeOfARunIsShed checks that the server uses gRPC's deadline:
// it refuses the call long before the client would give up.
func TestGRPCDeadlineBelowTheTimeOfARunIsShed(t *testing.T) {
	b := starting(t)
	b.warm(t)
	b.needsGRPC(t)
	const items = 200 // 1.6 s of work
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	got := b.call(ctx, b.model.request(items))
	if status.Code(got.err) != codes.ResourceExhausted {
		t.Errorf("%v, want RESOURCE_EXHAUSTED: %d items take %v ms each", got.err, items, slow.itemMS)
	}
	tooLateCall(t, got)
	b.model.replied(t, b.call(t.Context(), b.model.request(1)))
}

// TestGRPCStreamUnderOverload checks that a request of a stream is refused when there
// is no room, and that the stream goes on when there is.
func TestGRPCStreamUnderOverload(t *testing.T) {
	b, first := running(t)
	b.needsGRPC(t)
	waiting := b.occupied(t.Context(), t)
	stream := b.stream(t.Context(), t)
	sendAll(t, stream, b.model.numbered(0), b.model.numbered(1))
	for range 2 {
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got.GetErrorMessage() == "" {
			t.Errorf("%v, want an error_message: there is no room", got)
		}
	}
	b.gate.open()
	b.model.replied(t, waiting.wait())
	sendAll(t, stream, b.model.numbered(2))
	if got := b.model.streamed(t, stream); got.ID != "number 2" {
		t.Errorf("the answer has id %q", got.ID)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	ended(t, stream)
	b.model.result(t, first.wait().must(t))
}
