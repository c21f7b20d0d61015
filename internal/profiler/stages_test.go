package profiler

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

// stagedDouble is a double whose variants have stages: an encoder that takes 3 ms and 1
// ms per item, a head of 1 ms, and a second encoder of 2 ms per item. A whole variant
// takes the time of its stages, and extra.
type stagedDouble struct {
	*double
	whole bool // it cannot run stages alone
	extra func(variant, items int) time.Duration
	ran   []string // what ran in the timed rounds: stage or variant, and items
}

func (d *stagedDouble) open(context.Context) (runtime.Runtime, error) {
	d.opened++
	return d, nil
}

func (d *stagedDouble) Load(_ context.Context, m *modelpkg.Model, _ runtime.Options) (runtime.Instance, error) {
	if d.whole {
		return stagedInstance{d, m}.instance(), nil
	}
	return stagedInstance{d, m}, nil
}

type stagedInstance struct {
	*stagedDouble
	m *modelpkg.Model
}

func (in stagedInstance) Slots() int      { return 1 }
func (in stagedInstance) Close() error    { return nil }
func (in stagedInstance) Keeps(int) bool  { return true }
func (in stagedInstance) instance() whole { return whole{in} }

// whole is an instance that cannot run parts.
type whole struct{ in stagedInstance }

func (w whole) Slots() int   { return 1 }
func (w whole) Close() error { return nil }
func (w whole) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	return w.in.Run(ctx, variant, items)
}

func stageTime(stage, items int) time.Duration {
	return []time.Duration{3*time.Millisecond + time.Duration(items)*time.Millisecond, time.Millisecond, time.Duration(2*items) * time.Millisecond}[stage]
}

func (in stagedInstance) Run(_ context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	in.runs++
	in.ran = append(in.ran, fmt.Sprint(in.m.Variants[variant].Name, " ", len(items)))
	took := time.Duration(0)
	for _, step := range in.m.Variants[variant].Steps {
		took += stageTime(step.Stage, len(items))
	}
	if in.extra != nil {
		took += in.extra(variant, len(items))
	}
	time.Sleep(took) // the test's clock
	return scoresOf(items, func(int) float32 { return 1 }), nil
}

func (in stagedInstance) RunStages(_ context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	steps, err := part.Check(in.m)
	if err != nil {
		return nil, nil, err
	}
	for k, needed := range steps {
		if needed {
			stage := in.m.Variants[part.Variant].Steps[k].Stage
			in.ran = append(in.ran, fmt.Sprint(in.m.Stages[stage].Name, " ", len(part.Items)))
			time.Sleep(stageTime(stage, len(part.Items)))
		}
	}
	n := int64(len(part.Items))
	for _, value := range part.Keep {
		kept = append(kept, tensor.Tensor{Name: value.Name, DType: tensor.Uint8, Shape: tensor.Shape{n, 2}, Data: make([]byte, 2*n)})
	}
	if !part.Inner {
		outputs = scoresOf(part.Items, func(int) float32 { return 1 })
	}
	return outputs, kept, nil
}

// stagedModel returns the test's model with stages.
func stagedModel(t *testing.T) (*modelpkg.Model, *modelpkg.Set) {
	t.Helper()
	m, set := testModel(t, 40)
	m.Stages = []modelpkg.Stage{{Name: "encoder"}, {Name: "head"}, {Name: "second"}}
	encoder := modelpkg.Step{Inputs: []modelpkg.Source{{Name: "x"}}, Outputs: []string{"f"}}
	second := modelpkg.Step{Stage: 2, Unit: 2, Inputs: []modelpkg.Source{{Name: "f", Input: -1}}, Outputs: []string{"g"}}
	m.Variants[0].Steps = []modelpkg.Step{encoder, {Stage: 1, Unit: 1, Inputs: []modelpkg.Source{{Name: "f", Input: -1}}, Outputs: []string{"scores"}}}
	m.Variants[1].Steps = []modelpkg.Step{encoder, second, {Stage: 1, Unit: 3, Inputs: []modelpkg.Source{{Name: "g", Input: -1, Step: 1}}, Outputs: []string{"scores"}}}
	return m, set
}

// TestStagesAreTimedOnce checks the curves of the stages, a variant that is their sum,
// and one that takes longer and is measured as a whole.
func TestStagesAreTimedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, set := stagedModel(t)
		d := &stagedDouble{double: newDouble(), extra: func(variant, items int) time.Duration {
			if variant == 1 {
				return time.Duration(items) * time.Millisecond // 1 of 7 ms with 1 item, 6 of 22 ms with 6
			}
			return 0
		}}
		var progress []Progress
		o := options()
		o.Progress = func(p Progress) { progress = append(progress, p) }
		got, err := Run(t.Context(), d.open, m, set, o)
		if err != nil {
			t.Fatal(err)
		}
		p := got.Profile
		if len(p.Stages) != 3 || p.Stages[0].Name != "encoder" {
			t.Fatalf("stages %+v", p.Stages)
		}
		for s, stage := range p.Stages {
			for _, b := range stage.Batches {
				if want := float64(stageTime(s, b.Items)) / 1e6; b.P50MS != want || b.Runs != 10 {
					t.Errorf("stage %s: %+v, want %v ms", stage.Name, b, want)
				}
			}
		}
		sum, own := p.Variants[0], p.Variants[1]
		if *sum.Sum != (modelpkg.StageSum{Used: true}) || own.Sum == nil || own.Sum.Used || math.Abs(own.Sum.Off-(22.0/28-1)) > 1e-3 {
			t.Errorf("sums %+v, %+v", sum.Sum, own.Sum)
		}
		for i, items := range []int{1, 2, 4, 6} {
			if want := float64(4 + items); sum.Batches[i].P50MS != want || sum.Batches[i].Runs != 10 {
				t.Errorf("a sum: %+v, want %v ms", sum.Batches[i], want)
			}
			if want := float64(4 + 4*items); own.Batches[i].P50MS != want || own.Batches[i].Runs != 10 {
				t.Errorf("a whole: %+v, want %v ms", own.Batches[i], want)
			}
		}
		share := 0.0
		for _, p := range progress {
			if p.Share < share {
				t.Errorf("progress fell from %v to %v", share, p.Share)
			}
			share = p.Share
		}
		if math.Abs(share-1) > 1e-2 {
			t.Errorf("progress ended at %v", share)
		}
		o.Timed = p
		again, err := Run(t.Context(), d.open, m, set, o)
		if err != nil || len(again.Profile.Stages) != 3 || again.Profile.Variants[1].Sum == nil || again.Profile.Variants[0].Batches[1].P50MS != 6 {
			t.Errorf("accuracy only: %v, %+v", err, again)
		}
	})
}

// TestStageRounds checks that every round times each stage at every size and each
// variant at three sizes, in an order of its own.
func TestStageRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, set := stagedModel(t)
		d := &stagedDouble{double: newDouble()}
		if _, err := Run(t.Context(), d.open, m, set, options()); err != nil {
			t.Fatal(err)
		}
		want := []string{"full 1", "full 2", "full 6", "half 1", "half 2", "half 6"}
		for _, stage := range m.Stages {
			for _, n := range []int{1, 2, 4, 6} {
				want = append(want, fmt.Sprint(stage.Name, " ", n))
			}
		}
		slices.Sort(want)
		var rounds [][]string
		seen := map[string]bool{}
		start := len(d.ran)
		for i := len(d.ran) - 1; i >= 0; i-- { // from the end: what comes before is no round
			name := d.ran[i]
			if i > 0 && name == d.ran[i-1] {
				continue // a short one: it ran twice
			}
			if seen[name] {
				if len(seen) != len(want) {
					t.Fatalf("a round of %d cells of %d: %v", len(seen), len(want), d.ran[i:start])
				}
				rounds = append(rounds, d.ran[i+1:start])
				clear(seen)
				start = i + 1
			}
			if seen[name] = true; len(rounds) == 12 {
				break
			}
		}
		if len(rounds) != 12 || slices.Equal(rounds[0], rounds[1]) || slices.Equal(rounds[1], rounds[2]) {
			t.Errorf("%d rounds", len(rounds))
		}
		for _, round := range rounds {
			got := slices.Clone(round)
			slices.Sort(got)
			if got = slices.Compact(got); !slices.Equal(got, want) {
				t.Errorf("a round: %v\nwant %v", got, want)
			}
		}
	})
}

// TestStagesThatCannotRunAlone profiles on a runtime that runs only whole variants.
func TestStagesThatCannotRunAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, set := stagedModel(t)
		d := &stagedDouble{double: newDouble(), whole: true}
		got, err := Run(t.Context(), d.open, m, set, options())
		if err != nil || got.Profile.Stages != nil || got.Profile.Variants[0].Sum != nil || got.Profile.Variants[0].Batches[3].P50MS != 10 {
			t.Errorf("%v, %+v", err, got)
		}
	})
}
