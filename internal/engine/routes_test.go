package engine_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// stageCounter is a runtime that counts on how many items each stage of a model ran.
type stageCounter struct {
	runtime.Runtime
	mu     sync.Mutex
	counts map[string]int
}

func (c *stageCounter) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	in, err := c.Runtime.Load(ctx, m, opts)
	if err != nil {
		return nil, err
	}
	return &countedInstance{in.(runtime.Staged), m, c}, nil
}

type countedInstance struct {
	runtime.Staged
	model *modelpkg.Model
	*stageCounter
}

// Run implements runtime.Instance.
func (c *countedInstance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	outputs, _, err := c.RunStages(ctx, runtime.Part{Variant: variant, Items: items})
	return outputs, err
}

// RunStages implements runtime.Staged.
func (c *countedInstance) RunStages(ctx context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	steps, err := part.Check(c.model)
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	for k, ran := range steps {
		if ran {
			c.counts[c.model.Stages[c.model.Variants[part.Variant].Steps[k].Stage].Name] += len(part.Items)
		}
	}
	c.mu.Unlock()
	return c.Staged.RunStages(ctx, part)
}

// gated returns a model of a text and a picture with real graphs, whose route runs the
// text and then, if its best score is below the threshold, both.
func gated(t testing.TB, threshold float64, width int) engine.Served {
	t.Helper()
	m, err := modelpkgtest.Fusion{
		Encoders: []modelpkgtest.Encoder{{Name: "text", Width: width, Layers: 2}, {Name: "image", Width: width, Layers: 2}},
		Subsets:  [][]int{{0}, {0, 1}}, Staged: true, BatchItemsMax: 16,
	}.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	batches := func(ms float64) []modelpkg.BatchProfile {
		return []modelpkg.BatchProfile{{Items: 1, P50MS: 0.1 + ms, P95MS: 0.1 + ms}, {Items: 16, P50MS: 0.1 + 16*ms, P95MS: 0.1 + 16*ms}}
	}
	p := &modelpkg.Profile{Model: m.Name, Variants: []modelpkg.VariantProfile{
		{Name: "text", Accuracy: modelpkg.AccuracyMean{Mean: 0.8}, Batches: batches(1.1)},
		{Name: "text_image", Accuracy: modelpkg.AccuracyMean{Mean: 0.95}, Batches: batches(11.2)},
	}}
	for i, s := range m.Stages { // text, image, text_head, text_image_head
		p.Stages = append(p.Stages, modelpkg.StageProfile{Name: s.Name, Batches: batches([]float64{1, 10, 0.1, 0.2}[i])})
	}
	return engine.Served{Model: m, Profile: p, Routes: []engine.Route{{Name: "text, then both", Accuracy: 940_000, Steps: []engine.Step{
		{Variant: 0, Gate: engine.Below(m, threshold), Share: 0.5, Loss: 100_000}, {Variant: 1}}}}}
}

// serveGated makes an engine on ONNX Runtime that counts runs.
func serveGated(t testing.TB, served engine.Served, rt runtime.Runtime, keptBytesMax int64) (*engine.Engine, *stageCounter) {
	t.Helper()
	c := &stageCounter{Runtime: rt, counts: map[string]int{}}
	e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAggressive, Instances: 2, Threads: 1,
		QueueItemsMax: 10000, QueueJobsMax: 5000, KeptBytesMax: keptBytesMax, Log: discard}, c)
	if err != nil {
		t.Fatal(err)
	}
	clear(c.counts) // without warming up
	return e, c
}

// vectors makes items of random numbers.
func vectors(m *modelpkg.Model, n int) []runtime.Item {
	random := rand.New(rand.NewPCG(9, 9))
	items := make([]runtime.Item, n)
	for i := range items {
		for _, in := range m.Inputs {
			items[i] = append(items[i], runtimetest.Random(random, in.Spec, 0))
		}
	}
	return items
}

// direct runs each item alone on a variant.
func direct(t testing.TB, rt runtime.Runtime, m *modelpkg.Model, variant int, items []runtime.Item) (answers [][]float64) {
	t.Helper()
	in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for i := range items {
		outputs, err := in.Run(t.Context(), variant, items[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, modelpkg.Floats(outputs[0], 0))
	}
	return answers
}

// TestItemsGoOnBehindAGate answers items whose score is high enough with the text alone.
// The others go on to both, for which the text's encoder does not run again. If there is
// no room, or little, the answers are the same.
func TestItemsGoOnBehindAGate(t *testing.T) {
	const n = 60
	rt := openORT(t)
	probe := gated(t, 0, 32)
	items := vectors(probe.Model, n)
	first, second := direct(t, rt, probe.Model, 0, items), direct(t, rt, probe.Model, 1, items)
	var scores []float64
	for _, numbers := range first {
		scores = append(scores, slices.Max(numbers))
	}
	slices.Sort(scores)
	threshold := (scores[n/2] + scores[n/2-1]) / 2
	for _, c := range []struct {
		name string
		room int64
		kept [2]int // least and most items whose text is not encoded again
	}{{"kept", 0, [2]int{n / 2, n / 2}}, {"no room", -1, [2]int{}}, {"room for some", 3000, [2]int{1, n/2 - 1}}} {
		t.Run(c.name, func(t *testing.T) {
			served := gated(t, threshold, 32)
			e, count := serveGated(t, served, rt, c.room)
			got, err := e.Infer(t.Context(), "fusion", "", engine.Request{Modalities: 3, Items: items, Objective: slo.Objective{Floor: 940_000, Deadline: slo.Never}})
			if err != nil {
				t.Fatal(err)
			}
			for i := range items {
				variant, want := 0, first[i]
				if slices.Max(first[i]) < threshold {
					variant, want = 1, second[i]
				}
				numbers := modelpkg.Floats(got.Outputs[0], i)
				for k := range want {
					if got.Variants[i] != variant || math.Abs(numbers[k]-want[k]) > 1e-5 {
						t.Fatalf("item %d: variant %d answers %v, want %d, %v", i, got.Variants[i], numbers, variant, want)
					}
				}
			}
			drain(t, e)
			again := count.counts["text"] - n
			if kept := n/2 - again; kept < c.kept[0] || kept > c.kept[1] || count.counts["image"] != n/2 || count.counts["text_head"] != n || count.counts["text_image_head"] != n/2 {
				t.Errorf("stages ran on %v items", count.counts)
			}
			if got.ExpectedAccuracy != 940_000 || got.Modalities != 3 || e.KeptBytes() != 0 {
				t.Errorf("expected accuracy %v, modalities %v, %d bytes are still kept", got.ExpectedAccuracy, got.Modalities, e.KeptBytes())
			}
		})
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}

// TestThreeSteps sends every item through three steps: each encoder runs once, and what
// the first one gave is kept for the third step too.
func TestThreeSteps(t *testing.T) {
	m, err := modelpkgtest.Fusion{
		Encoders: []modelpkgtest.Encoder{{Name: "text", Width: 16, Layers: 1}, {Name: "audio", Width: 16, Layers: 1}, {Name: "image", Width: 16, Layers: 1}},
		Subsets:  [][]int{{0}, {0, 1}, {0, 1, 2}}, Staged: true, BatchItemsMax: 8,
	}.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := &modelpkg.Profile{Model: m.Name}
	for i, v := range m.Variants {
		ms := float64(1 + i)
		p.Variants = append(p.Variants, modelpkg.VariantProfile{Name: v.Name, Accuracy: modelpkg.AccuracyMean{Mean: 0.8},
			Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: ms}, {Items: 8, P50MS: 8 * ms}}})
	}
	on := engine.Below(m, 2)
	served := engine.Served{Model: m, Profile: p, Routes: []engine.Route{{Name: "cascade", Accuracy: 900_000,
		Steps: []engine.Step{{Variant: 0, Gate: on, Share: 1}, {Variant: 1, Gate: on, Share: 1}, {Variant: 2}}}}}
	rt := openORT(t)
	e, count := serveGated(t, served, rt, 0)
	items := vectors(m, 20)
	want := direct(t, rt, m, 2, items)
	got, err := e.Infer(t.Context(), "fusion", "", engine.Request{Modalities: 7, Items: items, Objective: slo.Objective{Floor: 900_000, Deadline: slo.Never}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range items {
		for k, number := range modelpkg.Floats(got.Outputs[0], i) {
			if got.Variants[i] != 2 || math.Abs(number-want[i][k]) > 1e-5 {
				t.Errorf("item %d: variant %d, %v, want %v", i, got.Variants[i], number, want[i][k])
			}
		}
	}
	drain(t, e)
	for stage, items := range count.counts {
		if items != 20 {
			t.Errorf("stage %s ran on %d items", stage, items)
		}
	}
	if len(count.counts) != 6 || e.KeptBytes() != 0 {
		t.Errorf("stages %v, %d bytes are kept", count.counts, e.KeptBytes())
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}
