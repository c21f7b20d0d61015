package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// guarded is a runtime that notes what its instances' owner does wrong: more runs at
// a time than there are slots, a Close during a run, a run or a Close after a Close.
type guarded struct {
	runtime.Runtime
	t     *testing.T
	slots func(*modelpkg.Model) int
	most  atomic.Int64 // runs at a time on one instance
	open  atomic.Int64 // instances
}

func (g *guarded) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	instance, err := g.Runtime.Load(ctx, m, opts)
	if err != nil {
		return nil, err
	}
	g.open.Add(1)
	return &guardedInstance{Instance: instance, guarded: g, size: g.slots(m)}, nil
}

type guardedInstance struct {
	runtime.Instance
	*guarded
	size    int
	running atomic.Int64
	closed  atomic.Bool
}

// Slots implements runtime.Instance.
func (g *guardedInstance) Slots() int { return g.size }

// Run implements runtime.Instance.
func (g *guardedInstance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	n := g.running.Add(1)
	defer g.running.Add(-1)
	for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
	}
	if n > int64(g.size) || g.closed.Load() {
		g.t.Errorf("%d runs in %d slots, closed %v", n, g.size, g.closed.Load())
	}
	return g.Instance.Run(ctx, variant, items)
}

// Close implements runtime.Instance.
func (g *guardedInstance) Close() error {
	if n := g.running.Load(); n > 0 {
		g.t.Errorf("closed during %d runs", n)
	}
	if g.closed.Swap(true) {
		g.t.Error("closed twice")
	}
	g.open.Add(-1)
	return g.Instance.Close()
}

// steps records the events that change instances.
type steps struct {
	mu   sync.Mutex
	list []string
}

func (s *steps) trace(_ slo.Instant, e sched.Event, _ []sched.Action) {
	switch e.(type) {
	case sched.InstanceUp, sched.InstanceResize, sched.InstanceDown:
		s.mu.Lock()
		s.list = append(s.list, fmt.Sprintf("%T%+v", e, e))
		s.mu.Unlock()
	}
}

func (s *steps) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
}

func (s *steps) see(t *testing.T, want ...string) {
	t.Helper()
	time.Sleep(time.Second) // virtual: the feed rests between steps
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.list, want) {
		t.Errorf("the core was told\n%q, want\n%q", s.list, want)
	}
	s.list = nil
}

// slotsByVersion is three slots, two for version 2.
func slotsByVersion(m *modelpkg.Model) int {
	if m.Version == "2" {
		return 2
	}
	return 3
}

// startGuarded is an engine of one instance with slotsByVersion. It serves version 1 if
// nothing is given.
func startGuarded(t *testing.T, cfg fake.Config, served ...engine.Served) (*engine.Engine, *guarded, *steps) {
	t.Helper()
	g := &guarded{Runtime: fake.New(cfg), t: t, slots: slotsByVersion}
	s := &steps{}
	if len(served) == 0 {
		served = append(served, pair())
	}
	e, err := engine.New(t.Context(), engine.Config{Models: served, Policy: plan.PolicyAll, Instances: 1, Threads: 1,
		QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard, BatchTimeMax: 10 * time.Second, Trace: s.trace}, g)
	if err != nil {
		t.Fatal(err)
	}
	return e, g, s
}

// TestSlots checks that as many batches run at a time as the instance has slots and as
// every served model allows.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g, s := startGuarded(t, fake.Config{Profiles: []*modelpkg.Profile{pair().Profile}})
		s.see(t, "sched.InstanceUp{Instance:0 Class:0 Slots:3}")
		offer := func() {
			g.most.Store(0)
			var all sync.WaitGroup
			for i := range 60 {
				all.Go(func() {
					r := request(items(rand.New(rand.NewPCG(3, uint64(i))), 2), 0)
					got, err := e.Infer(t.Context(), "pair", "1", r)
					if err == nil {
						err = checkAnswers(pair(), r, got)
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
		if offer(); g.most.Load() != 3 {
			t.Errorf("%d batches at a time in three slots", g.most.Load())
		}
		if err := e.Deploy(t.Context(), version("2")); err != nil {
			t.Fatal(err)
		}
		s.see(t, "sched.InstanceResize{Instance:0 Slots:2}")
		if offer(); g.most.Load() != 2 {
			t.Errorf("%d batches at a time in two slots", g.most.Load())
		}
		if err := e.Remove("pair", "2"); err != nil {
			t.Fatal(err)
		}
		s.see(t, "sched.InstanceResize{Instance:0 Slots:3}")
		if err := e.Remove("pair", "1"); err != nil {
			t.Fatal(err)
		}
		if err := e.Deploy(t.Context(), pair()); err != nil {
			t.Fatal(err)
		}
		s.see(t) // with no model the slots stay as they are
		drain(t, e)
		if n := g.open.Load(); n != 0 {
			t.Errorf("%d instances are open after the end", n)
		}
	})
}

// TestSlotsThatComeAtTheEnd has a model leave when nothing is left to run: the
// other allows more slots then, whose goroutines end too.
func TestSlotsThatComeAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g, _ := startGuarded(t, fake.Config{}, pair(), version("2"))
		held := make(chan struct{})
		e.HoldLoop(held)
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			drain(t, e)
		}()
		synctest.Wait() // the loop is told to end before it is told of the removal
		if err := e.Remove("pair", "2"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		close(held)
		<-drained
		if n := g.open.Load(); n != 0 {
			t.Errorf("%d instances are open after the end", n)
		}
	})
}

// TestLostInstanceWithSeveralBatches loses an instance by one of its batches. The
// others are aborted, and the instance goes down only when they have ended: all items
// run again, and nothing reads them any more.
func TestLostInstanceWithSeveralBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pull atomic.Bool
		e, _, s := startGuarded(t, fake.Config{Profiles: []*modelpkg.Profile{pair().Profile}, Fail: func(r fake.Run) error {
			if r.Items[0][0][0] == poison && pull.CompareAndSwap(true, false) {
				return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
			}
			if r.Context.Err() == nil {
				return nil
			}
			time.Sleep(500 * time.Millisecond) // it takes its time to end
			return slo.E("run", slo.KindCancelled, "%w", r.Context.Err())
		}})
		s.see(t, "sched.InstanceUp{Instance:0 Class:0 Slots:3}")
		pull.Store(true)
		var all sync.WaitGroup
		for i := range 3 {
			list := slices.Repeat([]runtime.Item{{{byte(i), 0, 0, 0}, {0}}}, 20) // the longest batches
			if i == 0 {
				list = list[:1]
				list[0][0][0] = poison
			}
			all.Go(func() {
				r := request(list, 0)
				got, err := e.Infer(t.Context(), "pair", "", r)
				if err == nil {
					err = checkAnswers(pair(), r, got)
				}
				if err != nil || got.Held {
					t.Errorf("job %d: held %v, %v", i, got.Held, err)
				}
			})
			time.Sleep(time.Microsecond) // virtual: the first has a batch of its own
		}
		all.Wait()
		s.see(t, "sched.InstanceResize{Instance:0 Slots:0}", "sched.InstanceDown{Instance:0 By:1}", "sched.InstanceUp{Instance:0 Class:0 Slots:3}")
		drain(t, e)
	})
}

// TestBatchThatHangsBesideOthers has one batch that nothing ends. Its job fails; the
// jobs of the other batches are answered by the replacement instance.
func TestBatchThatHangsBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		e, _, s := startGuarded(t, fake.Config{HangRun: func(r fake.Run) <-chan struct{} {
			if r.Items[0][0][0] == poison {
				return gate
			}
			return nil
		}, Fail: func(r fake.Run) error {
			select {
			case <-time.After(4 * time.Second):
				return nil
			case <-r.Context.Done():
				return slo.E("run", slo.KindCancelled, "%w", r.Context.Err())
			}
		}})
		var all sync.WaitGroup
		ask := func(first byte, check func(engine.Response, error)) {
			all.Go(func() {
				check(e.Infer(t.Context(), "pair", "", request([]runtime.Item{{[]byte{first, 0, 0, 0}, []byte{0}}}, 0)))
			})
		}
		ask(poison, func(r engine.Response, err error) {
			if slo.KindOf(err) != slo.KindDeadlineExceeded || !r.Held {
				t.Errorf("the job that hangs: held %v, %v", r.Held, err)
			}
		})
		time.Sleep(10 * time.Second) // the others run when the instance is abandoned
		for i := range 4 {
			ask(byte(i), func(r engine.Response, err error) {
				if err != nil || r.Held {
					t.Errorf("job %d: held %v, %v", i, r.Held, err)
				}
			})
		}
		all.Wait()
		s.see(t, "sched.InstanceUp{Instance:0 Class:0 Slots:3}", "sched.InstanceResize{Instance:0 Slots:0}", "sched.InstanceDown{Instance:0 By:1}", "sched.InstanceUp{Instance:0 Class:0 Slots:3}")
		close(gate)
		drain(t, e)
	})
}
