// Command servebench measures what mosel costs on top of a bare server of the
// same transport and payload, both in processes of their own beside this one,
// which makes the load. docs/performance.md says what is measured, why it is
// done so and how to read the table; `make bench-serve` runs it. It exits with
// status 1 when a bound is missed.
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
	"syscall"
	"time"
)

// options are the command line: how long to measure, or, for a child, what to be.
type options struct {
	span   time.Duration // of one round of one load
	rounds int
	only   string // the transport to measure; "" is all
	role   string
	models string
	pprof  string // file for a profile of mosel; "" is none
}

// wholeMax bounds a run, whatever happens.
const wholeMax = 90 * time.Second

var errMissed = errors.New("a bound was missed")

func main() {
	var o options
	flag.DurationVar(&o.span, "span", 200*time.Millisecond, "how long one round of one load takes")
	flag.IntVar(&o.rounds, "rounds", 7, "quiet rounds of each load, of which the median counts")
	flag.StringVar(&o.only, "only", "", "measure this alone: rest-binary, rest-json, grpc or decode")
	flag.StringVar(&o.pprof, "cpuprofile", "", "write a processor profile of mosel to this file")
	flag.StringVar(&o.role, "role", "", "internal: the server that a child process is")
	flag.StringVar(&o.models, "models", "", "internal: the model packages that a child process serves")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "servebench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.role != "" {
		return serve(ctx, o)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wholeMax, fmt.Errorf("not done after %v", wholeMax))
	defer cancel()
	return measure(ctx, o, os.Stdout)
}

// measure runs what is asked for, part by part, and prints each as it is done.
func measure(ctx context.Context, o options, out io.Writer) error {
	fmt.Fprintf(out, "mosel against bare servers, %d cores shared by server and load, %s, %s\n",
		runtime.NumCPU(), runtime.Version(), time.Now().Format(time.DateOnly))
	missed := false
	if o.only != "decode" {
		sound, err := measureServers(ctx, o, out)
		if err != nil {
			return err
		}
		missed = !sound
	}
	if o.only == "" || o.only == "decode" {
		s, err := measureDecoding(o)
		if err != nil {
			return err
		}
		missed = !s.print(out) || missed
	}
	if missed {
		return errMissed
	}
	return nil
}
