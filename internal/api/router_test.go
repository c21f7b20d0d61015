package api

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/oip"
)

// methods are all methods of HTTP.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}

// errorOf returns the text of an answer that is an error in JSON.
func errorOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body oip.ErrorBody
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error == "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %v: not an error in JSON: %q", w.Code, w.Header(), w.Body)
	}
	return body.Error
}

// TestMethodNotAllowed sends every method to every route. The server has not started,
// so accepted requests end there.
func TestMethodNotAllowed(t *testing.T) {
	a := New(DefaultConfig(), new(access.Guard), newLog(io.Discard))
	allowed := map[string][]string{}
	for _, to := range a.routes() {
		path := strings.NewReplacer("{model}", "scene", "{version}", "3", "{id}", "j-x").Replace(to.path)
		allowed[path] = append(allowed[path], to.method)
	}
	f := fixture{T: t, Handler: a.REST()}
	for path, takes := range allowed {
		for _, method := range methods {
			for _, asked := range []string{path, path + "/"} {
				w := f.call(method, asked, "")
				if slices.Contains(takes, method) || method == "HEAD" && slices.Contains(takes, "GET") {
					if w.Code == 405 || w.Header().Get("Allow") != "" {
						t.Errorf("%s %s: %d, Allow %q", method, asked, w.Code, w.Header().Get("Allow"))
					}
					continue
				}
				if want := strings.Join(takes, ", "); w.Code != 405 || w.Header().Get("Allow") != want {
					t.Errorf("%s %s: %d, Allow %q, want 405 and %q", method, asked, w.Code, w.Header().Get("Allow"), want)
				}
				if text := errorOf(t, w); !strings.Contains(text, method) || !strings.Contains(text, path) || !strings.Contains(text, "use "+takes[0]) {
					t.Errorf("%s %s: %s", method, asked, text)
				}
			}
		}
	}
}

// TestSeveralMethodsOfOnePath checks that all methods of a path are allowed, each with
// its own handler.
func TestSeveralMethodsOfOnePath(t *testing.T) {
	a := New(DefaultConfig(), new(access.Guard), newLog(io.Discard))
	answers := func(status int) handler {
		return func(w http.ResponseWriter, _ *http.Request, _ arguments) error { w.WriteHeader(status); return nil }
	}
	f := fixture{T: t, Handler: a.routed([]route{
		{"GET", "/v2/x/{id}", answers(201), access.Public},
		{"DELETE", "/v2/x/{id}", answers(202), access.Public},
		{"GET", "/v2/x/y", answers(203), access.Public},
	})}
	for _, tt := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/v2/x/1", 201, ""}, {"HEAD", "/v2/x/1", 201, ""}, {"DELETE", "/v2/x/1", 202, ""}, {"GET", "/v2/x/y", 203, ""},
		{"DELETE", "/v2/x/y", 202, ""}, // the general path, if the specific one has no such method
		{"PUT", "/v2/x/1", 405, "GET, DELETE"}, {"PUT", "/v2/x/y", 405, "GET, DELETE"}, {"PUT", "/v2/x", 404, ""},
	} {
		if w := f.call(tt.method, tt.path, ""); w.Code != tt.status || w.Header().Get("Allow") != tt.allow {
			t.Errorf("%s %s: %d, Allow %q, want %d and %q", tt.method, tt.path, w.Code, w.Header().Get("Allow"), tt.status, tt.allow)
		}
	}
}

// TestNamesInPaths sends names in every encoding: the handler gets them decoded once.
func TestNamesInPaths(t *testing.T) {
	a := New(DefaultConfig(), new(access.Guard), newLog(io.Discard))
	var model, version string
	note := func(_ http.ResponseWriter, r *http.Request, _ arguments) error {
		model, version = r.PathValue("model"), r.PathValue("version")
		return nil
	}
	f := fixture{T: t, Handler: a.routed([]route{
		{"POST", "/v2/models/{model}/infer", note, access.Public},
		{"POST", "/v2/models/{model}/versions/{version}/infer", note, access.Public},
	})}
	for path, want := range map[string][2]string{
		"/v2/models/scene/infer":                       {"scene", ""},
		"/v2/models/scene/infer/":                      {"scene", ""},
		"/v2/models/scene/infer?versions=4":            {"scene", ""},
		"/v2/models/scene/versions/3/infer":            {"scene", "3"},
		"/v2/models/a%2Fb/infer":                       {"a/b", ""},
		"/v2/models/a%2fb/versions/%2F1%2F/infer/":     {"a/b", "/1/"},
		"/v2/models/%73cene/infer":                     {"scene", ""},
		"/v2/models/scene/%69nfer":                     {"scene", ""}, // RFC 3986: the same path
		"/v2/models/a%20b+c/infer":                     {"a b+c", ""},
		"/v2/models/a%252Fb/infer":                     {"a%2Fb", ""},
		"/v2/models/na%C3%AFve/infer":                  {"naïve", ""},
		"/v2/models/%E2%9C%93/versions/1.0-rc~1/infer": {"✓", "1.0-rc~1"},
		"/v2/models/%2E%2E/infer":                      {"..", ""},
		"/v2/models/.../infer":                         {"...", ""},
		"/v2/models/%00%FF/infer":                      {"\x00\xff", ""},
		"/v2/models/infer/infer":                       {"infer", ""},
		"/v2/models/a:b;c=d,e@f!$&'()*/infer":          {"a:b;c=d,e@f!$&'()*", ""},
		"/v2/models/%7Bmodel%7D/infer":                 {"{model}", ""},
	} {
		model, version = "", ""
		if w := f.call("POST", path, "{}"); w.Code != 200 || model != want[0] || version != want[1] {
			t.Errorf("%s: %d, model %q, version %q, want %q %s", path, w.Code, model, version, want, w.Body)
		}
	}
}

// TestUncleanPaths checks that a path with empty or dot segments is neither served nor
// redirected, with any method. Many clients answer a redirected POST with a GET, or
// drop its body; and a proxy that compares paths sees a different path than the server.
func TestUncleanPaths(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		for path, want := range map[string]string{
			"//v2/models/scene/infer":               "/v2/models/scene/infer",
			"/v2//models/scene/infer":               "/v2/models/scene/infer",
			"/v2/models/scene//infer":               "/v2/models/scene/infer",
			"/v2/models/scene/infer//":              "/v2/models/scene/infer",
			"/v2/models//infer":                     "/v2/models/infer",
			"/v2/./models/scene/infer":              "/v2/models/scene/infer",
			"/v2/models/scene/infer/.":              "/v2/models/scene/infer",
			"/v2/models/../models/scene/infer":      "/v2/models/scene/infer",
			"/../v2/models/scene/infer":             "/v2/models/scene/infer",
			"/v2/models/single/../scene/infer":      "/v2/models/scene/infer",
			"/v2/repository/index/../models/x/load": "/v2/repository/models/x/load",
		} {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				w := f.call(method, path, ask(``, imageJSON))
				if w.Code != 404 || w.Header().Get("Location") != "" || w.Header().Get("Allow") != "" {
					t.Errorf("%s %s: %d %v", method, path, w.Code, w.Header())
				}
				if text := errorOf(t, w); !strings.Contains(text, "there is no "+path+" here") || !strings.HasSuffix(text, "it is "+want) {
					t.Errorf("%s %s: %s", method, path, text)
				}
			}
		}
		for _, path := range []string{"", "*", "v2", "v2/models/scene/infer", "/", "//", "/..", "/v2/%2Fmodels", "/v2%2Fmodels", "/v2/models/%2F", "/v3", "/v2/models/scene/infer/more"} {
			r := httptest.NewRequestWithContext(f.Context(), "POST", "/", strings.NewReader("{}"))
			r.URL = &url.URL{Path: path}
			if decoded, err := url.PathUnescape(path); err == nil && decoded != path {
				r.URL = &url.URL{Path: decoded, RawPath: path}
			}
			w := send(f, r)
			if text := errorOf(t, w); w.Code != 404 || !strings.HasSuffix(text, "docs/protocol.md lists them") {
				t.Errorf("%q: %d %s", path, w.Code, text)
			}
		}
		long := "/v2/" + strings.Repeat("x", 60_000)
		if w := f.call("GET", long, ""); w.Code != 404 || w.Body.Len() > 400 {
			t.Errorf("a path of %d bytes: %d, %d bytes", len(long), w.Code, w.Body.Len())
		}
	})
}

// TestOnTheWire checks how odd request lines arrive through net/http.
func TestOnTheWire(t *testing.T) {
	server := listen(t, setup{})
	for request, want := range map[string]int{
		"GET http://localhost/v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n": 200,
		"GET /v2/health/live/?a=/../b HTTP/1.1\r\nHost: x\r\n\r\n":        200,
		"GET * HTTP/1.1\r\nHost: x\r\n\r\n":                               404,
		"GET //v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n":                404,
		"CONNECT localhost:80 HTTP/1.1\r\nHost: x\r\n\r\n":                404,
		"CONNECT /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n":             405,
		"OPTIONS /v2/models HTTP/1.1\r\nHost: x\r\n\r\n":                  405,
		"GET /v2/%zz HTTP/1.1\r\nHost: x\r\n\r\n":                         400,
	} {
		status, header, body := dial(t, server, request)
		if status != want || header.Get("Location") != "" {
			t.Errorf("%q: %d %v %s, want %d", request, status, header, body, want)
		}
	}
}

// TestMetricsListenerSaysWhatItHas checks the errors of the metrics' listener.
func TestMetricsListenerSaysWhatItHas(t *testing.T) {
	a := New(DefaultConfig(), new(access.Guard), newLog(io.Discard))
	scraped := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	f := fixture{T: t, Handler: a.Metrics(scraped, access.Listener{})}
	if w := f.call("GET", "/metrics", ""); w.Code != http.StatusTeapot {
		t.Errorf("metrics: %d", w.Code)
	}
	if w := f.call("GET", inferPath, ""); w.Code != 404 || !strings.HasSuffix(errorOf(t, w), "/metrics, /v2/health/live and /v2/health/ready") {
		t.Errorf("elsewhere: %d %s", w.Code, w.Body)
	}
	if w := f.call("POST", "/metrics", ""); w.Code != 405 || w.Header().Get("Allow") != "GET" {
		t.Errorf("POST: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

// BenchmarkRoute measures finding a route and checking the caller.
func BenchmarkRoute(b *testing.B) {
	a := New(DefaultConfig(), new(access.Guard), newLog(io.Discard))
	h := a.routed([]route{
		{"POST", "/v2/models/{model}/infer", func(http.ResponseWriter, *http.Request, arguments) error { return nil }, access.Public},
		{"POST", "/v2/models/{model}/versions/{version}/infer", func(http.ResponseWriter, *http.Request, arguments) error { return nil }, access.Public},
	})
	for _, path := range []string{"/v2/models/scene/infer", "/v2/models/scene/versions/3/infer", "/v2/models/scene/infer/"} {
		b.Run(path[strings.LastIndex(path, "scene"):], func(b *testing.B) {
			r := httptest.NewRequestWithContext(b.Context(), "POST", path, http.NoBody)
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}
