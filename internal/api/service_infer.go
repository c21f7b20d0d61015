package api

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

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

// infer runs one request, of a call or of a stream, and decodes it into q. t is its
// trace, nil for none.
func (s *service) infer(ctx context.Context, b *backend, f *frame, q *inference.ModelInferRequest, t *tracing) (oip.Response, error) {
	c := callOf(ctx)
	from := origin{arrived: b.engine.Now(), header: c.header, confidence: s.api.cfg.Confidence, client: s.api.client(c.header, c.Caller, c.remote), trace: t}
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
	q.Inputs, q.RawInputContents = nil, nil // frees memory that the tensors do not use
	x.hold(dataBytes(x.request.Inputs) - x.reserved)
	answer, _, err := s.api.run(ctx, x, l, from)
	return answer, err
}

// encode makes the message of an answer. Fractions are sent as strings: some clients'
// messages have no field for floats, and all clients read strings.
func encode(answer oip.Response) (*inference.ModelInferResponse, error) {
	for i, p := range answer.Parameters {
		switch p.Name {
		case "expected_accuracy", "accuracy_low", "min_accuracy", "accuracy_confidence", "deadline_ms":
			answer.Parameters[i].Value = oip.String(p.Value.Text())
		}
	}
	m := new(inference.ModelInferResponse)
	if err := inference.EncodeResponse(m, &answer); err != nil {
		return nil, slo.E("encode the answer", slo.KindInternal, "%w", err)
	}
	return m, nil
}

// factKeys are factHeaders in lower case, for metadata.
var factKeys = func() map[string]string {
	lower := map[string]string{}
	for name, header := range factHeaders {
		lower[name] = strings.ToLower(header)
	}
	return lower
}()
