package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
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
)

// faults draws what becomes of runs, once it is on: so that warming up goes well.
type faults struct {
	mu  sync.Mutex
	rng *rand.Rand
	on  bool
}

// draw is a number below n, -1 while nothing goes wrong.
func (f *faults) draw(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.on {
		return -1
	}
	return f.rng.IntN(n)
}

func (f *faults) turnOn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = true
}

// config is a runtime of which some runs lose their instance, fail, run until they
// are told to end, and then take a while, or hang whatever they are told.
func (f *faults) config() fake.Config {
	return fake.Config{Profiles: []*modelpkg.Profile{pair().Profile}, HangRun: func(fake.Run) <-chan struct{} {
		if f.draw(150) != 0 {
			return nil
		}
		ended := make(chan struct{})
		time.AfterFunc(time.Duration(1+f.draw(20))*time.Second, func() { close(ended) })
		return ended
	}, Fail: func(r fake.Run) error {
		switch f.draw(40) {
		case 0:
			return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
		case 1, 2:
			<-r.Context.Done()
			time.Sleep(time.Duration(f.draw(2500)) * time.Millisecond)
			return slo.E("run", slo.KindCancelled, "%w", r.Context.Err())
		case 3:
			return slo.E("run", slo.KindInternal, "as drawn")
		}
		return nil
	}}
}

// TestFaultsInSlots has runs that fail in all ways. Meanwhile clients give up,
// deadlines pass and models change the number of slots. It ends with a drain. It checks
// that every job is answered, and that answers are right. An instance never runs more
// batches than it has slots, is never closed while one runs, and never runs one when it
// is closed. In the end all instances are closed and all goroutines have ended.
func TestFaultsInSlots(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { faultsInSlots(t, seed) })
		})
	}
}

func faultsInSlots(t *testing.T, seed uint64) {
	f := &faults{rng: rand.New(rand.NewPCG(seed, 6))}
	g := &guarded{Runtime: fake.New(f.config()), t: t, slots: slotsByVersion}
	e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{pair()}, Policy: plan.Policy(seed % 3), Instances: 2, Threads: 1,
		QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard, BatchTimeMax: 3 * time.Second, Trace: func(slo.Instant, sched.Event, []sched.Action) {}}, g)
	if err != nil {
		t.Fatal(err)
	}
	f.turnOn()
	rng := rand.New(rand.NewPCG(seed, 5))
	var all, changing sync.WaitGroup
	changes := make(chan func(), 100) // one after the other
	changing.Go(func() {
		for change := range changes {
			change()
		}
	})
	for i := range 150 {
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		if rng.IntN(4) == 0 {
			time.AfterFunc(time.Duration(rng.IntN(3000))*time.Millisecond, cancel)
		}
		r := request(items(rng, 1+rng.IntN(10)), 0)
		if rng.IntN(2) == 0 {
			r.Objective.Deadline = e.Now().Add(time.Duration(rng.IntN(4000)) * time.Millisecond)
		}
		all.Go(func() {
			defer cancel()
			got, err := e.Infer(ctx, "pair", "", r)
			if err != nil {
				return // as drawn
			}
			if err := checkAnswers(pair(), r, got); err != nil {
				t.Error(err)
			}
		})
		switch i % 40 {
		case 20:
			changes <- func() { _ = e.Deploy(t.Context(), version("2")) } // its warming up may fail
		case 35:
			changes <- func() { _ = e.Remove("pair", "2") }
		}
	}
	close(changes)
	changing.Wait()
	if seed%2 == 0 { // else jobs are left for the drain
		all.Wait()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = e.Drain(ctx) // what hangs may not end in time
	all.Wait()
	time.Sleep(time.Minute) // what hangs comes back
	if n := g.open.Load(); n != 0 {
		t.Errorf("%d instances are open in the end", n)
	}
}
