package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/mosel-serve/mosel/internal/slo"
)

// flushTimeout is how long a server that stops waits for the collector to receive the
// last spans.
const flushTimeout = 5 * time.Second

// variable is a setting of OpenTelemetry: the one for traces, or else the one for all
// signals.
func variable(name string) string {
	for _, prefix := range []string{"OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"} {
		if value := os.Getenv(prefix + name); value != "" {
			return value
		}
	}
	return ""
}

// newTracing makes the exporter to the endpoint in OpenTelemetry's variables; nil if
// they have none. The variables also control sampling, how many spans may wait to be
// sent (2048; the rest is dropped) and how they are sent: docs/tracing.md.
func newTracing(version string, log *slog.Logger) (*sdk.TracerProvider, error) {
	endpoint := variable("ENDPOINT")
	if endpoint == "" || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	ctx := context.Background() // the exporters do not connect yet
	var exporter sdk.SpanExporter
	var err error
	switch protocol := variable("PROTOCOL"); protocol {
	case "", "http/protobuf":
		exporter, err = otlptracehttp.New(ctx)
	case "grpc":
		exporter, err = otlptracegrpc.New(ctx)
	default:
		err = fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q: it must be http/protobuf or grpc", protocol)
	}
	if err != nil {
		return nil, &slo.Error{Op: "configure tracing", Kind: slo.KindInvalid, Err: err}
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "mosel"), attribute.String("service.version", version)),
		resource.WithFromEnv()) // overrides the ones before
	if err != nil {
		return nil, errors.Join(&slo.Error{Op: "configure tracing", Kind: slo.KindInvalid, Err: err}, exporter.Shutdown(ctx))
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces were not sent", "error", err) }))
	log.Info("tracing", "to", endpoint)
	return sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about)), nil
}

// flush sends the spans that wait, for at most flushTimeout, and ends tracing.
func (s *Server) flush(ctx context.Context) {
	if s.tracing == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := s.tracing.Shutdown(ctx); err != nil {
		s.cfg.Log.Warn("the last traces were not sent", "error", err)
	}
}
