package engine_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestAnswerOfALostInstance has a batch that ends well although it was told to end,
// because another of its instance has lost that: its answer counts.
func TestAnswerOfALostInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		e, _, s := startGuarded(t, fake.Config{Fail: func(r fake.Run) error {
			switch r.Items[0][0][0] {
			case poison:
				return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
			case 1:
				runs++
				time.Sleep(time.Second) // in one operator
			}
			return nil
		}})
		s.see(t, "sched.InstanceUp{Instance:0 Class:0 Slots:3}")
		var all sync.WaitGroup
		all.Go(func() {
			r := request([]runtime.Item{{[]byte{1, 0, 0, 0}, []byte{0}}}, 0)
			got, err := e.Infer(t.Context(), "pair", "", r)
			if err == nil {
				err = checkAnswers(pair(), r, got)
			}
			if err != nil || runs != 1 {
				t.Errorf("it ran %d times: %v", runs, err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if _, err := e.Infer(t.Context(), "pair", "", request([]runtime.Item{{[]byte{poison, 0, 0, 0}, []byte{0}}}, 0)); slo.KindOf(err) != slo.KindInternal {
				t.Errorf("the job that loses its instances: %v", err)
			}
		})
		all.Wait()
		drain(t, e)
	})
}

// TestJobBesideOneThatLosesInstances has a job that loses every instance it runs on.
// Another, of another version, whose batch each time runs beside it and is told to
// end, does not fail with it.
func TestJobBesideOneThatLosesInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		e, _, _ := startGuarded(t, fake.Config{Fail: func(r fake.Run) error {
			switch r.Items[0][0][0] {
			case poison:
				time.Sleep(time.Millisecond) // the other runs by then
				return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
			case 1:
				select {
				case <-time.After(time.Second):
				case <-r.Context.Done():
					told++
					return slo.E("run", slo.KindCancelled, "%w", r.Context.Err())
				}
			}
			return nil
		}}, pair(), version("2"))
		var all sync.WaitGroup
		for i, first := range []byte{1, poison} {
			all.Go(func() {
				_, err := e.Infer(t.Context(), "pair", fmt.Sprint(1+i), request([]runtime.Item{{[]byte{first, 0, 0, 0}, []byte{0}}}, 0))
				if (err != nil) != (first == poison) || err != nil && slo.KindOf(err) != slo.KindInternal {
					t.Errorf("job %d: %v", first, err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		if told < 3 {
			t.Errorf("the other batch was told to end %d times: the test shows little", told)
		}
		drain(t, e)
	})
}

// TestCancelOfLostBatch gives up a job whose batch was lost with its instance, while
// another batch still keeps the instance from going down.
func TestCancelOfLostBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, s := startGuarded(t, fake.Config{Fail: func(r fake.Run) error {
			switch r.Items[0][0][0] {
			case poison:
				return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
			case 1:
				time.Sleep(time.Second) // ignores the abort
			}
			return nil
		}})
		s.see(t, "sched.InstanceUp{Instance:0 Class:0 Slots:3}")
		var all sync.WaitGroup
		ask := func(ctx context.Context, first byte, fails ...slo.Kind) {
			all.Go(func() {
				_, err := e.Infer(ctx, "pair", "", request([]runtime.Item{{[]byte{first, 0, 0, 0}, []byte{0}}}, 0))
				if (err != nil) != (len(fails) > 0) || err != nil && !slices.Contains(fails, slo.KindOf(err)) {
					t.Errorf("job %d: %v", first, err)
				}
			})
			synctest.Wait()
		}
		ask(t.Context(), 1)
		ctx, cancel := context.WithCancel(t.Context())
		ask(ctx, poison, slo.KindCancelled)
		if snapshot, observed := e.Snapshot(); len(snapshot.Batches) != 2 || observed.Queue.Running != 2 || observed.Queue.Jobs != 2 {
			t.Errorf("%d batches run; the observer: %+v", len(snapshot.Batches), observed.Queue)
		}
		cancel()
		all.Wait()
		if _, observed := e.Snapshot(); observed.Queue.Jobs != 0 || observed.Queue.Running != 0 {
			t.Errorf("in the end %+v", observed.Queue)
		}
		drain(t, e)
	})
}
