// Package api serves the Open Inference Protocol v2 over REST and gRPC. Requests may
// have objectives, and answers say what ran for them. The package checks who may call
// what, decodes requests, runs them on the engine and encodes the answers; it plans
// nothing. Both transports convert a request to the same values and call one function,
// API.run. Errors become status codes only here, by one table (status.go).
package api

import (
	"log/slog"
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
	telling sync.Mutex              // held by tellHealth
	leaving atomic.Bool             // Drain has been called
	dead    atomic.Bool             // see Vital
	conns   sync.Map                // of gRPC: *meteredConn by the address of the client

	listener access.Listener // of REST
	events   *events
	pages    map[string]page // by path
}

// Repository loads and unloads the engine's models, see package repository. The error
// for an unknown name has kind not found.
type Repository interface {
	Index() []repository.Entry
	Load(name string) error
	Unload(name string) error
}

// backend is what handlers need: the engine and its models.
type backend struct {
	engine *engine.Engine
	models Repository
}

// New returns an API. Until Open it answers that it is live and not ready.
func New(cfg Config, guard *access.Guard, log *slog.Logger) *API {
	a := &API{cfg: cfg, guard: guard, log: log, bodies: budget{max: cfg.BodyBytesInFlight}, health: health.NewServer(), events: newEvents(), pages: pagesOf(cfg.Pages)}
	a.tellHealth()
	return a
}

// Listens sets where REST listens; it must be called before REST. gRPC needs no such
// setting, because pages in browsers cannot send gRPC.
func (a *API) Listens(at access.Listener) { a.listener = at }

// Open makes the API answer requests with an engine and the repository of its models.
func (a *API) Open(e *engine.Engine, models Repository) {
	a.backend.Store(&backend{engine: e, models: models})
	a.tellHealth()
}

// Drain makes the API report that the server is not ready, and close connections of REST
// after each answer; streams of events end. Requests are answered as before until the engine drains, and as
// unavailable from then on.
func (a *API) Drain() {
	a.leaving.Store(true)
	a.events.end()
	a.tellHealth()
}

// Vital sets whether the server can work at all. While it cannot, the API reports that it
// is not live, so that a supervisor restarts it.
func (a *API) Vital(alive bool) {
	a.dead.Store(!alive)
	a.tellHealth()
}

// ready reports whether inference requests should be sent here.
func (a *API) ready() bool {
	b := a.backend.Load()
	return b != nil && b.engine.Ready() && !a.leaving.Load() && !a.dead.Load()
}

// current returns the backend, or an error before Open.
func (a *API) current() (*backend, error) {
	b := a.backend.Load()
	if b == nil {
		return nil, slo.E("", slo.KindUnavailable, "the server is starting: its models are not warm yet")
	}
	return b, nil
}
