package engine_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// cheapServer has a variant here beside split's that is slow: part of a job's items run on
// the cheap one here, so that the server must run the others.
func cheapServer() engine.Served {
	s := split("1", "grpc://far")
	m, p := s.Model, s.Profile
	m.Variants, p.Variants = append(m.Variants, m.Variants[0]), append(p.Variants, p.Variants[0])
	m.Variants[2].Name, p.Variants[2].Name = "mid", "mid"
	p.Variants[2].Accuracy.Mean = 0.93
	p.Variants[2].Batches = []modelpkg.BatchProfile{{Items: 1, P50MS: 30, P95MS: 30}, {Items: 8, P50MS: 240, P95MS: 240}}
	return s
}

// TestServerGoesAmidAJob has a job of which some items have run here when the server goes
// away that the others need by now: it is refused, and does not wait for the server,
// although the variants here could have kept the floor of all items together.
func TestServerGoesAmidAJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cheapServer()
		f := &farAway{Runtime: fake.New(fake.Config{Profiles: []*modelpkg.Profile{s.Profile}}), t: t}
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{s}, Policy: plan.PolicyMosel, Instances: 1, Threads: 1,
			QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard}, f)
		if err != nil {
			t.Fatal(err)
		}
		f.gone.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		one := items(rand.New(rand.NewPCG(1, 1)), 1)
		if _, err = e.Infer(ctx, "pair", "1", request(slices.Repeat(one, 20), 925_000)); slo.KindOf(err) != slo.KindUnavailable {
			t.Errorf("while the server goes: %v", err)
		}
		if _, err = e.Infer(ctx, "pair", "1", request(slices.Repeat(one, 20), 925_000)); err != nil {
			t.Errorf("when it has gone: %v", err)
		}
		r := request(slices.Repeat(one, 20), 925_000)
		r.Mixed = []slo.Carried{{Items: 10, Present: 1}, {Items: 10, Present: 3}}
		if _, err = e.Infer(ctx, "pair", "1", r); err != nil {
			t.Errorf("items that differ, and that the variants here can serve together: %v", err)
		}
		r.Objective.Floor = 935_000
		if _, err = e.Infer(ctx, "pair", "1", r); slo.KindOf(err) != slo.KindUnavailable {
			t.Errorf("items that differ, of which some need it: %v", err)
		}
		drain(t, e)
	})
}

// TestItemsBehindAGateWhileTheServerGoes has items without a deadline that a gate sends to
// a server while that goes away. They keep the answers of the step before, if the floor
// allows it; otherwise their job is refused. No item waits for the server.
func TestItemsBehindAGateWhileTheServerGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := withGate(split("1", "grpc://far"))
		var gated atomic.Int64
		var f *farAway
		served.Routes[0].Steps[0].Gate = func([]tensor.Tensor, int) (float64, bool) {
			gated.Add(1)
			f.gone.Store(true) // seen by the next run there
			return 0, true
		}
		e, far, _, err := startFar(t, false, served)
		if f = far; err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		answered := 0
		for _, c := range []struct {
			floor slo.Accuracy
			fails slo.Kind
		}{{nearby, 0}, {980_000, slo.KindUnavailable}} {
			f.gone.Store(false)
			time.Sleep(time.Minute)
			gated.Store(0)
			got, err := e.Infer(ctx, "pair", "1", request(items(rand.New(rand.NewPCG(1, 1)), 30), c.floor))
			if slo.KindOf(err) != c.fails && (err != nil || c.fails != 0) {
				t.Errorf("floor %v, %d items behind the gate: %v", c.floor, gated.Load(), err)
			}
			if gated.Load() == 0 {
				t.Errorf("floor %v: no item took the route", c.floor)
			}
			if err == nil {
				answered += len(got.Variants)
				if got.ExpectedAccuracy < c.floor || got.ExpectedAccuracy == 0 {
					t.Errorf("expected %v of a floor of %v, by %v", got.ExpectedAccuracy, c.floor, got.Variants)
				}
			}
		}
		if answered != 30 {
			t.Errorf("%d items are answered", answered)
		}
		drain(t, e)
	})
}
