// Command exitbench measures what early exits, partial loading and the switch between
// models are worth on the package digits_exits, and writes the results into
// docs/experiments.md beside the figures of HELIOS. `make exits` runs it. Thresholds are
// chosen and certified on the profile set; all figures are of the held-out set.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/scenario"
)

// options are the command line.
type options struct {
	model  string // the package's directory
	stages string // the file with the stages' sizes
	page   string // the page to write into; "": print
	rounds int
	runs   int // of the simulation
	seed   uint64
}

func main() {
	var o options
	flag.StringVar(&o.model, "model", "models/digits_exits", "the directory of the model package")
	flag.StringVar(&o.stages, "stages", "training/digits_exits/stages.json", "the bytes of each stage")
	flag.StringVar(&o.page, "write", "", "write the section into this page")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each way of running is timed")
	flag.IntVar(&o.runs, "runs", 200, "runs of the simulation")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of all random numbers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "exitbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	b, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	text, err := b.section(ctx)
	if err != nil {
		return err
	}
	if o.page == "" {
		_, err = fmt.Println(text)
		return err
	}
	return put(o.page, "exits", text)
}

// bench is a loaded package with the answers of all exits.
type bench struct {
	options
	m        *modelpkg.Model
	rt       runtime.Runtime
	instance runtime.Staged
	chains   []chain
	bytes    map[string]int64 // by stage
	cost     []float64        // by variant: milliseconds per item in a batch of batchItems
	load     []float64        // by variant: milliseconds to load its stages
	profile  answers
	heldout  answers
}

// chain is the variants of one network, by exit.
type chain struct {
	name      string
	variants  []int
	threshold float64 // below it an item goes on
}

func open(ctx context.Context, o options) (*bench, error) {
	m, err := modelpkg.Load(o.model)
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, m: m, chains: chainsOf(m)}
	data, err := os.ReadFile(o.stages)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &b.bytes); err != nil {
		return nil, fmt.Errorf("%s: %w", o.stages, err)
	}
	if b.rt, err = ort.Open(ctx, ort.Config{Progress: os.Stderr}); err != nil {
		return nil, err
	}
	for variant := range m.Variants {
		ms, err := b.loadTime(ctx, variant)
		if err != nil {
			return nil, errors.Join(err, b.rt.Close())
		}
		b.load = append(b.load, ms)
	}
	in, err := b.rt.Load(ctx, m, runtime.Options{Threads: 1})
	if err != nil {
		return nil, errors.Join(err, b.rt.Close())
	}
	staged, ok := in.(runtime.Staged)
	if !ok {
		return nil, errors.Join(errors.New("the runtime cannot run stages"), in.Close(), b.rt.Close())
	}
	b.instance = staged
	if err = b.readProfile(); err == nil {
		b.heldout, err = b.answersOf(ctx, nil)
	}
	if err != nil {
		b.close()
		return nil, err
	}
	for i := range b.chains {
		b.chains[i].threshold = certified(&b.profile, b.chains[i])
	}
	return b, nil
}

// close frees what open made. Nothing was written, so errors do not matter.
func (b *bench) close() {
	_ = b.instance.Close()
	_ = b.rt.Close()
}

// chainsOf groups the variants by name: image_text_1 is the first exit of image_text.
func chainsOf(m *modelpkg.Model) (list []chain) {
	for i, v := range m.Variants {
		name := v.Name[:strings.LastIndex(v.Name, "_")]
		if len(list) == 0 || list[len(list)-1].name != name {
			list = append(list, chain{name: name})
		}
		last := &list[len(list)-1]
		last.variants = append(last.variants, i)
	}
	return list
}

// put replaces the text between the markers of a section.
func put(page, marker, text string) error {
	return scenario.Insert(page, marker, []byte("\n"+text+"\n"))
}
