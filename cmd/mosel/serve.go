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
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/example"
	"google.golang.org/grpc/grpclog"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/asynclog"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/pending"
	"github.com/mosel-serve/mosel/internal/plan"
	moselruntime "github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/spf13/cobra"
)

// stopping says how long a server takes to stop.
type stopping struct {
	// delay is how long it still accepts new requests after it has reported that it
	// is not ready.
	delay time.Duration
	// drain is how long it then has to finish the admitted requests.
	drain time.Duration
}

func (s *stopping) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.DurationVar(&s.drain, "drain", s.drain, "after SIGTERM: how long admitted requests have to finish")
	f.DurationVar(&s.delay, "drain-delay", s.delay, "after SIGTERM, before --drain: how long to report 'not ready' and still accept requests, so that load balancers notice")
}

func (s *stopping) check() error {
	if s.delay < 0 || s.drain < 0 {
		return usageError{fmt.Errorf("--drain-delay is %v and --drain is %v: neither can be below 0", s.delay, s.drain)}
	}
	return nil
}

// drainDefault is below the 30 s after which Kubernetes kills a process.
const drainDefault = 25 * time.Second

const serveHelp = `Serve model packages over REST and gRPC, on localhost. The packages are those in
./models, or in the directory given with --models; MODEL... selects some of them.
Without --models and ./models, the built-in example digits is served.

The server is live at once. It is ready when every model is loaded and warm. A
package with errors is not served; the log and 'mosel status' say why. The server
watches the directory: it loads, replaces and unloads packages as they change.

SIGTERM or Ctrl-C stops the server. Admitted requests have --drain to finish. A
second signal ends the server at once. The exit status is 0, or 1 if something did
not end in time; the message names it.

'mosel status' shows what the server does. 'mosel explain' shows what it did with
one request, and why.`

func serveCommand() *cobra.Command {
	cfg := server.Default(moselruntime.Cores())
	confidence := confidenceFlag{}
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
			cfg.API.Confidence = confidence.Confidence
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
			cfg.Measure = !cmd.Flags().Changed("instances") && !cmd.Flags().Changed("threads")
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
	f.StringVar(&cfg.ModelsDir, "models", "models", "`directory` of model packages, or one package (if ./models does not exist: the built-in example)")
	f.StringVar(&cfg.Device, "device", "", "name of the profile to use (default: this machine's, or the only one)")
	f.StringVar(&cfg.Addr, "addr", cfg.Addr, "address for REST; port 0 picks a free port")
	f.StringVar(&cfg.GRPCAddr, "grpc-addr", cfg.GRPCAddr, "address for gRPC; empty: no gRPC")
	f.StringVar(&cfg.MetricsAddr, "metrics-addr", cfg.MetricsAddr, "address for Prometheus metrics and health probes, with the same TLS and tokens as REST; empty: no metrics")
	f.StringVar(&cfg.TLS.Certificate, "tls-cert", "", "file with the server's certificate chain (PEM); turns TLS on")
	f.StringVar(&cfg.TLS.Key, "tls-key", "", "file with the certificate's private key (PEM)")
	f.StringVar(&cfg.TLS.ClientCAs, "tls-client-ca", "", "file with certificate authorities (PEM): every client must have a certificate of one of them")
	f.StringVar(&cfg.TokensFile, "tokens", "", "file with the tokens that callers need, see 'mosel token'")
	f.BoolVar(&cfg.NoCascades, "no-cascades", false, "serve only variants, and none of the cascades that profiles have")
	f.BoolVar(&cfg.Strict, "strict", false, "do not start if a package has errors")
	f.DurationVar(&cfg.BatchTimeMax, "batch-time-max", cfg.BatchTimeMax, "the longest time that a batch may run; after it the batch is aborted and its requests fail")
	f.DurationVar(&cfg.WatchEvery, "watch", cfg.WatchEvery, "how often to check the directory for changes; 0: never")
	f.StringVar(&cfg.API.ClientHeader, "client-header", cfg.API.ClientHeader, "header that identifies the client for fair sharing; empty: no header is used")
	f.StringVar(&policy, "policy", policy, "how variants are chosen: "+strings.Join(plan.Policies(), ", "))
	f.Var(&confidence, "accuracy-confidence", "confidence of floors in requests that say nothing of it, such as 0.95; 0: floors are for the expected accuracy")
	f.Var((*shareFlag)(&cfg.Shadow), "shadow", "share of the answered items that the most accurate variant runs again in idle time, to notice drift, such as 1%; 0: none")
	f.Var((*onDriftFlag)(&cfg.OnDrift), "on-drift", "what follows when variants score less than their profile says: report, replan with the lower accuracies, or refuse requests with a floor")
	f.IntVar(&cfg.Instances, "instances", cfg.Instances, "number of instances: batches that run at the same time; unless this or --threads is given, a short measurement at start, or one of the last week, chooses, up to the default")
	f.IntVar(&cfg.Threads, "threads", cfg.Threads, "threads per instance")
	addProvidersFlag(cmd, &cfg.Providers)
	f.IntVar(&cfg.QueueItemsMax, "queue-items", cfg.QueueItemsMax, "most items in the queue; more requests are refused")
	f.IntVar(&cfg.QueueJobsMax, "queue-jobs", cfg.QueueJobsMax, "most requests in the queue; more are refused")
	f.Int64Var(&cfg.QueueBytesMax, "queue-bytes", cfg.QueueBytesMax, "most bytes of tensors in the queue; more requests are refused; 0: no bound")
	f.IntVar(&cfg.ConnectionsMax, "connections", cfg.ConnectionsMax, "most open connections, of REST and of gRPC each; more must wait; lowered if the limit on open files (ulimit -n) is too small")
	f.IntVar(&cfg.Recent, "explain", obs.RecentDefault, "number of finished requests to remember for 'mosel explain'")
	addKeepingFlags(cmd, &cfg)
	f.StringVar(&format, "log-format", format, "format of the log on standard error: text, or json with one object per line")
	f.BoolVarP(&verbose, "verbose", "v", false, "also log details, such as every failed request")
	return cmd
}

// addKeepingFlags adds the flags of what the server keeps for later.
func addKeepingFlags(cmd *cobra.Command, cfg *server.Config) {
	addFeedbackFlags(cmd, cfg)
	addJobsFlags(cmd, cfg)
}

// addFeedbackFlags adds the flags of labels that come later.
func addFeedbackFlags(cmd *cobra.Command, cfg *server.Config) {
	f := cmd.Flags()
	f.BoolVar(&cfg.Feedback.On, "feedback", false, "keep answers, so that labels that come later can be scored, see 'mosel feedback'")
	f.DurationVar(&cfg.Feedback.Keep, "feedback-keep", cfg.Feedback.Keep, "with --feedback: how long after its answer a request can be labelled")
	f.IntVar(&cfg.Feedback.ItemsMax, "feedback-items", cfg.Feedback.ItemsMax, "with --feedback: most answered items of a model to keep; each takes about 100 bytes and its answer")
	f.Var((*roleFlag)(&cfg.API.FeedbackRole), "feedback-role", "with --feedback: role that may bring labels: infer or admin")
}

// addJobsFlags adds the flags of durable jobs.
func addJobsFlags(cmd *cobra.Command, cfg *server.Config) {
	f := cmd.Flags()
	f.StringVar(&cfg.Jobs.Dir, "jobs", "", "`directory` for durable jobs, see 'mosel job'; empty: none, unless --nats is given")
	f.StringVar(&cfg.Jobs.URL, "nats", "", "`URL` of a NATS cluster with JetStream for durable jobs, in place of --jobs")
	f.StringVar(&cfg.Jobs.Stream, "nats-stream", cfg.Jobs.Stream, "name of the stream of jobs; only one mosel may use it at a time")
	f.IntVar(&cfg.Jobs.Replicas, "nats-replicas", cfg.Jobs.Replicas, "with --nats: how many servers of the cluster keep a copy")
	f.DurationVar(&cfg.Jobs.Keep, "jobs-keep", cfg.Jobs.Keep, "how long a job can be read after it has ended")
	f.Int64Var(&cfg.Jobs.BytesMax, "jobs-bytes", cfg.Jobs.BytesMax, "most bytes of all jobs on disk; jobs that have ended are deleted for new ones")
	f.IntVar(&cfg.Jobs.ClientJobsMax, "jobs-client", cfg.Jobs.ClientJobsMax, "most jobs of one client that have not ended; more are refused")
}

// roleFlag is the value of a flag.
type roleFlag access.Role

// String implements pflag.Value.
func (r *roleFlag) String() string { return access.Role(*r).String() }

// Set implements pflag.Value.
func (r *roleFlag) Set(text string) error {
	role, err := access.ParseRole(text)
	*r = roleFlag(role)
	return err
}

// Type implements pflag.Value.
func (r *roleFlag) Type() string { return "role" }

// findModels sets the directory to serve when the command line names none.
func findModels(cfg *server.Config, only []string) error {
	dir, builtIn, err := servedDir(only)
	if err != nil {
		return err
	}
	cfg.ModelsDir = dir
	if builtIn {
		cfg.Log.Info("./models does not exist: serving the built-in example; use --models DIRECTORY to serve your own models",
			"model", example.Name, "directory", filepath.Join(dir, example.Name))
	}
	return nil
}

// logTo sets the server's log. Writing to it never blocks. flush waits for at most
// lastWords until the rest of the log is written.
func logTo(cfg *server.Config, w io.Writer, format string, verbose bool) (flush func(), err error) {
	ignoreSignals()
	lines := asynclog.New(w, asynclog.BytesMax, func(n uint64) []byte {
		var line bytes.Buffer
		if log, err := newLog(&line, format, verbose); err == nil {
			log.Warn("log lines dropped: the reader of this log was too slow", "lines", n)
		}
		return line.Bytes()
	})
	if cfg.Log, err = newLog(lines, format, verbose); err != nil {
		return nil, err
	}
	cfg.LogDropped = lines.Dropped
	slog.SetDefault(cfg.Log) // for libraries
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, lines))
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastWords)
		defer cancel()
		_ = lines.Flush(ctx) // there is nowhere to report the error
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

// addresses returns the addresses that a server listens on, and the line that it
// prints for programs when it is ready.
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

// serve runs a server until ctx ends, then stops it. It returns in bounded time even
// if something hangs.
func serve(ctx context.Context, cfg server.Config, stop stopping) error {
	cfg.Work = new(pending.Work)
	var s *server.Server
	var err error
	if left := cfg.Work.Do(ctx, "starting", func() { s, err = server.New(cfg) }); left != nil {
		return endless(cfg.Work, 0) // nothing else has started
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

// endless returns the error of a server that could not stop in time. It names what
// has not ended. It returns nil if everything ends within a last moment.
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

// run serves until ctx ends, then stops.
func run(ctx context.Context, s *server.Server, cfg server.Config, stop stopping) error {
	if err := s.Start(); err != nil {
		return err
	}
	url, ready := addresses(s, cfg.TLS.Certificate != "")
	cfg.Log.Info("listening, loading models", "addresses", url, "policy", cfg.Policy, "cores", moselruntime.Cores(), "providers", modelpkg.ProviderNames(cfg.Providers))
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
	log.Info("stopping: no longer ready, finishing admitted requests", "delay", stop.delay, "drain", stop.drain)
	if stop.delay == 0 {
		return nil
	}
	const known = 4 // load balancers should have noticed when 1/known of the delay is left
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
