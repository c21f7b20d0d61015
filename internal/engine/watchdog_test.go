package engine_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/pending"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
)

// poison is an item whose run hangs.
const poison = 0xee

// hanging is an engine on which runs of poisoned items hang until the gate is closed.
type hanging struct {
	*engine.Engine
	gate  chan struct{}
	work  *pending.Work
	vital []bool // values passed to Vital
}

func startHanging(t *testing.T, instances int, abortable bool) *hanging {
	t.Helper()
	h := &hanging{gate: make(chan struct{}), work: new(pending.Work)}
	poisoned := func(r fake.Run) bool { return r.Items[0][0][0] == poison }
	cfg := fake.Config{HangRun: func(r fake.Run) <-chan struct{} {
		if abortable || !poisoned(r) {
			return nil
		}
		return h.gate
	}, Fail: func(r fake.Run) error {
		if !abortable || !poisoned(r) {
			return nil
		}
		<-r.Context.Done() // as a graph of many operators does
		return slo.E("run", slo.KindCancelled, "%w", r.Context.Err())
	}}
	var err error
	h.Engine, err = engine.New(t.Context(), engine.Config{Models: []engine.Served{pair()}, Policy: plan.PolicyAll, Instances: instances, Threads: 1,
		QueueItemsMax: 100, QueueJobsMax: 50, Log: discard, BatchTimeMax: 10 * time.Second, Work: h.work,
		Vital: func(alive bool) { h.vital = append(h.vital, alive) }}, fake.New(cfg))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask runs a job of one item.
func (h *hanging) ask(ctx context.Context, first byte) (engine.Response, error) {
	return h.Infer(ctx, "pair", "", request([]runtime.Item{{[]byte{first, 0, 0, 0}, []byte{0}}}, 0))
}

// answers checks that the engine still works.
func (h *hanging) answers(t *testing.T, when string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := request(items(rand.New(rand.NewPCG(2, 2)), 2), 0)
	got, err := h.Infer(ctx, "pair", "", r)
	if err == nil {
		err = checkAnswers(pair(), r, got)
	}
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// TestBatchThatRunsTooLong has batches that run for ever but can be aborted: their jobs
// fail in time, and the instance goes on working.
func TestBatchThatRunsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHanging(t, 1, true)
		began := time.Now()
		r, err := h.ask(t.Context(), poison)
		if took := time.Since(began); slo.KindOf(err) != slo.KindDeadlineExceeded || !strings.Contains(err.Error(), "--batch-time-max") || took != 10*time.Second || r.Held {
			t.Errorf("after %v, held %v: %v", took, r.Held, err)
		}
		h.answers(t, "after it")
		drain(t, h.Engine)
	})
}

// TestBatchThatHangs has batches that nothing ends: they are abandoned and their
// instances replaced, as long as few hang. Beyond that the engine is not alive until
// one comes back.
func TestBatchThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHanging(t, 1, false)
		began := time.Now()
		r, err := h.ask(t.Context(), poison)
		if took := time.Since(began); slo.KindOf(err) != slo.KindDeadlineExceeded || took != 12*time.Second || !r.Held {
			t.Errorf("after %v, held %v: %v", took, r.Held, err)
		}
		h.answers(t, "with a batch that hangs")
		if !h.Alive() || len(h.work.Pending()) != 1 || !strings.Contains(h.work.Pending()[0], "a batch of model pair, variant both, on instance 0") {
			t.Errorf("alive %v, pending %q", h.Alive(), h.work.Pending())
		}
		if _, err := h.ask(t.Context(), poison); slo.KindOf(err) != slo.KindDeadlineExceeded {
			t.Errorf("the second: %v", err)
		}
		synctest.Wait()
		if h.Alive() {
			t.Error("alive, with more batches that hang than instances")
		}
		close(h.gate)
		h.answers(t, "when the batches have come back")
		synctest.Wait()
		if !h.Alive() || len(h.work.Pending()) > 0 {
			t.Errorf("alive %v, pending %q", h.Alive(), h.work.Pending())
		}
		drain(t, h.Engine)
		if len(h.vital) != 2 || h.vital[0] || !h.vital[1] {
			t.Errorf("told of being alive: %v", h.vital)
		}
	})
}

// TestHangingBatchFailsNoOther has jobs that wait behind a batch that hangs.
func TestHangingBatchFailsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHanging(t, 1, false)
		failed := make(chan error)
		go func() {
			_, err := h.ask(t.Context(), poison)
			failed <- err
		}()
		synctest.Wait()
		h.answers(t, "behind it")
		if err := <-failed; slo.KindOf(err) != slo.KindDeadlineExceeded {
			t.Error(err)
		}
		close(h.gate)
		drain(t, h.Engine)
	})
}

// TestDrainWithABatchThatHangs checks that a drain ends within a second of its limit,
// whatever runs, and that the errors do not blame the clients.
func TestDrainWithABatchThatHangs(t *testing.T) {
	for _, abortable := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := startHanging(t, 1, abortable)
			ended := make(chan error)
			for _, first := range []byte{poison, 1, 2} { // the first runs, the others wait
				go func() {
					_, err := h.ask(t.Context(), first)
					ended <- err
				}()
				synctest.Wait()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			began := time.Now()
			drained := make(chan error)
			go func() { drained <- h.Drain(ctx) }()
			for range 3 {
				err := <-ended
				if slo.KindOf(err) != slo.KindUnavailable || !strings.Contains(err.Error(), "shutting down") {
					t.Errorf("abortable %v: %v", abortable, err)
				}
			}
			if err := <-drained; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("abortable %v: drain: %v", abortable, err)
			}
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("abortable %v: the drain took %v", abortable, took)
			}
			if hangs := len(h.work.Pending()) > 0; hangs == abortable {
				t.Errorf("abortable %v: pending %q", abortable, h.work.Pending())
			}
			close(h.gate)
			synctest.Wait()
			if pending := h.work.Pending(); len(pending) > 0 {
				t.Errorf("pending when all has come back: %q", pending)
			}
		})
	}
}

// TestLoadingThatHangs has models whose loading or first run hangs. Deploy ends with
// its context, with the engine, or when warming up takes too long.
func TestLoadingThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var load, run atomic.Bool
		rt := deaf{fake.New(fake.Config{HangRun: func(fake.Run) <-chan struct{} {
			if run.Load() {
				return gate
			}
			return nil
		}}), &load, gate}
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{pair()}, Policy: plan.PolicyAll, Instances: 1, Threads: 1,
			QueueItemsMax: 100, QueueJobsMax: 50, Log: discard, BatchTimeMax: 10 * time.Second}, rt)
		if err != nil {
			t.Fatal(err)
		}
		deploy := func(what string, limit, want time.Duration, kind slo.Kind) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			if err := e.Deploy(ctx, version("2")); slo.KindOf(err) != kind || time.Since(began) != want {
				t.Errorf("%s: after %v: %v", what, time.Since(began), err)
			}
		}
		load.Store(true)
		deploy("a load that hangs", 3*time.Second, 3*time.Second, slo.KindCancelled)
		load.Store(false)
		run.Store(true)
		deploy("a first run that hangs", 3*time.Second, 3*time.Second, slo.KindCancelled)
		deploy("a first run that hangs, with limit", time.Hour, 10*time.Second, slo.KindDeadlineExceeded)
		run.Store(false)
		load.Store(true)
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			time.Sleep(time.Second) // virtual
			drain(t, e)
		}()
		deploy("a load that hangs when the engine drains", time.Hour, time.Second, slo.KindUnavailable)
		<-drained
		close(gate)
	})
}

// deaf is a runtime whose loading hangs when it should, and ignores its context.
type deaf struct {
	runtime.Runtime
	hang *atomic.Bool
	gate chan struct{}
}

func (r deaf) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	if r.hang.Load() {
		<-r.gate
	}
	return r.Runtime.Load(ctx, m, opts)
}
