package plan_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
)

// staged returns a model of an encoder for each of two modalities and a head for each
// subset, and its profile: 1, 4, 1 and 2 ms for the stages, and for both variants.
func staged() (*modelpkg.Model, *modelpkg.Profile) {
	m := &modelpkg.Model{Name: "m", Modalities: []modelpkg.Modality{{Name: "a"}, {Name: "b"}}, Inputs: make([]modelpkg.Input, 2),
		Stages: []modelpkg.Stage{{Name: "encode_a"}, {Name: "encode_b"}, {Name: "head"}, {Name: "fusion"}}}
	a := modelpkg.Step{Inputs: []modelpkg.Source{{Name: "a"}}, Outputs: []string{"fa"}}
	b := modelpkg.Step{Stage: 1, Unit: 1, Inputs: []modelpkg.Source{{Name: "b", Input: 1}}, Outputs: []string{"fb"}}
	m.Variants = []modelpkg.Variant{
		{Name: "a", Modalities: 1, Inputs: []int{0}, Steps: []modelpkg.Step{a, {Stage: 2, Unit: 2, Inputs: []modelpkg.Source{{Name: "fa", Input: -1}}}}},
		{Name: "ab", Modalities: 3, Inputs: []int{0, 1}, Steps: []modelpkg.Step{a, b, {Stage: 3, Unit: 3, Inputs: []modelpkg.Source{{Name: "fa", Input: -1}, {Name: "fb", Input: -1, Step: 1}}}}},
		{Name: "b", Modalities: 2, Inputs: []int{1}, Path: "b.onnx"},
	}
	batches := func(ms float64) []modelpkg.BatchProfile {
		return []modelpkg.BatchProfile{{Items: 1, P50MS: ms}, {Items: 4, P50MS: 2 * ms}, {Items: 8, P50MS: 4 * ms, MemoryBytes: 1000}}
	}
	p := &modelpkg.Profile{}
	for i, ms := range []float64{2, 7, 5} {
		p.Variants = append(p.Variants, modelpkg.VariantProfile{Name: m.Variants[i].Name, Accuracy: modelpkg.AccuracyMean{Mean: 0.8}, Batches: batches(ms)})
	}
	for i, ms := range []float64{1, 4, 1, 2} {
		p.Stages = append(p.Stages, modelpkg.StageProfile{Name: m.Stages[i].Name, Batches: batches(ms)})
	}
	return m, p
}

func TestAfter(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *modelpkg.Model, p *modelpkg.Profile)
		want   []float64 // ms of batches of 1, 4, ...
	}{
		"the rest of a sum":    {func(*modelpkg.Model, *modelpkg.Profile) {}, []float64{6, 12, 24}},
		"in proportion":        {func(_ *modelpkg.Model, p *modelpkg.Profile) { p.Variants[1].Batches[1].P50MS = 21 }, []float64{6, 18, 24}},
		"no profile of it":     {func(_ *modelpkg.Model, p *modelpkg.Profile) { p.Stages = nil }, []float64{7, 14, 28}},
		"of too much memory":   {func(m *modelpkg.Model, _ *modelpkg.Profile) { m.Limits.MemoryBytes = 999 }, []float64{6, 12}},
		"other sizes profiled": {func(_ *modelpkg.Model, p *modelpkg.Profile) { p.Stages[1].Batches = p.Stages[1].Batches[:1] }, []float64{6, 14, 28}},
	} {
		m, p := staged()
		c.change(m, p)
		v, given, ok, err := plan.After(m, p, 1, []int{0})
		if err != nil || !ok || v.Name != "ab after a" || !v.Inner || v.Modalities != 3 || len(given) != 1 || given[0].Name != "fa" {
			t.Fatalf("%s: %+v %v %v %v", name, v, given, ok, err)
		}
		for i, ms := range c.want {
			if got := v.Curve.Batch([]int{1, 4, 8}[i]); got != time.Duration(ms*1e6) {
				t.Errorf("%s: batch %d takes %v, want %v ms", name, i, got, ms)
			}
		}
		if want := []int{1, 4, 8}[len(c.want)-1]; v.Curve.Max() != want {
			t.Errorf("%s: batches up to %d, want %d", name, v.Curve.Max(), want)
		}
	}
	m, p := staged()
	if _, _, ok, err := plan.After(m, p, 2, []int{0, 1}); ok || err != nil {
		t.Errorf("a graph of its own shares stages: %v", err)
	}
}

// TestInnerVariants checks that no job starts on what is left of a variant.
func TestInnerVariants(t *testing.T) {
	m, p := staged()
	variants, err := plan.VariantsOf(m, p)
	if err != nil {
		t.Fatal(err)
	}
	rest, _, _, err := plan.After(m, p, 1, []int{0})
	if err != nil {
		t.Fatal(err)
	}
	planner, err := plan.New(append(variants, rest), plan.RouteSpec{Name: "gate", Variant: 0, Accuracy: 790_000, Next: []plan.Branch{{Route: 3, Share: 0.5}}})
	if err != nil {
		t.Fatal(err)
	}
	if planner.All() != 0b10111 || !planner.Routes()[3].Inner || planner.Routes()[4].Modalities != 3 {
		t.Errorf("jobs start on %b; %+v", planner.All(), planner.Routes()[3:])
	}
	if got := planner.Routes()[4].TailPerItem(); got != 0.5*3e6 { // batches of 8 take 24 ms
		t.Errorf("an item takes %v ns after the first step", got)
	}
}
