package main

import (
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
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/spf13/cobra"
)

// drainTimeout is how long a server that is told to stop finishes what it has
// admitted: below the 30 s after which orchestrators kill.
const drainTimeout = 25 * time.Second

func serveCommand() *cobra.Command {
	cfg := server.Default(runtime.NumCPU())
	policy, format, verbose := "mosel", "text", false
	cmd := &cobra.Command{
		Use:   "serve [MODEL...]",
		Short: "Serve model packages over the Open Inference Protocol (REST and gRPC)",
		Long: `Serve the model packages in a directory, all or those named, on localhost.
Without --models they are those in ./models; where that is not there, the
built-in example digits is served. The server answers at once that it is live, and that it is ready when every
model is loaded and warm. Packages that change, come or go later are loaded and
unloaded while it serves. SIGTERM or Ctrl-C lets admitted requests finish.

'mosel status' shows what the server does, 'mosel explain' what it did with one
request and why.`,
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
			if cfg.Log, err = newLog(cmd.ErrOrStderr(), format, verbose); err != nil {
				return usageError{err}
			}
			cfg.API.Version = thisVersion().Version
			if !cmd.Flags().Changed("models") {
				if err := findModels(&cfg, args); err != nil {
					return err
				}
			}
			return serve(cmd.Context(), cfg)
		},
	}
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
	f.DurationVar(&cfg.WatchEvery, "watch", cfg.WatchEvery, "how often to look for changed packages; 0: never")
	f.StringVar(&cfg.API.ClientHeader, "client-header", cfg.API.ClientHeader, "header that says on whose behalf a request is made, for fairness; empty: none is believed")
	f.StringVar(&policy, "policy", policy, "how variants are chosen: "+strings.Join(plan.Policies(), ", "))
	f.IntVar(&cfg.Instances, "instances", cfg.Instances, "batches that run at the same time")
	f.IntVar(&cfg.Threads, "threads", cfg.Threads, "threads of each instance")
	f.IntVar(&cfg.QueueItemsMax, "queue-items", cfg.QueueItemsMax, "items that may wait before requests are refused")
	f.IntVar(&cfg.QueueJobsMax, "queue-jobs", cfg.QueueJobsMax, "requests that may wait before more are refused")
	f.Int64Var(&cfg.QueueBytesMax, "queue-bytes", cfg.QueueBytesMax, "bytes of tensors that may wait before requests are refused; 0: no bound")
	f.IntVar(&cfg.ConnectionsMax, "connections", cfg.ConnectionsMax, "connections of REST, and of gRPC, that may be open before new ones wait; fewer where the system has no room for as many files")
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

// newLog makes the log of a server.
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

// serve runs a server until ctx ends.
func serve(ctx context.Context, cfg server.Config) error {
	s, err := server.New(cfg)
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	url, ready := addresses(s, cfg.TLS.Certificate != "")
	cfg.Log.Info("listening, loading models", "addresses", url, "policy", cfg.Policy, "instances", cfg.Instances, "threads", cfg.Threads)
	began := time.Now()
	err = s.Warm(ctx)
	if err == nil {
		for _, served := range s.Served() {
			cfg.Log.Info("serving", "model", served.Model.Name, "version", served.Model.Version,
				"variants", len(served.Model.Variants), "profile", served.Profile.Device)
		}
		cfg.Log.Info("ready", "after", time.Since(began).Round(time.Millisecond))
		fmt.Fprintln(os.Stdout, ready)
		select {
		case <-ctx.Done():
			cfg.Log.Info("stopping: admitted requests finish", "within", drainTimeout)
		case err = <-s.Failed():
		}
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if stopErr := s.Shutdown(drain); err == nil && stopErr != nil {
		err = fmt.Errorf("shut down: %w", stopErr)
	}
	return err
}
