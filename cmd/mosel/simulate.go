package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/profiler"
	"github.com/mosel-serve/mosel/internal/scenario"
	"github.com/mosel-serve/mosel/internal/workload"
	"github.com/spf13/cobra"
)

// simulateFlags are the flags of `mosel simulate`.
type simulateFlags struct {
	policies []string
	seed     uint64
	loads    []float64
	duration time.Duration
	trace    string
	capacity bool
	json     string
	plots    string
	markdown string
}

func simulateCommand() *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate SCENARIO",
		Short: "Compare policies in simulated time",
		Long: `Simulate the load of a scenario file. The simulator runs the server's scheduler with
a virtual clock. It reports, for every policy and load, the share that was late, the
accuracy and the completion times. Then it finds the highest rate that each policy
can serve on time. The same seed gives the same output, byte for byte.

docs/scenarios.md describes scenario files. The repository has examples in
scenarios/.`,
		Example: `  mosel simulate scenarios/constant-rate.yaml
  mosel simulate scenarios/bursty.yaml --policy mosel,all --load 20,40 --plot out
  mosel simulate scenarios/trace.yaml --trace my.csv --json=result.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name one scenario file, such as scenarios/digits.yaml\nSee '%s --help'", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSimulate(cmd, args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.policies, "policy", plan.Policies(), "policies to compare")
	flags.Uint64Var(&f.seed, "seed", 1, "seed of all random numbers")
	flags.Float64SliceVar(&f.loads, "load", nil, "items per second, in place of the scenario's loads")
	flags.DurationVar(&f.duration, "duration", 0, "longest time to send load, in virtual time (default: as the scenario says)")
	flags.StringVar(&f.trace, "trace", "", "CSV `file` with the columns second,requests, in place of the scenario's trace")
	flags.BoolVar(&f.capacity, "capacity", true, "also find the highest rate that each policy can serve on time")
	addJSONFlag(flags, &f.json)
	flags.StringVar(&f.plots, "plot", "", "draw charts into this `directory`")
	flags.StringVar(&f.markdown, "markdown", "", "write the tables into this Markdown `file`, between <!-- begin SCENARIO --> and <!-- end SCENARIO -->")
	return cmd
}

// options makes the options of a run from the flags.
func (f simulateFlags) options() (scenario.RunOptions, error) {
	o := scenario.RunOptions{Seed: f.seed, Loads: f.loads, Duration: f.duration, Capacity: f.capacity}
	for _, name := range f.policies {
		policy, err := plan.ParsePolicy(name)
		if err != nil {
			return o, fmt.Errorf("--policy: %w", err)
		}
		if slices.Contains(o.Policies, policy) {
			return o, fmt.Errorf("--policy names %s twice", name)
		}
		o.Policies = append(o.Policies, policy)
	}
	for i, load := range f.loads {
		if !(load > 0 && load <= workload.RateMax) {
			return o, fmt.Errorf("--load %v is not between 0 and %d items per second", load, workload.RateMax)
		}
		if slices.Contains(f.loads[:i], load) {
			return o, fmt.Errorf("--load has %v twice", load)
		}
	}
	if f.duration < 0 {
		return o, fmt.Errorf("--duration %v is negative", f.duration)
	}
	return o, nil
}

// load reads the scenario and checks that the results can be written.
func (f simulateFlags) load(file string) (*scenario.Scenario, error) {
	s, err := scenario.Load(file, scenario.Options{Trace: f.trace})
	if err != nil {
		return nil, err
	}
	if f.trace != "" { // another trace is another experiment
		s.Name += "-" + strings.TrimSuffix(filepath.Base(f.trace), filepath.Ext(f.trace))
	}
	if f.plots != "" {
		if err := os.MkdirAll(f.plots, 0o755); err != nil {
			return nil, err
		}
	}
	if f.markdown != "" {
		return s, scenario.CheckSection(f.markdown, s.Name)
	}
	return s, nil
}

func runSimulate(cmd *cobra.Command, file string, f simulateFlags) error {
	o, err := f.options()
	if err != nil {
		return usageError{err}
	}
	s, err := f.load(file)
	if err != nil {
		return err
	}
	progress := newProgressLine(cmd.ErrOrStderr())
	began := time.Now()
	o.Progress = func(share float64) {
		left := time.Duration(float64(time.Since(began)) * (1 - share) / share)
		progress.show(profiler.Progress{Stage: s.Name, Share: share, Left: left})
	}
	result, err := s.Run(cmd.Context(), o)
	progress.end()
	if err != nil {
		return err
	}
	return errors.Join(f.publish(result), writeReport(f.json, cmd.OutOrStdout(), result, result.WriteTable))
}

// publish draws the charts and writes the Markdown that the flags ask for.
func (f simulateFlags) publish(result *scenario.Result) error {
	var pictures []string
	if f.plots != "" {
		var err error
		if pictures, err = result.Draw(f.plots); err != nil {
			return err
		}
	}
	if f.markdown == "" {
		return nil
	}
	for i, name := range pictures {
		file, err := filepath.Rel(filepath.Dir(f.markdown), filepath.Join(f.plots, name))
		if err != nil {
			return err
		}
		pictures[i] = filepath.ToSlash(file)
	}
	var text bytes.Buffer
	if err := result.WriteMarkdown(&text, pictures); err != nil {
		return err
	}
	return scenario.Insert(f.markdown, result.Scenario, text.Bytes())
}
