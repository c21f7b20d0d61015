package engine_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestHungBatchReturnsBeforeOthersEnd has a batch that hangs, is given up and comes
// back while another of its instance is on its way to end: the last of them closes the
// instance.
func TestHungBatchReturnsBeforeOthersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = 1
		gate := make(chan struct{})
		e, g, _ := startGuarded(t, fake.Config{HangRun: func(r fake.Run) <-chan struct{} {
			if r.Items[0][0][0] == poison {
				return gate
			}
			return nil
		}, Fail: func(r fake.Run) error {
			if r.Items[0][0][0] != slow {
				return nil
			}
			<-r.Context.Done()
			time.Sleep(1500 * time.Millisecond) // it takes its time to end
			return slo.E("run", slo.KindCancelled, "%w", r.Context.Err())
		}})
		var all sync.WaitGroup
		ask := func(first byte) {
			all.Go(func() {
				_, err := e.Infer(t.Context(), "pair", "", request([]runtime.Item{{[]byte{first, 0, 0, 0}, []byte{0}}}, 0))
				if slo.KindOf(err) != slo.KindDeadlineExceeded {
					t.Errorf("job %d: %v", first, err)
				}
			})
		}
		ask(poison)
		time.Sleep(10 * time.Second) // it is told to end at 10 s and given up at 12 s
		ask(slow)
		time.Sleep(2500 * time.Millisecond) // of 12 s to 13.5 s, in which the other ends
		close(gate)
		synctest.Wait()
		if n := g.open.Load(); n != 1 {
			t.Errorf("%d instances are open while a batch runs, want 1", n)
		}
		time.Sleep(5 * time.Second) // the instance is loaded anew
		if n := g.open.Load(); n != 1 {
			t.Errorf("%d instances are open when the batches have ended, want the new one", n)
		}
		all.Wait()
		drain(t, e)
		if n := g.open.Load(); n != 0 {
			t.Errorf("%d instances are open after the end", n)
		}
	})
}

// TestBatchesLeftBehindTogether has two batches of one instance that hang until the
// engine has stopped. One has a run to do yet when it comes back after the other.
func TestBatchesLeftBehindTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gates := []chan struct{}{make(chan struct{}), make(chan struct{})}
		e, g, _ := startGuarded(t, fake.Config{HangRun: func(r fake.Run) <-chan struct{} {
			if r.Items[0][0][0] == poison {
				return gates[r.Items[0][0][1]]
			}
			return nil
		}})
		var all sync.WaitGroup
		for i := range byte(2) {
			all.Go(func() {
				list := []runtime.Item{{[]byte{poison, i, 0, 0}, []byte{0}}, {[]byte{1, 0, 0, 0}, []byte{0, 0}}} // they do not share a run
				if _, err := e.Infer(t.Context(), "pair", "", request(list, 0)); slo.KindOf(err) != slo.KindDeadlineExceeded {
					t.Errorf("job %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		drain(t, e)
		for i, gate := range gates {
			if n := g.open.Load(); n != 1 {
				t.Errorf("%d instances are open while %d batches run, want 1", n, 2-i)
			}
			close(gate)
			synctest.Wait()
		}
		if n := g.open.Load(); n != 0 {
			t.Errorf("%d instances are open in the end", n)
		}
	})
}
