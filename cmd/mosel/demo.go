package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/mosel-serve/mosel/internal/demo"
	"github.com/mosel-serve/mosel/internal/example"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/spf13/cobra"
)

// demoFlags are the flags of `mosel demo`.
type demoFlags struct {
	modelDir  string
	device    string
	providers []modelpkg.Provider
	deadline  time.Duration
	floor     float64
	against   string
	sure      confidenceFlag
	seed      uint64
	json      string
}

func demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo [MODEL]",
		Short: "Compare mosel with running all modalities, in under 90 seconds",
		Long: `Serve a model twice on this machine: with policy all, which runs all modalities,
and with policy mosel, which chooses them per request. For each policy, find the
highest rate that keeps 99 % of the items on time, and measure the accuracy on
held-out samples. Then send 1.5 times the rate of policy all to both, and compare
completion times.

The default model is the example, or else the only one in ./models. The default
floor is 2.5 points below the accuracy of all modalities, or lower if no much cheaper
variant of the model reaches that. Other programs that use the processor change the
result. docs/demo.md explains every number.`,
		Example: "  mosel demo\n  mosel demo digits --min-accuracy 0.99 --json=demo.json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDemo(cmd, args, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.modelDir, "model-dir", "", "directory of the model package (default: ./models/MODEL, the example, or the only one in ./models)")
	flags.StringVar(&f.device, "device", "", "name of the profile to use (default: this machine's, or the only one)")
	addProvidersFlag(cmd, &f.providers)
	flags.DurationVar(&f.deadline, "deadline", 100*time.Millisecond, "deadline of every request")
	flags.Float64Var(&f.floor, "min-accuracy", 0, "accuracy floor of every request, from 0 to 1 (default: see above)")
	flags.Var(&f.sure, "accuracy-confidence", "confidence of the floors, such as 0.95 (default: floors are for the expected accuracy)")
	flags.StringVar(&f.against, "against", demo.All, "what policy mosel is compared with: all, or mixes: policy mosel without cascades")
	flags.Uint64Var(&f.seed, "seed", 1, "seed of the random load; the same seed gives the same load")
	addJSONFlag(flags, &f.json)
	return cmd
}

// runDemo runs the demonstration and prints its table.
func runDemo(cmd *cobra.Command, args []string, f demoFlags) error {
	if f.deadline < time.Millisecond {
		return usageError{errors.New("--deadline must be at least a millisecond")}
	}
	if f.against != demo.All && f.against != demo.Mixes {
		return usageError{fmt.Errorf("--against is %s or %s, not %q", demo.All, demo.Mixes, f.against)}
	}
	floor, err := slo.AccuracyOf(f.floor)
	if err != nil {
		return usageError{fmt.Errorf("--min-accuracy: %w", err)}
	}
	dir, err := demoDir(args, f.modelDir)
	if err != nil {
		return err
	}
	samples, err := replay.HeldOut(dir)
	if err != nil {
		return err
	}
	profile, err := modelpkg.FindProfileOn(samples.Model, f.device, f.providers)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.json == standardOutput {
		out = io.Discard
	}
	live := newLiveLine(cmd.ErrOrStderr())
	result, err := demo.Run(cmd.Context(), demo.Config{Samples: samples, Profile: profile, Deadline: f.deadline, Floor: floor, Against: f.against, Confidence: f.sure.Confidence, Seed: f.seed, Out: out,
		Live: live.show, Serve: func(ctx context.Context, policy string) (*demo.Serving, error) {
			flags := []string{"--device", profile.Device, "--providers", modelpkg.ProviderNames(f.providers), "--accuracy-confidence", fmt.Sprint(f.sure.Float())}
			if policy == demo.Mixes {
				policy, flags = "mosel", append(flags, "--no-cascades")
			}
			return serveDemo(ctx, samples, dir, policy, flags...)
		}})
	live.show("")
	if err != nil {
		return err
	}
	if f.json != "" {
		err = writeJSON(f.json, cmd.OutOrStdout(), result)
	}
	return errors.Join(err, result.WriteTable(out))
}

// demoDir returns the directory of the model that is demonstrated. If none is named, it
// is the example, even if ./models has other packages too.
func demoDir(args []string, given string) (string, error) {
	if named := filepath.Join(modelsDir, example.Name); len(args) == 0 && given == "" && exists(named) {
		return named, nil
	}
	return packageDir(args, given)
}

// serveDemo starts a server for the demonstration and connects to it.
func serveDemo(ctx context.Context, samples *replay.Samples, dir, policy string, flags ...string) (*demo.Serving, error) {
	server, err := startServer(ctx, dir, policy, flags...)
	if err != nil {
		return nil, err
	}
	target, err := replay.NewTarget(server.URL, samples, replay.ConcurrencyDefault)
	if err != nil {
		server.Stop()
		return nil, err
	}
	return &demo.Serving{Send: target.Send, Infer: target.Infer, Watch: server.Watch, Stop: func() {
		target.Close()
		server.Stop()
	}}, nil
}
