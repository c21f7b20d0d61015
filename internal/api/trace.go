package api

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
)

// tracing is the trace of one inference: a span for the request, with a child span for
// each stage. The stages use times that API and engine measure anyway. The methods of a
// nil *tracing do nothing; nil is a request without a trace.
type tracing struct {
	span    trace.Span
	tracer  trace.Tracer
	arrived slo.Instant
	began   time.Time // the same instant
	// decoded is zero until the request has been decoded, inferred until the engine has
	// returned.
	decoded  time.Time
	inferred time.Time
}

// carrier is a request's header or metadata, from which the caller's span is read.
type carrier struct{ access.Header }

// Set implements propagation.TextMapCarrier. It is not used.
func (carrier) Set(string, string) {}

// Keys implements propagation.TextMapCarrier. TraceContext does not use it.
func (carrier) Keys() []string { return nil }

// trace begins the trace of an inference, as a child of the caller's span if there is
// one.
func (a *API) trace(ctx context.Context, header access.Header, arrived slo.Instant) *tracing {
	if a.cfg.Tracer == nil {
		return nil
	}
	began := time.Now()
	ctx = propagation.TraceContext{}.Extract(ctx, carrier{header})
	_, span := a.cfg.Tracer.Start(ctx, "infer", trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindServer))
	if !span.IsRecording() {
		return nil
	}
	return &tracing{span: span, tracer: a.cfg.Tracer, arrived: arrived, began: began}
}

// modelBytesMax bounds the name of a model in a trace; the model may not exist.
const modelBytesMax = 128

// of records the model that the request names.
func (t *tracing) of(model string) {
	if t != nil {
		t.span.SetAttributes(attribute.String("mosel.model", model[:min(len(model), modelBytesMax)]))
	}
}

// asked records the decoded request.
func (t *tracing) asked(m *modelpkg.Model, job *engine.Request) {
	if t == nil {
		return
	}
	t.decoded = time.Now()
	t.stage("decode", t.began, t.decoded)
	t.span.SetName("infer " + m.Name)
	t.span.SetAttributes(attribute.String("mosel.version", m.Version), attribute.Int("mosel.items", len(job.Items)),
		attribute.Float64("mosel.floor", job.Objective.Floor.Float()))
	if job.ID != "" {
		t.span.SetAttributes(attribute.String("mosel.request", job.ID))
	}
	if job.Objective.Deadline != slo.Never {
		t.span.SetAttributes(attribute.Float64("mosel.deadline_ms", stats.Milliseconds(job.Objective.Deadline.Sub(t.arrived))))
	}
}

// ran records the result of the engine.
func (t *tracing) ran(m *modelpkg.Model, r *engine.Response, err error) {
	if t == nil {
		return
	}
	t.inferred = time.Now()
	if r.Job != "" {
		t.span.SetAttributes(attribute.String("mosel.job", r.Job))
		started, ended := t.at(r.Started), t.at(r.Ended)
		if r.Started == 0 {
			started = ended // it never ran
		}
		t.stage("queue", t.decoded, started)
		if r.Started > 0 {
			t.stage("run", started, ended, attribute.Float64("mosel.compute_ms", stats.Milliseconds(r.Compute)))
		}
	}
	if err == nil {
		t.span.SetAttributes(attribute.String("mosel.variant", taken(m, *r)),
			attribute.Float64("mosel.expected_accuracy", r.ExpectedAccuracy.Float()), attribute.String("mosel.outcome", r.Outcome.String()))
	}
}

// at converts an instant of the engine to wall-clock time.
func (t *tracing) at(i slo.Instant) time.Time { return t.began.Add(i.Sub(t.arrived)) }

// stage adds a child span of the request.
func (t *tracing) stage(name string, began, ended time.Time, facts ...attribute.KeyValue) {
	ctx := trace.ContextWithSpan(context.Background(), t.span)
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(began), trace.WithAttributes(facts...))
	span.End(trace.WithTimestamp(ended))
}

// end ends the trace when the answer has been written, or with an error.
func (t *tracing) end(err error) {
	if t == nil {
		return
	}
	now := time.Now()
	switch {
	case t.decoded.IsZero():
		t.stage("decode", t.began, now)
	case !t.inferred.IsZero() && err == nil:
		t.stage("encode", t.inferred, now)
	}
	if err != nil {
		t.span.SetAttributes(attribute.String("error.type", slo.KindOf(err).String()))
		if f := failureOf(err); f.status >= 500 { // lower statuses are the client's errors
			t.span.SetStatus(codes.Error, f.body.Error)
		}
	}
	t.span.End(trace.WithTimestamp(now))
}
