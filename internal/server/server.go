// Package server is the composition root: it puts runtime, models, engine and
// API together, and is the one place that knows all of them. A program needs
// New, Start, Ready and Shutdown.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/api"
	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Config says what to serve and how. Default fills in everything but ModelsDir.
type Config struct {
	// ModelsDir is a directory of model packages, or one package.
	ModelsDir string
	// Only names the packages of ModelsDir to serve; nil serves all.
	Only []string
	// Device names the profile to plan by; "" finds it, see modelpkg.FindProfile.
	Device    string
	Addr      string // to listen on, host:port; port 0 picks a free one
	Policy    plan.Policy
	Instances int
	Threads   int // intra-op threads of each instance

	QueueItemsMax int
	QueueJobsMax  int
	API           api.Config
	// ConnectionsMax bounds the connections open at a time; further ones wait.
	ConnectionsMax int

	// Runtime runs the graphs; nil opens ONNX Runtime.
	Runtime runtime.Runtime
	Log     *slog.Logger
}

// The server's time limits on clients that send no request. Bodies and answers
// are held to a pace by the API, which knows what is on its way.
const (
	readHeaderTimeout = 10 * time.Second // a header has 64 KiB at most
	idleTimeout       = 2 * time.Minute  // above the minute after which load balancers hang up, so that they do it first
)

// Default is the configuration of `mosel serve` without flags: localhost, on
// Triton's HTTP port, one instance of one thread on every core but one, which
// is left to the network and to planning.
func Default(cores int) Config {
	instances, threads := runtime.Defaults(cores)
	return Config{Addr: "127.0.0.1:8000", Instances: instances, Threads: threads,
		QueueItemsMax: sched.DefaultQueueItemsMax, QueueJobsMax: sched.DefaultQueueJobsMax,
		ConnectionsMax: ConnectionsMax, API: api.DefaultConfig(), Log: slog.New(slog.DiscardHandler)}
}

// Validate reports every setting that makes no sense.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.ModelsDir != "", "no model directory is given")
	check(c.Instances >= 1, "instances is %d: at least 1", c.Instances)
	check(c.Threads >= 1, "threads is %d: at least 1", c.Threads)
	check(c.QueueItemsMax >= 1 && c.QueueJobsMax >= 1, "queue bounds are %d items and %d jobs: at least 1", c.QueueItemsMax, c.QueueJobsMax)
	check(c.ConnectionsMax >= 1, "the bound on connections is %d: at least 1", c.ConnectionsMax)
	if err := c.API.Validate(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil
	}
	return &slo.Error{Op: "configure the server", Kind: slo.KindInvalid, Err: errors.Join(errs...)}
}

// Server is a running server.
type Server struct {
	cfg      Config
	served   []engine.Served
	listener net.Listener
	http     *http.Server
	engine   atomic.Pointer[engine.Engine]
	runtime  runtime.Runtime
	handler  atomic.Pointer[http.Handler]
	failed   chan error
}

// New reads the model packages and their profiles: everything that can be wrong
// before anything runs.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, failed: make(chan error, 1)}
	dirs, err := packages(cfg.ModelsDir, cfg.Only)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, dir := range dirs {
		m, err := modelpkg.Load(dir)
		if err != nil {
			return nil, err
		}
		if other, ok := names[m.Name]; ok {
			return nil, slo.E("load "+dir, slo.KindInvalid, "its model is named %q, as is that of %s", m.Name, other)
		}
		names[m.Name] = dir
		profile, err := modelpkg.FindProfile(m, cfg.Device)
		if err != nil {
			return nil, err
		}
		s.served = append(s.served, engine.Served{Model: m, Profile: profile})
	}
	return s, nil
}

// packages lists the package directories: dir itself if it is one, else those in it.
func packages(dir string, only []string) ([]string, error) {
	const file = "mosel.yaml"
	if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
		return []string{dir}, nil
	}
	var dirs []string
	if only != nil {
		for _, name := range only {
			dirs = append(dirs, filepath.Join(dir, name))
		}
		return dirs, nil
	}
	found, err := filepath.Glob(filepath.Join(dir, "*", file))
	if err != nil {
		return nil, slo.E("find models", slo.KindInvalid, "directory %s: %w", dir, err)
	}
	for _, f := range found {
		dirs = append(dirs, filepath.Dir(f))
	}
	if len(dirs) == 0 {
		return nil, slo.E("find models", slo.KindNotFound, "no model package in %s: a package is a directory with a %s", dir, file)
	}
	return dirs, nil
}

// Start listens and answers at once (live, not ready), then loads and warms the
// models in the background. Wait for it with Ready.
func (s *Server) Start() error {
	listener, err := net.Listen("tcp", s.cfg.Addr)
	if err != nil {
		return slo.E("listen", slo.KindUnavailable, "%w: is another server running? choose another address with --addr", err)
	}
	s.listener = bounded(listener, s.cfg.ConnectionsMax, s.cfg.Log)
	s.setHandler(api.Starting())
	s.http = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.handler.Load()).ServeHTTP(w, r) }),
		ReadHeaderTimeout: min(readHeaderTimeout, s.cfg.API.Patience),
		ReadTimeout:       s.cfg.API.Patience, // until the API sets its own
		WriteTimeout:      s.cfg.API.Patience, // likewise
		IdleTimeout:       idleTimeout,
		Protocols:         http1(),
		MaxHeaderBytes:    s.cfg.API.HeaderBytesMax,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve: %w", err)
		}
	}()
	return nil
}

// http1 leaves HTTP/2 out, which TLS would bring along: with hundreds of
// requests on one connection, the bound on connections would bound nothing.
// Who wants many at a time on one connection has gRPC.
func http1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

func (s *Server) setHandler(h http.Handler) { s.handler.Store(&h) }

// Addr is the address listened on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Served lists the models and the profiles they are planned by.
func (s *Server) Served() []engine.Served { return s.served }

// Warm loads the models, runs every variant once or more and opens the API. It
// takes seconds; until it returns the server is live but not ready.
func (s *Server) Warm(ctx context.Context) error {
	s.runtime = s.cfg.Runtime
	if s.runtime == nil {
		rt, err := ort.Open(ctx, ort.Config{})
		if err != nil {
			return err
		}
		s.runtime = rt
	}
	e, err := engine.New(engine.Config{Models: s.served, Policy: s.cfg.Policy, Instances: s.cfg.Instances, Threads: s.cfg.Threads,
		QueueItemsMax: s.cfg.QueueItemsMax, QueueJobsMax: s.cfg.QueueJobsMax, Log: s.cfg.Log}, s.runtime)
	if err != nil {
		return err
	}
	s.engine.Store(e)
	s.setHandler(api.New(e, s.cfg.API, s.cfg.Log))
	return nil
}

// Failed tells when the listener broke.
func (s *Server) Failed() <-chan error { return s.failed }

// Shutdown refuses new requests, lets what was admitted run to its end and
// frees everything. When ctx ends before, what is left is cancelled.
func (s *Server) Shutdown(ctx context.Context) error {
	var errs []error
	if e := s.engine.Load(); e != nil {
		errs = append(errs, e.Drain(ctx))
	}
	if s.http != nil {
		if err := s.http.Shutdown(ctx); err != nil {
			errs = append(errs, err, s.http.Close())
		}
	}
	if s.runtime != nil && s.cfg.Runtime == nil {
		errs = append(errs, s.runtime.Close())
	}
	return errors.Join(errs...)
}
