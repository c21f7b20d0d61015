package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
)

// onlyOnce is a runtime that cannot load version 1 again once its files have changed.
type onlyOnce struct {
	runtime.Runtime
	changed *atomic.Bool
}

func (r onlyOnce) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	if m.Version == "1" && r.changed.Load() {
		return nil, errors.New("the file has changed since it was checked")
	}
	return r.Runtime.Load(ctx, m, opts)
}

// TestReloadThatHangsAtTheEnd loses the only instance, whose reload hangs when the
// engine stops and comes back after that: what it has loaded is closed.
func TestReloadThatHangsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost, hang atomic.Bool
		gate := make(chan struct{})
		g := &guarded{Runtime: deaf{fake.New(fake.Config{Fail: func(fake.Run) error {
			if lost.Load() {
				hang.Store(true)
				return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
			}
			return nil
		}}), &hang, gate}, t: t, slots: func(*modelpkg.Model) int { return 1 }}
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{pair()}, Policy: plan.PolicyAll, Instances: 1, Threads: 1,
			QueueItemsMax: 100, QueueJobsMax: 50, Log: discard}, g)
		if err != nil {
			t.Fatal(err)
		}
		lost.Store(true)
		time.AfterFunc(10*time.Second, func() { close(gate) })
		ended := make(chan error)
		go func() {
			_, err := e.Infer(t.Context(), "pair", "", request(items(rand.New(rand.NewPCG(1, 1)), 1), 0))
			ended <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { _ = e.Drain(ctx) }() // it does not end in time
		if err := <-ended; slo.KindOf(err) != slo.KindUnavailable {
			t.Error(err)
		}
		time.Sleep(time.Minute) // virtual
		if n := g.open.Load(); n != 0 {
			t.Errorf("%d instances are open after the end", n)
		}
	})
}

// TestLostInstanceWhoseModelHasChanged loses the only instance when the files of
// what it served have changed: it comes back with what has replaced it.
func TestLostInstanceWhoseModelHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changed, pull atomic.Bool
		rt := onlyOnce{fake.New(fake.Config{Fail: func(fake.Run) error {
			if pull.CompareAndSwap(true, false) {
				return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
			}
			return nil
		}}), &changed}
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{pair()}, Policy: plan.PolicyAll, Instances: 1, Threads: 1,
			QueueItemsMax: 100, QueueJobsMax: 50, Log: discard}, rt)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, 1))
		changed.Store(true)
		pull.Store(true)
		waiting, giveUp := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := e.Infer(waiting, "pair", "1", request(items(random, 1), 0))
			ended <- err
		}()
		time.Sleep(5 * time.Second) // virtual: a reload has been tried
		giveUp()
		<-ended // any result is fine
		if err := e.Deploy(t.Context(), version("2")); err != nil {
			t.Fatal(err)
		}
		if err := e.Remove("pair", "1"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		r := request(items(rand.New(rand.NewPCG(2, 2)), 2), 0)
		got, err := e.Infer(ctx, "pair", "", r)
		if err == nil {
			err = checkAnswers(version("2"), r, got)
		}
		if err != nil {
			t.Errorf("the instance has not come back: %v", err)
		}
		drain(t, e)
	})
}
