package engine_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
)

// away is a runtime that cannot load version 1 while it is away.
type away struct {
	runtime.Runtime
	away  *atomic.Bool
	loads *atomic.Int64 // of version 1
}

func (r away) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	if m.Version == "1" {
		r.loads.Add(1)
		if r.away.Load() {
			return nil, errors.New("its server is away")
		}
	}
	return r.Runtime.Load(ctx, m, opts)
}

// seeLoss is see, whichever batch the instance was lost by.
func (s *steps) seeLoss(t *testing.T, want ...string) {
	t.Helper()
	time.Sleep(time.Second) // virtual: the feed rests between steps
	s.mu.Lock()
	for i := range s.list {
		s.list[i] = lossBy.ReplaceAllString(s.list[i], "By:BY")
	}
	s.mu.Unlock()
	s.see(t, want...)
}

var lossBy = regexp.MustCompile(`By:[0-9]+`)

// TestOtherModelsGoOn loses the instance of one of two models, which cannot be loaded
// again for a while: its requests fail at once, and the other model never notices.
func TestOtherModelsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		var loads atomic.Int64
		e, g, s := startGuarded(t, fake.Config{Profiles: []*modelpkg.Profile{pair().Profile}, Fail: func(r fake.Run) error {
			if r.Items[0][0][0] == poison {
				gone.Store(true)
				return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
			}
			return r.Context.Err()
		}})
		g.Runtime = away{g.Runtime, &gone, &loads}
		if err := e.Deploy(t.Context(), version("2")); err != nil {
			t.Fatal(err)
		}
		s.see(t, "sched.InstanceUp{Instance:0 Class:0 Slots:3}", "sched.InstanceResize{Instance:0 Slots:2}")
		ask := func(version string, first byte) error {
			_, err := e.Infer(t.Context(), "pair", version, request([]runtime.Item{{[]byte{first, 0, 0, 0}, []byte{0}}}, 0))
			return err
		}
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				time.Sleep(time.Duration(i+1) * 300 * time.Millisecond) // virtual: before, while and after it is away
				if err := ask("2", 1); err != nil {
					t.Errorf("the other model: %v", err)
				}
			})
		}
		lost := func(what string, err error) {
			t.Helper()
			if slo.KindOf(err) != slo.KindUnavailable {
				t.Errorf("%s: %v (kind %v)", what, err, slo.KindOf(err))
			}
		}
		lost("the batch", ask("1", poison))
		began := time.Now()
		for range 3 {
			lost("a request while it is away", ask("1", 1))
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("they waited %v", took)
		}
		time.Sleep(5 * time.Second) // loading has been tried at once, and after 1 and 3 seconds
		if n := loads.Load(); n != 3 {
			t.Errorf("%d attempts to load it", n)
		}
		gone.Store(false)
		time.Sleep(5 * time.Second)
		if err := ask("1", 1); err != nil {
			t.Errorf("it has not come back: %v", err)
		}
		all.Wait()
		s.seeLoss(t, "sched.InstanceDown{Instance:0 By:BY}", "sched.InstanceUp{Instance:0 Class:0 Slots:2}") // at once
		drain(t, e)
	})
}

// TestLostModelIsTakenAway removes a model while its instance is loaded anew: nobody
// tries any more.
func TestLostModelIsTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		var loads atomic.Int64
		e, g, _ := startGuarded(t, fake.Config{Fail: func(r fake.Run) error {
			if r.Items[0][0][0] == poison {
				return runtime.ErrLost
			}
			return nil
		}})
		g.Runtime = away{g.Runtime, &gone, &loads}
		if err := e.Deploy(t.Context(), version("2")); err != nil {
			t.Fatal(err)
		}
		gone.Store(true)
		_, err := e.Infer(t.Context(), "pair", "1", request([]runtime.Item{{[]byte{poison, 0, 0, 0}, []byte{0}}}, 0))
		if slo.KindOf(err) != slo.KindUnavailable {
			t.Errorf("%v", err)
		}
		if err := e.Remove("pair", "1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := loads.Load(); n > 2 {
			t.Errorf("%d attempts to load what is served no more", n)
		}
		drain(t, e)
	})
}

// TestLostInstanceIsMended loses an instance once: the batch runs again when it is back,
// beside another model and alone. A batch that is to blame does not.
func TestLostInstanceIsMended(t *testing.T) {
	for name, test := range map[string]struct {
		models int
		lost   error
		runs   int64
		steps  []string
	}{
		"beside another":           {2, runtime.ErrLost, 2, []string{"sched.InstanceDown{Instance:0 By:BY}", "sched.InstanceUp{Instance:0 Class:0 Slots:2}"}},
		"alone":                    {1, runtime.ErrLost, 2, []string{"sched.InstanceDown{Instance:0 By:BY}", "sched.InstanceUp{Instance:0 Class:0 Slots:3}"}},
		"to blame, beside another": {2, runtime.ErrCrashed, 1, nil},
		"to blame, alone": {1, runtime.ErrCrashed, 1, []string{"sched.InstanceResize{Instance:0 Slots:0}", "sched.InstanceDown{Instance:0 By:BY}",
			"sched.InstanceUp{Instance:0 Class:0 Slots:3}"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var runs atomic.Int64
				e, _, s := startGuarded(t, fake.Config{Profiles: []*modelpkg.Profile{pair().Profile}, Fail: func(r fake.Run) error {
					if r.Items[0][0][0] == poison && runs.Add(1) == 1 {
						return slo.E("", slo.KindUnavailable, "%w", test.lost)
					}
					return nil
				}})
				if test.models == 2 {
					if err := e.Deploy(t.Context(), version("2")); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Second)
				s.clear()
				ask := func() error {
					_, err := e.Infer(t.Context(), "pair", "1", request([]runtime.Item{{[]byte{poison, 0, 0, 0}, []byte{0}}}, 0))
					return err
				}
				if err := ask(); (err != nil) != (test.runs == 1) || err != nil && slo.KindOf(err) != slo.KindUnavailable {
					t.Errorf("%v (kind %v)", err, slo.KindOf(err))
				}
				if runs.Load() != test.runs {
					t.Errorf("it ran %d times, want %d", runs.Load(), test.runs)
				}
				if err := ask(); err != nil {
					t.Errorf("it is not back: %v", err)
				}
				s.seeLoss(t, test.steps...)
				drain(t, e)
			})
		})
	}
}
