package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

func TestEveryKindHasAStatus(t *testing.T) {
	seen := map[int]slo.Kind{}
	for _, kind := range slo.Kinds() {
		row, ok := statuses[kind]
		if !ok {
			t.Errorf("kind %q has no status", kind)
		}
		if other, ok := seen[row.status]; ok {
			t.Errorf("kinds %q and %q share the status %d: a client cannot tell them apart", kind, other, row.status)
		}
		seen[row.status] = kind
	}
	if len(statuses) != len(slo.Kinds()) {
		t.Errorf("%d statuses for %d kinds", len(statuses), len(slo.Kinds()))
	}
}

// failures has, for every kind, a way to cause it from outside, and what the client
// must see.
var failures = map[slo.Kind]struct {
	setup  setup
	do     func(f fixture) *httptest.ResponseRecorder
	status int
	retry  string // header Retry-After
	want   oip.ErrorBody
}{
	slo.KindInternal: {
		setup:  setup{fail: func(fake.Run) error { return errors.New("out of luck") }},
		do:     func(f fixture) *httptest.ResponseRecorder { return f.call("POST", inferPath, ask(``, imageJSON)) },
		status: 500,
		want:   oip.ErrorBody{Error: "out of luck"},
	},
	slo.KindInvalid: {
		do:     func(f fixture) *httptest.ResponseRecorder { return f.call("POST", inferPath, `{`) },
		status: 400,
		want:   oip.ErrorBody{Error: "JSON at byte 1"},
	},
	slo.KindNotFound: {
		do:     func(f fixture) *httptest.ResponseRecorder { return f.call("POST", "/v2/models/other/infer", `{`) },
		status: 404,
		want:   oip.ErrorBody{Error: `no model "other"`},
	},
	slo.KindInfeasible: {
		do: func(f fixture) *httptest.ResponseRecorder {
			return f.call("POST", inferPath, ask(`"min_accuracy":0.96`, imageJSON, textJSON))
		},
		status: 422,
		want:   oip.ErrorBody{Error: "the best is 0.95", BestAccuracy: new(0.95)},
	},
	slo.KindOverloaded: {
		// A job that cannot start for 10 ms takes the only place in the queue.
		do: func(f fixture) *httptest.ResponseRecorder {
			for range 2 {
				go f.call("POST", inferPath, ask(`"modalities":"image,audio,text"`, imageJSON, audioJSON, textJSON))
				synctest.Wait()
			}
			return f.call("POST", inferPath, ask(``, imageJSON))
		},
		status: 429,
		retry:  "1",
		want:   oip.ErrorBody{Error: "the queue was full", RetryAfterMS: 10},
	},
	slo.KindDeadlineExceeded: {
		setup: setup{fail: func(fake.Run) error { time.Sleep(10 * time.Second); return nil }},
		do: func(f fixture) *httptest.ResponseRecorder {
			return f.call("POST", inferPath, ask(`"deadline_ms":5000`, imageJSON))
		},
		status: 504,
		want:   oip.ErrorBody{Error: "deadline"},
	},
	slo.KindTooLarge: {
		setup: setup{config: func(c *Config) { c.BodyBytesMax = 50 }},
		do: func(f fixture) *httptest.ResponseRecorder {
			return f.call("POST", inferPath, strings.Repeat(" ", 51))
		},
		status: 413,
		want:   oip.ErrorBody{Error: "more than 50 bytes"},
	},
	slo.KindCancelled: {
		setup: setup{queueJobs: 2},
		do: func(f fixture) *httptest.ResponseRecorder {
			ctx, cancel := context.WithTimeout(f.Context(), time.Millisecond)
			defer cancel()
			go f.call("POST", inferPath, ask(``, textJSON))
			synctest.Wait()
			return send(f, httptest.NewRequestWithContext(ctx, "POST", inferPath, strings.NewReader(ask(``, textJSON))))
		},
		status: 499,
		want:   oip.ErrorBody{Error: "cancelled by the client"},
	},
	slo.KindUnavailable: {
		do: func(f fixture) *httptest.ResponseRecorder {
			if err := f.engine.Drain(f.Context()); err != nil {
				f.Error(err)
			}
			return f.call("POST", inferPath, ask(``, imageJSON))
		},
		status: 503,
		retry:  "1",
		want:   oip.ErrorBody{Error: "shut", RetryAfterMS: 1000},
	},
	slo.KindUnsupported: {
		do:     func(f fixture) *httptest.ResponseRecorder { return f.call("POST", "/v2/models/scene/jobs", `{}`) },
		status: 501,
		want:   oip.ErrorBody{Error: "not supported"},
	},
	slo.KindUnauthenticated: {
		do: func(f fixture) *httptest.ResponseRecorder {
			w := f.refusing(slo.E("", slo.KindUnauthenticated, "a token is needed"))
			if got := w.Header().Get("WWW-Authenticate"); got != `Bearer realm="mosel"` {
				f.Errorf("WWW-Authenticate is %q", got)
			}
			return w
		},
		status: 401,
		want:   oip.ErrorBody{Error: "a token is needed"},
	},
	slo.KindForbidden: {
		do: func(f fixture) *httptest.ResponseRecorder {
			return f.refusing(slo.E("", slo.KindForbidden, "not for you"))
		},
		status: 403,
		want:   oip.ErrorBody{Error: "not for you"},
	},
}

// refusing answers a request as a route that fails with err does.
func (f fixture) refusing(err error) *httptest.ResponseRecorder {
	a := New(DefaultConfig(), new(access.Guard), newLog(io.Discard))
	refused := a.routed([]route{{"GET", "/v2", func(http.ResponseWriter, *http.Request, arguments) error { return err }, access.Public}})
	return send(refused, httptest.NewRequestWithContext(f.Context(), "GET", "/v2", nil))
}

// TestEveryKindEndToEnd causes each kind of error with a real engine, and then checks
// that the server still works.
func TestEveryKindEndToEnd(t *testing.T) {
	for _, kind := range slo.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			tt, ok := failures[kind]
			if !ok {
				t.Fatal("there is no test for this kind")
			}
			with(t, tt.setup, func(f fixture) {
				w := tt.do(f)
				var got oip.ErrorBody
				if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Header().Get("Content-Type") != "application/json" {
					t.Errorf("not JSON: %q, %v", w.Body, err)
				}
				if w.Code != tt.status || w.Header().Get("Retry-After") != tt.retry || !strings.Contains(got.Error, tt.want.Error) ||
					got.RetryAfterMS != tt.want.RetryAfterMS {
					t.Errorf("%d, Retry-After %q, %+v\nwant %d, Retry-After %q, %+v", w.Code, w.Header().Get("Retry-After"), got, tt.status, tt.retry, tt.want)
				}
				if (got.BestAccuracy == nil) != (tt.want.BestAccuracy == nil) || got.BestAccuracy != nil && *got.BestAccuracy != *tt.want.BestAccuracy {
					t.Errorf("best accuracy %v, want %v", got.BestAccuracy, tt.want.BestAccuracy)
				}
				if w := f.call("GET", "/v2/health/live", ""); w.Code != http.StatusOK {
					t.Errorf("the server is not live any more: %d %s", w.Code, w.Body)
				}
			})
		})
	}
}

func TestNotReady(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		if err := f.engine.Drain(f.Context()); err != nil {
			t.Error(err)
		}
		for path, want := range map[string]string{
			"/v2/health/ready":       `{"ready":false,"live":true}`,
			"/v2/models/scene/ready": `{"name":"scene","ready":false}`,
		} {
			if w := f.call("GET", path, ""); w.Code != 503 || strings.TrimSpace(w.Body.String()) != want {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
		w := f.call("POST", "/v2/repository/index", "")
		if !strings.Contains(w.Body.String(), `"state":"UNAVAILABLE","reason":"the server is shutting down"`) {
			t.Errorf("index: %s", w.Body)
		}
		if w := f.call("POST", "/v2/repository/index", `{"ready":true}`); strings.TrimSpace(w.Body.String()) != "[]" {
			t.Errorf("index of what is ready: %s", w.Body)
		}
	})
}

func TestStarting(t *testing.T) {
	f := fixture{T: t, Handler: New(DefaultConfig(), new(access.Guard), newLog(io.Discard)).REST()}
	for _, tt := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/v2/health/live", 200, `{"live":true}`},
		{"GET", "/v2/health/ready", 503, `{"ready":false,"live":true}`},
		{"GET", "/v2/models", 503, `{"error":"the server is starting: its models are not warm yet","retry_after_ms":1000}`},
		{"POST", inferPath, 503, `{"error":"the server is starting: its models are not warm yet","retry_after_ms":1000}`},
		{"GET", inferPath, 405, `{"error":"method GET is not allowed for /v2/models/scene/infer: use POST"}`},
		{"GET", "/", 404, `{"error":"there is no / here: the resources are below /v2 and /v1, docs/protocol.md lists them"}`},
	} {
		if w := f.call(tt.method, tt.path, ""); w.Code != tt.code || strings.TrimSpace(w.Body.String()) != tt.body {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
}

func TestPanicIsAnsweredAndLogged(t *testing.T) {
	var log bytes.Buffer
	with(t, setup{log: &log}, func(fixture) {
		h := New(DefaultConfig(), new(access.Guard), newLog(&log))
		broken := h.routed([]route{{"GET", "/v2", func(http.ResponseWriter, *http.Request, arguments) error { panic("a defect") }, access.Public}})
		w := send(broken, httptest.NewRequestWithContext(t.Context(), "GET", "/v2", nil))
		said := regexp.MustCompile(`^\{"error":"an internal error of the server; its log has the details under incident (e-[a-z2-7]{26})"\}\n$`).FindStringSubmatch(w.Body.String())
		if w.Code != 500 || said == nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if !strings.Contains(log.String(), "incident="+said[1]) {
			t.Errorf("the log does not have the incident %s: %s", said[1], log.String())
		}
		if text := log.String(); !strings.Contains(text, "a defect") || !strings.Contains(text, "status_test.go") {
			t.Errorf("the log has no trace of it: %s", text)
		}
		aborted := h.routed([]route{{"GET", "/v2", func(http.ResponseWriter, *http.Request, arguments) error { panic(http.ErrAbortHandler) }, access.Public}})
		defer func() {
			if err, ok := recover().(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				t.Error("net/http's own panic was kept from it")
			}
		}()
		send(aborted, httptest.NewRequestWithContext(t.Context(), "GET", "/v2", nil))
	})
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	err := Config{CompressBytesMin: -1, BodyBytesInFlight: -1}.Validate()
	if slo.KindOf(err) != slo.KindInvalid || strings.Count(err.Error(), "\n") != 9 {
		t.Errorf("ten settings make no sense: %v", err)
	}
}
