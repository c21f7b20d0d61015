package scenario_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/scenario"
	"github.com/mosel-serve/mosel/internal/slo"
)

const shipped = "../../scenarios"

func load(t testing.TB, file string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Load(file, scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func policies(t testing.TB) []plan.Policy {
	t.Helper()
	var all []plan.Policy
	for _, name := range plan.Policies() {
		p, err := plan.ParsePolicy(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func run(t testing.TB, s *scenario.Scenario, o scenario.RunOptions) *scenario.Result {
	t.Helper()
	o.Policies = policies(t)
	r, err := s.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func encoded(t testing.TB, r *scenario.Result) string {
	t.Helper()
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestShippedScenarios runs all shipped scenarios briefly under every policy, and
// checks what must hold for any result.
func TestShippedScenarios(t *testing.T) {
	files, err := filepath.Glob(shipped + "/*.yaml")
	if err != nil || len(files) < 9 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		r := run(t, load(t, file), scenario.RunOptions{Seed: 1, Duration: time.Second})
		for _, c := range r.Cells {
			if c.Items == 0 || c.LateShare < 0 || c.LateShare > 1 || c.FloorMarginMin < 0 || c.Goodput > 1.5*c.Load {
				t.Errorf("%s: %+v", file, c)
			}
			if c.JCTMeanMS > 0 && (c.Accuracy < 0.6 || c.JCTP50MS > c.JCTP99MS*1.01) {
				t.Errorf("%s: %+v", file, c)
			}
		}
	}
}

func TestConstantRateHasItsGroups(t *testing.T) {
	s := load(t, shipped+"/constant-rate.yaml")
	if len(s.Groups) != 8 {
		t.Fatalf("%d groups", len(s.Groups))
	}
	for _, g := range s.Groups {
		if len(g.Models) != 1 || len(g.Models[0].True.Variants()) != 3 || g.Duration != 440*time.Second {
			t.Errorf("group %s: %d models, %v", g.Name, len(g.Models), g.Duration)
		}
	}
	// Audio alone takes 6 + 97/14 ms per item at fp32, and half of that at fp16. If
	// floors allow nothing else, full batches of it are the bound.
	g := s.Groups[7]
	g.Clients[0].Floors.High = 0.7
	audio := 32 / (0.003 + 32*97/14.0/2000)
	if b := g.Bound(1); b < audio*0.999 || b > audio*1.001 {
		t.Errorf("bound %v, want %v", b, audio)
	}
}

// TestSameSeedSameBytes checks that neither a second run nor the number of workers
// changes a byte of the result, and that another seed does.
func TestSameSeedSameBytes(t *testing.T) {
	for _, file := range []string{"two-models", "trace"} {
		s := load(t, filepath.Join(shipped, file+".yaml"))
		o := scenario.RunOptions{Seed: 7, Duration: 3 * time.Second, Loads: []float64{50, 100}, Capacity: file == "trace", Workers: 1}
		one := encoded(t, run(t, s, o))
		o.Workers = 4
		if encoded(t, run(t, s, o)) != one {
			t.Errorf("%s: four workers give other bytes than one", file)
		}
		o.Seed = 8
		if encoded(t, run(t, s, o)) == one {
			t.Errorf("%s: another seed gives the same bytes", file)
		}
	}
}

// TestResultKeys fixes the names in the JSON, which other programs read.
func TestResultKeys(t *testing.T) {
	r := run(t, load(t, shipped+"/overload.yaml"), scenario.RunOptions{Seed: 1, Duration: 5 * time.Second, Capacity: true})
	var doc struct {
		Cells    []map[string]any
		Capacity []map[string]any
	}
	if err := json.Unmarshal([]byte(encoded(t, r)), &doc); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"group", "policy", "load", "late_share", "goodput", "accuracy", "floor_margin_min", "jct_mean_ms", "jct_p99_ms"} {
		if _, ok := doc.Cells[0][key]; !ok {
			t.Errorf("cells have no %q", key)
		}
	}
	for _, key := range []string{"group", "policy", "rate", "bound"} {
		if _, ok := doc.Capacity[0][key]; !ok {
			t.Errorf("capacity has no %q", key)
		}
	}
	if doc.Cells[0]["group"] != "overload" {
		t.Errorf("a scenario without groups has one of its own name, not %v", doc.Cells[0]["group"])
	}
	var table, tables bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteMarkdown(&tables, []string{"a/one.svg", "a/two.svg"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range plan.Policies() {
		if !strings.Contains(table.String(), name) || !strings.Contains(tables.String(), name) {
			t.Errorf("the tables lack %s", name)
		}
	}
	if files, err := r.Draw(t.TempDir()); err != nil || len(files) != 1 || files[0] != "overload.svg" {
		t.Errorf("pictures %v, %v", files, err)
	}
}

// TestCapacityIsHeld checks the capacity with a run at that rate.
func TestCapacityIsHeld(t *testing.T) {
	s := load(t, shipped+"/trace.yaml")
	o := scenario.RunOptions{Seed: 1, Duration: 60 * time.Second, Loads: []float64{10}, Capacity: true}
	for _, c := range run(t, s, o).Capacity {
		if c.Rate == 0 {
			continue
		}
		at := scenario.RunOptions{Seed: 1, Duration: 60 * time.Second, Loads: []float64{c.Rate}}
		for _, cell := range run(t, s, at).Cells {
			if cell.Policy == c.Policy && cell.LateShare > scenario.LateShareMax {
				t.Errorf("%s is said to hold %v/s and is late by %v there", c.Policy, c.Rate, cell.LateShare)
			}
		}
	}
}

const good = `format: 1
description: a test
duration: 10s
models:
  - name: m
    modalities: [a, b]
    max_batch: 4
    variants:
      - {name: a, modalities: [a], accuracy: 0.8, item_ms: 1}
      - {name: both, modalities: [a, b], accuracy: 0.9, latency_ms: {1: 5, 4: 16}}
loads: [10, 20]
`

func TestErrorsHaveLines(t *testing.T) {
	load(t, write(t, good))
	cases := []struct{ name, from, to, want string }{
		{"unknown key", "loads:", "laods:", `:11:1: the scenario has no key "laods"; did you mean "loads"?`},
		{"no loads", "loads: [10, 20]\n", "", "no loads are given"},
		{"a load", "[10, 20]", "[10, -1]", ":11:13: a load is -1"},
		{"duration", "10s", "10", `:3:11: duration: "10" is not a duration`},
		{"modality", "[a, b], accuracy", "[a, c], accuracy", `:10:38: the modality "c" is not supported`},
		{"accuracy", "0.9,", "1.9,", "accuracy is 1.9; it must be between 0 and 1"},
		{"two latencies", "item_ms: 1", "item_ms: 1, latency_ms: {1: 2}", ":9:9: a variant must have either item_ms"},
		{"batch", "4: 16", "8: 16", `:10:76: a batch size of "8"`},
		{"first batch", "{1: 5, 4: 16}", "{2: 5, 4: 16}", "a latency curve starts at a batch of 1 item"},
		{"file", "modalities: [a, b]\n    max_batch: 4", "file: nope.yaml\n    max_batch: 4", "a model must have either variants, a file or a package"},
		{"precision", "loads", "precision: fp8\nloads", `no variant of precision "fp8"`},
		{"process", "loads", "process: possion\nloads", ":11:10: process: arrival process"},
		{"job size", "loads", "job_size: uniform:5\nloads", ":11:11: job_size:"},
		{"sizes of the paper", "loads", "process: paper\njob_size: 3\nloads", "the process paper has the paper's job sizes"},
		{"floor", "loads", "floor: 1.5\nloads", ":11:8: floor:"},
		{"deadline", "loads", "deadline: all+\nloads", ":11:11: deadline:"},
		{"no deadline", "loads", "deadline: 0s\nloads", "write none"},
		{"missing", "loads", "missing: {c: 0.5}\nloads", `model m has no modality "c"`},
		{"rate", "loads", "rate: {bursts: {ratio: 2, calm: 1s}}\nloads", "bursts has no burst"},
		{"two rates", "loads", "rate: {trace: x.csv, diurnal: {period: 1s, swing: 0.5}}\nloads", "one of trace, diurnal, bursts"},
		{"trace", "loads", "rate: {trace: x.csv}\nloads", ":11:15: trace x.csv: no such file"},
		{"instance", "loads", "faults: {down: [{instance: 3, at: 1s, for: 1s}]}\nloads", ":11:28: there is no instance 3"},
		{"variant of a profile", "loads", "faults: {profile: {c: 1.2}}\nloads", `no model of the group has a variant "c"`},
		{"groups", "loads", "groups: [{name: x}, {name: x}]\nloads", `the group "x" occurs twice`},
		{"group's name", "loads", "groups: [{name: a/b}]\nloads", "it becomes part of a file name"},
		{"model", "loads", "model: n\nloads", `there is no model "n"`},
		{"instances", "loads", "instances: [{count: 2, slot: 3}]\nloads", `instances of one kind has no key "slot"; did you mean "slots"`},
		{"speed", "loads", "instances: [{speed: 0}]\nloads", ":11:21: speed is 0"},
		{"resize", "loads", "instances: [{count: 2}, {count: 2}]\nfaults: {resize: [{instance: 4, at: 1s, slots: 2}]}\nloads", "there is no instance 4; the first of 4 is 0"},
		{"route's variant", "variants:", "routes: [{name: c, runs: x, accuracy: 0.9, next: [{route: a, share: 1}]}]\n    variants:", `route c: there is no variant or route "x" before it`},
		{"route's next", "variants:", "routes: [{name: c, runs: a, accuracy: 0.9, next: [{route: c, share: 1}]}]\n    variants:", `route c: there is no variant or route "c" before it`},
		{"route's share", "variants:", "routes: [{name: c, runs: a, accuracy: 0.9, next: [{route: both, share: 2}]}]\n    variants:", "share is 2; it must be between 0 and 1"},
		{"alias", "loads", "late: &x drop\nloads", "anchors and aliases are not supported"},
	}
	for _, c := range cases {
		text := strings.Replace(good, c.from, c.to, 1)
		_, err := scenario.Load(write(t, text), scenario.Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) || slo.KindOf(err) != slo.KindInvalid {
			t.Errorf("%s: %v\nwant %s", c.name, err, c.want)
		}
	}
	if _, err := scenario.Load("nope.yaml", scenario.Options{}); slo.KindOf(err) != slo.KindNotFound {
		t.Errorf("a missing file: %v", err)
	}
	trace := filepath.Join(shipped, "traces", "traffic.csv")
	if _, err := scenario.Load(write(t, good), scenario.Options{Trace: trace}); err == nil || !strings.Contains(err.Error(), "no trace") {
		t.Errorf("a trace for a scenario without: %v", err)
	}
}

func FuzzScenario(f *testing.F) {
	f.Add(good)
	f.Add(good + "clients: [{name: x, share: 2, deadline: all+5ms, missing: {a: 0.5}}]\ngroups: [{name: g, instances: 2}]\n")
	f.Add("format: 1\nloads: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := scenario.Load(write(t, text), scenario.Options{})
		if err == nil && len(s.Groups) == 0 {
			t.Error("no groups and no error")
		}
	})
}

// TestSettingsAreInherited checks that the innermost setting counts.
func TestSettingsAreInherited(t *testing.T) {
	s := load(t, write(t, good+`floor: 0.5
deadline: 1s
late: run
clients:
  - {name: x, share: 1, deadline: all+2s}
  - {name: y, share: 3}
groups:
  - {name: outer}
  - {name: inner, floor: 0.7, instances: 3, clients: [{name: z, share: 1, floor: 0.9, late: drop}]}
`))
	x, y, z := s.Groups[0].Clients[0], s.Groups[0].Clients[1], s.Groups[1].Clients[0]
	if x.Share != 0.25 || x.Floors.Low != 0.5 || !x.AllFirst || x.Slack.Low != 2 || x.Late != slo.LateRun {
		t.Errorf("x: %+v", x)
	}
	if y.Share != 0.75 || y.AllFirst || y.Slack.Low != 1 {
		t.Errorf("y: %+v", y)
	}
	if z.Floors.Low != 0.9 || z.Late != slo.LateDrop || s.Groups[1].Instances[0].Count != 3 || s.Groups[0].Instances[0].Count != 1 {
		t.Errorf("z: %+v", z)
	}
}

// TestOneSettingMovesOneThing checks that loads with other floors have the same
// arrivals.
func TestOneSettingMovesOneThing(t *testing.T) {
	s := load(t, shipped+"/constant-rate.yaml")
	r := run(t, s, scenario.RunOptions{Seed: 3, Duration: 20 * time.Second, Loads: []float64{40}})
	for _, c := range r.Cells {
		if c.Items != r.Cells[0].Items || c.Jobs != r.Cells[0].Jobs {
			t.Errorf("%s %s: %d items in %d jobs, elsewhere %d in %d", c.Group, c.Policy, c.Items, c.Jobs, r.Cells[0].Items, r.Cells[0].Jobs)
		}
	}
}

func TestInsert(t *testing.T) {
	file := write(t, "head\n<!-- begin a -->\nold\n<!-- end a -->\ntail\n")
	if err := scenario.Insert(file, "a", []byte("new\n")); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); string(text) != "head\n<!-- begin a -->\nnew\n<!-- end a -->\ntail\n" {
		t.Errorf("%s", text)
	}
	if err := scenario.Insert(file, "b", nil); slo.KindOf(err) != slo.KindInvalid {
		t.Errorf("no such section: %v", err)
	}
}
