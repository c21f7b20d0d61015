// Command dominance checks that policy mosel is at least as good as every other policy
// in every cell of the scenarios, and prints the cells that fall short: where more items
// are late than with another policy, or where it is less accurate than one that is as
// much on time. `make dominance` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/scenario"
)

// options are the command line.
type options struct {
	files    []string
	seeds    uint64
	duration time.Duration
}

func main() {
	var o options
	flag.Uint64Var(&o.seeds, "seeds", 3, "run each scenario with the seeds from 1 to this")
	flag.DurationVar(&o.duration, "duration", 0, "longest time to send load; 0: as in the files")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: dominance [flags] [SCENARIO ...]\n\nWithout arguments it runs scenarios/*.yaml. It exits with status 1 if a cell falls short.")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.files = flag.Args(); len(o.files) == 0 {
		o.files, _ = filepath.Glob("scenarios/*.yaml") // the pattern is valid
	}
	short, err := check(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "dominance:", err)
		os.Exit(1)
	}
	if short > 0 {
		os.Exit(1)
	}
}

// sum adds up the cells of one scenario over the seeds.
type sum struct {
	short, cells   int
	late, accuracy float64 // of the first policy
}

// check runs the scenarios, writes the cells that fall short and a line for each
// scenario, and returns the number of these cells.
func check(ctx context.Context, o options, w io.Writer) (int, error) {
	var policies []plan.Policy
	for _, name := range plan.Policies() {
		p, err := plan.ParsePolicy(name)
		if err != nil {
			return 0, err
		}
		policies = append(policies, p)
	}
	var all sum
	for _, file := range o.files {
		s, err := scenario.Load(file, scenario.Options{})
		if err != nil {
			return 0, err
		}
		var here sum
		for seed := uint64(1); seed <= o.seeds; seed++ {
			r, err := s.Run(ctx, scenario.RunOptions{Policies: policies, Seed: seed, Duration: o.duration})
			if err != nil {
				return 0, err
			}
			here.add(w, r)
		}
		fmt.Fprintf(w, "%s: %d of %d cells fall short; %s is %.2f %% late in the mean, accuracy %.4f\n", s.Name, here.short, here.cells,
			plan.Policies()[0], 100*here.late/float64(here.cells), here.accuracy/float64(here.cells))
		all.short, all.cells = all.short+here.short, all.cells+here.cells
	}
	fmt.Fprintf(w, "\n%d of %d cells fall short\n", all.short, all.cells)
	return all.short, nil
}

// add counts the cells of a result and writes those that fall short.
func (s *sum) add(w io.Writer, r *scenario.Result) {
	for _, c := range r.Cells {
		if c.Policy == r.Policies[0] {
			s.late, s.accuracy, s.cells = s.late+c.LateShare, s.accuracy+c.Accuracy, s.cells+1
		}
	}
	for _, v := range r.Comparison {
		if !v.Missed() {
			continue
		}
		s.short++
		fmt.Fprintf(w, "  %s, seed %d, %s at %.4g/s:", r.Scenario, r.Seed, v.Group, v.Load)
		if v.LateExcess > scenario.LateBand {
			fmt.Fprintf(w, " %.2f points later than %s", 100*v.LateExcess, v.Best)
		}
		if v.AccuracyShort > scenario.AccuracyBand {
			fmt.Fprintf(w, " %.4f less accurate than %s", v.AccuracyShort, v.Rival)
		}
		fmt.Fprintln(w)
	}
}
