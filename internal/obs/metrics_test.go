package obs_test

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/workload"
	"github.com/mosel-serve/mosel/status"
	"github.com/prometheus/client_golang/prometheus"
)

// described records what is registered.
type described struct {
	prometheus.Registerer
	descs []*prometheus.Desc
}

func (d *described) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc, 100)
	c.Describe(ch)
	close(ch)
	for desc := range ch {
		d.descs = append(d.descs, desc)
	}
	return d.Registerer.Register(c)
}

// kinds returns the type and the labels of every registered metric.
func (d *described) kinds(t *testing.T, types map[string]string) map[string]string {
	registered := map[string]string{}
	desc := regexp.MustCompile(`fqName: "(\w+)", help: ".*", constLabels: {}, variableLabels: {([\w,]*)}`)
	for _, one := range d.descs {
		m := desc.FindStringSubmatch(one.String())
		if m == nil {
			t.Fatalf("cannot read %v", one)
		}
		labels := strings.Split(m[2], ",")
		slices.Sort(labels)
		registered[m[1]] = types[m[1]] + " " + strings.Join(labels, ",")
	}
	return registered
}

// TestDocument checks that docs/metrics.md lists exactly the existing metrics, with
// their types and labels, and that its queries use only those.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| `(mosel_\\w+)` \\| (\\w+) \\| ([\\w, ]*) ?\\|")
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		labels := strings.Split(strings.ReplaceAll(strings.TrimSpace(m[3]), " ", ""), ",")
		slices.Sort(labels)
		documented[m[1]] = m[2] + " " + strings.Join(labels, ",")
	}
	kinds := scriptKinds(t)
	registry := &described{Registerer: prometheus.NewRegistry()}
	if _, err := obs.New(obs.Config{Registerer: registry}); err != nil {
		t.Fatal(err)
	}
	kinds["mosel_tokens_stale"] = "gauge"                                                                                                           // servers with tokens have it
	kinds["mosel_cascade_items_total"], kinds["mosel_cascade_went_on_total"], kinds["mosel_cascade_profiled_share"] = "counter", "counter", "gauge" // models with cascades
	kinds["mosel_gate_items_total"] = "counter"                                                                                                     // models with gates
	if err := obs.TokensStale(registry, func() bool { return true }); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]string{"items_total": "counter", "kept_items": "gauge", "measured_items": "gauge", "accuracy": "gauge", "promised_accuracy": "gauge"} {
		kinds["mosel_feedback_"+name] = kind // servers with --feedback have it
	}
	if err := obs.Feedback(registry, func() []status.Feedback { return nil }); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]string{"shadow_items_total": "counter", "drift_alarms_total": "counter", "drift_changed": "gauge", "variant_accuracy_planned": "gauge"} {
		kinds["mosel_"+name] = kind // servers with evidence have it
	}
	if err := obs.Drift(registry, func() []obs.ModelDrift { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"jobs", "items", "jobs_ready"} {
		kinds["mosel_durable_"+name] = "gauge" // servers with durable jobs have it
	}
	if err := obs.Jobs(registry, func() ([]obs.DurableJob, bool) { return nil, true }); err != nil {
		t.Fatal(err)
	}
	registered := registry.kinds(t, kinds)
	for name, is := range registered {
		if documented[name] != is {
			t.Errorf("%s is a %q; docs/metrics.md says %q", name, is, documented[name])
		}
		if len(name) > len("mosel_") && kinds[name] == "counter" != strings.HasSuffix(name, "_total") {
			t.Errorf("%s: a counter, and nothing else, ends in _total", name)
		}
	}
	for name := range documented {
		if registered[name] == "" {
			t.Errorf("docs/metrics.md has %s, which does not exist", name)
		}
	}
	for _, used := range regexp.MustCompile(`mosel_\w+`).FindAllString(string(text), -1) {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(used, "")
		if registered[used] == "" && registered[base] == "" {
			t.Errorf("docs/metrics.md uses %s, which does not exist", used)
		}
	}
}

// scriptKinds returns the types of the metrics in the golden file, which has all of
// them.
func scriptKinds(t *testing.T) map[string]string {
	text, err := os.ReadFile("testdata/metrics")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\w+) (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		kinds[m[1]] = m[2]
	}
	return kinds
}

// TestRegistry checks that the metrics of the process and of Go are there, and that
// registering twice is an error and no panic.
func TestRegistry(t *testing.T) {
	r := obs.Registry()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	for _, want := range []string{"go_goroutines", "process_start_time_seconds"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s", want)
		}
	}
	if _, err := obs.New(obs.Config{Registerer: r}); err != nil {
		t.Fatal(err)
	}
	if _, err := obs.New(obs.Config{Registerer: r}); err == nil || slo.KindOf(err) != slo.KindInternal {
		t.Errorf("registering twice: %v", err)
	}
}

// totals are the sums of the metrics over all models.
type totals struct {
	jobs, items                    map[string]float64 // by outcome
	right                          float64
	ran, duration                  float64
	batches, batched, busy, losses float64
	unfinished                     float64
	belowFloor                     float64
}

func gather(t *testing.T, g prometheus.Gatherer) totals {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := totals{jobs: map[string]float64{}, items: map[string]float64{}}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			outcome := ""
			for _, l := range m.GetLabel() {
				if l.GetName() == "outcome" {
					outcome = l.GetValue()
				}
			}
			switch f.GetName() {
			case "mosel_jobs_total":
				sum.jobs[outcome] += m.GetCounter().GetValue()
			case "mosel_items_total":
				sum.items[outcome] += m.GetCounter().GetValue()
			case "mosel_items_expected_right_total":
				sum.right += m.GetCounter().GetValue()
			case "mosel_job_duration_seconds":
				sum.ran += float64(m.GetHistogram().GetSampleCount())
				sum.duration += m.GetHistogram().GetSampleSum()
			case "mosel_batch_items":
				sum.batches += float64(m.GetHistogram().GetSampleCount())
				sum.batched += m.GetHistogram().GetSampleSum()
			case "mosel_instance_busy_seconds_total":
				sum.busy += m.GetCounter().GetValue()
			case "mosel_instance_losses_total":
				sum.losses += m.GetCounter().GetValue()
			case "mosel_queue_items", "mosel_queue_running_items", "mosel_queue_jobs", "mosel_queue_bytes", "mosel_instance_running_batches":
				sum.unfinished += math.Abs(m.GetGauge().GetValue())
			case "mosel_job_accuracy_margin":
				sum.belowFloor += float64(m.GetHistogram().GetBucket()[0].GetCumulativeCount())
			}
		}
	}
	return sum
}

// fleet is a random run: two models, some instances, failures, losses, and clients that
// cancel.
func fleet(t *testing.T, seed uint64) (sim.Config, func(yield func(sim.Arrival) bool)) {
	cfg := sim.Config{Seed: seed, Instances: sim.Alike(1 + int(seed%4)), Check: true,
		Faults: sim.Faults{Noise: 0.2, FailShare: 0.02 * float64(seed%3), LoseEvery: 300 * time.Millisecond * time.Duration(seed%2), LoseFor: 20 * time.Millisecond},
		Core:   sched.Config{Policy: plan.Policy(seed % uint64(len(plan.Policies()))), QueueItemsMax: 60, QueueJobsMax: 40, QueueBytesMax: 1 << 16, Explain: true}}
	var clients []sim.Client
	for model := range 2 {
		p := scriptPlanner(t)
		cfg.Core.Models = append(cfg.Core.Models, sched.Model{Name: fmt.Sprint("m", model), Planner: p, BatchItemsMax: 4})
		clients = append(clients, sim.Client{Model: model, Planner: p, Late: slo.LateRule(model), Missing: []float64{0.2, 0.2},
			Load: workload.Load{Process: workload.Poisson, Rate: workload.Steady(float64(40*(1+seed%5)), 20*time.Second), Seed: seed, Client: uint64(model),
				Sizes: workload.Sizes{Law: workload.SizesLog, Low: 1, High: 30}, Floors: workload.Spread{Low: 0.7, High: 1}, Deadlines: workload.Spread{Low: 0.01, High: 0.4}}})
	}
	return cfg, func(yield func(sim.Arrival) bool) {
		for a := range sim.Arrivals(clients) {
			a.Client, a.Bytes = sched.ClientID(a.Job%3), int64(a.Items)*100
			if a.Job%11 == 0 {
				a.Cancel = a.At.Add(15 * time.Millisecond)
			}
			if !yield(a) {
				return
			}
		}
	}
}

// TestMetricsAgreeWithTheSimulator runs random loads in the simulator with an observer
// that sees every step, and compares the metrics with the report. Meanwhile the metrics
// are scraped.
func TestMetricsAgreeWithTheSimulator(t *testing.T) {
	for seed := uint64(1); seed <= 8; seed++ {
		compare(t, seed)
	}
}

// follower passes the steps of a simulation to an observer.
type follower struct {
	observer *obs.Observer
	now      slo.Instant
	event    sched.Event
	actions  []sched.Action
	steps    int
	busy     time.Duration
	losses   int
}

// see is sim.Run's trace: an event, then its actions.
func (f *follower) see(at slo.Instant, what any) {
	switch what := what.(type) {
	case sched.Event:
		f.flush()
		f.now, f.event, f.actions = at, what, nil
		switch what := what.(type) {
		case sched.Done:
			f.busy += what.Took
		case sched.InstanceDown:
			f.losses++
		}
		if f.steps++; f.steps%100 == 0 {
			f.observer.Status(at)
			f.observer.Explain(fmt.Sprint(f.steps / 10))
		}
	case sched.Action:
		f.actions = append(f.actions, what)
	}
}

// flush passes on the completed step.
func (f *follower) flush() {
	if f.event != nil {
		f.observer.Step(&feed.Step{At: f.now, Event: f.event, Actions: f.actions, Took: time.Microsecond})
	}
}

// scraping gathers again and again until stop is called. Its results do not matter; it
// is for the race detector.
func scraping(g prometheus.Gatherer) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				_, _ = g.Gather()
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

func compare(t *testing.T, seed uint64) {
	cfg, load := fleet(t, seed)
	registry := prometheus.NewRegistry()
	o, err := obs.New(obs.Config{Registerer: registry, Recent: 20})
	if err != nil {
		t.Fatal(err)
	}
	begin := feed.Snapshot{Models: map[int]*feed.Model{}}
	for i, m := range cfg.Core.Models {
		begin.Models[i] = &feed.Model{Name: m.Name, Version: "1", Modalities: []string{"image", "text"}, Planner: m.Planner}
	}
	o.Resume(&begin)
	stop := scraping(registry)
	f := &follower{observer: o}
	report, err := sim.Run(cfg, load, f.see)
	f.flush()
	stop()
	if err != nil {
		t.Fatal(err)
	}
	got := gather(t, registry)
	near := func(what string, got, want float64) {
		if math.Abs(got-want) > 1e-6*math.Max(1, math.Abs(want)) {
			t.Errorf("seed %d: %s: metrics say %v, the report %v", seed, what, got, want)
		}
	}
	for _, outcome := range slo.Outcomes() {
		near(outcome.String()+" jobs", got.jobs[outcome.String()], float64(report.Jobs[outcome]))
		near(outcome.String()+" items", got.items[outcome.String()], float64(report.Items[outcome]))
	}
	near("jobs that ran", got.ran, float64(report.JCT.Count))
	near("their time", got.duration, report.JCT.Sum().Seconds())
	near("items right", got.right, float64(report.Score)/float64(slo.AccuracyUnit))
	near("batches", got.batches, float64(report.Batches))
	near("items in batches", got.batched, float64(report.Batched))
	near("losses", got.losses, float64(f.losses))
	near("what is unfinished at the end", got.unfinished, 0)
	near("jobs below their floor", got.belowFloor, 0)
	if f.losses == 0 { // the time until a loss counts, too
		near("busy seconds", got.busy, f.busy.Seconds())
	}
	if report.Jobs.Total() < 100 || report.Jobs[slo.OnTime] == 0 {
		t.Errorf("seed %d: a run of %d jobs, %d on time, shows nothing", seed, report.Jobs.Total(), report.Jobs[slo.OnTime])
	}
}
