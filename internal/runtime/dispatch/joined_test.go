package dispatch_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/dispatch"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// staged has stages in both places: an encoder of a here; one of b, and what follows it,
// there; a stage there that reads what the encoder here gives; and heads in both.
func staged() *modelpkg.Model {
	m := model()
	far := &modelpkg.Remote{Server: "grpc://far", Slots: 4}
	m.Stages = []modelpkg.Stage{{Name: "encode_a"}, {Name: "encode_b", Remote: far}, {Name: "deepen_b", Remote: far}, {Name: "deepen_a", Remote: far},
		{Name: "head_a"}, {Name: "fusion"}, {Name: "far_head", Remote: far}}
	source := func(name string, step int) modelpkg.Source { return modelpkg.Source{Name: name, Input: -1, Step: step} }
	encodeA := modelpkg.Step{Stage: 0, Unit: 0, Inputs: []modelpkg.Source{{Name: "a"}}, Outputs: []string{"fa", "ga"}}
	encodeB := modelpkg.Step{Stage: 1, Unit: 1, Inputs: []modelpkg.Source{{Name: "b", Input: 1}}, Outputs: []string{"fb"}}
	scores := []string{"scores"}
	m.Variants = []modelpkg.Variant{
		{Name: "a", Modalities: 1, Inputs: []int{0}, Steps: []modelpkg.Step{encodeA, {Stage: 4, Unit: 2, Inputs: []modelpkg.Source{source("fa", 0)}, Outputs: scores}}},
		{Name: "ab", Modalities: 3, Inputs: []int{0, 1}, Steps: []modelpkg.Step{encodeA, encodeB,
			{Stage: 2, Unit: 3, Inputs: []modelpkg.Source{source("fb", 1)}, Outputs: []string{"db"}},
			{Stage: 3, Unit: 4, Inputs: []modelpkg.Source{source("fa", 0), source("db", 2)}, Outputs: []string{"da"}},
			{Stage: 5, Unit: 5, Inputs: []modelpkg.Source{source("ga", 0), source("fb", 1), source("da", 3)}, Outputs: scores}}},
		{Name: "far_head", Modalities: 3, Inputs: []int{0, 1}, Steps: []modelpkg.Step{encodeA, encodeB,
			{Stage: 6, Unit: 6, Inputs: []modelpkg.Source{source("fa", 0), source("fb", 1)}, Outputs: scores}}},
		{Name: "b", Modalities: 2, Inputs: []int{1}, Steps: []modelpkg.Step{encodeB, {Stage: 6, Unit: 7, Inputs: []modelpkg.Source{source("fb", 0)}, Outputs: scores}}},
	}
	return m
}

// half is a runtime that must only be asked for the stages of its place, and notes which
// it runs.
type half struct {
	runtime.Runtime
	t    testing.TB
	far  bool
	note func(stage string)
}

func (h half) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	in, err := h.Runtime.Load(ctx, m, opts)
	if err != nil {
		return nil, err
	}
	return halfInstance{in.(runtime.Staged), h, m}, nil
}

type halfInstance struct {
	runtime.Staged
	half
	m *modelpkg.Model
}

func (h halfInstance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	outputs, _, err := h.RunStages(ctx, runtime.Part{Variant: variant, Items: items})
	return outputs, err
}

func (h halfInstance) RunStages(ctx context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	run, err := part.Check(h.m)
	if err != nil {
		return nil, nil, err
	}
	for k, step := range h.m.Variants[part.Variant].Steps {
		stage := h.m.Stages[step.Stage]
		if run[k] && (stage.Remote != nil) != h.far && h.Keeps(part.Variant) {
			h.t.Errorf("stage %s is asked for in the wrong place", stage.Name)
		}
		if run[k] && h.note != nil {
			h.note(stage.Name)
		}
	}
	return h.Staged.RunStages(ctx, part)
}

func TestJoinedConformance(t *testing.T) {
	runtimetest.Run(t, runtimetest.Suite{Model: staged(), Open: func(t testing.TB) runtime.Runtime {
		return dispatch.New(dispatch.Config{Graphs: half{fake.New(fake.Config{}), t, false, nil}, Remote: half{fake.New(fake.Config{Slots: 4}), t, true, nil}})
	}})
}

// TestEachStageRunsOnce looks at which stages run, whole and in parts.
func TestEachStageRunsOnce(t *testing.T) {
	var log []string
	note := func(stage string) { log = append(log, stage) }
	rt := dispatch.New(dispatch.Config{Graphs: half{fake.New(fake.Config{}), t, false, note}, Remote: half{fake.New(fake.Config{Slots: 4}), t, true, note}})
	m := staged()
	in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	items := []runtime.Item{{make([]byte, 16), make([]byte, 3)}, {make([]byte, 16), []byte{1, 2, 3}}}
	for variant, want := range []string{"encode_a head_a", "encode_b deepen_b encode_a deepen_a fusion", "encode_b encode_a far_head", "encode_b far_head"} {
		log = nil
		if _, err := in.Run(t.Context(), variant, items); err != nil || strings.Join(log, " ") != want {
			t.Errorf("variant %s ran %q: %v", m.Variants[variant].Name, log, err)
		}
	}
	shared := m.Handover(1, 0)
	_, kept, err := in.(runtime.Staged).RunStages(t.Context(), runtime.Part{Variant: 0, Items: items, Keep: shared, KeepBytesMax: math.MaxInt})
	if err != nil {
		t.Fatal(err)
	}
	part := runtime.Part{Variant: 1, Items: items}
	for i, value := range shared {
		part.Given = append(part.Given, runtime.Given{Intermediate: value, Rows: runtime.RowsOf(kept[i])})
	}
	log = nil
	if _, _, err := in.(runtime.Staged).RunStages(t.Context(), part); err != nil || strings.Join(log, " ") != "encode_b deepen_b deepen_a fusion" {
		t.Errorf("after the first variant, the second ran %q: %v", log, err)
	}
	log = nil
	inner := runtime.Part{Variant: 1, Items: items, Keep: []modelpkg.Intermediate{{Unit: 1, Name: "fb"}, {Unit: 0, Name: "ga"}}, KeepBytesMax: math.MaxInt, Inner: true}
	if _, kept, err := in.(runtime.Staged).RunStages(t.Context(), inner); err != nil || len(kept) != 2 || kept[0].Name != "fb" || strings.Join(log, " ") != "encode_b encode_a" {
		t.Errorf("an inner part ran %q and kept %v: %v", log, kept, err)
	}
}

// TestGraphsDoNotHoldUpServers runs as many batches at a time as the server takes: only
// where graphs run, they wait for each other.
func TestGraphsDoNotHoldUpServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := staged()
		took := func(ms float64) []modelpkg.BatchProfile { return []modelpkg.BatchProfile{{Items: 1, P50MS: ms}} }
		p := &modelpkg.Profile{Model: "m", Variants: []modelpkg.VariantProfile{{Name: "far_head", Batches: took(1)}}}
		for i := range m.Stages {
			p.Stages = append(p.Stages, modelpkg.StageProfile{Batches: took(map[bool]float64{false: 1, true: 50}[m.Stages[i].Remote != nil])})
		}
		rt := dispatch.New(dispatch.Config{Graphs: fake.New(fake.Config{Profiles: []*modelpkg.Profile{p}}), Remote: fake.New(fake.Config{Slots: 4, Profiles: []*modelpkg.Profile{p}})})
		in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1, Variants: []int{2}})
		if err != nil || in.Slots() != 4 {
			t.Fatal(in, err)
		}
		defer in.Close()
		start := time.Now()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if _, err := in.Run(t.Context(), 2, []runtime.Item{{make([]byte, 16), make([]byte, 3)}}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(start); took != 104*time.Millisecond { // both stages there, and four times the encoder here
			t.Errorf("4 batches take %v", took)
		}
	})
}

// TestStagesInAProcess has the graphs of a variant in a process, and a stage on a server.
func TestStagesInAProcess(t *testing.T) {
	m := staged()
	m.Isolation = modelpkg.IsolationProcess
	var ran []string
	apart := half{fake.New(fake.Config{}), t, false, func(stage string) { ran = append(ran, stage) }}
	rt := dispatch.New(dispatch.Config{Graphs: fake.New(fake.Config{Whole: true}), Isolated: apart, Remote: fake.New(fake.Config{Slots: 4})})
	in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.Run(t.Context(), 2, []runtime.Item{{make([]byte, 16), make([]byte, 3)}}); err != nil || strings.Join(ran, " ") != "encode_a" {
		t.Errorf("%q ran in the process: %v", ran, err)
	}
}

// TestJoinedNeedsStages loads a variant of both places on a runtime without stages.
func TestJoinedNeedsStages(t *testing.T) {
	rt := dispatch.New(dispatch.Config{Graphs: fake.New(fake.Config{Whole: true}), Remote: fake.New(fake.Config{})})
	if in, err := rt.Load(t.Context(), staged(), runtime.Options{Threads: 1}); in != nil || slo.KindOf(err) != slo.KindUnsupported || !strings.Contains(fmt.Sprint(err), "variant ab") {
		t.Errorf("%v, %v", in, err)
	}
}
