// Package api is mosel's face on the network: the Open Inference Protocol v2
// over REST, with objectives and what was run for them. It decodes, stamps the
// objective, lets the engine infer and encodes; it decides nothing. It is the
// only place where errors become status codes, in one table (see status.go).
package api

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/slo"
)

// handler answers the requests of one engine.
type handler struct {
	engine *engine.Engine
	cfg    Config
	log    *slog.Logger
	bodies budget
}

// New makes the handler of everything below /v2. It is safe for concurrent use;
// what is called on it while the engine drains is answered as unavailable.
func New(e *engine.Engine, cfg Config, log *slog.Logger) http.Handler {
	h := &handler{engine: e, cfg: cfg, log: log, bodies: budget{max: cfg.BodyBytesInFlight}}
	return h.routed(h.routes())
}

// Starting makes the handler of a server that has no engine yet: it is live,
// not ready, and everything else is unavailable.
func Starting() http.Handler {
	h := &handler{log: slog.New(slog.DiscardHandler)}
	unavailable := func(http.ResponseWriter, *http.Request, arguments) error {
		return slo.E("", slo.KindUnavailable, "the server is starting: its models are not warm yet")
	}
	var routes []route
	for _, r := range h.routes() {
		switch r.pattern {
		case "v2/health/live":
		case "v2/health/ready":
			r.serve = func(w http.ResponseWriter, _ *http.Request, _ arguments) error { return writeReady(w, false) }
		default:
			r.serve = unavailable
		}
		routes = append(routes, r)
	}
	return h.routed(routes)
}

// arguments are the parts of a path that a route leaves open.
type arguments struct{ model, version string }

// route is a resource: a method, a path and what serves it.
type route struct {
	method  string
	pattern string // segments; {model} and {version} stand for any
	serve   func(http.ResponseWriter, *http.Request, arguments) error
}

func (h *handler) routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{post, "v2/models/{model}/infer", h.infer},
		{post, "v2/models/{model}/versions/{version}/infer", h.infer},
		{get, "v2", h.server},
		{get, "v2/health/live", h.live},
		{get, "v2/health/ready", h.ready},
		{get, "v2/models", h.models},
		{get, "v2/models/stats", unsupported("statistics are")},
		{get, "v2/models/{model}", h.metadata},
		{get, "v2/models/{model}/versions/{version}", h.metadata},
		{get, "v2/models/{model}/ready", h.modelReady},
		{get, "v2/models/{model}/versions/{version}/ready", h.modelReady},
		{get, "v2/models/{model}/config", h.config},
		{get, "v2/models/{model}/versions/{version}/config", h.config},
		{get, "v2/models/{model}/stats", unsupported("statistics are")},
		{get, "v2/models/{model}/versions/{version}/stats", unsupported("statistics are")},
		{post, "v2/models/{model}/jobs", unsupported("durable jobs are")},
		{post, "v2/repository/index", h.index},
		{post, "v2/repository/models/{model}/load", unsupported("loading models at run time is")},
		{post, "v2/repository/models/{model}/unload", unsupported("unloading models at run time is")},
	}
}

// unsupported serves a resource of the protocol, or one of ours to come, that
// is not there.
func unsupported(what string) func(http.ResponseWriter, *http.Request, arguments) error {
	return func(http.ResponseWriter, *http.Request, arguments) error {
		return slo.E("", slo.KindUnsupported, "%s not offered by this version of mosel", what)
	}
}

// segmentsMax is more than any route has.
const segmentsMax = 8

// table is the routes with their patterns taken apart.
type table []struct {
	route
	segments []string
}

// routed serves routes, and turns errors and panics into answers.
func (h *handler) routed(routes []route) http.Handler {
	t := make(table, len(routes))
	for i, r := range routes {
		t[i].route, t[i].segments = r, strings.Split(r.pattern, "/")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = h.paced(w)
		defer h.recovered(w, r)
		if err := t.serve(w, r); err != nil {
			h.fail(w, r, err)
		}
	})
}

// recovered answers a request whose handler panicked; the server lives on.
func (h *handler) recovered(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	h.log.Error("panic", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	h.fail(w, r, slo.E("", slo.KindInternal, "a defect in the server; its log says more"))
}

// serve finds the route of a request and follows it.
func (t table) serve(w http.ResponseWriter, r *http.Request) error {
	var room [segmentsMax]string
	path := cutPath(r.URL.EscapedPath(), room[:0])
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	var allowed []string
	for _, candidate := range t {
		args, ok := match(candidate.segments, path)
		switch {
		case !ok:
		case candidate.method == method:
			return candidate.serve(w, r, args)
		default:
			allowed = append(allowed, candidate.method)
		}
	}
	if allowed != nil {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return httpError{http.StatusMethodNotAllowed,
			slo.E("", slo.KindInvalid, "%s is not for %s: use %s", r.URL.Path, r.Method, strings.Join(allowed, " or "))}
	}
	return slo.E("", slo.KindNotFound, "there is no %s here; the API begins at /v2, docs/protocol.md lists what it has", r.URL.Path)
}

// cutPath cuts a path at its slashes. A slash at the end is as good as none.
func cutPath(path string, segments []string) []string {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	for len(segments) < segmentsMax {
		segment, rest, more := strings.Cut(path, "/")
		segments = append(segments, segment)
		if !more {
			return segments
		}
		path = rest
	}
	return append(segments[:0], "") // too long for any route
}

func match(pattern, path []string) (args arguments, ok bool) {
	if len(pattern) != len(path) {
		return args, false
	}
	for i, p := range pattern {
		switch p {
		case "{model}":
			args.model, ok = unescape(path[i])
		case "{version}":
			args.version, ok = unescape(path[i])
		default:
			ok = p == path[i]
		}
		if !ok {
			return args, false
		}
	}
	return args, true
}

func unescape(segment string) (string, bool) {
	s, err := url.PathUnescape(segment)
	return s, err == nil && s != ""
}
