package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// pair is a model with two modalities, small and large, and its profile: small alone
// takes 1 ms per item and has accuracy 90 %, both take 10 ms and have 99 %.
func pair() engine.Served {
	spec := func(name string, n int64) modelpkg.Spec {
		return modelpkg.Spec{Name: name, DType: tensor.Uint8, Shape: tensor.Shape{n}}
	}
	m := &modelpkg.Model{
		Name: "pair", Version: "1", Digest: "sha256:0", Task: "classification", Metric: "accuracy",
		Modalities: []modelpkg.Modality{{Name: "small", Inputs: []int{0}}, {Name: "large", Inputs: []int{1}}},
		Inputs:     []modelpkg.Input{{Spec: spec("small", 4)}, {Spec: spec("large", -1), Modality: 1}},
		Outputs:    []modelpkg.Spec{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{64}}},
		Variants: []modelpkg.Variant{
			{Name: "small", Modalities: 1, Inputs: []int{0}, Path: "small.onnx", Precision: "fp32"},
			{Name: "both", Modalities: 3, Inputs: []int{0, 1}, Path: "both.onnx", Precision: "fp32"},
		},
		Limits: modelpkg.Limits{BatchItemsMax: 8},
	}
	batches := func(ms float64) []modelpkg.BatchProfile {
		return []modelpkg.BatchProfile{{Items: 1, P50MS: ms, P95MS: ms}, {Items: 8, P50MS: 8 * ms, P95MS: 8 * ms}}
	}
	p := &modelpkg.Profile{Model: "pair", Variants: []modelpkg.VariantProfile{
		{Name: "small", Accuracy: modelpkg.AccuracyMean{Mean: 0.9}, Batches: batches(1)},
		{Name: "both", Accuracy: modelpkg.AccuracyMean{Mean: 0.99}, Batches: batches(10)},
	}}
	return engine.Served{Model: m, Profile: p}
}

// start returns an engine on a fake runtime.
func start(t *testing.T, policy plan.Policy, instances int, fail func(fake.Run) error) (*engine.Engine, engine.Served) {
	t.Helper()
	served := pair()
	rt := fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}, Fail: fail})
	e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: policy, Instances: instances, Threads: 1,
		QueueItemsMax: 1000, QueueJobsMax: 500, Log: slog.New(slog.DiscardHandler)}, rt)
	if err != nil {
		t.Fatal(err)
	}
	return e, served
}

var discard = slog.New(slog.DiscardHandler)

func drain(t *testing.T, e *engine.Engine) {
	t.Helper()
	if err := e.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// items draws n different items; the large input varies in length.
func items(rng *rand.Rand, n int) []runtime.Item {
	list := make([]runtime.Item, n)
	for i := range list {
		small, large := make([]byte, 4), make([]byte, 1+rng.IntN(3))
		for j := range small {
			small[j] = byte(rng.Uint32())
		}
		for j := range large {
			large[j] = byte(rng.Uint32())
		}
		list[i] = runtime.Item{small, large}
	}
	return list
}

func request(list []runtime.Item, floor slo.Accuracy) engine.Request {
	return engine.Request{Modalities: 3, Items: list, Objective: slo.Objective{Floor: floor, Deadline: slo.Never}}
}

// checkAnswers compares every row with what the reported variant answers to that item.
func checkAnswers(served engine.Served, r engine.Request, got engine.Response) error {
	if len(got.Variants) != len(r.Items) || got.Outputs[0].Rows() != len(r.Items) {
		return fmt.Errorf("%d items, %d variants, shape %v", len(r.Items), len(got.Variants), got.Outputs[0].Shape)
	}
	var score slo.Score
	for i, item := range r.Items {
		if want := fake.Row(served.Model, 0, got.Variants[i], item); !bytes.Equal(got.Outputs[0].Row(i), want) {
			return fmt.Errorf("item %d (variant %d) got another item's answer", i, got.Variants[i])
		}
		acc, _ := slo.AccuracyOf(served.Profile.Variants[got.Variants[i]].Accuracy.Mean)
		score += acc.Times(1)
	}
	if mean := score.Mean(len(r.Items)); mean != got.ExpectedAccuracy || mean < r.Objective.Floor {
		return fmt.Errorf("expected accuracy %v, the variants say %v, the floor is %v", got.ExpectedAccuracy, mean, r.Objective.Floor)
	}
	return nil
}

func TestManyCallersGetTheirOwnAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, served := start(t, plan.PolicyMosel, 3, nil)
		var wg sync.WaitGroup
		for caller := range 40 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(caller), 1))
				for range 10 {
					r := request(items(rng, 1+rng.IntN(20)), slo.Accuracy(850_000+rng.IntN(140_000)))
					got, err := e.Infer(t.Context(), "pair", "", r)
					if err == nil {
						err = checkAnswers(served, r, got)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		drain(t, e)
	})
}

func TestIdleServerRunsAllAndReportsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, served := start(t, plan.PolicyMosel, 1, nil)
		<-time.After(time.Second) // virtual: the budget of an idle server fills
		r := request(items(rand.New(rand.NewPCG(1, 1)), 1), 850_000)
		got, err := e.Infer(t.Context(), "pair", "", r)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkAnswers(served, r, got); err != nil {
			t.Error(err)
		}
		if got.Variants[0] != 1 || got.Modalities != 3 || got.Compute != 10*time.Millisecond || got.Queue != 0 || got.Outcome != slo.OnTime {
			t.Errorf("an idle server answered %+v", got)
		}
		drain(t, e)
	})
}

func TestErrorsSayWhatAndWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := start(t, plan.PolicyAll, 1, nil)
		rng := rand.New(rand.NewPCG(1, 1))
		name, version := "pair", ""
		infer := func(change func(*engine.Request)) *slo.Error {
			r := request(items(rng, 1), 0)
			change(&r)
			_, err := e.Infer(t.Context(), name, version, r)
			name, version = "pair", ""
			var se *slo.Error
			if !errors.As(err, &se) {
				t.Fatalf("error %v is not a *slo.Error", err)
			}
			return se
		}
		if err := infer(func(*engine.Request) { name = "other" }); err.Kind != slo.KindNotFound {
			t.Errorf("unknown model: %v", err)
		}
		if err := infer(func(*engine.Request) { version = "9" }); err.Kind != slo.KindNotFound {
			t.Errorf("unknown version: %v", err)
		}
		if err := infer(func(r *engine.Request) { r.Items = nil }); err.Kind != slo.KindInvalid {
			t.Errorf("no items: %v", err)
		}
		if err := infer(func(r *engine.Request) { r.Modalities = 2 }); err.Kind != slo.KindInvalid {
			t.Errorf("large alone runs nothing: %v", err)
		}
		if err := infer(func(r *engine.Request) { r.Modalities, r.Objective.Floor = 1, 950_000 }); err.Kind != slo.KindInfeasible || err.Best != 900_000 ||
			!strings.HasSuffix(err.Error(), slo.ReasonFloor.Sentence()+": the best is 0.9") {
			t.Errorf("floor beyond small: %v, best %v", err, err.Best)
		}
		if err := infer(func(r *engine.Request) { r.Objective.Deadline = e.Now() }); err.Kind != slo.KindDeadlineExceeded ||
			!strings.HasSuffix(err.Error(), slo.ReasonDeadlinePassed.Sentence()) {
			t.Errorf("deadline now: %v", err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = e.Infer(t.Context(), "pair", "", request(items(rng, 8), 0)) })
		synctest.Wait()
		err := infer(func(r *engine.Request) { r.Objective.Deadline = e.Now().Add(50 * time.Millisecond) })
		if err.Kind != slo.KindOverloaded || err.RetryAfter != 42500*time.Microsecond { // 2.5 ms are reserved for the answer
			t.Errorf("80 ms of work before a deadline of 50 ms: %v, retry after %v", err, err.RetryAfter)
		}
		wg.Wait()
		drain(t, e)
		if _, err := e.Infer(t.Context(), "pair", "", request(items(rng, 1), 0)); slo.KindOf(err) != slo.KindUnavailable {
			t.Errorf("after drain: %v", err)
		}
	})
}

func TestFailedBatchFailsOnlyItsItems(t *testing.T) {
	boom := errors.New("boom")
	synctest.Test(t, func(t *testing.T) {
		poison := byte(7)
		e, served := start(t, plan.PolicyAll, 1, func(r fake.Run) error {
			for _, item := range r.Items {
				if item[0][0] == poison && item[0][1] == poison {
					return boom
				}
			}
			return nil
		})
		bad := request([]runtime.Item{{{poison, poison, 0, 0}, {1}}}, 0)
		if _, err := e.Infer(t.Context(), "pair", "", bad); slo.KindOf(err) != slo.KindInternal || !errors.Is(err, boom) {
			t.Errorf("poisoned item: %v", err)
		}
		// Wait behind a running batch, so that all items share the next one.
		rng := rand.New(rand.NewPCG(2, 2))
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = e.Infer(t.Context(), "pair", "", request(items(rng, 8), 0)) })
		synctest.Wait()
		for range 5 {
			good := request(items(rng, 1), 0)
			wg.Go(func() {
				got, err := e.Infer(t.Context(), "pair", "", good)
				if err == nil {
					err = checkAnswers(served, good, got)
				}
				if err != nil {
					t.Errorf("beside a poisoned item: %v", err)
				}
			})
		}
		wg.Go(func() {
			if _, err := e.Infer(t.Context(), "pair", "", bad); !errors.Is(err, boom) {
				t.Errorf("poisoned item among others: %v", err)
			}
		})
		wg.Wait()
		drain(t, e)
	})
}

func TestLostInstanceLosesNoItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := false
		e, served := start(t, plan.PolicyAll, 1, func(r fake.Run) error {
			if r.Instance == 0 && r.Number > 20 && !lost {
				lost = true
				return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
			}
			return nil
		})
		rng := rand.New(rand.NewPCG(3, 3))
		for range 20 {
			r := request(items(rng, 4), 0)
			got, err := e.Infer(t.Context(), "pair", "", r)
			if err == nil {
				err = checkAnswers(served, r, got)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !lost {
			t.Error("no instance was lost: the test proves nothing")
		}
		drain(t, e)
	})
}

func TestCancelFreesThePlaceAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := start(t, plan.PolicyAll, 1, nil)
		rng := rand.New(rand.NewPCG(4, 4))
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = e.Infer(t.Context(), "pair", "", request(items(rng, 8), 0)) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		before := time.Now()
		if _, err := e.Infer(ctx, "pair", "", request(items(rng, 8), 0)); slo.KindOf(err) != slo.KindCancelled {
			t.Errorf("cancelled while queued: %v", err)
		}
		if waited := time.Since(before); waited != 5*time.Millisecond {
			t.Errorf("a queued request was cancelled after %v", waited)
		}
		if counts, _ := e.Counts(); counts.Queued != 0 || counts.Running != 8 {
			t.Errorf("after the cancel %+v", counts)
		}
		wg.Wait()
		drain(t, e)
	})
}

func TestDrainFinishesWhatWasAdmittedOrGivesUp(t *testing.T) {
	for _, limit := range []time.Duration{time.Second, 50 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			e, _ := start(t, plan.PolicyAll, 1, nil)
			rng := rand.New(rand.NewPCG(5, 5))
			var wg sync.WaitGroup
			var failed, done int
			var mu sync.Mutex
			for range 3 {
				list := items(rng, 8)
				wg.Go(func() {
					_, err := e.Infer(t.Context(), "pair", "", request(list, 0))
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						failed++
					} else {
						done++
					}
				})
			}
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			err := e.Drain(ctx)
			wg.Wait()
			if limit == time.Second && (err != nil || done != 3) {
				t.Errorf("patient drain: %v, %d done", err, done)
			}
			if limit < time.Second && (!errors.Is(err, context.DeadlineExceeded) || failed != 3) {
				t.Errorf("hasty drain: %v, %d failed (the running batch ends, but its caller was cancelled)", err, failed)
			}
			if e.Ready() {
				t.Error("ready after drain")
			}
		})
	}
}

// BenchmarkInfer measures the engine's own cost of a request: the runtime takes no
// time.
func BenchmarkInfer(b *testing.B) {
	served := pair()
	e, err := engine.New(b.Context(), engine.Config{Models: []engine.Served{served}, Instances: 1, Threads: 1,
		QueueItemsMax: sched.DefaultQueueItemsMax, QueueJobsMax: sched.DefaultQueueJobsMax, Log: slog.New(slog.DiscardHandler)},
		fake.New(fake.Config{Instant: true}))
	if err != nil {
		b.Fatal(err)
	}
	list := items(rand.New(rand.NewPCG(1, 1)), 1)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := e.Infer(b.Context(), "pair", "", request(list, 850_000)); err != nil {
				b.Error(err)
			}
		}
	})
	if err := e.Drain(b.Context()); err != nil {
		b.Error(err)
	}
}
