package plan_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestRunnableWithoutRecovery checks that a job without recovery takes no route on which a
// variant recovers modalities, at any step, and that other jobs may.
func TestRunnableWithoutRecovery(t *testing.T) {
	variants := []plan.Variant{
		{Name: "a", Modalities: 1, Accuracy: 900_000, Curve: linear(t, time.Millisecond, time.Millisecond)},
		{Name: "a_recover", Modalities: 1, Accuracy: 920_000, Curve: linear(t, 2*time.Millisecond, time.Millisecond), Recovers: true},
		{Name: "ab", Modalities: 3, Accuracy: 990_000, Curve: linear(t, 4*time.Millisecond, time.Millisecond)},
	}
	p, err := plan.New(variants,
		plan.RouteSpec{Name: "a, then ab", Variant: 0, Accuracy: 980_000, Next: []plan.Branch{{Route: 2, Share: 0.5}}},
		plan.RouteSpec{Name: "a, then a_recover", Variant: 0, Accuracy: 915_000, Next: []plan.Branch{{Route: 1, Share: 0.5}}},
		plan.RouteSpec{Name: "a_recover, then ab", Variant: 1, Accuracy: 985_000, Next: []plan.Branch{{Route: 2, Share: 0.5}}},
		plan.RouteSpec{Name: "a, then two more", Variant: 0, Accuracy: 985_000, Next: []plan.Branch{{Route: 5, Share: 0.5}}})
	if err != nil {
		t.Fatal(err)
	}
	for c, want := range map[slo.Carried]plan.Set{
		{Present: 3}:                              0b1111111,
		{Present: 3, NoRecovery: true}:            0b0001101,
		{Present: 1}:                              0b0010011,
		{Present: 1, NoRecovery: true}:            0b0000001,
		{Present: 3, Choice: 1}:                   0b0000011,
		{Present: 3, Choice: 1, NoRecovery: true}: 0b0000001,
	} {
		if got := p.Runnable(c); got != want {
			t.Errorf("%+v: %07b, want %07b", c, got, want)
		}
		if got := p.At(1).Runnable(c); got != want {
			t.Errorf("%+v, with a confidence: %07b, want %07b", c, got, want)
		}
		if got := p.Capped([]slo.Accuracy{800_000, 800_000, 800_000}).At(1).Runnable(c); got != want {
			t.Errorf("%+v, with lowered accuracies: %07b, want %07b", c, got, want)
		}
	}
	// The recovered modality does not make the variant one that needs, or has, more.
	if best := p.MaxAccuracy(p.Runnable(slo.Carried{Present: 1})); best != 920_000 {
		t.Errorf("with one modality the best is %v", best)
	}
	if v := p.Agnostic(p.Runnable(slo.Carried{Present: 1})); v != 0 {
		t.Errorf("policy all would run variant %d of one modality", v)
	}
}
