package server_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip/inference"
)

// collected is a collector of OTLP over HTTP, with what it received.
type collected struct {
	mu       sync.Mutex
	service  []string
	requests []*otlp.Span            // root spans of this server
	below    map[string][]*otlp.Span // stages by the id of their request's span
}

// collect starts a collector that the test's servers send their traces to.
func collect(t *testing.T) *collected {
	c := &collected{below: map[string][]*otlp.Span{}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got collector.ExportTraceServiceRequest
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(body, &got)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		c.add(&got)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
	return c
}

func (c *collected) add(got *collector.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range got.GetResourceSpans() {
		for _, a := range r.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				c.service = append(c.service, a.GetValue().GetStringValue())
			}
		}
		for _, scope := range r.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				if span.GetKind() == otlp.Span_SPAN_KIND_SERVER {
					c.requests = append(c.requests, span)
				} else {
					c.below[string(span.GetParentSpanId())] = append(c.below[string(span.GetParentSpanId())], span)
				}
			}
		}
	}
}

// of returns the request's span of a trace.
func (c *collected) of(t *testing.T, trace string) *otlp.Span {
	t.Helper()
	var found []*otlp.Span
	for _, span := range c.requests {
		if hex.EncodeToString(span.GetTraceId()) == trace {
			found = append(found, span)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d spans of requests in trace %s, want one", len(found), trace)
	}
	return found[0]
}

// facts returns a span's attributes as text.
func facts(span *otlp.Span) map[string]string {
	all := map[string]string{}
	for _, a := range span.GetAttributes() {
		text := a.GetValue().String()
		all[a.GetKey()] = strings.Trim(text[strings.Index(text, ":")+1:], `"`)
	}
	return all
}

// check compares a request's span and its stages.
func (c *collected) check(t *testing.T, trace string, stages []string, want map[string]string) {
	t.Helper()
	span := c.of(t, trace)
	if got := hex.EncodeToString(span.GetParentSpanId()); got != above {
		t.Errorf("the span above is %q, want the caller's", got)
	}
	got := facts(span)
	for name, value := range want {
		if got[name] != value && (value != "*" || got[name] == "") {
			t.Errorf("%s is %q, want %q, of %v", name, got[name], value, got)
		}
	}
	var names []string
	at := span.GetStartTimeUnixNano()
	for _, stage := range c.below[string(span.GetSpanId())] {
		names = append(names, stage.GetName())
		if stage.GetStartTimeUnixNano() < at || stage.GetEndTimeUnixNano() < stage.GetStartTimeUnixNano() || stage.GetEndTimeUnixNano() > span.GetEndTimeUnixNano() {
			t.Errorf("%s is not after the stage before it and within the request: %v", stage.GetName(), stage)
		}
		if at = stage.GetEndTimeUnixNano(); stage.GetName() == "run" && at == stage.GetStartTimeUnixNano() {
			t.Error("it ran in no time")
		}
	}
	if !slices.Equal(names, stages) {
		t.Errorf("stages %v, want %v", names, stages)
	}
}

// above is the caller's span; the header of parent refers to it.
const above = "00f067aa0ba902b7"

func parent(trace string, sampled bool) string {
	if sampled {
		return "00-" + trace + "-" + above + "-01"
	}
	return "00-" + trace + "-" + above + "-00"
}

// traceOf returns the id of a trace.
func traceOf(n int) string { return fmt.Sprintf("%032x", n) }

// askTraced sends a text over REST.
func askTraced(t *testing.T, s *server.Server, header, parameters string) int {
	t.Helper()
	body := `{"id":"mine","inputs":[{"name":"text","shape":[1,12],"datatype":"UINT8","data":[115,101,118,101,110,0,0,0,0,0,0,0]}],"parameters":` + parameters + `}`
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr().String()+"/v2/models/digits/infer", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Traceparent", header)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

// traceable is a server whose runs take the profiled time, without graphs.
func traceable(c *server.Config) {
	c.Runtime, c.GRPCAddr, c.MetricsAddr = fake.New(fake.Config{}), "127.0.0.1:0", ""
}

func TestTraces(t *testing.T) {
	c := collect(t)
	s := startServer(t, traceable)
	if got := askTraced(t, s, parent(traceOf(1), true), `{"min_accuracy":0.7,"deadline_ms":5000}`); got != 200 {
		t.Errorf("answered %d", got)
	}
	if got := askTraced(t, s, parent(traceOf(2), true), `{"min_accuracy":0.97}`); got != 422 {
		t.Errorf("a floor beyond reach is answered %d", got)
	}
	if got := askTraced(t, s, parent(traceOf(3), true), `{"min_accuracy":-1}`); got != 400 {
		t.Errorf("nonsense is answered %d", got)
	}
	if got := askTraced(t, s, parent(traceOf(4), false), `{}`); got != 200 {
		t.Errorf("answered %d", got)
	}
	conn, err := grpc.NewClient(s.GRPCAddr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	question := &inference.ModelInferRequest{ModelName: "digits", RawInputContents: [][]byte{[]byte("seven       ")},
		Inputs: []*inference.ModelInferRequest_InferInputTensor{{Name: "text", Datatype: "UINT8", Shape: []int64{1, 12}}}}
	calls := inference.NewGRPCInferenceServiceClient(conn)
	if _, err := calls.ModelInfer(metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent(traceOf(5), true)), question); err != nil {
		t.Error(err)
	}
	stream, err := calls.ModelStreamInfer(metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent(traceOf(6), true)))
	if err == nil {
		err = stream.Send(question)
	}
	if err == nil {
		_, err = stream.Recv()
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	all := []string{"decode", "queue", "run", "encode"}
	c.check(t, traceOf(1), all, map[string]string{"mosel.model": "digits", "mosel.version": "1", "mosel.variant": "text", "mosel.items": "1",
		"mosel.floor": "0.7", "mosel.outcome": slo.OnTime.String(), "mosel.request": "mine", "mosel.job": "*", "mosel.expected_accuracy": "0.799222"})
	c.check(t, traceOf(2), []string{"decode", "queue"}, map[string]string{"error.type": "infeasible", "mosel.job": "*", "mosel.variant": ""})
	c.check(t, traceOf(3), []string{"decode"}, map[string]string{"error.type": "invalid", "mosel.job": ""})
	c.check(t, traceOf(5), all, map[string]string{"mosel.model": "digits", "mosel.variant": "text", "mosel.deadline_ms": ""})
	c.check(t, traceOf(6), all, map[string]string{"mosel.variant": "text"})
	if len(c.requests) != 5 || c.requests[0].GetName() != "infer digits" || !slices.Contains(c.service, "mosel") {
		t.Errorf("%d requests of services %q, the first called %q; the request that its caller does not sample must be missing", len(c.requests), c.service, c.requests[0].GetName())
	}
}

// TestTracesAreOff has each way to disable tracing, with a collector that must receive
// nothing.
func TestTracesAreOff(t *testing.T) {
	for name, value := range map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "none", "OTEL_TRACES_SAMPLER": "always_off"} {
		t.Run(name, func(t *testing.T) {
			c := collect(t)
			t.Setenv(name, value)
			s := startServer(t, traceable)
			if got := askTraced(t, s, parent(traceOf(1), true), `{}`); got != 200 {
				t.Errorf("answered %d", got)
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if len(c.requests)+len(c.below) > 0 {
				t.Errorf("sent %v", c.requests)
			}
		})
	}
}

func TestTracingMistakes(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
	if _, err := server.New(config()); slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), `"http/json": it must be http/protobuf or grpc`) {
		t.Errorf("an unknown protocol: %v", err)
	}
}
