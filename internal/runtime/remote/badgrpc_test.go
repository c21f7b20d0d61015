package remote_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
	"github.com/mosel-serve/mosel/tensor"
)

// badGRPC is a server over gRPC on loopback that answers as a test says.
type badGRPC struct {
	inference.UnimplementedGRPCInferenceServiceServer
	address string
	answer  func(ctx context.Context, number int) (*inference.ModelInferResponse, error)
	asked   atomic.Int64
	gone    atomic.Bool
	over    chan struct{} // closed when the test ends
}

func newBadGRPC(t testing.TB) *badGRPC {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &badGRPC{address: "grpc://" + listener.Addr().String(), over: make(chan struct{})}
	s := grpc.NewServer()
	inference.RegisterGRPCInferenceServiceServer(s, b)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	t.Cleanup(func() { close(b.over) }) // before it stops
	return b
}

func (b *badGRPC) ServerReady(context.Context, *inference.ServerReadyRequest) (*inference.ServerReadyResponse, error) {
	return &inference.ServerReadyResponse{Ready: !b.gone.Load()}, nil
}

func (*badGRPC) ModelMetadata(context.Context, *inference.ModelMetadataRequest) (*inference.ModelMetadataResponse, error) {
	return &inference.ModelMetadataResponse{Name: "fusion"}, nil // nothing to compare
}

func (b *badGRPC) ModelInfer(ctx context.Context, _ *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	return b.answer(ctx, int(b.asked.Add(1))-1)
}

func message(t testing.TB, list ...tensor.Tensor) *inference.ModelInferResponse {
	t.Helper()
	m := &inference.ModelInferResponse{}
	if err := inference.EncodeResponse(m, &oip.Response{ModelName: "fusion", Outputs: list}); err != nil {
		t.Fatal(err)
	}
	return m
}

type answered = func(b *badGRPC, ctx context.Context, number int) (*inference.ModelInferResponse, error)

func fails(code codes.Code, words string) answered {
	return func(*badGRPC, context.Context, int) (*inference.ModelInferResponse, error) {
		return nil, status.Error(code, words)
	}
}

// TestBadServerOverGRPC is TestBadServer for what differs over gRPC.
func TestBadServerOverGRPC(t *testing.T) {
	good := message(t, scores("scores", tensor.FP32, 1, 16))
	for _, test := range []struct {
		name   string
		answer answered
		kind   slo.Kind
		lost   bool
		asked  int64
		want   string // in the error; "": there is none
	}{
		{name: "good", answer: func(*badGRPC, context.Context, int) (*inference.ModelInferResponse, error) { return good, nil }},
		{name: "hangs", answer: func(b *badGRPC, ctx context.Context, _ int) (*inference.ModelInferResponse, error) {
			<-b.over
			return nil, ctx.Err()
		}, kind: slo.KindUnavailable, want: "timeout"},
		{name: "busy, then not", asked: 2, answer: func(_ *badGRPC, ctx context.Context, number int) (*inference.ModelInferResponse, error) {
			if number > 0 {
				return good, nil
			}
			_ = grpc.SetTrailer(ctx, metadata.Pairs(oip.HeaderRetryAfter, "5"))
			return nil, status.Error(codes.ResourceExhausted, "busy")
		}},
		{name: "finds it too large", answer: fails(codes.ResourceExhausted, "too large"), kind: slo.KindTooLarge, want: "too large"},
		{name: "refuses it", answer: fails(codes.InvalidArgument, "index out of range"), kind: slo.KindInvalid, want: "index out of range"},
		{name: "unavailable", answer: fails(codes.Unavailable, "later"), kind: slo.KindUnavailable, want: "later"},
		{name: "unavailable and not ready", answer: func(b *badGRPC, ctx context.Context, n int) (*inference.ModelInferResponse, error) {
			b.gone.Store(true)
			return fails(codes.Unavailable, "later")(b, ctx, n)
		}, kind: slo.KindUnavailable, lost: true, want: "later"},
		{name: "model taken away", answer: fails(codes.NotFound, "no such model"), kind: slo.KindUnavailable, lost: true, want: "no such model"},
		{name: "fails", answer: fails(codes.Internal, "out of memory"), kind: slo.KindInternal, want: "out of memory"},
		{name: "too many bytes", answer: func(*badGRPC, context.Context, int) (*inference.ModelInferResponse, error) {
			return message(t, scores("scores", tensor.FP32, 1<<16, 16)), nil
		}, kind: slo.KindInternal, want: "cannot be used"},
		{name: "other shape", answer: func(*badGRPC, context.Context, int) (*inference.ModelInferResponse, error) {
			return message(t, scores("scores", tensor.FP32, 16)), nil
		}, kind: slo.KindInternal, want: "has the shape [16] for 1 items, not [1,16]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBadGRPC(t)
			b.answer = func(ctx context.Context, number int) (*inference.ModelInferResponse, error) {
				return test.answer(b, ctx, number)
			}
			m := here(batched(), b.address)
			if strings.HasPrefix(test.name, "hangs") {
				m.Variants[0].Remote.Timeout = 50 * time.Millisecond
			}
			_, err := load(t, m).Run(t.Context(), 0, items(m, 1))
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || slo.KindOf(err) != test.kind):
				t.Errorf("%v (kind %v), want %q of kind %v", err, slo.KindOf(err), test.want, test.kind)
			}
			if lost := errors.Is(err, runtime.ErrLost); lost != test.lost || b.asked.Load() != max(1, test.asked) {
				t.Errorf("lost %v, want %v; %d requests, want %d", lost, test.lost, b.asked.Load(), max(1, test.asked))
			}
		})
	}
}

// TestDeadlineTravels checks that the other server learns how long a run may take:
// what its context says, or the package, whichever is less.
func TestDeadlineTravels(t *testing.T) {
	good := message(t, scores("scores", tensor.FP32, 1, 16))
	b := newBadGRPC(t)
	var left time.Duration
	b.answer = func(ctx context.Context, _ int) (*inference.ModelInferResponse, error) {
		end, _ := ctx.Deadline()
		left = time.Until(end)
		return good, nil
	}
	m := here(batched(), b.address)
	m.Variants[0].Remote.Timeout = time.Minute
	in := load(t, m)
	for _, limit := range []time.Duration{30 * time.Second, 10 * time.Minute} {
		ctx, cancel := contextOf(t, limit)
		defer cancel()
		if _, err := in.Run(ctx, 0, items(m, 1)); err != nil {
			t.Fatal(err)
		}
		if most := min(limit, time.Minute); left > most || left < most/2 {
			t.Errorf("with %v the other server has %v", limit, left)
		}
	}
	b.answer = func(ctx context.Context, _ int) (*inference.ModelInferResponse, error) {
		<-ctx.Done()
		return nil, status.Error(codes.DeadlineExceeded, "too late")
	}
	ctx, cancel := contextOf(t, 50*time.Millisecond)
	defer cancel()
	if _, err := in.Run(ctx, 0, items(m, 1)); !errors.Is(err, context.DeadlineExceeded) || slo.KindOf(err) != slo.KindDeadlineExceeded || errors.Is(err, runtime.ErrLost) {
		t.Errorf("%v (kind %v)", err, slo.KindOf(err))
	}
}
