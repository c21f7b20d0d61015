package engine_test

import (
	"testing"
	"testing/synctest"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// TestPrimariesAreExplained runs a model that says which modality decided: the explanation
// counts it by item.
func TestPrimariesAreExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := pair()
		served.Model.Outputs = append(served.Model.Outputs, modelpkg.Spec{Name: modelpkg.WeightsOutput, DType: tensor.FP32, Shape: tensor.Shape{2}})
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyMosel, Instances: 1, Threads: 1,
			QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard}, fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}}))
		if err != nil {
			t.Fatal(err)
		}
		var items []runtime.Item
		for i := range byte(20) {
			items = append(items, runtime.Item{{i, 1, 2, 3}, {i}})
		}
		got, err := e.Infer(t.Context(), "pair", "", engine.Request{Modalities: 3, Items: items, Objective: slo.Objective{Floor: 900_000, Deadline: slo.Never}})
		if err != nil {
			t.Fatal(err)
		}
		want := make([]int, 2)
		for i := range items {
			want[modelpkg.Primary(got.Outputs[1], i)]++
		}
		told, _ := e.Explain(got.Job)
		if want[0] == 0 || want[1] == 0 || len(told.Primaries) != 2 {
			t.Fatalf("%v items by modality; explained by %+v", want, told.Primaries)
		}
		for m, p := range told.Primaries {
			if p.Modality != served.Model.Modalities[m].Name || p.Items != want[m] {
				t.Errorf("explained by %+v, want %v", told.Primaries, want)
			}
		}
		drain(t, e)
	})
}
