package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/example"
	"google.golang.org/grpc/grpclog"

	"github.com/mosel-serve/mosel/internal/asynclog"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/pending"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/spf13/cobra"
)

// stopping is how a server that is told to stop does so.
type stopping struct {
	// delay is how long it goes on answering new requests while it tells that it is
	// not ready.
	delay time.Duration
	// drain is how long after that it finishes what it has admitted.
	drain time.Duration
}

func (s *stopping) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.DurationVar(&s.drain, "drain", s.drain, "how long a server that was told to stop may take to finish the requests it has admitted")
	f.DurationVar(&s.delay, "drain-delay", s.delay, "how long before that it goes on answering while it says that it is not ready, so that load balancers see it")
}

func (s *stopping) check() error {
	if s.delay < 0 || s.drain < 0 {
		return usageError{fmt.Errorf("--drain-delay is %v and --drain is %v: neither can be below 0", s.delay, s.drain)}
	}
	return nil
}

// drainDefault is below the 30 s after which orchestrators kill.
const drainDefault = 25 * time.Second

const serveHelp = `Serve the model packages in a directory, all or those named, on localhost.
Without --models they are those in ./models; where there is no such directory, the
built-in example digits is served. The server answers at once that it is live, and
that it is ready when every model is loaded and warm. A package with errors
is not served, and the log and 'mosel status' say why. Packages that change, come or
go later are loaded and unloaded while it serves.

SIGTERM or Ctrl-C lets admitted requests finish, for --drain at most; a second one
ends the server at once. It ends with status 0, or with 1 if something did not end
in time, and says what.

'mosel status' shows what the server does, 'mosel explain' what it did with one
request and why.`

func serveCommand() *cobra.Command {
	cfg := server.Default(runtime.GOMAXPROCS(0))
	policy, format, verbose, stop := "mosel", "text", false, stopping{drain: drainDefault}
	cmd := &cobra.Command{
		Use:     "serve [MODEL...]",
		Short:   "Serve model packages over the Open Inference Protocol (REST and gRPC)",
		Long:    serveHelp,
		Example: "  mosel serve\n  mosel serve digits --policy all --addr 127.0.0.1:9000",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := plan.ParsePolicy(policy)
			if err != nil {
				return usageError{err}
			}
			cfg.Policy = p
			if len(args) > 0 {
				cfg.Only = args
			}
			if err := stop.check(); err != nil {
				return err
			}
			flush, err := logTo(&cfg, cmd.ErrOrStderr(), format, verbose)
			if err != nil {
				return usageError{err}
			}
			defer flush()
			cfg.API.Version = thisVersion().Version
			if !cmd.Flags().Changed("models") {
				if err := findModels(&cfg, args); err != nil {
					return err
				}
			}
			return serve(cmd.Context(), cfg, stop)
		},
	}
	stop.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&cfg.ModelsDir, "models", "models", "`directory` of model packages, or one package (without ./models: the built-in example)")
	f.StringVar(&cfg.Device, "device", "", "name of the profile to plan by (default: this machine's, or the only one)")
	f.StringVar(&cfg.Addr, "addr", cfg.Addr, "address of REST; port 0 picks a free one")
	f.StringVar(&cfg.GRPCAddr, "grpc-addr", cfg.GRPCAddr, "address of gRPC; empty: none")
	f.StringVar(&cfg.MetricsAddr, "metrics-addr", cfg.MetricsAddr, "address of Prometheus metrics and of health for probes, with TLS and tokens as REST has them; empty: none")
	f.StringVar(&cfg.TLS.Certificate, "tls-cert", "", "file of the server's certificate chain (PEM): serve over TLS")
	f.StringVar(&cfg.TLS.Key, "tls-key", "", "file of the certificate's private key (PEM)")
	f.StringVar(&cfg.TLS.ClientCAs, "tls-client-ca", "", "file of authorities (PEM) that must have signed a client's certificate")
	f.StringVar(&cfg.TokensFile, "tokens", "", "file of the tokens that callers need, see 'mosel token'")
	f.BoolVar(&cfg.Strict, "strict", false, "do not start if a package has errors")
	f.DurationVar(&cfg.BatchTimeMax, "batch-time-max", cfg.BatchTimeMax, "how long a batch may run; then it is told to end and its requests fail")
	f.DurationVar(&cfg.WatchEvery, "watch", cfg.WatchEvery, "how often to look for changed packages; 0: never")
	f.StringVar(&cfg.API.ClientHeader, "client-header", cfg.API.ClientHeader, "header that names the client a request is for, so that the server shares its time fairly; empty: no header is used")
	f.StringVar(&policy, "policy", policy, "how variants are chosen: "+strings.Join(plan.Policies(), ", "))
	f.IntVar(&cfg.Instances, "instances", cfg.Instances, "batches that run at the same time")
	f.IntVar(&cfg.Threads, "threads", cfg.Threads, "threads of each instance")
	f.IntVar(&cfg.QueueItemsMax, "queue-items", cfg.QueueItemsMax, "items that may wait before requests are refused")
	f.IntVar(&cfg.QueueJobsMax, "queue-jobs", cfg.QueueJobsMax, "requests that may wait before more are refused")
	f.Int64Var(&cfg.QueueBytesMax, "queue-bytes", cfg.QueueBytesMax, "bytes of tensors that may wait before requests are refused; 0: no bound")
	f.IntVar(&cfg.ConnectionsMax, "connections", cfg.ConnectionsMax, "connections of REST, and as many of gRPC, that may be open before new ones wait; lowered if the limit on open files (ulimit -n) is too small")
	f.IntVar(&cfg.Recent, "explain", obs.RecentDefault, "requests that are kept, when they have ended, for 'mosel explain'")
	f.StringVar(&format, "log-format", format, "form of the log on standard error: text or json, one object on each line")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more, such as every request that failed")
	return cmd
}

// findModels sets the directory to serve where the command line names none.
func findModels(cfg *server.Config, only []string) error {
	dir, builtIn, err := servedDir(only)
	if err != nil {
		return err
	}
	cfg.ModelsDir = dir
	if builtIn {
		cfg.Log.Info("there is no directory ./models: serving the built-in example; serve your own models with --models DIRECTORY",
			"model", example.Name, "directory", filepath.Join(dir, example.Name))
	}
	return nil
}

// logTo sets a server's log, which never makes it wait. flush gives whoever reads
// the log a moment to read the rest.
func logTo(cfg *server.Config, w io.Writer, format string, verbose bool) (flush func(), err error) {
	ignoreSignals()
	lines := asynclog.New(w, asynclog.BytesMax, func(n uint64) []byte {
		var line bytes.Buffer
		if log, err := newLog(&line, format, verbose); err == nil {
			log.Warn("lines of this log were dropped: they were not read in time", "lines", n)
		}
		return line.Bytes()
	})
	if cfg.Log, err = newLog(lines, format, verbose); err != nil {
		return nil, err
	}
	cfg.LogDropped = lines.Dropped
	slog.SetDefault(cfg.Log) // what libraries say
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, lines))
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastWords)
		defer cancel()
		_ = lines.Flush(ctx) // there is nobody to tell
	}, nil
}

// newLog makes a log.
func newLog(w io.Writer, format string, verbose bool) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		options.Level = slog.LevelDebug
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("--log-format %q is neither text nor json", format)
}

// addresses are where a server listens, and the line that tells programs that it
// is ready there.
func addresses(s *server.Server, encrypted bool) (list []string, ready string) {
	scheme := "http://"
	if encrypted {
		scheme = "https://"
	}
	list = append(list, scheme+s.Addr().String())
	ready = "ready " + list[0]
	if addr := s.GRPCAddr(); addr != nil {
		list = append(list, "grpc://"+addr.String())
		ready += " grpc " + addr.String()
	}
	if addr := s.MetricsAddr(); addr != nil {
		list = append(list, scheme+addr.String()+"/metrics")
		ready += " metrics " + addr.String()
	}
	return list, ready
}

// serve runs a server until ctx ends, and stops it then, whatever hangs.
func serve(ctx context.Context, cfg server.Config, stop stopping) error {
	cfg.Work = new(pending.Work)
	var s *server.Server
	var err error
	if left := cfg.Work.Do(ctx, "starting", func() { s, err = server.New(cfg) }); left != nil {
		return endless(cfg.Work, 0) // there is nothing else to end
	}
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, s, cfg, stop) }()
	select {
	case err = <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err = <-ended:
		return err
	case <-time.After(stop.delay + stop.drain + server.EndTime + lastWords):
		return endless(cfg.Work, stop.delay+stop.drain)
	}
}

// endless is the error of a server that could not stop as it should, and says what
// has not ended; nil if all has, a moment later.
func endless(work *pending.Work, waited time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	if waited == 0 {
		ctx, cancel = context.WithTimeout(context.Background(), server.EndTime)
	}
	defer cancel()
	if work.Idle(ctx) == nil && waited == 0 {
		return nil
	}
	return fmt.Errorf("stopped, but this did not end: %s", cmp.Or(strings.Join(work.Pending(), ", "), "connections"))
}

// run serves until ctx ends, and then stops.
func run(ctx context.Context, s *server.Server, cfg server.Config, stop stopping) error {
	if err := s.Start(); err != nil {
		return err
	}
	url, ready := addresses(s, cfg.TLS.Certificate != "")
	cfg.Log.Info("listening, loading models", "addresses", url, "policy", cfg.Policy, "instances", cfg.Instances, "threads", cfg.Threads)
	began := time.Now()
	err := s.Warm(ctx)
	switch {
	case err == nil:
		for _, served := range s.Served() {
			cfg.Log.Info("serving", "model", served.Model.Name, "version", served.Model.Version,
				"variants", len(served.Model.Variants), "profile", served.Profile.Device)
		}
		cfg.Log.Info("ready", "after", time.Since(began).Round(time.Millisecond))
		fmt.Fprintln(os.Stdout, ready)
		err = attend(ctx, s, cfg.Log, stop)
	case ctx.Err() != nil:
		cfg.Log.Info("stopping while models are loaded")
		err = nil
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), stop.drain)
	defer cancel()
	if stopErr := s.Shutdown(drain); err == nil && stopErr != nil {
		err = fmt.Errorf("shut down: %w", stopErr)
	}
	return err
}

// attend waits until ctx ends, or a listener breaks, and then until load balancers
// know.
func attend(ctx context.Context, s *server.Server, log *slog.Logger, stop stopping) error {
	select {
	case <-ctx.Done():
	case err := <-s.Failed():
		return err
	}
	s.Leave() // before anything else
	log.Info("stopping: not ready any more, admitted requests finish", "delay", stop.delay, "within", stop.drain)
	if stop.delay == 0 {
		return nil
	}
	const known = 4 // when one part in so many of the delay is left, load balancers should know
	select {
	case <-time.After(stop.delay - stop.delay/known):
	case err := <-s.Failed():
		return err
	}
	s.Part() // from clients that keep their connections
	select {
	case <-time.After(stop.delay / known):
		return nil
	case err := <-s.Failed():
		return err
	}
}
