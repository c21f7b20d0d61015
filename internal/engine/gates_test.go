package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// goesOn is a gate on the fake's answers, which sends half of the items on.
func goesOn(row []byte) bool {
	return slices.IndexFunc(row, func(b byte) bool { return b != 0 })/4%2 == 0
}

// gatedPair is pair with stages, and a route of small and then both. With what small has
// computed, both takes 9.1 ms an item instead of 10.
func gatedPair() engine.Served { return withGate(pair()) }

// withGate gives a model of two inputs stages, and a route.
func withGate(s engine.Served) engine.Served {
	s.Model.Stages = []modelpkg.Stage{{Name: "encode_small"}, {Name: "encode_large"}, {Name: "head"}, {Name: "fusion"}}
	small := modelpkg.Step{Inputs: []modelpkg.Source{{Name: s.Model.Inputs[0].Name}}, Outputs: []string{"small_features"}}
	large := modelpkg.Step{Stage: 1, Unit: 1, Inputs: []modelpkg.Source{{Name: s.Model.Inputs[1].Name, Input: 1}}, Outputs: []string{"large_features"}}
	s.Model.Variants[0].Steps = []modelpkg.Step{small, {Stage: 2, Unit: 2, Inputs: []modelpkg.Source{{Name: "small_features", Input: -1}}, Outputs: []string{"scores"}}}
	s.Model.Variants[1].Steps = []modelpkg.Step{small, large, {Stage: 3, Unit: 3, Outputs: []string{"scores"},
		Inputs: []modelpkg.Source{{Name: "small_features", Input: -1}, {Name: "large_features", Input: -1, Step: 1}}}}
	if far := s.Model.Variants[1].Remote; far != nil { // then its own stage is
		s.Model.Variants[1].Remote, s.Model.Stages[1].Remote = nil, far
	}
	for i, ms := range []float64{0.9, 9, 0.1, 0.1} {
		s.Profile.Stages = append(s.Profile.Stages, modelpkg.StageProfile{Name: s.Model.Stages[i].Name,
			Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: ms}, {Items: 8, P50MS: 8 * ms}}})
	}
	s.Routes = []engine.Route{{Name: "gate", Accuracy: 985_000, Steps: []engine.Step{
		{Variant: 0, Share: 0.5, Loss: 80_000, Gate: func(outputs []tensor.Tensor, row int) (float64, bool) { return 0.5, goesOn(outputs[0].Row(row)) }}, {Variant: 1}}}}
	return s
}

// TestEngineAndSimulatorAgreeOnGates is TestEngineAndSimulatorAgree for models with a
// route of two steps.
func TestEngineAndSimulatorAgreeOnGates(t *testing.T) {
	for policy := range plan.Policies() {
		t.Run(plan.Policy(policy).String(), func(t *testing.T) {
			var traces []string
			for seed := range uint64(3) {
				p := newParity(t, plan.Policy(policy), seed+1, true)
				synctest.Test(t, func(t *testing.T) {
					got, arrivals := p.engine(t)
					traces = append(traces, compare(t, got, p.simulated(t, arrivals)))
				})
			}
			whole := strings.Join(traces, "\n")
			kinds := []string{"Cancel", "Abort", "GiveUp", "Outcome:late"}
			if p := plan.Policy(policy); p == plan.PolicyMosel || p == plan.PolicyAggressive { // the others prefer variants
				kinds = append(kinds, "Variant:2 ", "Verdicts:[", "Routes:[")
			}
			for _, kind := range kinds {
				if !strings.Contains(whole, kind) {
					t.Errorf("the load has no %s", kind)
				}
			}
		})
	}
}

// gatedRun is an engine with the model of gatedPair on a fake runtime.
type gatedRun struct {
	*engine.Engine
	served engine.Served
	mu     sync.Mutex
	runs   []string // stages of each run, and its items
}

func startGated(t *testing.T, instances int, cfg fake.Config) *gatedRun {
	t.Helper()
	g := &gatedRun{served: gatedPair()}
	cfg.Profiles = []*modelpkg.Profile{g.served.Profile}
	fail := cfg.Fail
	cfg.Fail = func(r fake.Run) error {
		g.mu.Lock()
		g.runs = append(g.runs, fmt.Sprint(r.Stages, len(r.Items)))
		g.mu.Unlock()
		if fail != nil {
			return fail(r)
		}
		return nil
	}
	var err error
	g.Engine, err = engine.New(t.Context(), engine.Config{Models: []engine.Served{g.served}, Policy: plan.PolicyAggressive, Instances: instances, Threads: 1,
		QueueItemsMax: 1000, QueueJobsMax: 500, KeptBytesMax: 6000, Log: discard}, fake.New(cfg))
	if err != nil {
		t.Fatal(err)
	}
	g.runs = nil
	return g
}

// halves are items of which the first half goes on and the other does not.
func (g *gatedRun) halves(n int) (items []runtime.Item) {
	var on, off []runtime.Item
	for i := byte(0); len(on) < n/2 || len(off) < n/2; i++ {
		item := runtime.Item{{i, 0, 0, 0}, {i}}
		if goesOn(fake.Row(g.served.Model, 0, 0, item)) {
			on = append(on, item)
		} else {
			off = append(off, item)
		}
	}
	return append(on[:n/2:n/2], off[:n/2]...)
}

// check compares the answers: of the first half from both, of the others from small.
func (g *gatedRun) check(t *testing.T, items []runtime.Item, got engine.Response) {
	t.Helper()
	for i, item := range items {
		variant := 0
		if i < len(items)/2 {
			variant = 1
		}
		if got.Variants[i] != variant || !slices.Equal(got.Outputs[0].Row(i), fake.Row(g.served.Model, 0, variant, item)) {
			t.Errorf("item %d: variant %d, want %d, or another's answer", i, got.Variants[i], variant)
		}
	}
}

func (g *gatedRun) request(items []runtime.Item) engine.Request {
	return engine.Request{Modalities: 3, Items: items, Objective: slo.Objective{Floor: 985_000, Deadline: slo.Never}}
}

// TestLostInstanceBetweenSteps loses the instance that runs the second step: the step
// runs again, on what the first step computed.
func TestLostInstanceBetweenSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := false
		g := startGated(t, 2, fake.Config{Fail: func(r fake.Run) error {
			if len(r.Stages) == 2 && r.Variant == 1 && !lost {
				lost = true
				return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
			}
			return nil
		}})
		items := g.halves(8)
		got, err := g.Infer(t.Context(), "pair", "", g.request(items))
		if err != nil {
			t.Fatal(err)
		}
		g.check(t, items, got)
		explained, _ := g.Explain(got.Job)
		if a := explained.Alternatives; len(a) != 4 || a[2].Variant != "both after small" || a[2].Why != "ran 4 of 8 items: a gate sent them on" {
			t.Errorf("explained by %+v", a)
		}
		if want := []string{"[0 2] 8", "[1 3] 4", "[1 3] 4"}; !slices.Equal(g.runs, want) || g.KeptBytes() != 0 {
			t.Errorf("runs %v, want %v; %d bytes are kept", g.runs, want, g.KeptBytes())
		}
		drain(t, g.Engine)
	})
}

// TestCancelBetweenSteps gives a job up while its second step waits, and while it runs:
// nothing stays kept.
func TestCancelBetweenSteps(t *testing.T) {
	for _, after := range []time.Duration{10 * time.Millisecond, 20 * time.Millisecond} { // 8 ms for the first step; another job follows, or the second step of 36 ms
		synctest.Test(t, func(t *testing.T) {
			g := startGated(t, 1, fake.Config{})
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			var all sync.WaitGroup
			all.Go(func() {
				if _, err := g.Infer(ctx, "pair", "", g.request(g.halves(8))); slo.KindOf(err) != slo.KindCancelled {
					t.Errorf("cancelled after %v: %v", after, err)
				}
			})
			synctest.Wait() // it runs first
			if after == 10*time.Millisecond {
				all.Go(func() {
					r := request(g.halves(8)[:4], 990_000) // on both, 40 ms
					r.Objective.Deadline = g.Now().Add(70 * time.Millisecond)
					_, _ = g.Infer(t.Context(), "pair", "", r)
				})
			}
			time.Sleep(9 * time.Millisecond)
			synctest.Wait()
			if g.KeptBytes() == 0 {
				t.Error("nothing is kept after the first step: the test shows nothing")
			}
			all.Wait()
			synctest.Wait()
			if g.KeptBytes() != 0 {
				t.Errorf("%d bytes are still kept", g.KeptBytes())
			}
			drain(t, g.Engine)
		})
	}
}

// TestSecondStepFails has items whose second step has no answer.
func TestSecondStepFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		g := startGated(t, 1, fake.Config{Fail: func(r fake.Run) error {
			if len(r.Stages) == 2 && r.Variant == 1 {
				return boom
			}
			return nil
		}})
		if _, err := g.Infer(t.Context(), "pair", "", g.request(g.halves(8))); !errors.Is(err, boom) {
			t.Errorf("%v", err)
		}
		if g.KeptBytes() != 0 {
			t.Errorf("%d bytes are still kept", g.KeptBytes())
		}
		drain(t, g.Engine)
	})
}

// TestRuntimeWithoutStages runs the whole variant in the second step.
func TestRuntimeWithoutStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := startGated(t, 1, fake.Config{Whole: true})
		items := g.halves(8)
		got, err := g.Infer(t.Context(), "pair", "", g.request(items))
		if err != nil {
			t.Fatal(err)
		}
		g.check(t, items, got)
		if want := []string{"[0 2] 8", "[0 1 3] 4"}; !slices.Equal(g.runs, want) {
			t.Errorf("runs %v, want %v", g.runs, want)
		}
		drain(t, g.Engine)
	})
}

// TestShortOfTime answers items that should go on with the first step's answers, if the
// floor allows it.
func TestShortOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warm := false
		g := startGated(t, 1, fake.Config{Fail: func(r fake.Run) error {
			if warm && len(r.Stages) == 2 && r.Variant == 0 {
				time.Sleep(40 * time.Millisecond) // a stall
			}
			return nil
		}})
		warm = true
		items := g.halves(8)
		r := g.request(items)
		r.Objective = slo.Objective{Floor: 930_000, Deadline: g.Now().Add(80 * time.Millisecond)}
		got, err := g.Infer(t.Context(), "pair", "", r)
		if err != nil {
			t.Fatal(err)
		}
		early := 0
		for i, item := range items {
			if i < 4 && got.Variants[i] == 0 {
				early++
			}
			if !slices.Equal(got.Outputs[0].Row(i), fake.Row(g.served.Model, 0, got.Variants[i], item)) {
				t.Errorf("item %d has another's answer", i)
			}
		}
		if early == 0 || got.ExpectedAccuracy < 930_000 || g.KeptBytes() != 0 {
			t.Errorf("%d items were answered early, expected %v, %d bytes are kept; runs %v", early, got.ExpectedAccuracy, g.KeptBytes(), g.runs)
		}
		drain(t, g.Engine)
	})
}

// TestFilesAreReadOnceBehindAGate has items whose inputs are files: the text of an item
// that goes on is not read again.
func TestFilesAreReadOnceBehindAGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := withGate(show(4))
		served.Routes[0].Accuracy = 970_000
		e := serveShow(t, served, plan.PolicyAggressive)
		picture := pngFile(t, photo(9, 7, 3))
		var items []runtime.Item
		for i := range 16 {
			items = append(items, runtime.Item{fmt.Append(nil, "text ", i), picture})
		}
		got, err := e.Infer(t.Context(), "show", "1", showRequest(970_000, items...))
		if err != nil {
			t.Fatal(err)
		}
		on := 0
		for i, v := range got.Variants {
			on += v
			item := runtime.Item{encoded(t, served.Model.Inputs[0], items[i][0]), encoded(t, served.Model.Inputs[1], picture)}
			if !slices.Equal(got.Outputs[0].Row(i), fake.Row(served.Model, 0, v, item)) {
				t.Errorf("item %d has another answer", i)
			}
		}
		if files, _ := e.FilesDecoded(); on == 0 || on == len(items) || int(files) != len(items)+on {
			t.Errorf("%d items went on, %d files were read", on, files)
		}
		drain(t, e)
	})
}

// TestGateThatPanics fails the items whose gate panics. The others of the batch are
// answered, or go on.
func TestGateThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := gatedPair()
		gate := served.Routes[0].Steps[0].Gate
		var panics atomic.Int64
		served.Routes[0].Steps[0].Gate = func(outputs []tensor.Tensor, row int) (float64, bool) {
			if row == 1 {
				panics.Add(1)
				panic("a mistake in the gate")
			}
			return gate(outputs, row)
		}
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAggressive, Instances: 1, Threads: 1,
			QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard}, fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}}))
		if err != nil {
			t.Fatal(err)
		}
		var items []runtime.Item
		for i := range 40 {
			items = append(items, runtime.Item{[]byte{byte(i), 2, 3, 4}, []byte{byte(i)}})
		}
		got, err := e.Infer(t.Context(), "pair", "", request(items, 970_000))
		if n := int(panics.Load()); err != nil || n == 0 || len(got.Failed) != n {
			t.Fatalf("%d gates panicked, %d items failed: %v", n, len(got.Failed), err)
		}
		if text := got.Failed[0].Err.Error(); slo.KindOf(got.Failed[0].Err) != slo.KindInternal || !strings.Contains(text, "the gate that decides whether the item goes on panicked: a mistake") {
			t.Error(text)
		}
		if got, err := e.Infer(t.Context(), "pair", "", request(items[:1], 0)); err != nil || len(got.Failed) != 0 {
			t.Errorf("the next job: %v, %v", got.Failed, err)
		}
		drain(t, e)
	})
}

// TestManyCallersBehindGates has callers whose items go on in shared batches, with little
// room, while instances are lost, runs fail and callers give up. Every answer is right,
// and in the end nothing is kept.
func TestManyCallersBehindGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		random, warm, lost, kept := rand.New(rand.NewPCG(1, 1)), false, 0, 0
		g := startGated(t, 3, fake.Config{KeptBytes: 100, Fail: func(r fake.Run) error {
			mu.Lock()
			defer mu.Unlock()
			switch x := random.IntN(100); {
			case !warm:
			case x < 3 && lost < 30:
				lost++
				return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
			case x == 3:
				return errors.New("boom")
			}
			if len(r.Stages) == 2 && r.Variant == 1 {
				kept += len(r.Items)
			}
			return nil
		}})
		warm, kept = true, 0
		var all sync.WaitGroup
		answered := 0
		for caller := range 40 {
			all.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(caller), 2))
				for range 10 {
					ctx, cancel := context.WithCancel(t.Context())
					if rng.IntN(5) == 0 {
						time.AfterFunc(time.Duration(rng.IntN(200))*time.Millisecond, cancel)
					}
					r := g.request(items(rng, 1+rng.IntN(12)))
					for i := range r.Items {
						r.Items[i][1] = r.Items[i][1][:1] // one length, so that batches are shared
					}
					got, err := g.Infer(ctx, "pair", "", r)
					cancel()
					if err != nil {
						continue
					}
					mu.Lock()
					answered++
					mu.Unlock()
					if g.KeptBytes() > 6000 {
						t.Errorf("%d bytes are kept", g.KeptBytes())
					}
					for i, item := range r.Items {
						if !slices.Equal(got.Outputs[0].Row(i), fake.Row(g.served.Model, 0, got.Variants[i], item)) {
							t.Errorf("item %d has another's answer", i)
						}
					}
				}
			})
		}
		all.Wait()
		time.Sleep(time.Minute) // what was given up ends
		if g.KeptBytes() != 0 || answered < 200 || lost < 5 || kept < 200 {
			t.Errorf("%d bytes are kept; %d answers, %d instances lost, %d items with what was kept", g.KeptBytes(), answered, lost, kept)
		}
		drain(t, g.Engine)
	})
}

// TestRouteMistakes has routes that cannot be served.
func TestRouteMistakes(t *testing.T) {
	gate := engine.Below(pair().Model, 0.5)
	for name, c := range map[string]struct {
		route engine.Route
		want  string
	}{
		"one step":       {engine.Route{Steps: []engine.Step{{Variant: 0}}}, "it needs at least 2"},
		"no variant":     {engine.Route{Steps: []engine.Step{{Variant: 0, Gate: gate}, {Variant: 7}}}, "runs variant 7; the model has 2"},
		"no gate":        {engine.Route{Steps: []engine.Step{{Variant: 0}, {Variant: 1}}}, "every step but the last needs a gate"},
		"a gate at last": {engine.Route{Steps: []engine.Step{{Variant: 0, Gate: gate}, {Variant: 1, Gate: gate}}}, "the last has none"},
		"share":          {engine.Route{Accuracy: 900_000, Steps: []engine.Step{{Variant: 0, Gate: gate, Share: 1.5}, {Variant: 1}}}, "for a share of 1.5"},
		"loss":           {engine.Route{Accuracy: 900_000, Steps: []engine.Step{{Variant: 0, Gate: gate, Share: 0.5, Loss: 950_000}, {Variant: 1}}}, "at a loss of 0.95"},
	} {
		s := gatedPair()
		s.Routes = []engine.Route{c.route}
		_, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{s}, Instances: 1, Threads: 1, QueueItemsMax: 10, QueueJobsMax: 10, Log: discard},
			fake.New(fake.Config{Instant: true}))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
