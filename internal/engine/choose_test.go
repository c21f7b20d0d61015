package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// withChoice gives a model of two inputs a third variant, and makes its first one a gate
// that chooses among all three. On the fake runtime a third of the items takes each way.
func withChoice(s engine.Served) engine.Served {
	m, p := s.Model, s.Profile
	wide := m.Variants[1]
	wide.Name, wide.Path = "wide", "wide.onnx"
	m.Variants = append(m.Variants, wide)
	m.Gates = []modelpkg.Gate{{Variant: 0, Choices: []int{0, 1, 2}, Output: modelpkg.Spec{Name: "right", DType: tensor.FP32, Shape: tensor.Shape{3}}}}
	p.Variants = append(p.Variants, modelpkg.VariantProfile{Name: "wide", Accuracy: modelpkg.AccuracyMean{Mean: 0.995}, Batches: slices.Clone(p.Variants[1].Batches)})
	for i := range p.Variants[2].Batches {
		p.Variants[2].Batches[i].P50MS *= 1.5
	}
	p.Cascades = &modelpkg.Cascades{Pilot: 10, Tested: 1, Gates: []modelpkg.GatePoint{{Gate: "small", Price: 0.5,
		Accuracy: modelpkg.AccuracyMean{Correct: 2970, Samples: 3000, Mean: 0.99}, Cautious: 0.985,
		Ways: []modelpkg.GateWay{{Variant: "small", Items: 1000, OnGate: 0.99, OnThen: 0.99}, {Variant: "both", Penalty: 0.01, Items: 1000, OnGate: 0.97, OnThen: 0.98},
			{Variant: "wide", Penalty: 0.02, Items: 1000, OnGate: 0.96, OnThen: 0.97}}}}}
	s.Routes = engine.CascadesOf(m, p)
	return s
}

// chosen returns the variant that the gate of withChoice chooses for an item.
func chosen(m *modelpkg.Model, item runtime.Item) int {
	row := tensor.Tensor{DType: tensor.FP32, Shape: tensor.Shape{1, 3}, Data: fake.Row(m, len(m.Outputs), 0, item)}
	return modelpkg.ChooseWay(modelpkg.Floats(row, 0), []float64{0, 0.01, 0.02})
}

// TestGateChooses has items that a gate keeps, and items that it sends to either of two
// variants: each is answered by the variant of its choice, and nobody sees the estimates.
func TestGateChooses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := withChoice(pair())
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAggressive, Instances: 1, Threads: 1,
			QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard}, fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}}))
		if err != nil {
			t.Fatal(err)
		}
		var items []runtime.Item
		for i := range byte(30) {
			items = append(items, runtime.Item{{i, 1, 2, 3}, {i}})
		}
		got, err := e.Infer(t.Context(), "pair", "", engine.Request{Modalities: 3, Items: items, Objective: slo.Objective{Floor: 985_000, Deadline: slo.Never}})
		if err != nil {
			t.Fatal(err)
		}
		count := make([]int, 3)
		for i, item := range items {
			want := chosen(served.Model, item)
			if count[want]++; got.Variants[i] != want || got.Routes[i].Name != "small?0.5" || got.Routes[i].Confidence != 1 {
				t.Errorf("item %d: variant %d by %+v, want %d", i, got.Variants[i], got.Routes[i], want)
			}
			if !slices.Equal(got.Outputs[0].Row(i), fake.Row(served.Model, 0, want, item)) {
				t.Errorf("item %d has another's answer", i)
			}
		}
		if len(got.Outputs) != 1 || slices.Contains(count, 0) || got.ExpectedAccuracy != 985_000 {
			t.Errorf("%d outputs; %v items by variant; expected %v", len(got.Outputs), count, got.ExpectedAccuracy)
		}
		told, _ := e.Explain(got.Job)
		if len(told.Cascades) != 1 || len(told.Cascades[0].Ways) != 3 {
			t.Fatalf("explained by %+v", told.Cascades)
		}
		for v, w := range told.Cascades[0].Ways {
			if w.Variant != served.Model.Variants[v].Name || w.Items != count[v] || w.ProfiledShare < 0.33 || w.ProfiledShare > 0.34 {
				t.Errorf("way %d is %+v, want %d items", v, w, count[v])
			}
		}
		for _, j := range told.Cascades[0].Judged {
			if want := served.Model.Variants[chosen(served.Model, items[j.Item])].Name; j.WentOn && j.To != want || !j.WentOn && (want != "small" || j.To != "") {
				t.Errorf("judged %+v, want %s", j, want)
			}
		}
		if why := told.Alternatives[2].Why; !strings.Contains(why, "that small?0.5 sent on") {
			t.Errorf("wide: %s", why)
		}
		if why := told.Alternatives[0].Why; !strings.Contains(why, "that small?0.5 kept") {
			t.Errorf("small: %s", why)
		}
		gate := told.Alternatives[len(told.Alternatives)-1]
		want := fmt.Sprintf("%d of %d items took it, and %d went on: the cheapest that reaches the floor", len(items), len(items), len(items)-count[0])
		if gate.Variant != "small?0.5" || !gate.Cascade || gate.Items != len(items) || gate.Why != want || !gate.Runnable || gate.Accuracy != 0.985 {
			t.Errorf("the gate is %+v, want %q", gate, want)
		}
		drain(t, e)
	})
}

// TestLabelsOfGate: labels of what a gate's items got lower the gate's point, and no other.
func TestLabelsOfGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := withChoice(pair())
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAggressive, Instances: 1, Threads: 1,
			QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard}, fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}}))
		if err != nil {
			t.Fatal(err)
		}
		for range 300 {
			e.Label("pair", "", "small?0.5", 0)
			e.Label("pair", "", "nothing", 0)
		}
		now, _ := e.Status()
		for _, v := range now.Models[0].Drift.Variants {
			if lowered := v.Planned < v.Profile; lowered != (v.Name == "small?0.5") {
				t.Errorf("%+v", v)
			}
		}
		r := engine.Request{Modalities: 3, Items: []runtime.Item{{{1, 1, 2, 3}, {1}}}, Objective: slo.Objective{Floor: 985_000, Deadline: slo.Never}}
		if got, err := e.Infer(t.Context(), "pair", "", r); err != nil || got.Routes != nil {
			t.Errorf("%+v, %v", got, err)
		}
		drain(t, e)
	})
}

// TestGateShortOfTime stalls the gate's run, so that no item can take its way in time: all
// keep the gate's answer, and the expected accuracy falls by what that costs.
func TestGateShortOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served, warm := withChoice(pair()), false
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAggressive, Instances: 1, Threads: 1,
			QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard}, fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}, Fail: func(r fake.Run) error {
			if warm && r.Variant == 0 {
				time.Sleep(35 * time.Millisecond) // a stall
			}
			return nil
		}}))
		if err != nil {
			t.Fatal(err)
		}
		warm = true
		early := 0
		for i := range byte(8) {
			item := runtime.Item{{i, 1, 2, 3}, {i}}
			got, err := e.Infer(t.Context(), "pair", "", engine.Request{Modalities: 3, Items: []runtime.Item{item}, Objective: slo.Objective{Floor: 975_000, Deadline: e.Now().Add(40 * time.Millisecond)}})
			if err != nil {
				t.Fatal(err)
			}
			want := slo.Accuracy(985_000)
			if got.Routes != nil && chosen(served.Model, item) != 0 {
				want -= 10_000
				early++
			}
			if got.Routes != nil && (got.Variants[0] != 0 || got.ExpectedAccuracy != want) {
				t.Errorf("item %d: variant %d by %+v, expected %v, want %v", i, got.Variants[0], got.Routes, got.ExpectedAccuracy, want)
			}
			if !slices.Equal(got.Outputs[0].Row(0), fake.Row(served.Model, 0, got.Variants[0], item)) {
				t.Errorf("item %d has another's answer", i)
			}
		}
		if early == 0 {
			t.Error("the test shows nothing")
		}
		drain(t, e)
	})
}
