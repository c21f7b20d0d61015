package obs_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/status"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// TestScripts plays the scripts in testdata against a core and its observer, and
// compares everything that the observer reports. After an intended change, run
//
//	go test ./internal/obs -rewrite
//
// and review the difference.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

// script is a core and its observer under a script. Its models have two modalities,
// image and text: text alone has accuracy 90 % and takes 1 ms + 1 ms per item, image 85
// % and 2 ms + 3 ms, both 99 % and 2 ms + 8 ms; batches have up to 4 items.
type script struct {
	core     *sched.Core
	observer *obs.Observer
	registry *prometheus.Registry
	actions  []sched.Action
	running  map[sched.InstanceID]running
}

// running is a running batch.
type running struct {
	sched.Dispatch
	started slo.Instant
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
	s.registry, s.running = prometheus.NewRegistry(), map[sched.InstanceID]running{}
	if s.observer, err = obs.New(obs.Config{Registerer: s.registry, Recent: 8, Epoch: epoch, FeedDropped: func() map[string]uint64 { return map[string]uint64{"observer": 0} }, Policy: policy,
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
	s.take(t, feed.Step{At: at, Event: sched.Serve{Model: number, Spec: sched.Model{Name: name, Planner: p, BatchItemsMax: 4}},
		Model: &feed.Model{Name: name, Version: version, Digest: "sha256:" + name + version, Modalities: []string{"image", "text"}, Planner: p}})
}

func (s *script) step(t testing.TB, at slo.Instant, e sched.Event) string {
	return s.take(t, feed.Step{At: at, Event: e})
}

// take makes a step of 3 microseconds and prints its batches and endings.
func (s *script) take(t testing.TB, step feed.Step) string {
	at := step.At
	s.actions = s.core.Step(at, step.Event, s.actions[:0])
	step.Actions, step.Took = s.actions, 3*time.Microsecond
	s.observer.Step(&step)
	if err := s.core.Check(); err != nil {
		t.Error(err)
	}
	var b strings.Builder
	for _, action := range s.actions {
		switch a := action.(type) {
		case sched.Dispatch:
			s.running[a.Instance] = running{a, at}
			items := 0
			for _, p := range a.Parts {
				items += p.Count
			}
			fmt.Fprintf(&b, "batch %d on instance %d: %d items on %s\n", a.Batch, a.Instance, items, scriptPlanner(t).Variants()[a.Variant].Name)
		case sched.Abort:
			fmt.Fprintf(&b, "batch %d is aborted\n", a.Batch)
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
		return s.step(t, at, sched.Retire{Model: args.number("number", 1)})
	case "status":
		return indented(t, s.observer.Status(at))
	case "many":
		return s.many(t, args.number("jobs", 1))
	case "ends":
		return s.ends(t)
	case "recent":
		return recent(s.observer.Status(at))
	case "explain", "why":
		e, ok := s.observer.Explain(args.text("id", "1"))
		switch {
		case !ok:
			return "there is no such job\n"
		case d.Cmd == "why":
			return sentences(e)
		}
		return indented(t, e)
	case "requests":
		return indented(t, s.observer.Requests(args.text("id", "a")))
	case "statistics":
		return indented(t, s.observer.Statistics(args.number("number", 0)))
	case "metrics":
		return s.metrics(args.text("prefix", "mosel_"))
	}
	return s.take(t, feed.Step{At: at, Event: s.event(args, at), Request: args.text("request", ""), Client: args.text("name", "")})
}

// many serves jobs one after the other, a millisecond apart.
func (s *script) many(t *testing.T, jobs int) string {
	for id := 1; id <= jobs; id++ {
		at := slo.Instant(time.Duration(id) * 100 * time.Millisecond)
		s.take(t, feed.Step{At: at, Event: sched.Arrive{Job: sched.JobID(id), Items: 1, Present: 2, Objective: slo.Objective{Deadline: slo.Never}},
			Request: fmt.Sprint("request-", id)})
		s.ends(t)
	}
	return ""
}

// ends lets all running and waiting work finish, in the predicted time.
func (s *script) ends(t *testing.T) string {
	batches := 0
	for r, runs := s.running[0]; runs; r, runs = s.running[0] {
		delete(s.running, 0)
		s.step(t, r.started.Add(r.Predicted), sched.Done{Batch: r.Batch, Took: r.Predicted})
		batches++
	}
	return fmt.Sprintf("%d batches\n", batches)
}

// metrics returns the scraped metrics whose names have a prefix.
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

// recent prints the figures of recent time in a status.
func recent(s status.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v s\n", s.Server.RecentS)
	for _, m := range s.Models {
		r := m.Recent
		fmt.Fprintf(&b, "%s %s: %d jobs, total %v ms, %d batches of %v\n", m.Name, m.Version, r.Jobs.Total(), r.Total.P50MS, r.Batches.Count, r.Batches.MeanItems)
		for _, v := range m.Variants {
			fmt.Fprintf(&b, "  %s ran %d recently, %d in all, scale %v\n", v.Name, v.RecentItems, v.Items, v.TimeScale)
		}
	}
	for _, i := range s.Instances {
		fmt.Fprintf(&b, "instance %d: up %v, busy %v, %d losses\n", i.ID, i.Up, i.BusyShare, i.Losses)
	}
	return b.String()
}

// sentences prints the sentences of an explanation.
func sentences(e status.Explanation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "job %s of %s %s: %s (%s), %s\n", e.Job, e.Model, e.Version, e.Outcome, e.Reason, e.Summary)
	for _, batch := range e.Batches {
		fmt.Fprintf(&b, "  batch %d, %s, %d of %d items (%s): %s\n", batch.Batch, batch.Variant, batch.JobItems, batch.Items, batch.State, batch.Why)
	}
	if e.BatchesLeftOut > 0 {
		fmt.Fprintf(&b, "  and %d more\n", e.BatchesLeftOut)
	}
	for _, a := range e.Alternatives {
		fmt.Fprintf(&b, "  %s, %v ms: %s\n", a.Variant, a.PredictedMS, a.Why)
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

// arguments reads the arguments of a script's command.
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

func (s *script) event(a arguments, at slo.Instant) sched.Event {
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
		r, runs := s.running[sched.InstanceID(a.number("instance", 0))]
		if !runs {
			a.d.Fatalf(a.t, "the instance is idle")
		}
		delete(s.running, r.Instance)
		e := sched.Done{Batch: r.Batch, Took: at.Sub(r.started), Failed: a.d.HasArg("failed")}
		if a.d.HasArg("failed-part") {
			e.FailedParts = make([]bool, a.number("failed-part", 0)+1)
			e.FailedParts[a.number("failed-part", 0)] = true
		}
		return e
	case "cancel":
		return sched.Cancel{Job: sched.JobID(a.number("job", 1))}
	case "down":
		delete(s.running, sched.InstanceID(a.number("instance", 0)))
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
