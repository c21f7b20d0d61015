// Package api is mosel's face on the network: the Open Inference Protocol v2
// over REST and gRPC, with objectives and what was run for them. It decides who
// may call what, decodes, stamps the objective, lets the engine infer and encodes;
// it plans nothing. Both transports turn their requests into the same values and
// meet in one function, infer. It is the only place where errors become status
// codes, in one table (see status.go).
package api

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/health"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/repository"
	"github.com/mosel-serve/mosel/internal/slo"
)

// API answers requests. It is safe for concurrent use.
type API struct {
	cfg     Config
	guard   *access.Guard
	log     *slog.Logger
	bodies  budget
	backend atomic.Pointer[backend] // nil: the server is starting
	health  *health.Server          // grpc.health.v1
	telling sync.Mutex              // held while health is told
	leaving atomic.Bool             // Drain has been called
	dead    atomic.Bool             // see Vital
	lines   sync.Map                // of gRPC: *line by the other end's address

	listener access.Listener // of REST
}

// Repository is what the API asks of whoever keeps the engine's models: see
// package repository. Errors of an unknown name have kind not found.
type Repository interface {
	Index() []repository.Entry
	Load(name string) error
	Unload(name string) error
}

// backend is what requests are about.
type backend struct {
	engine *engine.Engine
	models Repository
}

// New makes an API that answers that it is live and not ready, until Open.
func New(cfg Config, guard *access.Guard, log *slog.Logger) *API {
	a := &API{cfg: cfg, guard: guard, log: log, bodies: budget{max: cfg.BodyBytesInFlight}, health: health.NewServer()}
	a.tellHealth()
	return a
}

// Listens says where REST listens, before anything is served. Of gRPC nobody need
// know: no page in a browser can speak it.
func (a *API) Listens(at access.Listener) { a.listener = at }

// Open lets requests through to an engine, and to the repository that keeps its
// models.
func (a *API) Open(e *engine.Engine, models Repository) {
	a.backend.Store(&backend{engine: e, models: models})
	a.tellHealth()
}

// Drain tells everybody who asks that the server is not ready, and clients over
// REST to close their connections; requests are answered as before until the engine
// drains, and as unavailable from then on.
func (a *API) Drain() {
	a.leaving.Store(true)
	a.tellHealth()
}

// Vital says whether the server can do its work. While it cannot, it tells everybody
// who asks that it is not alive, so that whoever watches over it starts it again.
func (a *API) Vital(alive bool) {
	a.dead.Store(!alive)
	a.tellHealth()
}

// ready reports whether inference requests should be sent here.
func (a *API) ready() bool {
	b := a.backend.Load()
	return b != nil && b.engine.Ready() && !a.leaving.Load() && !a.dead.Load()
}

// current is the backend, or an error while there is none.
func (a *API) current() (*backend, error) {
	b := a.backend.Load()
	if b == nil {
		return nil, slo.E("", slo.KindUnavailable, "the server is starting: its models are not warm yet")
	}
	return b, nil
}

// arguments are what a route is called with: the parts of its path that it leaves
// open, what answers it, and who calls.
type arguments struct {
	*backend // nil for a route that is there before the engine
	model    string
	version  string
	id       string
	caller   access.Caller
}

// route is a resource: a method, a path, what serves it and who may call it.
type route struct {
	method  string
	pattern string // segments; {model}, {version} and {id} stand for any
	serve   func(http.ResponseWriter, *http.Request, arguments) error
	role    access.Role
}

func (a *API) routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{post, "v2/models/{model}/infer", a.infer, access.Infer},
		{post, "v2/models/{model}/versions/{version}/infer", a.infer, access.Infer},
		{get, "v2", a.server, access.Infer},
		{get, "v2/health/live", a.serverLive, access.Public},
		{get, "v2/health/ready", a.serverReady, access.Public},
		{get, "v2/models", a.models, access.Infer},
		{get, "v2/models/stats", a.stats, access.Infer},
		{get, "v2/models/{model}", a.metadata, access.Infer},
		{get, "v2/models/{model}/versions/{version}", a.metadata, access.Infer},
		{get, "v2/models/{model}/ready", a.modelReady, access.Infer},
		{get, "v2/models/{model}/versions/{version}/ready", a.modelReady, access.Infer},
		{get, "v2/models/{model}/config", a.config, access.Infer},
		{get, "v2/models/{model}/versions/{version}/config", a.config, access.Infer},
		{get, "v2/models/{model}/stats", a.stats, access.Infer},
		{get, "v2/models/{model}/versions/{version}/stats", a.stats, access.Infer},
		{get, "v1/status", a.status, access.Admin},
		{get, "v1/explain", a.requests, access.Admin},
		{get, "v1/explain/{id}", a.explain, access.Admin},
		{post, "v2/models/{model}/jobs", unsupported("durable jobs are"), access.Infer},
		{post, "v2/repository/index", a.index, access.Infer},
		{post, "v2/repository/models/{model}/load", a.load, access.Admin},
		{post, "v2/repository/models/{model}/unload", a.unload, access.Admin},
	}
}

// unsupported serves a resource of ours to come.
func unsupported(what string) func(http.ResponseWriter, *http.Request, arguments) error {
	return func(http.ResponseWriter, *http.Request, arguments) error {
		return slo.E("", slo.KindUnsupported, "%s not offered by this version of mosel", what)
	}
}

// REST is the handler of everything over HTTP.
func (a *API) REST() http.Handler { return a.routed(a.routes()) }

// Metrics is the handler of a listener that clients do not use: metrics, which are
// for whoever may ask about models, and health once more, for probes that must get
// an answer when REST has no place left.
func (a *API) Metrics(metrics http.Handler, at access.Listener) http.Handler {
	scrape := func(w http.ResponseWriter, r *http.Request, _ arguments) error {
		metrics.ServeHTTP(w, r)
		return nil
	}
	return table{api: a, at: at, early: true}.serving([]route{
		{http.MethodGet, "metrics", scrape, access.Infer},
		{http.MethodGet, "v2/health/live", a.serverLive, access.Public},
		{http.MethodGet, "v2/health/ready", a.serverReady, access.Public},
	})
}

// routed serves routes where REST listens.
func (a *API) routed(routes []route) http.Handler {
	return table{api: a, at: a.listener}.serving(routes)
}

// serving makes a handler of routes, which turns errors and panics into answers.
func (t table) serving(routes []route) http.Handler {
	a := t.api
	t.routes = make([]struct {
		route
		segments []string
	}, len(routes))
	for i, r := range routes {
		t.routes[i].route, t.routes[i].segments = r, strings.Split(r.pattern, "/")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		w = a.paced(w)
		defer a.recovered(w, r)
		if err := t.serve(w, r); err != nil {
			a.fail(w, r, err)
		}
	})
}

// segmentsMax is more than any route has.
const segmentsMax = 8

// table is the routes with their patterns taken apart.
type table struct {
	api    *API
	at     access.Listener
	early  bool // its routes need no engine
	routes []struct {
		route
		segments []string
	}
}

// recovered answers a request whose handler panicked; the server lives on.
func (a *API) recovered(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	id := incident()
	a.log.Error("panic", "incident", id, "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	a.fail(w, r, defect(id))
}

// defect is the error of a call whose handler panicked.
func defect(id string) error {
	return slo.E("", slo.KindInternal, "a defect in the server; its log says more of incident %s", id)
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
	for _, candidate := range t.routes {
		args, ok := match(candidate.segments, path)
		switch {
		case !ok:
		case candidate.method == method:
			return t.follow(candidate.route, w, r, args)
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

// follow lets a caller in who may and serves the route.
func (t table) follow(to route, w http.ResponseWriter, r *http.Request, args arguments) (err error) {
	a := t.api
	remote, _ := netip.ParseAddrPort(r.RemoteAddr) // what is none is not of this machine
	if args.caller, err = a.guard.Check(to.role, access.Peer{Remote: remote, Host: r.Host, Local: t.at, Header: r.Header}); err != nil {
		return err
	}
	if to.role != access.Public && !t.early {
		if args.backend, err = a.current(); err != nil {
			return err
		}
	}
	return to.serve(w, r, args)
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
		case "{id}":
			args.id, ok = unescape(path[i])
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
