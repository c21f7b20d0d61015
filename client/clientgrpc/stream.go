package clientgrpc

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// stream is a call of ModelStreamInfer.
type stream struct {
	t    *wire
	ctx  context.Context
	wire inference.GRPCInferenceService_ModelStreamInferClient
}

// Stream opens a stream.
func (t *wire) Stream(ctx context.Context) (client.WireStream, error) {
	s, err := t.calls.ModelStreamInfer(ctx)
	if err != nil {
		return nil, t.failure(ctx, err, heard{})
	}
	return &stream{t, ctx, s}, nil
}

// Send sends a request.
func (s *stream) Send(model, version string, q *oip.Request) error {
	m, err := newMessage(model, version, q)
	if err != nil {
		return err
	}
	defer discardMessage(m)
	_ = s.wire.Send(m) // an error ends the stream, and Recv says why
	return nil
}

// CloseSend says that no request follows.
func (s *stream) CloseSend() { _ = s.wire.CloseSend() } // gRPC-Go: always nil

// Recv waits for the next answer.
func (s *stream) Recv() (client.WireAnswer, error) {
	m, err := s.wire.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return client.WireAnswer{}, err
	case err != nil:
		header, _ := s.wire.Header() // the error is known
		return client.WireAnswer{}, s.t.failure(s.ctx, err, heard{header, s.wire.Trailer()})
	}
	answer := client.WireAnswer{ID: m.GetInferResponse().GetId()}
	if m.GetErrorMessage() != "" {
		answer.Err = refusal(m)
	} else {
		answer.Response, answer.Err = readMessage(m.GetInferResponse())
	}
	return answer, nil
}

// refusal reads an error, which has its facts in the parameters, where the server is
// one that tells them.
func refusal(m *inference.ModelStreamInferResponse) *client.Error {
	e := &client.Error{Status: http.StatusInternalServerError, Message: m.GetErrorMessage()}
	var answer oip.Response
	if err := inference.DecodeResponse(&answer, m.GetInferResponse(), oip.DefaultLimits()); err != nil {
		return e // which counts; its facts are a gift
	}
	for _, p := range answer.Parameters {
		e.SetFact(p.Name, p.Value)
	}
	return e
}
