package sched_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestScripts plays the scripts in testdata against the core and compares every
// action. After an intended change, run
//
//	go test ./internal/sched -rewrite
//
// and review the difference. The invariants are checked after every step.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

// script is a core under a script. Its model has two modalities: `a` alone has accuracy
// 90 % and takes 1 ms + 1 ms per item, `a+b` has 99 % and takes 2 ms + 8 ms per item;
// batches have up to 4 items. With routes, one route runs `a` and sends one item in
// four on to `a+b`: its accuracy is 97 %, or 92 % without the second step. With
// classes, an instance of class 1 takes three times as long, and one of class 2 has
// only `a`.
type script struct {
	core   *sched.Core
	routes bool
}

func scriptModel(t *testing.T, name string, routes, classes bool) sched.Model {
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
	var specs []plan.RouteSpec
	if routes {
		specs = append(specs, plan.RouteSpec{Name: "a>a+b", Variant: 0, Accuracy: 970_000, Next: []plan.Branch{{Route: 1, Share: 0.25, Loss: 50_000}}})
	}
	p, err := plan.New([]plan.Variant{
		{Name: "a", Modalities: 1, Accuracy: 900_000, Curve: curve(time.Millisecond, time.Millisecond)},
		{Name: "a+b", Modalities: 3, Accuracy: 990_000, Curve: curve(2*time.Millisecond, 8*time.Millisecond)},
	}, specs...)
	if err != nil {
		t.Fatal(err)
	}
	m := sched.Model{Name: name, Planner: p, BatchItemsMax: 4}
	if classes {
		m.Classes = []sched.Residence{{Variants: 3},
			{Variants: 3, Curves: []plan.Curve{curve(3*time.Millisecond, 3*time.Millisecond), curve(6*time.Millisecond, 24*time.Millisecond)}},
			{Variants: 1}}
	}
	return m
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	arg := func(key, unset string) string {
		if d.HasArg(key) {
			d.ScanArgs(t, key, &unset)
		}
		return unset
	}
	number := func(key string, unset int) int {
		if d.HasArg(key) {
			d.ScanArgs(t, key, &unset)
		}
		return unset
	}
	at := instant(t, arg("at", "0s"))
	switch d.Cmd {
	case "new":
		s.routes = d.HasArg("routes")
		policy, err := plan.ParsePolicy(arg("policy", "mosel"))
		if err != nil {
			t.Fatal(err)
		}
		s.core, err = sched.New(sched.Config{Policy: policy, QueueItemsMax: number("queue", 100), QueueJobsMax: 100,
			QueueBytesMax: int64(number("bytes", 0)), Explain: d.HasArg("explain"),
			Models: []sched.Model{scriptModel(t, "m", d.HasArg("routes"), d.HasArg("classes"))}})
		if err != nil {
			t.Fatal(err)
		}
		return s.steps(t, at, ups(number("instances", 1))...)
	case "arrive":
		return s.step(t, at, arrival(t, arg, number))
	case "done":
		return s.step(t, at, sched.Done{Batch: sched.BatchID(number("batch", 1)), Took: time.Duration(instant(t, arg("took", "0s"))),
			Failed: d.HasArg("failed"), Verdicts: verdicts(arg("verdicts", ""))})
	case "cancel":
		why := map[string]slo.Reason{"": slo.ReasonNone, "draining": slo.ReasonDraining, "runtime": slo.ReasonRuntime}
		return s.step(t, at, sched.Cancel{Job: sched.JobID(number("job", 1)), Reason: why[arg("why", "")]})
	case "down":
		return s.step(t, at, sched.InstanceDown{Instance: sched.InstanceID(number("instance", 0))})
	case "up":
		return s.step(t, at, sched.InstanceUp{Instance: sched.InstanceID(number("instance", 0)), Class: sched.ClassID(number("class", 0)), Slots: number("slots", 0)})
	case "resize":
		return s.step(t, at, sched.InstanceResize{Instance: sched.InstanceID(number("instance", 0)), Slots: number("slots", 0)})
	case "serve":
		return s.step(t, at, sched.Serve{Model: number("model", 1), Spec: scriptModel(t, "n", false, false)})
	case "retire":
		return s.step(t, at, sched.Retire{Model: number("model", 1)})
	case "drain":
		return s.step(t, at, sched.Drain{})
	case "tick":
		return s.step(t, at, sched.Tick{})
	}
	d.Fatalf(t, "unknown command %q", d.Cmd)
	return ""
}

// verdicts reads "aafan": a is an accepted item, f a failed one, n one sent on to
// `a+b`.
func verdicts(text string) (list []sched.Verdict) {
	for _, c := range text {
		list = append(list, map[rune]sched.Verdict{'a': sched.Accept, 'f': sched.Fail, 'n': sched.Next(1)}[c])
	}
	return list
}

// carrying reads "3*a+b,2*a": runs of items and what they carry.
func carrying(t *testing.T, text string) (runs []slo.Carried, items int) {
	for run := range strings.SplitSeq(text, ",") {
		var r slo.Carried
		var what string
		if _, err := fmt.Sscanf(run, "%d*%s", &r.Items, &what); err != nil {
			t.Fatal(err)
		}
		if r.Present = 3; what == "a" {
			r.Present = 1
		}
		runs, items = append(runs, r), items+r.Items
	}
	return runs, items
}

func ups(n int) []sched.Event {
	var events []sched.Event
	for i := range n {
		events = append(events, sched.InstanceUp{Instance: sched.InstanceID(i)})
	}
	return events
}

func arrival(t *testing.T, arg func(key, unset string) string, number func(key string, unset int) int) sched.Arrive {
	floor, err := slo.AccuracyOf(float64(number("floor", 0)) / 1000)
	if err != nil {
		t.Fatal(err)
	}
	late, err := slo.ParseLateRule(arg("late", "drop"))
	if err != nil {
		t.Fatal(err)
	}
	deadline := slo.Never
	if d := arg("deadline", ""); d != "" {
		deadline = instant(t, d)
	}
	present := slo.Modalities(3)
	if arg("present", "a+b") == "a" {
		present = 1
	}
	e := sched.Arrive{Job: sched.JobID(number("job", 1)), Client: sched.ClientID(number("client", 0)), Model: number("model", 0),
		Items: number("items", 1), Bytes: int64(number("bytes", 0)), Present: present,
		Objective: slo.Objective{Floor: floor, Deadline: deadline, Late: late}, Expires: instant(t, arg("expires", "0s"))}
	if mixed := arg("mixed", ""); mixed != "" {
		e.Mixed, e.Items = carrying(t, mixed)
	}
	return e
}

func instant(t *testing.T, text string) slo.Instant {
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return slo.Instant(d)
}

func (s *script) steps(t *testing.T, at slo.Instant, events ...sched.Event) string {
	var b strings.Builder
	for _, e := range events {
		b.WriteString(s.step(t, at, e))
	}
	return b.String()
}

// step returns the actions for an event as text, and when the core must be called next.
func (s *script) step(t *testing.T, at slo.Instant, e sched.Event) string {
	var b strings.Builder
	for _, action := range s.core.Step(at, e, nil) {
		switch a := action.(type) {
		case sched.Dispatch:
			fmt.Fprintf(&b, "dispatch batch %d on instance %d: variant %s, %s, predicted %v\n", a.Batch, a.Instance,
				scriptRoutes[a.Variant], parts(a.Parts), a.Predicted)
			if a.Routes != nil {
				var names []string
				for _, r := range a.Routes {
					names = append(names, scriptRoutes[r])
				}
				fmt.Fprintf(&b, "  on routes %s\n", strings.Join(names, ", "))
			}
			b.WriteString(reasons(a.Why))
		case sched.Abort:
			fmt.Fprintf(&b, "abort batch %d on instance %d\n", a.Batch, a.Instance)
		case sched.GiveUp:
			fmt.Fprintf(&b, "give up job %d: %v (%v)\n", a.Job, a.Outcome, a.Reason)
		case sched.Finish:
			by := ""
			if s.routes && a.Outcome.Ran() {
				by = " by " + scriptRoutes[a.Variant]
			}
			fmt.Fprintf(&b, "finish %s: %v (%v)%s\n", parts([]sched.Part{a.Part}), a.Outcome, a.Reason, by)
		case sched.FinishJob:
			fmt.Fprintf(&b, "end job %d: %v (%v)", a.Job, a.Outcome, a.Reason)
			if a.Outcome.Ran() {
				fmt.Fprintf(&b, ", expected %v", a.Expected)
			}
			if a.RetryAfter > 0 {
				fmt.Fprintf(&b, ", retry after %v", a.RetryAfter)
			}
			if a.Best > 0 {
				fmt.Fprintf(&b, ", best %v", a.Best)
			}
			b.WriteByte('\n')
		default:
			t.Fatalf("unknown action %T", action)
		}
	}
	if err := s.core.Check(); err != nil {
		t.Error(err)
	}
	if next, ok := s.core.Next(); ok {
		fmt.Fprintf(&b, "next %v\n", time.Duration(next))
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

var scriptRoutes = []string{"a", "a+b", "a>a+b"}

// reasons returns a decision as text.
func reasons(d *sched.Decision) string {
	if d == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  led by job %d, %d queued, planned %d on %s, slack %v, reserve %v\n", d.Head, d.Queued, d.Planned.Items,
		scriptRoutes[d.Planned.Route], d.Slack, d.Reserve)
	for _, o := range d.Options {
		fmt.Fprintf(&b, "  or %d on %s: %v, %.3f late\n", o.Items, scriptRoutes[o.Route], o.Predicted, o.Late)
	}
	return b.String()
}

func parts(list []sched.Part) string {
	var texts []string
	for _, p := range list {
		texts = append(texts, fmt.Sprintf("job %d [%d,%d)", p.Job, p.First, p.First+p.Count))
	}
	return strings.Join(texts, " + ")
}
