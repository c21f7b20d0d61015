package engine_test

import (
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/prometheus/client_golang/prometheus"
)

// TestRoutesAreToldAndExplained sends items of which half go on: the answer has the route
// and the confidence of each, the explanation says which went on, and metrics count them.
func TestRoutesAreToldAndExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := gatedPair()
		served.Routes[0].Threshold = 0.75
		registry := prometheus.NewRegistry()
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAggressive, Instances: 1, Threads: 1,
			QueueItemsMax: 1000, QueueJobsMax: 500, KeptBytesMax: 6000, Log: discard, Metrics: registry}, fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}}))
		if err != nil {
			t.Fatal(err)
		}
		g := &gatedRun{Engine: e, served: served}
		items := g.halves(8)
		got, err := e.Infer(t.Context(), "pair", "", g.request(items))
		if err != nil {
			t.Fatal(err)
		}
		g.check(t, items, got)
		if len(got.Routes) != 8 || got.Modalities != 3 {
			t.Fatalf("routes %+v, modalities %b", got.Routes, got.Modalities)
		}
		for i, r := range got.Routes {
			if r.Name != "gate" || r.Confidence != 0.5 {
				t.Errorf("item %d took %+v", i, r)
			}
		}
		explained, err := e.Explain(got.Job)
		if err != nil || len(explained.Cascades) != 1 {
			t.Fatalf("explained by %+v", explained.Cascades)
		}
		c := explained.Cascades[0]
		if c.Name != "gate" || c.Threshold != 0.75 || c.ProfiledShare != 0.5 || c.Items != 8 || c.WentOn != 4 || len(c.Judged) != 8 {
			t.Errorf("explained by %+v", c)
		}
		for i, d := range c.Judged {
			if d.Item != i || d.Confidence != 0.5 || d.WentOn != (i < 4) {
				t.Errorf("item %d: %+v", i, d)
			}
		}
		if why := explained.Alternatives[0].Why; why != "answered 4 of 8 items: those of gate that were sure enough" {
			t.Errorf("the first variant %s", why)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]float64{}
		for _, f := range families {
			for _, metric := range f.GetMetric() {
				if strings.HasPrefix(f.GetName(), "mosel_cascade_") {
					values[f.GetName()] += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
				}
			}
		}
		if want := map[string]float64{"mosel_cascade_items_total": 8, "mosel_cascade_went_on_total": 4, "mosel_cascade_profiled_share": 0.5}; !maps.Equal(values, want) {
			t.Errorf("metrics %v, want %v", values, want)
		}
		plain, err := e.Infer(t.Context(), "pair", "", engine.Request{Modalities: 3, Choice: 3, Items: items[:1], Objective: slo.Objective{Deadline: slo.Never}})
		if err != nil || plain.Routes != nil {
			t.Errorf("an item that took a variant: %+v, %v", plain.Routes, err)
		}
		drain(t, e)
	})
}

// TestLowerBoundOfAnEarlyAnswer has items that should go on and are answered by the first
// step, because the server stalls: nothing is promised of them.
func TestLowerBoundOfAnEarlyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warm := false
		served := gatedPair()
		served.Routes[0].Steps[0].Loss = 10_000
		served.Routes[0].Low = slo.Bounds{980_000, 975_000, 970_000, 965_000, 960_000, 955_000, 950_000}
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAggressive, Instances: 1, Threads: 1, QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard},
			fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}, Fail: func(r fake.Run) error {
				if warm && len(r.Stages) == 2 && r.Variant == 0 {
					time.Sleep(40 * time.Millisecond) // a stall
				}
				return nil
			}}))
		if err != nil {
			t.Fatal(err)
		}
		g := &gatedRun{Engine: e, served: served}
		items := g.halves(8)
		whole, err := e.Infer(t.Context(), "pair", "", g.request(items))
		if err != nil || whole.AccuracyLow != 970_000 {
			t.Fatalf("all steps: at least %v, %v", whole.AccuracyLow, err)
		}
		warm = true
		r := g.request(items)
		r.Objective = slo.Objective{Floor: 978_000, Deadline: e.Now().Add(80 * time.Millisecond)}
		got, err := e.Infer(t.Context(), "pair", "", r)
		if err != nil {
			t.Fatal(err)
		}
		early := 0
		for i := range 4 {
			early += 1 - got.Variants[i]
		}
		if want := slo.Accuracy(970_000 - early*1_000_000/8); early == 0 || got.AccuracyLow != want {
			t.Errorf("%d of 8 items were answered early: at least %v, want %v", early, got.AccuracyLow, want)
		}
		drain(t, e)
	})
}
