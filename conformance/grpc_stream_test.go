package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/mosel-serve/mosel/oip/inference"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type inferStream = grpc.BidiStreamingClient[inferRequest, inference.ModelStreamInferResponse]

// stream opens a stream of inferences.
func (s *target) stream(ctx context.Context, t *testing.T) inferStream {
	t.Helper()
	stream, err := s.grpc.ModelStreamInfer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// needsStream skips the test if streaming is not offered: no extension of the protocol
// lists it.
func needsStream(t *testing.T) {
	t.Helper()
	subject.needsGRPC(t)
	stream := subject.stream(t.Context(), t)
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		subject.implemented(t, err)
	}
}

// numbered returns a valid request with a number as its id.
func (m *model) numbered(i int) *inferRequest {
	r := m.request(1)
	r.Id = fmt.Sprint("number ", i)
	return r
}

func sendAll(t *testing.T, stream inferStream, requests ...*inferRequest) {
	t.Helper()
	for _, r := range requests {
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
	}
}

// streamed reads an answer that must be a success.
func (m *model) streamed(t *testing.T, stream inferStream) result {
	t.Helper()
	got, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if got.GetErrorMessage() != "" || got.GetInferResponse() == nil {
		t.Fatalf("error_message %q, infer_response %v", got.GetErrorMessage(), got.GetInferResponse())
	}
	return m.response(t, got.GetInferResponse())
}

// ended checks that a stream ends without an error.
func ended(t *testing.T, stream inferStream) {
	t.Helper()
	if got, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("%v, %v: want the end of the stream", got, err)
	}
}

func TestStreamAnswersInOrder(t *testing.T) {
	needsStream(t)
	grpcModels(t, func(t *testing.T, m *model) {
		stream := m.server.stream(t.Context(), t)
		const requests = 20
		for i := range requests {
			sendAll(t, stream, m.numbered(i))
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		var first result
		for i := range requests {
			got := m.streamed(t, stream)
			if got.ID != fmt.Sprint("number ", i) {
				t.Errorf("answer %d has id %q", i, got.ID)
			}
			if i == 0 {
				first = got
			}
		}
		ended(t, stream)
		// A server that chooses what runs may run less for a request in a burst.
		agree(t, m.plain(t), func() result {
			got := first
			one := m.server.stream(t.Context(), t)
			sendAll(t, one, m.numbered(0))
			first = m.streamed(t, one)
			if err := one.CloseSend(); err != nil {
				t.Fatal(err)
			}
			ended(t, one)
			return got
		})
	})
}

func TestStreamAnswersWhileItGoesOn(t *testing.T) {
	needsStream(t)
	m := subject.models[0]
	stream := m.server.stream(t.Context(), t)
	for i := range 5 {
		sendAll(t, stream, m.numbered(i))
		if got := m.streamed(t, stream); got.ID != fmt.Sprint("number ", i) {
			t.Errorf("answer %d has id %q", i, got.ID)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	ended(t, stream)
}

func TestStreamWithoutRequestsEndsWell(t *testing.T) {
	needsStream(t)
	stream := subject.stream(t.Context(), t)
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	ended(t, stream)
}

// TestStreamGoesOnAfterAnError sends each kind of mistake between valid requests.
func TestStreamGoesOnAfterAnError(t *testing.T) {
	needsStream(t)
	m := subject.models[0]
	unknown, empty, shape := m.numbered(1), &inferRequest{ModelName: m.Name}, m.numbered(1)
	unknown.ModelName = "no_such_model"
	shape.Inputs[0].Shape = []int64{-1}
	wrong := map[string]*inferRequest{"an unknown model": unknown, "no inputs": empty, "a wrong shape": shape, "nothing": {}}
	many := m.numbered(1)
	for len(many.Inputs) < 65 {
		many.Inputs, many.RawInputContents = append(many.Inputs, many.Inputs[0]), append(many.RawInputContents, many.RawInputContents[0])
	}
	if m.mosel() {
		wrong["too many inputs"] = many
		floor, late := m.numbered(1), m.numbered(1)
		floor.Parameters = map[string]*parameter{"min_accuracy": paramDouble(1)}
		late.Parameters = map[string]*parameter{"timeout": paramInt(1)}
		wrong["a floor that is impossible"], wrong["a deadline that cannot be kept"] = floor, late
	}
	for name, r := range wrong {
		t.Run(name, func(t *testing.T) {
			if r == wrong["a floor that is impossible"] && m.best(t) > 0.9995 {
				t.Skipf("the properties of model %s give an accuracy of 1", m.Name)
			}
			stream := m.server.stream(t.Context(), t)
			sendAll(t, stream, m.numbered(0), r, m.numbered(2))
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			m.streamed(t, stream)
			got, err := stream.Recv()
			if err != nil {
				t.Fatalf("the stream ended: %v", err)
			}
			if got.GetErrorMessage() == "" {
				t.Errorf("%v, want an error_message", got)
			}
			if m.server.strict && got.GetInferResponse().GetId() != r.GetId() { // Triton names the request
				t.Errorf("the error has id %q, its request %q", got.GetInferResponse().GetId(), r.GetId())
			}
			if len(got.GetInferResponse().GetOutputs()) > 0 {
				t.Errorf("an error with outputs: %v", got)
			}
			if after := m.streamed(t, stream); after.ID != "number 2" {
				t.Errorf("the answer after the error has id %q", after.ID)
			}
			ended(t, stream)
		})
	}
	subject.readyGRPC(t)
}

func TestStreamMayBeCancelled(t *testing.T) {
	needsStream(t)
	m := subject.models[0]
	ctx, cancel := context.WithCancel(t.Context())
	stream := m.server.stream(ctx, t)
	for i := range 10 {
		sendAll(t, stream, m.numbered(i))
	}
	m.streamed(t, stream)
	cancel()
	for { // answers to earlier requests may still arrive
		if _, err := stream.Recv(); err != nil {
			if status.Code(err) != codes.Canceled {
				t.Errorf("%v, want CANCELLED", err)
			}
			break
		}
	}
	subject.readyGRPC(t)
	m.replied(t, m.server.call(t.Context(), m.request(1)))
}
