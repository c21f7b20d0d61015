// Command samplebench compares all ways of choosing what runs for an item, in one table
// and one run: every item by all modalities, mixes of variants, certified cascades,
// gates, early exits. Each way is certified for the same floors and then serves the same
// held-out samples. `make samples` runs it and writes the table into docs/experiments.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/mosel-serve/mosel/internal/scenario"
)

// options are the command line.
type options struct {
	models string // the directory of the shipped packages
	gates  string // the directory of the trained gates
	work   string // where packages are put together
	page   string // the page to write into; "": print
	only   string // the groups to measure whose name has this text
	rounds int
}

func main() {
	var o options
	flag.StringVar(&o.models, "models", "models", "the directory of the model packages")
	flag.StringVar(&o.gates, "gates", "training/gate", "the directory of the gates' graphs")
	flag.StringVar(&o.work, "work", "out/samples", "where to put packages and their profiles")
	flag.StringVar(&o.page, "write", "", "write the table into this page")
	flag.StringVar(&o.only, "only", "", "measure only groups whose name has this text; for a look, not for the page")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each way serves the held-out samples")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "samplebench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.page != "" && o.only != "" {
		return errors.New("-only is for a look: the page has all groups")
	}
	b, err := open(ctx, o)
	if err != nil {
		return err
	}
	groups, err := b.groups(ctx)
	if err != nil {
		return errors.Join(err, b.rt.Close())
	}
	samples, err := b.section(ctx, groups)
	if err = errors.Join(err, b.rt.Close()); err != nil {
		return err
	}
	gates, err := gateSection(groups)
	if err != nil {
		return err
	}
	if o.page == "" {
		_, err = fmt.Printf("%s\n\n%s\n", samples, gates)
		return err
	}
	return errors.Join(put(o.page, "samples", samples), put(o.page, "gates", gates))
}

// put replaces the text between the markers of a section.
func put(page, marker, text string) error {
	return scenario.Insert(page, marker, []byte("\n"+text+"\n"))
}
