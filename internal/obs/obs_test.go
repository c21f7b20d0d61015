package obs_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/prometheus/client_golang/prometheus"
)

// serving announces a model to an observer.
func serving(o *obs.Observer, m *feed.Model) {
	o.Resume(&feed.Snapshot{Models: map[int]*feed.Model{0: m}})
}

// TestReasonsAreTold checks that every reason for not running a job is counted, and
// appears in an explanation with the matching outcome.
func TestReasonsAreTold(t *testing.T) {
	for _, r := range slo.Reasons()[1:] {
		o, err := obs.New(obs.Config{})
		if err != nil {
			t.Fatal(err)
		}
		serving(o, &feed.Model{Name: "m", Modalities: []string{"image", "text"}, Planner: scriptPlanner(t)})
		o.Step(&feed.Step{Event: sched.Arrive{Job: 1, Items: 1, Present: 3}, Actions: []sched.Action{
			sched.Finish{Part: sched.Part{Job: 1, Count: 1}, Variant: -1, Outcome: r.Outcome(), Reason: r},
			sched.FinishJob{Job: 1, Outcome: r.Outcome(), Reason: r}}})
		e, ok := o.Explain("1")
		if !ok || e.Reason != r.String() || e.Outcome != r.Outcome().String() || e.Summary != r.Sentence() {
			t.Errorf("%v is told as %v (%v): %q", r, e.Outcome, e.Reason, e.Summary)
		}
		if s := o.Status(0); s.Models[0].Reasons[r.String()] != 1 {
			t.Errorf("%v is not counted: %v", r, s.Models[0].Reasons)
		}
	}
}

// TestWrongRecordsEndQuietly checks that an impossible step is logged once and causes
// no more harm.
func TestWrongRecordsEndQuietly(t *testing.T) {
	var log bytes.Buffer
	o, err := obs.New(obs.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	serving(o, &feed.Model{Name: "m", Planner: scriptPlanner(t)})
	for range 3 {
		o.Step(&feed.Step{At: 1, Event: sched.Tick{}, Actions: []sched.Action{sched.FinishJob{Job: 7, Outcome: slo.OnTime}}})
	}
	if n := strings.Count(log.String(), "I-2: job 7"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
	if _, ok := o.Explain("7"); ok {
		t.Error("a job that never came is explained")
	}
}

// TestRetiredModelsGo checks that the series of a retired model stay, but not those of
// an unlimited number of models.
func TestRetiredModelsGo(t *testing.T) {
	registry := prometheus.NewRegistry()
	o, err := obs.New(obs.Config{Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	versions := func() (list []string) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "mosel_items_expected_right_total" {
					list = append(list, m.GetLabel()[1].GetValue())
				}
			}
		}
		return list
	}
	serve := func(version string) {
		o.Step(&feed.Step{Event: sched.Serve{}, Model: &feed.Model{Name: "m", Version: version, Planner: scriptPlanner(t), Scale: []float64{1.5, 0, 1}}})
	}
	retire := func() { o.Step(&feed.Step{Event: sched.Retire{}}) }
	for i := range 30 {
		serve(fmt.Sprint("v", i))
		if i == 0 {
			if s := o.Status(0); s.Models[0].Variants[0].TimeScale != 1.5 || s.Models[0].Variants[1].TimeScale != 1 {
				t.Errorf("scales %+v", s.Models[0].Variants)
			}
		}
		retire()
	}
	serve("v20") // served again, and the last of those that are removed
	retire()
	retire() // there is none: nothing happens
	serve("v30")
	if got, want := strings.Join(versions(), " "), "v14 v15 v16 v17 v18 v19 v20 v21 v22 v23 v24 v25 v26 v27 v28 v29 v30"; got != want {
		t.Errorf("series of\n%s, want\n%s", got, want)
	}
}

// TestDecisionsAreShortened checks that a decision among very many options keeps the
// planned one and the chosen one.
func TestDecisionsAreShortened(t *testing.T) {
	var variants []plan.Variant
	for i := range 40 {
		curve, err := plan.NewCurve([]plan.Point{{Items: 1, Time: time.Duration(i+1) * time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		variants = append(variants, plan.Variant{Name: fmt.Sprint("v", i), Modalities: 1, Accuracy: slo.Accuracy(500_000 + 10_000*i), Curve: curve})
	}
	p, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	core, err := sched.New(sched.Config{Models: []sched.Model{{Name: "m", Planner: p, BatchItemsMax: 1}}, QueueItemsMax: 10, QueueJobsMax: 10, Explain: true})
	if err != nil {
		t.Fatal(err)
	}
	o, err := obs.New(obs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	serving(o, &feed.Model{Name: "m", Modalities: []string{"image"}, Planner: p})
	for _, e := range []sched.Event{sched.InstanceUp{}, sched.Arrive{Job: 1, Items: 1, Present: 1, Objective: slo.Objective{Deadline: slo.Never}}} {
		o.Step(&feed.Step{Event: e, Actions: core.Step(0, e, nil)})
	}
	e, ok := o.Explain("1")
	if !ok || len(e.Batches) != 1 {
		t.Fatalf("%+v", e)
	}
	b := e.Batches[0]
	chosen := 0
	for _, option := range b.Options {
		if option.Chosen && option.Variant == "v39" {
			chosen++
		}
	}
	if len(b.Options) > 32 || b.Options[0].Variant != "v0" || b.Planned.Variant != "v0" || chosen != 1 || b.Variant != "v39" {
		t.Errorf("%d options, %d chosen: %+v", len(b.Options), chosen, b)
	}
}
