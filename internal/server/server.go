// Package server is the composition root: the one place that knows runtime, models,
// engine and API, and connects them. A program calls New, Start, Warm and Shutdown.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/api"
	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/drift"
	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/jobs"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/pending"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/repository"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/dispatch"
	"github.com/mosel-serve/mosel/internal/runtime/isolated"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/runtime/remote"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/web"
)

// Config says what to serve and how. Default fills in everything but ModelsDir.
type Config struct {
	// ModelsDir is a directory of model packages, or one package.
	ModelsDir string
	// Only names the packages of ModelsDir to serve; nil serves all.
	Only []string
	// NoCascades serves only the variants of the models.
	NoCascades bool
	// Device names the profile to plan by; "" finds it, see modelpkg.FindProfile.
	Device string
	// Strict makes an error in one package an error of New and Warm; else the others
	// are served.
	Strict bool
	// WatchEvery is how often the files of ModelsDir are looked at; 0: never.
	WatchEvery time.Duration

	Addr        string // of REST, host:port; port 0 picks a free one
	GRPCAddr    string // of gRPC; "": none
	MetricsAddr string // of Prometheus metrics, and of health; "": none
	TLS         access.TLSFiles
	TokensFile  string // who may call; "": see package access

	Policy    plan.Policy
	Instances int
	Threads   int // intra-op threads of each instance
	// Measure has a short measurement choose Instances and Threads when the runtime is
	// open. Instances is then the most that it may choose.
	Measure bool
	// Providers are the execution providers of ONNX Runtime, in order of preference; nil:
	// plain CPU.
	Providers []modelpkg.Provider

	// BatchTimeMax is how long a batch may run; 0: engine.BatchTimeMaxDefault.
	BatchTimeMax time.Duration

	// Shadow is the share of the answered items that the most accurate variant runs again
	// in idle time; 0: none. OnDrift says what follows when variants score less than their
	// profile says.
	Shadow  float64
	OnDrift drift.Policy

	QueueItemsMax int
	QueueJobsMax  int
	QueueBytesMax int64
	API           api.Config
	// Recent is how many requests that have ended can still be explained; 0: the
	// default of package obs.
	Recent int
	// Feedback says how answers are kept for labels that come later.
	Feedback Feedback
	// Jobs says where durable jobs are kept.
	Jobs Jobs
	// ConnectionsMax bounds the connections of REST, and those of gRPC, that are open
	// at a time; further ones wait. It is lowered if the system allows fewer open files.
	ConnectionsMax int

	// Runtime runs the graphs; nil opens ONNX Runtime.
	Runtime runtime.Runtime
	Log     *slog.Logger
	// LogDropped, if not nil, returns how many log lines were dropped, for a metric.
	LogDropped func() uint64
	// Work, if not nil, records work that may hang, by name.
	Work *pending.Work
}

// The time limits of connections on which no request is being served. For bodies and
// answers the API has a minimum rate.
const (
	readHeaderTimeout = 10 * time.Second // a header has 64 KiB at most
	idleTimeout       = 2 * time.Minute  // longer than the usual minute of load balancers, so that they close first
)

// Default is the configuration of `mosel serve` without flags: localhost, on
// Triton's ports, with the instances and threads of runtime.Defaults.
func Default(cores int) Config {
	instances, threads := runtime.Defaults(cores)
	return Config{Addr: "127.0.0.1:8000", GRPCAddr: "127.0.0.1:8001", MetricsAddr: "127.0.0.1:8002", WatchEvery: 2 * time.Second,
		Instances: instances, Threads: threads, BatchTimeMax: engine.BatchTimeMaxDefault,
		QueueItemsMax: sched.DefaultQueueItemsMax, QueueJobsMax: sched.DefaultQueueJobsMax, QueueBytesMax: queueBytesMax, ConnectionsMax: ConnectionsMax,
		Feedback: DefaultFeedback(), Jobs: DefaultJobs(), API: api.DefaultConfig(), Log: slog.New(slog.DiscardHandler)}
}

// queueBytesMax bounds the tensors of all requests in progress. A machine that runs models
// can spare this much.
const queueBytesMax = 1 << 30

// Validate reports every setting that is out of range.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.ModelsDir != "", "no model directory is given: set ModelsDir")
	check(c.Instances >= 1, "the number of instances is %d: it must be at least 1", c.Instances)
	check(c.Threads >= 1, "the number of threads is %d: it must be at least 1", c.Threads)
	check(c.QueueItemsMax >= 1 && c.QueueJobsMax >= 1, "the bounds of the queue are %d items and %d jobs: both must be at least 1", c.QueueItemsMax, c.QueueJobsMax)
	check(c.Recent >= 0, "the number of requests to keep for explanations is %d: it must be at least 0", c.Recent)
	check(c.QueueBytesMax >= 0, "the bound on the bytes of the queue is %d: it must be at least 0, and 0 is no bound", c.QueueBytesMax)
	check(c.WatchEvery >= 0, "the interval for looking at the model directory is %v: it must be above 0, or 0 for never", c.WatchEvery)
	check(c.Shadow >= 0 && c.Shadow <= 1, "the share of shadow runs is %v: it must be between 0 and 1", c.Shadow)
	check(c.BatchTimeMax >= 0, "the time limit of a batch is %v: it must be above 0, or 0 for the default", c.BatchTimeMax)
	check(c.ConnectionsMax >= 1, "the bound on connections is %d: it must be at least 1", c.ConnectionsMax)
	if err := c.Feedback.validate(); err != nil {
		errs = append(errs, err)
	}
	if err := c.Jobs.validate(); err != nil {
		errs = append(errs, err)
	}
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
	models   *repository.Repository
	api      *api.API
	jobs     *jobs.Manager // nil: none
	registry *prometheus.Registry
	tls      *tls.Config         // nil: plain text
	tracing  *sdk.TracerProvider // nil: none

	collectAgain  func() // ends what collectSeldom has begun
	rest, metrics *http.Server
	grpc          *grpc.Server
	addrs         struct{ rest, grpc, metrics net.Addr }
	listeners     []net.Listener
	failed        chan error

	stopGRPC    sync.Once
	grpcStopped chan struct{} // closed when no call over gRPC is left
	ended       atomic.Bool   // Shutdown has been called
	life        context.Context
	endLife     context.CancelFunc // called by Shutdown
	turn        chan struct{}      // a lock: its holder, Warm or Shutdown, makes or ends the fields below
	engine      atomic.Pointer[engine.Engine]
	runtime     runtime.Runtime
	watching    sync.WaitGroup
}

// New reads the model packages and their profiles, the tokens and the certificates, so
// that mistakes in them are found before anything runs.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Work == nil {
		cfg.Work = new(pending.Work)
	}
	s := &Server{cfg: cfg, registry: obs.Registry(), failed: make(chan error, 3), collectAgain: func() {}, grpcStopped: make(chan struct{}), turn: make(chan struct{}, 1)}
	s.life, s.endLife = context.WithCancel(context.Background())
	var err error
	s.models, err = repository.Open(repository.Config{Dir: cfg.ModelsDir, Only: cfg.Only, Device: cfg.Device, Providers: cfg.Providers, NoCascades: cfg.NoCascades, Strict: cfg.Strict,
		Log: cfg.Log, Work: cfg.Work})
	if err != nil {
		return nil, err
	}
	guard, warning, err := access.New(cfg.TokensFile, cfg.Log)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		cfg.Log.Warn(warning)
	}
	if guard.HasTokens() {
		if err := obs.TokensStale(s.registry, func() bool { return guard.TokensStale() != "" }); err != nil {
			return nil, err
		}
	}
	if cfg.TLS != (access.TLSFiles{}) {
		if s.tls, err = access.TLS(cfg.TLS, cfg.Log); err != nil {
			return nil, err
		}
	}
	if s.tracing, err = newTracing(cfg.API.Version, cfg.Log); err != nil {
		return nil, err
	}
	if s.tracing != nil {
		cfg.API.Tracer = s.tracing.Tracer("github.com/mosel-serve/mosel")
	}
	if cfg.API.Feedback, err = s.takeFeedback(); err != nil {
		return nil, err
	}
	cfg.API.Pages = web.Bundle()
	if s.jobs, err = cfg.Jobs.manager(cfg.Log, s.registry); err != nil {
		return nil, err
	}
	cfg.API.Jobs = s.jobs
	s.api = api.New(cfg.API, guard, cfg.Log)
	return s, nil
}

// Start listens and answers at once (live, not ready). Warm makes it ready.
func (s *Server) Start() error {
	s.collectAgain = collectSeldom()
	if err := s.listen(); err != nil {
		s.ended.Store(true)
		s.close()
		return err
	}
	return nil
}

func (s *Server) listen() error {
	clients := 1
	if s.cfg.GRPCAddr != "" {
		clients = 2
	}
	room, err := places(filesMax(), s.cfg.ConnectionsMax, clients, filesOf(s.models.Found(), s.cfg.Instances))
	if err != nil {
		return err
	}
	if room < s.cfg.ConnectionsMax {
		s.cfg.Log.Warn("the limit on open files allows fewer connections than configured: raise it (ulimit -n, LimitNOFILE)",
			"connections", room, "configured", s.cfg.ConnectionsMax, "files", filesMax())
	}
	rest, err := s.open("REST", "--addr", s.cfg.Addr, room)
	if err != nil {
		return err
	}
	s.api.Listens(access.ListenerAt(s.cfg.Addr, rest.Addr()))
	s.rest, s.addrs.rest = s.httpServer(s.api.REST()), rest.Addr()
	rest = s.encrypted(rest)
	s.serve("REST", func() error { return s.rest.Serve(rest) })
	if s.cfg.GRPCAddr != "" {
		listener, err := s.open("gRPC", "--grpc-addr", s.cfg.GRPCAddr, room)
		if err != nil {
			return err
		}
		var options []grpc.ServerOption
		if s.tls != nil {
			config := s.tls.Clone()
			config.NextProtos = []string{"h2"}
			options = append(options, grpc.Creds(credentials.NewTLS(config)))
		}
		s.grpc, s.addrs.grpc = s.api.GRPC(options...), listener.Addr()
		metered := s.api.MeteredListener(listener)
		s.serve("gRPC", func() error { return s.grpc.Serve(metered) })
	}
	if s.cfg.MetricsAddr != "" {
		listener, err := s.open("metrics", "--metrics-addr", s.cfg.MetricsAddr, metricsPlaces)
		if err != nil {
			return err
		}
		metrics := promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
		s.metrics = s.httpServer(s.api.Metrics(metrics, access.ListenerAt(s.cfg.MetricsAddr, listener.Addr())))
		s.addrs.metrics = listener.Addr()
		listener = s.encrypted(listener)
		s.serve("metrics", func() error { return s.metrics.Serve(listener) })
	}
	return nil
}

// encrypted adds TLS to a listener for HTTP if the server has a certificate.
func (s *Server) encrypted(l net.Listener) net.Listener {
	if s.tls == nil {
		return l
	}
	config := s.tls.Clone()
	config.NextProtos = []string{"http/1.1"}
	return tls.NewListener(l, config)
}

// open listens at an address, with a bound on connections.
func (s *Server) open(what, flag, addr string, most int) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, slo.E("listen for "+what, slo.KindUnavailable, "%w; if another server uses the address, choose another one with %s", err, flag)
	}
	l = bounded(l, most, s.cfg.Log)
	s.listeners = append(s.listeners, l)
	return l, nil
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: min(readHeaderTimeout, s.cfg.API.StallTimeout),
		ReadTimeout:       s.cfg.API.StallTimeout, // until the API sets its own
		WriteTimeout:      s.cfg.API.StallTimeout, // likewise
		IdleTimeout:       idleTimeout,
		Protocols:         http1(),
		MaxHeaderBytes:    s.cfg.API.HeaderBytesMax,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
}

// http1 turns HTTP/2 off, which TLS would turn on. With hundreds of requests on one
// connection, the bound on connections would have no effect. For many requests at a time
// on one connection there is gRPC.
func http1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// serve runs a listener until it is closed.
func (s *Server) serve(what string, serve func() error) {
	go func() {
		if err := serve(); err != nil && !s.ended.Load() && !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve %s: %w", what, err)
		}
	}()
}

// Addr is the address of REST.
func (s *Server) Addr() net.Addr { return s.addrs.rest }

// GRPCAddr is the address of gRPC, nil without it.
func (s *Server) GRPCAddr() net.Addr { return s.addrs.grpc }

// MetricsAddr is the address of the metrics, nil without them.
func (s *Server) MetricsAddr() net.Addr { return s.addrs.metrics }

// Served lists the models that are served, each with its profile; before Warm, those
// that were found.
func (s *Server) Served() []engine.Served {
	if e := s.engine.Load(); e != nil {
		return e.List()
	}
	return s.models.Found()
}

// Warm loads the models, runs every variant once or more and opens the API. It
// takes seconds; until it returns the server is live but not ready. It is called
// once. A model that cannot be loaded is not served; that is an error if no model is
// left or Config.Strict is set. If ctx ends or Shutdown is called first, Warm returns at
// once with an error of kind cancelled or unavailable, even if a call into the runtime
// hangs.
func (s *Server) Warm(ctx context.Context) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	err := s.warm(ctx)
	if s.ended.Load() {
		return errEnded
	}
	return err
}

func (s *Server) warm(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return slo.E("warm up", slo.KindCancelled, "%w", err)
	}
	began := time.Now()
	if s.runtime = s.cfg.Runtime; s.runtime == nil {
		rt, err := s.openRuntime(ctx)
		if err != nil {
			return err
		}
		s.runtime = rt
	}
	opened := time.Now()
	s.size(ctx)
	s.cfg.Log.Info("the runtime is open", "opening", opened.Sub(began).Round(time.Millisecond), "sizing", time.Since(opened).Round(time.Millisecond))
	e, err := engine.New(ctx, engine.Config{Policy: s.cfg.Policy, Instances: s.cfg.Instances, Threads: s.cfg.Threads, BatchTimeMax: s.cfg.BatchTimeMax, Shadow: s.cfg.Shadow, OnDrift: s.cfg.OnDrift,
		QueueItemsMax: s.cfg.QueueItemsMax, QueueJobsMax: s.cfg.QueueJobsMax, QueueBytesMax: s.cfg.QueueBytesMax,
		Metrics: s.registry, Recent: s.cfg.Recent, LogDropped: s.cfg.LogDropped, Vital: s.api.Vital, Log: s.cfg.Log, Work: s.cfg.Work}, InPlace(s.runtime, s.cfg.Log))
	if err != nil {
		return err
	}
	s.engine.Store(e) // Shutdown ends it
	if err := s.models.Serve(ctx, e); err != nil {
		return err
	}
	s.api.Open(e, s.models)
	if s.jobs != nil {
		_ = s.jobs.Start(ctx, s.api.JobRunner()) // it logs the error and tries again, and requests are served meanwhile
	}
	if s.cfg.WatchEvery > 0 {
		s.watching.Go(func() { s.models.Watch(s.life, s.cfg.WatchEvery) })
	}
	go settle()
	return nil
}

// settle gives the memory back that starting has used and serving does not need.
func settle() {
	debug.FreeOSMemory()
	releaseCode()
}

// InPlace runs variants where their packages say: on graphs with the runtime that is
// given, in this process or, with ONNX Runtime, in processes of their own, and on other
// servers.
func InPlace(graphs runtime.Runtime, log *slog.Logger) runtime.Runtime {
	config := dispatch.Config{Graphs: graphs, Remote: remote.New()}
	if rt, ok := graphs.(*ort.Runtime); ok {
		config.Isolated = isolated.New(isolated.Config{Name: rt.Name(), Version: rt.Version(), Arguments: rt.Arguments(), Env: rt.Environment(), Log: log})
	}
	return dispatch.New(config)
}

// openRuntime opens ONNX Runtime with the configured providers, and installs it first if
// that is needed.
func (s *Server) openRuntime(ctx context.Context) (rt runtime.Runtime, err error) {
	left := s.cfg.Work.Do(ctx, "opening ONNX Runtime", func() {
		var opened *ort.Runtime
		if opened, err = OpenRuntime(ctx, ort.Config{Progress: progress{s.cfg.Log}}, s.cfg.Providers, s.cfg.Log); err == nil {
			opened.Keep(cachedir.NewCache(cachedir.Find("graphs"), cachedir.CacheBytesMax))
			rt = opened
		}
	})
	if left != nil {
		return nil, slo.E("open ONNX Runtime", slo.KindCancelled, "%w", left)
	}
	return rt, err
}

// OpenRuntime opens ONNX Runtime to run graphs on these providers.
func OpenRuntime(ctx context.Context, config ort.Config, providers []modelpkg.Provider, log *slog.Logger) (*ort.Runtime, error) {
	rt, err := ort.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := rt.Use(providers, log); err != nil {
		return nil, errors.Join(err, rt.Close())
	}
	return rt, nil
}

var errEnded = slo.E("warm up", slo.KindUnavailable, "the server has been shut down")

// Failed receives the error of a listener that stopped by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// close stops at once what has been started.
func (s *Server) close() {
	s.collectAgain()
	for _, l := range s.listeners {
		_ = l.Close() // also of a listener that no server has taken yet
	}
	for _, server := range []*http.Server{s.rest, s.metrics} {
		if server != nil {
			_ = server.Close()
		}
	}
	if s.grpc != nil {
		s.grpc.Stop()
	}
	s.flush(context.Background()) // there are no spans to send
}
