package fake_test

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
)

// staged is the model with an encoder for each modality and a head for each subset.
func staged() *modelpkg.Model {
	m := model()
	m.Stages = []modelpkg.Stage{{Name: "encode_a"}, {Name: "encode_b"}, {Name: "head_a"}, {Name: "head_ab"}}
	encodeA := modelpkg.Step{Stage: 0, Unit: 0, Inputs: []modelpkg.Source{{Name: "a"}}, Outputs: []string{"fa"}}
	encodeB := modelpkg.Step{Stage: 1, Unit: 1, Inputs: []modelpkg.Source{{Name: "b", Input: 1}, {Name: "c", Input: 2}}, Outputs: []string{"fb"}}
	m.Variants = []modelpkg.Variant{
		{Name: "a", Modalities: 1, Inputs: []int{0}, Steps: []modelpkg.Step{encodeA,
			{Stage: 2, Unit: 2, Inputs: []modelpkg.Source{{Name: "fa", Input: -1}}, Outputs: []string{"scores", "length"}}}},
		{Name: "ab", Modalities: 3, Inputs: []int{0, 1, 2}, Steps: []modelpkg.Step{encodeA, encodeB,
			{Stage: 3, Unit: 3, Inputs: []modelpkg.Source{{Name: "fa", Input: -1}, {Name: "fb", Input: -1, Step: 1}}, Outputs: []string{"scores", "length"}}}},
	}
	return m
}

func TestStagesConform(t *testing.T) {
	for _, whole := range []bool{false, true} {
		runtimetest.Run(t, runtimetest.Suite{
			Open:  func(testing.TB) runtime.Runtime { return fake.New(fake.Config{Whole: whole}) },
			Model: staged(),
		})
	}
}

// TestPartsTakeTheTimeOfTheirStages runs a part with what another variant computed, and
// with what it computed for another item.
func TestPartsTakeTheTimeOfTheirStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := staged()
		p := &modelpkg.Profile{Model: "m", Variants: []modelpkg.VariantProfile{{Name: "a", Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: 9}}},
			{Name: "ab", Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: 99}}}}}
		for i, s := range m.Stages {
			p.Stages = append(p.Stages, modelpkg.StageProfile{Name: s.Name, Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: float64(int(1) << i)}}})
		}
		in, err := fake.New(fake.Config{Profiles: []*modelpkg.Profile{p}}).Load(t.Context(), m, runtime.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		shared := m.Handover(1, 0)
		run := func(part runtime.Part) (string, runtime.Given, error) {
			start := time.Now()
			_, kept, err := in.(runtime.Staged).RunStages(t.Context(), part)
			g := runtime.Given{Intermediate: shared[0]}
			if kept != nil {
				g.Rows = kept
			}
			return fmt.Sprint(time.Since(start)), g, err
		}
		took, given, err := run(runtime.Part{Variant: 0, Items: items(1), Keep: shared, KeepBytesMax: math.MaxInt})
		if took != "9ms" || err != nil {
			t.Errorf("the whole variant takes %s: %v", took, err)
		}
		if took, _, err = run(runtime.Part{Variant: 1, Items: items(1), Given: []runtime.Given{given}}); took != "10ms" || err != nil {
			t.Errorf("the rest takes %s, want that of encode_b and head_ab: %v", took, err)
		}
		if _, _, err = run(runtime.Part{Variant: 1, Items: items(2)[1:], Given: []runtime.Given{given}}); err == nil {
			t.Error("a run accepts what was computed for another item")
		}
	})
}
