package obs_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// TestScripts plays the scenarios in testdata against a core and an observer of
// it, and compares all that the observer says. After a change that is meant to
// alter it:
//
//	go test ./internal/obs -rewrite
//
// and read the difference.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

// script is a core with its observer under a scenario. Its models have two
// modalities, image and text: text alone is right in 90 % and takes 1 ms + 1 ms
// an item, image in 85 % and 2 ms + 3 ms, both in 99 % and 2 ms + 8 ms; batches
// of up to 4.
type script struct {
	core     *sched.Core
	observer *obs.Observer
	registry *prometheus.Registry
	actions  []sched.Action
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func scriptPlanner(t testing.TB) *plan.Planner {
	curve := func(base, each time.Duration) plan.Curve {
		var points []plan.Point
		for b := 1; b <= 4; b++ {
			points = append(points, plan.Point{Items: b, Time: base + time.Duration(b)*each})
		}
		c, err := plan.NewCurve(points)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	p, err := plan.New([]plan.Variant{
		{Name: "text", Modalities: 2, Precision: "fp32", Accuracy: 900_000, Curve: curve(time.Millisecond, time.Millisecond)},
		{Name: "image", Modalities: 1, Precision: "fp32", Accuracy: 850_000, Curve: curve(2*time.Millisecond, 3*time.Millisecond)},
		{Name: "image+text", Modalities: 3, Precision: "fp32", Accuracy: 990_000, Curve: curve(2*time.Millisecond, 8*time.Millisecond)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *script) start(t testing.TB, policy plan.Policy, instances int) {
	cfg := sched.Config{Policy: policy, QueueItemsMax: 20, QueueJobsMax: 10, QueueBytesMax: 1 << 20, Explain: true}
	var err error
	if s.core, err = sched.New(cfg); err != nil {
		t.Fatal(err)
	}
	s.registry = prometheus.NewRegistry()
	if s.observer, err = obs.New(obs.Config{Registerer: s.registry, Recent: 8, Epoch: epoch, Policy: policy,
		QueueItemsMax: cfg.QueueItemsMax, QueueJobsMax: cfg.QueueJobsMax, QueueBytesMax: cfg.QueueBytesMax}); err != nil {
		t.Fatal(err)
	}
	s.serve(t, 0, 0, "digits", "1")
	for i := range instances {
		s.step(t, 0, sched.InstanceUp{Instance: sched.InstanceID(i)})
	}
}

func (s *script) serve(t testing.TB, at slo.Instant, number int, name, version string) {
	p := scriptPlanner(t)
	s.observer.Serve(number, obs.Info{Name: name, Version: version, Digest: "sha256:" + name + version, Modalities: []string{"image", "text"}, Planner: p})
	s.step(t, at, sched.Serve{Model: number, Spec: sched.Model{Name: name, Planner: p, BatchItemsMax: 4}})
}

// step makes a step of 3 microseconds and prints the batches and ends in it.
func (s *script) step(t testing.TB, at slo.Instant, e sched.Event) string {
	s.actions = s.core.Step(at, e, s.actions[:0])
	s.observer.Step(at, e, s.actions, 3*time.Microsecond)
	if err := s.core.Check(); err != nil {
		t.Error(err)
	}
	var b strings.Builder
	for _, action := range s.actions {
		switch a := action.(type) {
		case sched.Dispatch:
			fmt.Fprintf(&b, "batch %d on instance %d\n", a.Batch, a.Instance)
		case sched.FinishJob:
			fmt.Fprintf(&b, "job %d: %v (%v)\n", a.Job, a.Outcome, a.Reason)
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	args := arguments{t, d}
	at := args.instant("at")
	switch d.Cmd {
	case "new":
		policy, err := plan.ParsePolicy(args.text("policy", "mosel"))
		if err != nil {
			t.Fatal(err)
		}
		s.start(t, policy, args.number("instances", 1))
		return ""
	case "serve":
		s.serve(t, at, args.number("number", 1), args.text("model", "digits"), args.text("version", "2"))
		return ""
	case "retire":
		out := s.step(t, at, sched.Retire{Model: args.number("number", 1)})
		s.observer.Retire(args.number("number", 1))
		return out
	case "status":
		return indented(t, s.observer.Status(at))
	case "explain":
		e, ok := s.observer.Explain(args.text("id", "1"))
		if !ok {
			return "there is no such job\n"
		}
		return indented(t, e)
	case "statistics":
		return indented(t, s.observer.Statistics(args.number("number", 0)))
	case "metrics":
		return s.metrics(args.text("prefix", "mosel_"))
	}
	event := args.event()
	if e, ok := event.(sched.Arrive); ok {
		s.observer.Admitted(e.Job, args.text("request", ""), args.text("name", ""))
	}
	return s.step(t, at, event)
}

// metrics are those whose name begins so, as they are scraped.
func (s *script) metrics(prefix string) string {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var b strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		if name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "); strings.HasPrefix(name, prefix) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func indented(t *testing.T, value any) string {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

// arguments read a command of a script.
type arguments struct {
	t *testing.T
	d *datadriven.TestData
}

func (a arguments) text(key, unset string) string {
	if a.d.HasArg(key) {
		a.d.ScanArgs(a.t, key, &unset)
	}
	return unset
}

func (a arguments) number(key string, unset int) int {
	if a.d.HasArg(key) {
		a.d.ScanArgs(a.t, key, &unset)
	}
	return unset
}

func (a arguments) instant(key string) slo.Instant {
	d, err := time.ParseDuration(a.text(key, "0s"))
	if err != nil {
		a.t.Fatal(err)
	}
	return slo.Instant(d)
}

// modalities reads "image", "text", "image+text" or "none".
func (a arguments) modalities(key, unset string) slo.Modalities {
	return map[string]slo.Modalities{"image": 1, "text": 2, "image+text": 3}[a.text(key, unset)]
}

func (a arguments) event() sched.Event {
	switch a.d.Cmd {
	case "arrive":
		floor, err := slo.AccuracyOf(float64(a.number("floor", 0)) / 1000)
		if err != nil {
			a.t.Fatal(err)
		}
		late, err := slo.ParseLateRule(a.text("late", "drop"))
		if err != nil {
			a.t.Fatal(err)
		}
		e := sched.Arrive{Job: sched.JobID(a.number("job", 1)), Client: sched.ClientID(a.number("client", 0)), Model: a.number("number", 0),
			Items: a.number("items", 1), Bytes: int64(a.number("bytes", 1000)), Present: a.modalities("present", "image+text"),
			Choice: a.modalities("choice", "none"), Objective: slo.Objective{Floor: floor, Deadline: slo.Never, Late: late}}
		if a.d.HasArg("deadline") {
			e.Objective.Deadline = a.instant("deadline")
		}
		return e
	case "done":
		e := sched.Done{Batch: sched.BatchID(a.number("batch", 1)), Took: time.Duration(a.instant("took")), Failed: a.d.HasArg("failed")}
		if a.d.HasArg("failed-part") {
			e.FailedParts = make([]bool, a.number("failed-part", 0)+1)
			e.FailedParts[a.number("failed-part", 0)] = true
		}
		return e
	case "cancel":
		return sched.Cancel{Job: sched.JobID(a.number("job", 1))}
	case "down":
		return sched.InstanceDown{Instance: sched.InstanceID(a.number("instance", 0))}
	case "up":
		return sched.InstanceUp{Instance: sched.InstanceID(a.number("instance", 0))}
	case "drain":
		return sched.Drain{}
	case "tick":
		return sched.Tick{}
	}
	a.d.Fatalf(a.t, "unknown command %q", a.d.Cmd)
	return nil
}
