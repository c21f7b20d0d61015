package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/status"
	"github.com/prometheus/client_golang/prometheus"
)

// unfinished prints a status's unfinished work, without the expected times of batches,
// which only the core knows.
func unfinished(s status.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v draining %v\n", s.Queue, s.Server.Draining)
	for _, m := range s.Models {
		fmt.Fprintf(&b, "%s %s: %d, %d, %d\n", m.Name, m.Version, m.QueuedItems, m.RunningItems, m.UnfinishedJobs)
	}
	for _, i := range s.Instances {
		fmt.Fprintf(&b, "instance %d up %v", i.ID, i.Up)
		for _, r := range i.Running {
			fmt.Fprintf(&b, " runs batch %d: %d items of %s %s on %s", r.Batch, r.Items, r.Model, r.Version, r.Variant)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "clients %+v", s.Clients)
	return b.String()
}

// faulty is a runtime with slow loads, whose runs fail and lose their instances at
// random, except while warming up.
func faulty(served engine.Served, seed uint64) (rt runtime.Runtime, warm func()) {
	var mu sync.Mutex
	var isWarm bool
	faults := rand.New(rand.NewPCG(seed, 2))
	rt = fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}, HangLoad: func(*modelpkg.Model) <-chan struct{} {
		if !isWarm {
			return nil
		}
		loaded := make(chan struct{})
		time.AfterFunc(20*time.Millisecond, func() { close(loaded) })
		return loaded
	}, Fail: func(r fake.Run) error {
		mu.Lock()
		defer mu.Unlock()
		if r.Items[0][0][0] == 0 {
			return nil
		}
		switch faults.IntN(30) {
		case 0:
			return fmt.Errorf("as drawn: %w", runtime.ErrLost)
		case 1:
			return slo.E("run", slo.KindUnavailable, "as drawn")
		}
		return nil
	}})
	return rt, func() { isWarm = true }
}

// sameAsObserved compares what follows from the engine's snapshot with the observer's
// view, and notes in seen which cases occurred.
func sameAsObserved(t *testing.T, e *engine.Engine, cfg *engine.Config, seen map[string]bool) {
	t.Helper()
	snapshot, want := e.Snapshot()
	o, err := obs.New(obs.Config{Recent: 100, QueueItemsMax: cfg.QueueItemsMax, QueueJobsMax: cfg.QueueJobsMax})
	if err != nil {
		t.Fatal(err)
	}
	o.Resume(&snapshot)
	got := o.Status(snapshot.At)
	if a, b := unfinished(got), unfinished(want); a != b {
		t.Fatalf("at %v the snapshot has\n%s\nthe observer\n%s", snapshot.At, a, b)
	}
	seen["a queue"] = seen["a queue"] || got.Queue.Items > 0
	seen["two models"] = seen["two models"] || len(got.Models) > 1
	for _, i := range got.Instances {
		seen["an instance that is down"] = seen["an instance that is down"] || !i.Up
	}
}

// TestSnapshots takes many snapshots while jobs arrive, fail, are cancelled and lose
// their instances, and models are replaced. A subscriber that continues from a snapshot
// must know the same as the observer, which has seen every step.
func TestSnapshots(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(2) {
		synctest.Test(t, func(t *testing.T) {
			served := pair()
			rt, warm := faulty(served, seed)
			cfg := engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyMosel, Instances: 3, Threads: 1, QueueItemsMax: 300, QueueJobsMax: 60, Log: discard}
			e, err := engine.New(t.Context(), cfg, &guarded{Runtime: rt, t: t, slots: func(*modelpkg.Model) int { return 1 + int(seed) }})
			if err != nil {
				t.Fatal(err)
			}
			warm()
			rng := rand.New(rand.NewPCG(seed, 1))
			var callers sync.WaitGroup
			deploy := make(chan struct{}, 300)
			callers.Go(func() { // one after the other
				for range deploy {
					if err := e.Deploy(t.Context(), served); err != nil {
						t.Error(err)
					}
				}
			})
			for n := range 300 {
				time.Sleep(time.Duration(rng.IntN(int(8 * time.Millisecond))))
				r := request(items(rng, 1+rng.IntN(20)), slo.Accuracy(850_000+rng.IntN(140_000)))
				r.Client, r.ID = fmt.Sprint("client ", n%5), fmt.Sprint("request ", n)
				ctx, cancel := context.WithCancel(t.Context())
				if n%3 == 0 {
					r.Objective.Deadline = e.Now().Add(time.Duration(rng.IntN(int(60 * time.Millisecond))))
				}
				if n%7 == 0 {
					time.AfterFunc(time.Duration(rng.IntN(int(40*time.Millisecond))), cancel)
				}
				callers.Go(func() {
					defer cancel()
					_, _ = e.Infer(ctx, "pair", "", r) // any result is fine
				})
				if n%50 == 49 {
					deploy <- struct{}{}
				}
				sameAsObserved(t, e, &cfg, seen)
			}
			close(deploy)
			callers.Wait()
			drain(t, e)
		})
	}
	for _, want := range []string{"a queue", "two models", "an instance that is down"} {
		if !seen[want] {
			t.Errorf("no snapshot has %s", want)
		}
	}
}

// TestSnapshotOfAbortedBatch gives up the job of one of two batches, which takes a
// while to end: the snapshot says which of them is to end early.
func TestSnapshotOfAbortedBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, _ := startGuarded(t, fake.Config{Fail: func(r fake.Run) error {
			if r.Items[0][0][0] == poison {
				time.Sleep(time.Second)
			}
			return r.Context.Err()
		}})
		var all sync.WaitGroup
		ask := func(ctx context.Context) {
			all.Go(func() {
				_, err := e.Infer(ctx, "pair", "", request([]runtime.Item{{[]byte{poison, 0, 0, 0}, []byte{0}}}, 0))
				if (err != nil) != (ctx.Err() != nil) {
					t.Errorf("the context has %v: %v", ctx.Err(), err)
				}
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		ask(t.Context())
		ask(ctx)
		cancel()
		synctest.Wait()
		snapshot, _ := e.Snapshot()
		if b := snapshot.Batches; len(b) != 2 || b[0].Aborted || !b[1].Aborted {
			t.Errorf("the batches are %+v", b)
		}
		all.Wait()
		drain(t, e)
	})
}

// TestObserverCatchesUp keeps the observer from working until it has missed steps.
// The engine answers all the while; then the observer knows what is unfinished, and
// counts what it has missed.
func TestObserverCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		hold := make(chan struct{})
		served := pair()
		rt := fake.New(fake.Config{Instant: true, HangRun: func(r fake.Run) <-chan struct{} {
			if r.Items[0][0][0] == poison {
				return hold
			}
			return nil
		}})
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Instances: 2, Threads: 1, QueueItemsMax: 100, QueueJobsMax: 50,
			Metrics: registry, Recent: 30_000, Log: discard, BatchTimeMax: time.Hour}, rt)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 1))
		infer := func(id string, first byte) engine.Response {
			r := request(items(rng, 1), 850_000)
			r.ID, r.Client, r.Items[0][0][0] = id, "somebody", first
			got, err := e.Infer(t.Context(), "pair", "", r)
			if err != nil {
				t.Error(err)
			}
			return got
		}
		before := infer("before", 1)
		release := make(chan struct{})
		e.HoldObserver(release)
		var hanging sync.WaitGroup
		hanging.Go(func() { infer("hanging", poison) })
		synctest.Wait()
		var missed engine.Response
		const jobs = 20_000
		for range jobs {
			missed = infer("missed", 1)
		}
		var asked sync.WaitGroup
		asked.Go(func() {
			s, ok := e.Status()
			if q := s.Queue; !ok || q.Jobs != 1 || q.Running != 1 || q.Items != 0 || len(s.Clients) != 1 || s.Clients[0].Name != "somebody" {
				t.Errorf("%+v, clients %+v", s.Queue, s.Clients)
			}
		})
		synctest.Wait()
		close(release)
		asked.Wait()
		if _, err := e.Explain(before.Job); err != nil {
			t.Error(err)
		}
		if _, err := e.Explain(missed.Job); slo.KindOf(err) != slo.KindNotFound {
			t.Errorf("a job that was missed: %v", err)
		}
		if r := e.Requests("hanging"); r.Total != 1 || r.Requests[0].Outcome != "running" {
			t.Errorf("the job that hangs: %+v", r)
		}
		after := infer("after", 1)
		if x, err := e.Explain(after.Job); err != nil || x.Outcome != "on_time" || len(x.Batches) != 1 {
			t.Errorf("%+v, %v", x, err)
		}
		close(hold)
		hanging.Wait()
		drain(t, e)
		counted := gathered(t, registry)
		if counted["mosel_feed_dropped_total"] < 1000 || counted["mosel_jobs_total"] < 1000 || counted["mosel_jobs_total"] > jobs || counted["mosel_queue_jobs"] != 0 {
			t.Errorf("%v", counted)
		}
	})
}

// TestAnswersAreFound checks that a caller that has an answer finds it at once in the
// metrics, in the statistics and by Explain.
func TestAnswersAreFound(t *testing.T) {
	registry := prometheus.NewRegistry()
	served := pair()
	e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Instances: 1, Threads: 1, QueueItemsMax: 100, QueueJobsMax: 50,
		Metrics: registry, Log: discard}, fake.New(fake.Config{Instant: true}))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for n := 1; n <= 200; n++ {
		lease, err := e.Use("pair", "")
		if err != nil {
			t.Fatal(err)
		}
		r, err := lease.Infer(t.Context(), request(items(rng, 1), 850_000))
		if err != nil {
			t.Fatal(err)
		}
		x, err := e.Explain(r.Job)
		if err != nil || x.Outcome != "on_time" {
			t.Fatalf("%+v, %v", x, err)
		}
		if s := lease.Statistics(); s.Success.Count != n {
			t.Fatalf("%d of %d in the statistics", s.Success.Count, n)
		}
		lease.Release()
		if s, ok := e.Status(); !ok || s.Models[0].Jobs.OnTime != n || s.Queue.Jobs != 0 {
			t.Fatalf("%d of %d in the status", s.Models[0].Jobs.OnTime, n)
		}
		if got := gathered(t, registry)["mosel_jobs_total"]; got != float64(n) {
			t.Fatalf("%v of %d in the metrics", got, n)
		}
	}
	drain(t, e)
	if _, ok := e.Status(); ok {
		t.Error("a status after the end")
	}
	if got := gathered(t, registry)["mosel_jobs_total"]; got != 200 {
		t.Errorf("%v jobs in the metrics after the end", got)
	}
}

// gathered returns the sums of the metrics without buckets, by name.
func gathered(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sums[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sums
}

// TestSlowTrace checks that the engine does not wait for a slow Config.Trace, and stops
// even if it hangs.
func TestSlowTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{pair()}, Instances: 1, Threads: 1, QueueItemsMax: 100, QueueJobsMax: 50,
			Log: discard, Trace: func(slo.Instant, sched.Event, []sched.Action) { <-release }}, fake.New(fake.Config{Instant: true}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Infer(t.Context(), "pair", "", request(items(rand.New(rand.NewPCG(1, 1)), 3), 850_000)); err != nil {
			t.Error(err)
		}
		began := time.Now()
		drain(t, e)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the end took %v", took)
		}
		close(release)
	})
}
