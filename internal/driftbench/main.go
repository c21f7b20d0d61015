// Command driftbench measures what mosel promises while the data differ from those of the
// profile: whether it notices, after how many requests, and what becomes of the measured
// accuracy. docs/drift-bench.md says what is measured and how to read the tables;
// `make drift` runs it. It exits with status 1 when a bound is missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
)

// options are the command line.
type options struct {
	mosel    string // the program
	model    string // the package's directory
	policy   string
	rate     float64
	floor    float64
	shadow   string  // share of the requests with a shadow run; "": mosel has no shadow runs
	feedback float64 // share of the answers that get a label, in the rows with feedback
	before   time.Duration
	during   time.Duration
	long     time.Duration // of the run without a shift
	only     string
	seed     uint64
}

var errMissed = errors.New("a bound was missed")

func main() {
	var o options
	flag.StringVar(&o.mosel, "mosel", "bin/mosel", "the program mosel")
	flag.StringVar(&o.model, "model", "models/digits", "the directory of the model package")
	flag.StringVar(&o.policy, "policy", "aggressive", "the server's policy; aggressive runs the cheapest variants, whatever the load is")
	flag.Float64Var(&o.rate, "rate", 300, "items per second")
	flag.Float64Var(&o.floor, "floor", 0.97, "floor of every request")
	flag.StringVar(&o.shadow, "shadow", "10%", "share of the requests with a shadow run; empty: without any, to see what then happens")
	flag.Float64Var(&o.feedback, "feedback", 0.1, "share of the answers that get a label, in rows of their own; 0: there are no such rows")
	flag.DurationVar(&o.before, "before", 5*time.Second, "time before a shift begins")
	flag.DurationVar(&o.during, "during", 25*time.Second, "time that a shift lasts")
	flag.DurationVar(&o.long, "long", 67*time.Second, "time of the run without a shift")
	flag.StringVar(&o.only, "only", "", "measure only rows whose name has this text")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of all random numbers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "driftbench:", err)
		os.Exit(1)
	}
}

// run measures what is asked for, and prints each table as it is done.
func run(ctx context.Context, o options, out io.Writer) error {
	samples, err := replay.HeldOut(o.model)
	if err != nil {
		return err
	}
	profile, err := modelpkg.FindProfile(samples.Model, "")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s on data that change, %d cores shared by server and load, %s, %s\n",
		samples.Model.Name, runtime.NumCPU(), runtime.Version(), time.Now().Format(time.DateOnly))
	missed := false
	if o.wants(simulated) {
		kept, err := simulate(samples.Model, profile, o.seed, out)
		if err != nil {
			return err
		}
		missed = !kept
	}
	kept, err := serve(ctx, o, samples, out, os.Stderr)
	if err != nil {
		return err
	}
	if missed || !kept {
		return errMissed
	}
	return nil
}

// wants reports whether a row is to be measured.
func (o options) wants(row string) bool { return strings.Contains(row, o.only) }
