// Package scenario reads the YAML files in scenarios, which describe loads, models and
// instances, and runs them in the simulator: every group of a scenario under every
// policy at every load, and the highest load that each policy holds. So an experiment
// is a file that can be reviewed, and its result is the same, byte for byte, on every
// machine.
package scenario

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/internal/workload"
)

// Format is the version of the scenario files that this code reads.
const Format = 1

// Scenario is a checked scenario file.
type Scenario struct {
	Name        string // the file's name without its extension
	Description string
	Groups      []Group // at least one
}

// Group is one setting of everything except policy and load. Loads are items per second
// over all clients, as the mean over the duration.
type Group struct {
	Name      string
	Duration  time.Duration
	Instances []Kind // numbered from 0 in this order
	Loads     []float64
	Models    []Model
	Clients   []Client
	Faults    sim.Faults
}

// Kind is a number of equal instances.
type Kind struct {
	Count int
	Slots int     // batches that each runs at a time
	Speed float64 // relative to the models' profiles
}

// fleet returns the group's instances.
func (g *Group) fleet() (list []sim.Instance) {
	for class, k := range g.Instances {
		for range k.Count {
			list = append(list, sim.Instance{Class: sched.ClassID(class), Slots: k.Slots})
		}
	}
	return list
}

// Model is a model with its true times and those of its profile.
type Model struct {
	Name          string
	Modalities    []string
	True          *plan.Planner
	Profiled      *plan.Planner
	BatchItemsMax int
	classes       []sched.Residence // by kind of instance
}

// Client is a source of jobs.
type Client struct {
	Name    string
	Share   float64 // of the group's load
	Model   int     // index into the group's Models
	Process workload.Process
	Shape   Shape
	Sizes   workload.Sizes
	Floors  workload.Spread
	Slack   workload.Spread // seconds: the deadline, or the time added to the latency on all modalities
	// AllFirst counts deadlines from the latency on all modalities.
	AllFirst bool
	Missing  []float64 // by modality
	Late     slo.LateRule
	// Confidence is that of the floors.
	Confidence slo.Confidence
}

// Shape is the rate over time; the zero Shape is steady.
type Shape struct {
	Trace   []float64 // relative, second by second
	Period  time.Duration
	Swing   float64
	Bursts  workload.Bursts
	tracing bool // the file asks for a trace
}

// steps returns the shape with a mean rate.
func (s Shape) steps(rate float64, length time.Duration, seed uint64) []workload.Step {
	switch {
	case s.Trace != nil:
		return workload.Mean(workload.Seconds(s.Trace, length), rate)
	case s.Period > 0:
		return workload.Mean(workload.Diurnal(length, s.Period, s.Swing), rate)
	case s.Bursts.Ratio > 0:
		return workload.Mean(s.Bursts.Steps(length, seed), rate)
	}
	return workload.Steady(rate, length)
}

// Options change what a file says.
type Options struct {
	// Trace is a CSV file (second,requests) that replaces the scenario's traces.
	Trace string
}

// Bounds of a file, far above what an experiment needs.
const (
	fileBytesMax = 1 << 20
	groupsMax    = 64
	clientsMax   = 64
	modelsMax    = 16
	loadsMax     = 64
	variantsMax  = plan.RoutesMax
	batchMax     = 512
	instancesMax = 10_000
	kindsMax     = 20
	slotsMax     = 1000
	durationMax  = 24 * time.Hour
)

// Load reads a scenario and the files it refers to. Errors have kind not found or
// invalid and list every mistake with its line.
func Load(file string, o Options) (*Scenario, error) {
	op := "load " + file
	text, err := readFile(file)
	if err != nil {
		return nil, slo.E(op, slo.KindNotFound, "%s", reason(err))
	}
	r := &reader{Report: strictyaml.Report{File: file}, dir: filepath.Dir(file)}
	if o.Trace != "" {
		if r.trace, err = readTrace(o.Trace); err != nil {
			return nil, slo.E(op, slo.KindInvalid, "%w", err)
		}
	}
	s := r.scenario(text)
	if len(r.Problems) == 0 && o.Trace != "" && !r.traced {
		return nil, slo.E(op, slo.KindInvalid, "the scenario has no trace that %s could replace", o.Trace)
	}
	if len(r.Problems) > 0 {
		return nil, &slo.Error{Op: op, Kind: slo.KindInvalid, Err: r.Sorted()}
	}
	s.Name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	if len(s.Groups) == 1 && s.Groups[0].Name == "" {
		s.Groups[0].Name = s.Name
	}
	return s, nil
}

// readFile reads a whole file of bounded size.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err == nil && len(text) > fileBytesMax {
		err = fmt.Errorf("is larger than %d bytes", fileBytesMax)
	}
	return text, err
}

func readTrace(name string) ([]float64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rates, err := workload.ReadTrace(f, 1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if workload.Items(workload.Seconds(rates, durationMax)) == 0 {
		return nil, fmt.Errorf("%s: nothing arrives", name)
	}
	return rates, nil
}
