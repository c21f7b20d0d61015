package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/example"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/runtime/ort/library"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/workload"
	"github.com/spf13/cobra"
)

// replayFlags are the flags of `mosel replay`.
type replayFlags struct {
	rate        float64
	trace       string
	scale       float64
	process     string
	jobSize     string
	duration    time.Duration
	warmup      time.Duration
	minAccuracy string
	confidence  confidenceFlag
	deadline    string
	late        string
	seed        uint64
	concurrency int
	addr        string
	modelDir    string
	policies    []string
	json        string
	shift       shiftFlags
	feedback    shareFlag
}

func replayCommand() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay [MODEL]",
		Short: "Send load to a server and measure latency, goodput and accuracy",
		Long: `Send the held-out samples of a model to a server at given times, even if the server
does not keep up (open loop). Report the share on time, completion times, the
variants that ran, and the measured accuracy beside the expected one.

MODEL is a package directory or the name of one in ./models. The default is the only
package in ./models, or the built-in example if there is none. Without --policies,
the server at --addr must already run.

With --shift, the data changes during the run, so that one sees what the server makes
of data that differs from its profile. The shifts are:
  invert:INPUT           light is dark; a signed number changes its sign
  gain:INPUT:FACTOR      every number is multiplied, as by a quiet microphone
  noise:INPUT:LEVEL      normal noise is added; its deviation is this share of full scale
  empty:INPUT:SHARE      this share of the items has the input blank, zero or silent
  swap:INPUT             the input is that of another sample
  labels:CLASS,...:SHARE this share of the items is of these classes

Ctrl-C ends the load early and still prints the report. docs/replay.md explains
every number.`,
		Example: `  mosel replay digits --rate 200 --duration 30s --min-accuracy 0.96 --deadline 100ms
  mosel replay digits --rate 200 --policies all,mosel
  mosel replay digits --trace arrivals.csv --scale 0.5 --min-accuracy uniform:0.9:0.98 --json=report.json
  mosel replay digits --min-accuracy 0.97 --shift invert:image --at 10s --until 20s --plot shift.svg`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runReplay(cmd, args, f)
		},
	}
	flags := cmd.Flags()
	flags.Float64Var(&f.rate, "rate", 50, "items per second")
	flags.StringVar(&f.trace, "trace", "", "CSV `file` with the columns second,requests, in place of --rate")
	flags.Float64Var(&f.scale, "scale", 1, "factor for the counts of the trace")
	flags.StringVar(&f.process, "process", string(replay.Poisson), "arrival process: poisson, constant or paper")
	flags.StringVar(&f.jobSize, "job-size", "1", "items per request: a number, or paper")
	flags.DurationVar(&f.duration, "duration", 30*time.Second, "how long to send load (default with --trace: the whole trace)")
	flags.DurationVar(&f.warmup, "warmup", time.Second, "how much of the start is not counted")
	flags.Var(&f.confidence, "confidence", "how sure it must be that floors are kept, such as 0.95 (default: the server's)")
	flags.StringVar(&f.minAccuracy, "min-accuracy", "0", "floor of each request: 0 to 1, or uniform:LOW:HIGH")
	flags.StringVar(&f.deadline, "deadline", "100ms", "deadline of each request: a duration, or uniform:LOW:HIGH; 0: no deadline")
	flags.StringVar(&f.late, "late", slo.LateDrop.String(), "what to do if a deadline cannot be met: drop (refuse the request) or run (answer late)")
	flags.Uint64Var(&f.seed, "seed", 1, "seed of the random load; the same seed gives the same load")
	flags.IntVar(&f.concurrency, "concurrency", replay.ConcurrencyDefault, "most requests in flight")
	flags.StringVar(&f.addr, "addr", defaultAddr, "URL of the server")
	flags.StringVar(&f.modelDir, "model-dir", "", "directory of the model package with the held-out samples (default: ./models/MODEL, or the built-in example)")
	flags.StringSliceVar(&f.policies, "policies", nil, "start a server with each of these policies in turn, in place of --addr")
	f.shift.register(cmd)
	flags.Var(&f.feedback, "feedback", "share of the answers whose labels are sent back, such as 10%; the server needs --feedback")
	addJSONFlag(flags, &f.json)
	return cmd
}

// runReplay sends the load, once or once for each policy, and prints the report.
func runReplay(cmd *cobra.Command, args []string, f replayFlags) error {
	w, err := f.workload(cmd.Flags().Changed("duration"))
	if err != nil {
		return usageError{err}
	}
	dir, err := packageDir(args, f.modelDir)
	if err != nil {
		return err
	}
	samples, err := replay.HeldOut(dir)
	if err != nil {
		return err
	}
	jobs, err := w.Jobs(samples.Len(), samples.Set.Sizes)
	if err != nil {
		return usageError{err}
	}
	shifted, err := f.shift.shifted(samples, w)
	if err != nil {
		return usageError{err}
	}
	shifted.Draw(jobs)
	doc := replay.Document{Format: replay.DocumentFormat, Model: samples.Model.Name, Samples: samples.Source(),
		Metric: samples.Model.Scoring.Title(), Unmeasured: samples.Unmeasured(), Workload: w.Facts(f.warmup)}
	if doc.Workload.Trace = f.trace; f.trace != "" {
		doc.Workload.Rate, doc.Workload.Scale = 0, f.scale
	}
	doc.Workload.Shift(shifted)
	r := replayer{f: f, dir: dir, samples: samples, jobs: jobs, shifted: shifted, live: newLiveLine(cmd.ErrOrStderr())}
	policies := f.policies
	if len(policies) == 0 {
		policies = []string{""}
	}
	for _, policy := range policies {
		run, err := r.run(cmd.Context(), policy)
		if err != nil {
			return err
		}
		doc.Runs = append(doc.Runs, *run)
		if cmd.Context().Err() != nil {
			break // interrupted: the report shows what was measured until now
		}
	}
	err = writeReport(f.json, cmd.OutOrStdout(), doc, doc.WriteTable)
	if f.shift.plot != "" {
		err = errors.Join(err, doc.Draw(f.shift.plot))
	}
	return err
}

// workload reads the flags.
func (f replayFlags) workload(durationGiven bool) (replay.Workload, error) {
	w := replay.Workload{Process: replay.Process(f.process), Rate: f.rate, Duration: f.duration, Seed: f.seed}
	var err error
	if f.trace != "" {
		if w.Trace, err = readTrace(f.trace, f.scale); err != nil {
			return w, err
		}
		if !durationGiven {
			w.Duration = time.Duration(len(w.Trace)) * time.Second
		}
	}
	if w.JobSize, err = f.size(); err != nil {
		return w, err
	}
	if w.Floors, err = workload.ParseSpread(f.minAccuracy, workload.ParseShare); err != nil {
		return w, fmt.Errorf("--min-accuracy: %w", err)
	}
	if w.Deadlines, err = workload.ParseSpread(f.deadline, workload.ParseSeconds); err != nil {
		return w, fmt.Errorf("--deadline: %w", err)
	}
	if w.Late, err = slo.ParseLateRule(f.late); err != nil {
		return w, fmt.Errorf("--late: %w", err)
	}
	if f.concurrency < 1 || f.concurrency > replay.ConcurrencyMax {
		return w, fmt.Errorf("--concurrency %d is not between 1 and %d", f.concurrency, replay.ConcurrencyMax)
	}
	if f.warmup < 0 || f.warmup >= w.Duration {
		return w, fmt.Errorf("--warmup %v must be shorter than the load, which lasts %v", f.warmup, w.Duration)
	}
	return w, w.Validate()
}

// size reads --job-size. The paper's process has the paper's sizes.
func (f replayFlags) size() (int, error) {
	if f.jobSize == "paper" || f.process == string(replay.Paper) && f.jobSize == "1" {
		return replay.PaperSize, nil
	}
	n, err := strconv.Atoi(f.jobSize)
	if err != nil {
		return 0, fmt.Errorf("--job-size %q is neither a number nor paper", f.jobSize)
	}
	return n, nil
}

func readTrace(file string, scale float64) ([]float64, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	trace, err := workload.ReadTrace(f, scale)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return trace, nil
}

// packageDir returns the directory of the model package that the command works on.
func packageDir(args []string, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if len(args) == 1 {
		return modelDir(args[0])
	}
	found, err := filepath.Glob(filepath.Join(modelsDir, "*", modelpkg.FileName))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return modelDir(example.Name)
	}
	if len(found) != 1 {
		return "", usageError{fmt.Errorf("name a model: there are %d packages in ./%s", len(found), modelsDir)}
	}
	return filepath.Dir(found[0]), nil
}

// replayer sends the same jobs to several servers in turn.
type replayer struct {
	f       replayFlags
	dir     string
	samples *replay.Samples
	jobs    []replay.Job
	shifted *replay.Shifted
	live    *liveLine
}

// run sends the load to the server at --addr, or starts one with the policy.
func (r *replayer) run(ctx context.Context, policy string) (*replay.RunOut, error) {
	out := &replay.RunOut{Policy: policy, Server: r.f.addr}
	if policy != "" {
		r.live.show("starting a server with policy " + policy)
		server, err := startServer(ctx, r.dir, policy, r.f.serverFlags()...)
		if err != nil {
			return nil, err
		}
		defer server.Stop()
		watched, cancel := server.Watch(ctx)
		defer cancel()
		ctx, out.Server = watched, server.URL
	} else if err := r.reach(ctx); err != nil {
		return nil, err
	}
	target, err := replay.NewTarget(out.Server, r.samples, r.f.concurrency)
	if err != nil {
		return nil, usageError{err}
	}
	defer target.Close()
	target.Confidence, target.Shifted = r.f.confidence.Confidence, r.shifted
	var labeller *replay.Labeller
	if r.f.feedback > 0 {
		if labeller, err = target.Label(ctx, float64(r.f.feedback), r.f.seed); err != nil {
			return nil, usageError{fmt.Errorf("--feedback: %w", err)}
		}
	}
	log := replay.Run(ctx, r.jobs, target.Send, replay.Options{Concurrency: r.f.concurrency, Warmup: r.f.warmup,
		Grace: replay.GraceDefault, Progress: func(p replay.Progress) { r.live.show(progressText(policy, p)) }})
	r.live.show("")
	out.Labelled, err = labeller.Close()
	if err := context.Cause(ctx); errors.Is(err, replay.ErrServerDied) {
		return nil, fmt.Errorf("policy %s: %w", policy, err)
	}
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	out.Report = log.Report()
	if window := r.f.shift.windows(r.jobs); window > 0 {
		out.Timeline = log.Timeline(window, r.shifted)
	}
	return out, nil
}

// serverFlags are further flags of a server that is started.
func (f replayFlags) serverFlags() []string {
	if f.feedback > 0 {
		return []string{"--feedback"}
	}
	return nil
}

// reach checks that the server answers and has the model.
func (r *replayer) reach(ctx context.Context) error {
	c, err := client.New(r.f.addr, client.Options{GRPC: clientgrpc.Dial})
	if err != nil {
		return usageError{err}
	}
	defer c.Close()
	if _, err := c.Metadata(ctx, r.samples.Model.Name); err != nil {
		return explain(ctx, c, r.f.addr, err)
	}
	return nil
}

// progressText is the progress line of a run.
func progressText(policy string, p replay.Progress) string {
	var b strings.Builder
	if policy != "" {
		fmt.Fprintf(&b, "policy %s: ", policy)
	}
	fmt.Fprintf(&b, "%.0f of %.0f s, %d sent, %d in flight, %.1f %% on time", p.Elapsed.Seconds(), p.Length.Seconds(),
		p.Sent, p.Sent-p.Done, 100*float64(p.Good)/float64(max(p.Done, 1)))
	return b.String()
}

// startServer runs `mosel serve` of this program for one package, with extra flags.
func startServer(ctx context.Context, dir, policy string, flags ...string) (*replay.Server, error) {
	// Install the library first: that may take longer than the server may take to
	// become ready.
	if _, err := (library.Config{Progress: os.Stderr}).Find(ctx, nil); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := []string{self, "serve", "--models", dir, "--policy", policy, "--addr", "127.0.0.1:0",
		"--grpc-addr", "", "--metrics-addr", "", "--watch", "0"}
	return replay.StartServer(ctx, append(command, flags...))
}
