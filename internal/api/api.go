// Package api is mosel's face on the network: the Open Inference Protocol v2
// over REST and gRPC, with objectives and what was run for them. It decides who
// may call what, decodes, stamps the objective, lets the engine infer and encodes;
// it plans nothing. Both transports turn their requests into the same values and
// meet in one function, infer. It is the only place where errors become status
// codes, in one table (see status.go).
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
	telling sync.Mutex              // held while health is told
	leaving atomic.Bool             // Drain has been called
	dead    atomic.Bool             // see Vital
	conns   sync.Map                // of gRPC: *meteredConn by the address of the client

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
