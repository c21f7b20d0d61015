package feed_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// core is a publisher whose steps are numbered from 1, by their instants. Each action
// of a step is a Finish with the step's number.
type core struct {
	feed    *feed.Feed
	inbox   chan func()
	steps   int
	actions []sched.Action // reused for every step, as the core does
}

func newCore() *core {
	c := &core{inbox: make(chan func(), 16)}
	c.feed = feed.New(func() { c.inbox <- func() { c.feed.Resume(c.snapshot) } })
	return c
}

func (c *core) snapshot() feed.Snapshot { return feed.Snapshot{At: slo.Instant(c.steps)} }

// step publishes a step with that many actions.
func (c *core) step(actions int) {
	c.steps++
	c.actions = c.actions[:0]
	for i := range actions {
		c.actions = append(c.actions, sched.Finish{Part: sched.Part{Job: sched.JobID(c.steps), First: i}})
	}
	c.feed.Publish(&feed.Step{At: slo.Instant(c.steps), Event: sched.Tick{}, Actions: c.actions})
	c.feed.Wake()
}

// messages handles requests to the publisher.
func (c *core) messages() {
	for len(c.inbox) > 0 {
		(<-c.inbox)()
	}
}

// follower checks that it gets every step, in order and as published, except those
// before a snapshot.
type follower struct {
	t       *testing.T
	busy    func() // called with each step; nil: nothing
	last    int    // step
	handled int
	resumed int
}

func (f *follower) Resume(s *feed.Snapshot) {
	if f.resumed++; int(s.At) < f.last {
		f.t.Errorf("a snapshot of step %d comes after step %d", s.At, f.last)
	}
	f.last = int(s.At)
}

func (f *follower) Step(s *feed.Step) {
	if f.busy != nil {
		f.busy()
	}
	f.handled++
	f.last++
	if int(s.At) != f.last {
		f.t.Fatalf("step %d comes, want %d", s.At, f.last)
	}
	for i, a := range s.Actions {
		if a.(sched.Finish).Part != (sched.Part{Job: sched.JobID(f.last), First: i}) {
			f.t.Fatalf("action %d of step %d is %+v", i, f.last, a)
		}
	}
}

// TestFollowersSeeAllOrGaps publishes random steps to a subscriber that always keeps up
// and to one that is often too slow, and asks both questions.
func TestFollowersSeeAllOrGaps(t *testing.T) {
	var gaps, dropped int
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			c := newCore()
			steady, fitful := &follower{t: t}, &follower{t: t}
			slow := rand.New(rand.NewPCG(seed, 2))
			fitful.busy = func() {
				if slow.IntN(50) == 0 {
					time.Sleep(time.Duration(slow.IntN(20)) * time.Millisecond)
				}
			}
			all, some := c.feed.Subscribe("steady", 1<<20), c.feed.Subscribe("fitful", 40)
			go all.Run(steady)
			go some.Run(fitful)
			c.feed.Resume(c.snapshot)
			for range 400 {
				switch rng.IntN(10) {
				case 0:
					time.Sleep(time.Duration(rng.IntN(5_000_000)))
				case 1:
					published := c.steps
					all.Ask(func() {
						if steady.last < published {
							t.Errorf("the answer knows %d steps of %d", steady.last, published)
						}
					})
				case 2:
					published := c.steps
					go some.Ask(func() {
						if fitful.last < published {
							t.Errorf("the answer knows %d steps of %d", fitful.last, published)
						}
					})
				default:
					c.step(rng.IntN(8))
				}
				c.messages()
			}
			time.Sleep(time.Minute) // all have caught up
			c.messages()
			if err := c.feed.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if steady.handled != c.steps || steady.resumed != 1 {
				t.Errorf("seed %d: %d steps of %d seen, %d snapshots", seed, steady.handled, c.steps, steady.resumed)
			}
			missed := int(c.feed.Dropped()["fitful"])
			if fitful.handled+missed != c.steps || fitful.last != c.steps || (missed > 0) != (fitful.resumed > 1) {
				t.Errorf("seed %d: of %d steps %d seen and %d dropped, the last is %d, %d snapshots", seed, c.steps, fitful.handled, missed, fitful.last, fitful.resumed)
			}
			gaps += fitful.resumed - 1
			dropped += missed
		})
	}
	if gaps < 30 || dropped < 100 {
		t.Errorf("%d gaps, %d steps dropped: the test shows little", gaps, dropped)
	}
}

// TestStuckFollower checks that a subscriber that hangs delays neither the publisher
// nor another subscriber, that its queue is bounded, and that questions wait for the
// snapshot that ends its gap.
func TestStuckFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCore()
		release := make(chan struct{})
		stuck, free := &follower{t: t, busy: func() { <-release }}, &follower{t: t}
		bounded, other := c.feed.Subscribe("stuck", 10), c.feed.Subscribe("free", 10_000)
		go bounded.Run(stuck)
		go other.Run(free)
		c.feed.Resume(c.snapshot)
		c.step(20) // a single step may be larger than the bound
		synctest.Wait()
		for range 1000 {
			c.step(1)
		}
		if !other.Ask(func() {}) || free.handled != 1001 {
			t.Errorf("the free follower has seen %d steps", free.handled)
		}
		if d := c.feed.Dropped(); d["stuck"] != 995 || d["free"] != 0 {
			t.Errorf("dropped %v", d)
		}
		answered := false
		go bounded.Ask(func() {
			answered = true
			if stuck.handled != 6 || stuck.last != 1001 {
				t.Errorf("%d steps handled, the last is %d", stuck.handled, stuck.last)
			}
		})
		synctest.Wait()
		close(release)
		synctest.Wait()
		if answered || len(c.inbox) != 1 {
			t.Errorf("answered %v, %d requests for a snapshot", answered, len(c.inbox))
		}
		c.messages()
		synctest.Wait()
		if !answered || stuck.resumed != 2 {
			t.Errorf("answered %v, %d snapshots", answered, stuck.resumed)
		}
		c.step(1)
		if err := c.feed.Close(t.Context()); err != nil || stuck.last != 1002 {
			t.Errorf("%v; the last step seen is %d", err, stuck.last)
		}
	})
}

// TestClose checks that Close waits for the queues, for a limited time, and that no
// question waits for an answer after it.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCore()
		release := make(chan struct{})
		hanging, good := &follower{t: t, busy: func() { <-release }}, &follower{t: t}
		late, prompt := c.feed.Subscribe("late", 10_000), c.feed.Subscribe("prompt", 10_000)
		go late.Run(hanging)
		go prompt.Run(good)
		c.feed.Resume(c.snapshot)
		for range 500 {
			c.step(2)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := c.feed.Close(ctx)
		if err == nil || !strings.Contains(err.Error(), "subscriber late") || strings.Contains(err.Error(), "prompt") || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if good.handled != 500 {
			t.Errorf("%d steps of 500 were seen", good.handled)
		}
		if prompt.Ask(func() { t.Error("a question after the end") }) || late.Ask(func() {}) {
			t.Error("a question after the end was taken")
		}
		late.Flush(t.Context())
		close(release)
	})
}

// TestFlushEnds checks that Flush waits for the queue, but no longer than its context
// allows.
func TestFlushEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCore()
		f := &follower{t: t, busy: func() { time.Sleep(time.Second) }}
		s := c.feed.Subscribe("slow", 100)
		go s.Run(f)
		c.feed.Resume(c.snapshot)
		for range 3 {
			c.step(0)
		}
		began := time.Now()
		short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		s.Flush(short)
		if took := time.Since(began); took != 500*time.Millisecond {
			t.Errorf("waited %v", took)
		}
		s.Flush(t.Context())
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("flushed after %v", took)
		}
		if err := c.feed.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestBusyCoreWakesSeldom checks that steps gather between two wake-ups, and that a
// question does not wait for that.
func TestBusyCoreWakesSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCore()
		var at []time.Time
		f := &follower{t: t, busy: func() { at = append(at, time.Now()) }}
		s := c.feed.Subscribe("follower", 10_000)
		go s.Run(f)
		c.feed.Resume(c.snapshot)
		for range 100 { // in 10 ms
			c.step(0)
			time.Sleep(100 * time.Microsecond)
		}
		if looks := len(slices.Compact(at)); looks < 5 || looks > 12 {
			t.Errorf("%d looks in 10 ms", looks)
		}
		c.step(0)
		asked := time.Now()
		s.Ask(func() {})
		if wait := time.Since(asked); wait != 0 || f.last != 101 {
			t.Errorf("the answer took %v and knows %d steps", wait, f.last)
		}
		if err := c.feed.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// counter counts steps.
type counter struct{ steps int }

func (c *counter) Resume(*feed.Snapshot) {}
func (c *counter) Step(*feed.Step)       { c.steps++ }

// TestPublishingAllocatesNothing checks that the queues reuse their memory.
func TestPublishingAllocatesNothing(t *testing.T) {
	c := newCore()
	s := c.feed.Subscribe("counter", 1<<20)
	go s.Run(&counter{})
	c.feed.Resume(c.snapshot)
	step := &feed.Step{Event: sched.Tick{}, Actions: []sched.Action{sched.Finish{}, sched.FinishJob{}}}
	round := func() {
		for range 1000 {
			c.feed.Publish(step)
			c.feed.Wake()
		}
		s.Ask(func() {})
	}
	for range 10 {
		round()
	}
	if allocs := testing.AllocsPerRun(20, round); allocs > 10 {
		t.Errorf("%v allocations for 1000 steps and a question", allocs)
	}
	if err := c.feed.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// BenchmarkPublish measures what a step that ends one job costs the goroutine that owns
// the core, by the number of subscribers that keep up.
func BenchmarkPublish(b *testing.B) {
	for _, followers := range []int{1, 2, 4} {
		b.Run(fmt.Sprint("followers=", followers), func(b *testing.B) {
			c := newCore()
			var all []*feed.Subscriber
			for range followers {
				s := c.feed.Subscribe("counter", 1<<16)
				go s.Run(&counter{})
				all = append(all, s)
			}
			c.feed.Resume(c.snapshot)
			step := &feed.Step{Event: sched.Done{Batch: 1}, Actions: []sched.Action{sched.Finish{}, sched.FinishJob{}, sched.Dispatch{}}}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				c.feed.Publish(step)
				c.feed.Wake()
				if n%4096 == 0 {
					b.StopTimer()
					for _, s := range all {
						s.Ask(func() {})
					}
					b.StartTimer()
				}
			}
			b.StopTimer()
			if dropped := c.feed.Dropped()["counter"]; dropped > 0 {
				b.Errorf("%d steps were dropped", dropped)
			}
			if err := c.feed.Close(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
}
