package api

import (
	"context"
	"strconv"

	"google.golang.org/grpc"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// stream answers ModelStreamInfer, Triton's extension: a stream of requests, answered
// in order. Up to StreamWindow of them run at a time. A request that fails is answered
// with its error, and the stream goes on.
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
					cancel(err) // ends all requests in progress too
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
		return slo.E("", slo.KindCancelled, "the stream was cancelled: %w", cause)
	}
	return ended(err)
}

// With the parameter finalAsked, a Triton client asks that each answer say, in the
// parameter finalTold, whether it is the last one for its request.
const finalAsked, finalTold = "triton_enable_empty_final_response", "triton_final_response"

// streamed answers one request of a stream.
func (s *service) streamed(ctx context.Context, b *backend, f *frame) (m *inference.ModelStreamInferResponse) {
	m = new(inference.ModelStreamInferResponse)
	var answer oip.Response
	q := new(inference.ModelInferRequest)
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = s.api.panicked(p, "method", inference.GRPCInferenceService_ModelStreamInfer_FullMethodName)
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

// failed makes the answer to a failed request of a stream: its error, with the
// request's id, and the facts as parameters.
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
