package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/slo"
)

// handler answers the requests of a route. An error it returns becomes the answer.
type handler func(http.ResponseWriter, *http.Request, arguments) error

// arguments are what a handler gets in addition to the request.
type arguments struct {
	*backend // nil for a route that needs no engine
	caller   access.Caller
}

// route is a resource: a method, a path as a pattern of http.ServeMux, its handler, and
// the role that a caller needs.
type route struct {
	method string
	path   string
	handle handler
	role   access.Role
}

func (a *API) routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return append(append(a.pageRoutes(), a.jobRoutes()...), []route{
		{post, "/v2/models/{model}/infer", a.infer, access.Infer},
		{post, "/v2/models/{model}/versions/{version}/infer", a.infer, access.Infer},
		{get, "/v2", a.server, access.Infer},
		{get, "/v2/health/live", a.serverLive, access.Public},
		{get, "/v2/health/ready", a.serverReady, access.Public},
		{get, "/v2/models", a.models, access.Infer},
		{get, "/v2/models/stats", a.stats, access.Infer},
		{get, "/v2/models/{model}", a.metadata, access.Infer},
		{get, "/v2/models/{model}/versions/{version}", a.metadata, access.Infer},
		{get, "/v2/models/{model}/ready", a.modelReady, access.Infer},
		{get, "/v2/models/{model}/versions/{version}/ready", a.modelReady, access.Infer},
		{get, "/v2/models/{model}/config", a.config, access.Infer},
		{get, "/v2/models/{model}/versions/{version}/config", a.config, access.Infer},
		{get, "/v2/models/{model}/stats", a.stats, access.Infer},
		{get, "/v2/models/{model}/versions/{version}/stats", a.stats, access.Infer},
		{get, "/v1/status", a.status, access.Admin},
		{get, "/v1/status/events", a.statusEvents, access.Admin},
		{get, "/v1/models/{model}", a.described, access.Infer},
		{get, "/v1/models/{model}/versions/{version}", a.described, access.Infer},
		{get, "/v1/explain", a.requests, access.Admin},
		{get, "/v1/explain/{id}", a.explain, access.Admin},
		{post, "/v2/models/{model}/feedback", a.takeFeedback, a.cfg.FeedbackRole},
		{post, "/v2/models/{model}/versions/{version}/feedback", a.takeFeedback, a.cfg.FeedbackRole},
		{get, "/v2/models/{model}/feedback", a.reportFeedback, access.Admin},
		{get, "/v2/models/{model}/versions/{version}/feedback", a.reportFeedback, access.Admin},
		{post, "/v2/repository/index", a.index, access.Infer},
		{post, "/v2/repository/models/{model}/load", a.load, access.Admin},
		{post, "/v2/repository/models/{model}/unload", a.unload, access.Admin},
	}...)
}

// REST returns the handler for everything over HTTP.
func (a *API) REST() http.Handler { return a.routed(a.routes()) }

// Metrics returns the handler of the listener for metrics. Its metrics need the role
// that questions about models need. It also answers health, for probes that must get an
// answer when REST has no free connection.
func (a *API) Metrics(metrics http.Handler, at access.Listener) http.Handler {
	scrape := func(w http.ResponseWriter, r *http.Request, _ arguments) error {
		metrics.ServeHTTP(w, r)
		return nil
	}
	t := router{api: a, at: at, early: true, hint: "this listener has /metrics, /v2/health/live and /v2/health/ready"}
	return t.handler([]route{
		{http.MethodGet, "/metrics", scrape, access.Infer},
		{http.MethodGet, "/v2/health/live", a.serverLive, access.Public},
		{http.MethodGet, "/v2/health/ready", a.serverReady, access.Public},
	})
}

// routed serves routes at REST's listener.
func (a *API) routed(routes []route) http.Handler {
	t := router{api: a, at: a.listener, hint: "the resources are below /v2 and /v1, docs/protocol.md lists them"}
	return t.handler(routes)
}

// router finds the route of a request with http.ServeMux. It answers in JSON where
// ServeMux would answer in plain text, and it never redirects: many clients send the
// redirected request without its body, or not at all.
type router struct {
	mux     http.ServeMux
	api     *API
	at      access.Listener
	early   bool     // no route needs the engine
	hint    string   // where the resources are, for errors
	methods []string // methods of all routes
}

// unmatched is the pattern of requests without a route. It is the most general pattern,
// so all others are tried first.
const unmatched = "/"

// handler serves routes, and turns errors and panics into answers.
func (t *router) handler(routes []route) http.Handler {
	for _, to := range routes {
		t.mux.HandleFunc(to.method+" "+to.path, func(w http.ResponseWriter, r *http.Request) {
			args, err := t.authorize(r, to.role)
			if err == nil {
				err = to.handle(w, r, args)
			}
			if err != nil {
				t.api.fail(w, r, err)
			}
		})
		if !slices.Contains(t.methods, to.method) {
			t.methods = append(t.methods, to.method)
		}
	}
	t.mux.HandleFunc(unmatched, t.refuse)
	return t
}

// ServeHTTP implements http.Handler.
func (t *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := t.api
	if a.leaving.Load() {
		w.Header().Set("Connection", "close")
	}
	w = a.withMinRate(w)
	defer a.recovered(w, r)
	switch escaped := r.URL.EscapedPath(); {
	case !isClean(escaped):
		t.refuse(w, r)
	case strings.HasSuffix(escaped, "/") && escaped != "/":
		t.mux.ServeHTTP(w, withoutSlash(r))
	default:
		t.mux.ServeHTTP(w, r)
	}
}

// isClean reports whether a path has no empty, "." or ".." segments. http.ServeMux
// redirects paths with such segments. A slash at the end is allowed.
func isClean(escaped string) bool {
	if escaped == "/" {
		return true
	}
	escaped = strings.TrimSuffix(escaped, "/")
	return strings.HasPrefix(escaped, "/") && escaped != "/" && path.Clean(escaped) == escaped
}

// withoutSlash returns a copy of a request without the slash at the end of its path.
func withoutSlash(r *http.Request) *http.Request {
	to := *r.URL
	to.Path, to.RawPath = strings.TrimSuffix(to.Path, "/"), strings.TrimSuffix(to.RawPath, "/")
	short := *r
	short.URL = &to
	return &short
}

// refuse answers a request without a route, and says what exists.
func (t *router) refuse(w http.ResponseWriter, r *http.Request) {
	hint := t.hint
	if isClean(r.URL.EscapedPath()) {
		if allowed := t.allowed(r.URL, r.Host); len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			t.api.fail(w, r, httpError{http.StatusMethodNotAllowed, slo.E("", slo.KindInvalid,
				"method %.20s is not allowed for %.200s: use %s", r.Method, r.URL.Path, strings.Join(allowed, " or "))})
			return
		}
	} else if clean := path.Clean(r.URL.Path); path.IsAbs(clean) && clean != "/" {
		hint = fmt.Sprintf("the path has an empty, \".\" or \"..\" segment; without those it is %.200s", clean)
	}
	t.api.fail(w, r, slo.E("", slo.KindNotFound, "there is no %.200s here: %s", r.URL.Path, hint))
}

// allowed returns the methods with which a path has a route.
func (t *router) allowed(to *url.URL, host string) (methods []string) {
	for _, method := range t.methods {
		if _, pattern := t.mux.Handler(&http.Request{Method: method, URL: to, Host: host}); pattern != unmatched {
			methods = append(methods, method)
		}
	}
	return methods
}

// authorize checks that the caller has the role, and returns what the handler needs.
func (t *router) authorize(r *http.Request, need access.Role) (args arguments, err error) {
	if args.caller, err = t.api.guard.Check(need, peerAt(t.at, r)); err != nil {
		return args, err
	}
	if need != access.Public && !t.early {
		args.backend, err = t.api.current()
	}
	return args, err
}

// peerAt describes the caller of a request at a listener.
func peerAt(at access.Listener, r *http.Request) access.Peer {
	remote, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero address, which counts as remote, if it cannot be parsed
	return access.Peer{Remote: remote, Host: r.Host, Local: at, Header: r.Header}
}

// peer describes the caller of a request over REST.
func (a *API) peer(r *http.Request) access.Peer { return peerAt(a.listener, r) }

// recovered answers a request whose handler panicked. The server goes on.
func (a *API) recovered(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	a.fail(w, r, a.panicked(p, "method", r.Method, "path", r.URL.Path))
}

// panicked logs a panic with facts about its request, and returns the request's error.
func (a *API) panicked(p any, facts ...any) error {
	id := incident()
	a.log.Error("panic", append([]any{"incident", id, "panic", p, "stack", string(debug.Stack())}, facts...)...)
	return slo.E("", slo.KindInternal, "an internal error of the server; its log has the details under incident %s", id)
}
