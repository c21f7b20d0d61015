package engine_test

import (
	"context"
	"errors"
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
	"github.com/mosel-serve/mosel/internal/slo"
)

// version returns the pair model with another version.
func version(v string) engine.Served {
	s := pair()
	s.Model.Version = v
	return s
}

func versions(e *engine.Engine) (list []string) {
	for _, s := range e.List() {
		list = append(list, s.Model.Name+" "+s.Model.Version)
	}
	return list
}

func TestVersionsAreServedSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := start(t, plan.PolicyAll, 2, nil) // serves version 1
		for _, v := range []string{"9", "10", "1.10", "1.9"} {
			if err := e.Deploy(t.Context(), version(v)); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := versions(e), []string{"pair 10", "pair 9", "pair 1.10", "pair 1.9", "pair 1"}; !slices.Equal(got, want) {
			t.Errorf("served: %q, want %q", got, want)
		}
		for asked, want := range map[string]string{"": "10", "9": "9", "1.9": "1.9"} {
			l, err := e.Use("pair", asked)
			if err != nil {
				t.Fatal(err)
			}
			if l.Model.Version != want {
				t.Errorf("version %q is %s, want %s", asked, l.Model.Version, want)
			}
			r := request(items(rand.New(rand.NewPCG(1, 1)), 3), 0)
			got, err := l.Infer(t.Context(), r)
			if err == nil {
				err = checkAnswers(l.Served, r, got)
			}
			if err != nil {
				t.Error(err)
			}
			l.Release()
		}
		if err := e.Remove("pair", "10"); err != nil {
			t.Fatal(err)
		}
		if l, err := e.Use("pair", ""); err != nil || l.Model.Version != "9" {
			t.Errorf("without version 10: %v, %v", l.Model.Version, err)
		} else {
			l.Release()
		}
		if _, err := e.Use("pair", "10"); slo.KindOf(err) != slo.KindNotFound {
			t.Errorf("a removed version: %v", err)
		}
		if err := e.Remove("pair", "10"); slo.KindOf(err) != slo.KindNotFound {
			t.Errorf("removing it twice: %v", err)
		}
		drain(t, e)
	})
}

// TestModelsServedFromTheBeginning starts an engine with models in an order that is not
// the catalogue's: each of them answers for itself.
func TestModelsServedFromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g, _ := startGuarded(t, fake.Config{}, version("1"), version("2"), version("3"))
		for _, v := range []string{"1", "2", "3"} {
			r := request(items(rand.New(rand.NewPCG(1, 1)), 3), 0)
			got, err := e.Infer(t.Context(), "pair", v, r)
			if err == nil {
				err = checkAnswers(version(v), r, got)
			}
			if err != nil {
				t.Errorf("version %s: %v", v, err)
			}
			if err := e.Remove("pair", v); err != nil {
				t.Error(err)
			}
		}
		drain(t, e)
		if n := g.open.Load(); n != 0 {
			t.Errorf("%d instances are open after the end", n)
		}
	})
}

// TestModelsChangeUnderLoad deploys, replaces and removes models while many call
// them: no request fails for it, and every answer is of the version it asked for.
func TestModelsChangeUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs, losses, served atomic.Int64
		e, _ := start(t, plan.PolicyMosel, 3, func(fake.Run) error {
			if runs.Add(1)%150 == 0 {
				losses.Add(1)
				return fmt.Errorf("cable pulled: %w", runtime.ErrLost)
			}
			return nil
		})
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for caller := range 30 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(caller), 1))
				for ctx.Err() == nil {
					l, err := e.Use("pair", "")
					if err != nil {
						t.Error(err)
						return
					}
					r := request(items(rng, 1+rng.IntN(9)), 850_000)
					got, err := l.Infer(t.Context(), r)
					if err == nil {
						err = checkAnswers(l.Served, r, got)
					}
					if err != nil {
						t.Errorf("version %s: %v", l.Model.Version, err)
					}
					l.Release()
					served.Add(1)
				}
			})
		}
		for round := range 12 {
			time.Sleep(40 * time.Millisecond) // virtual
			v := []string{"1", "2", "3"}[round%3]
			if err := e.Deploy(t.Context(), version(v)); err != nil && !errors.Is(err, runtime.ErrLost) {
				t.Error(err)
			}
			if len(e.List()) > 2 {
				if err := e.Remove("pair", e.List()[round%2].Model.Version); err != nil {
					t.Error(err)
				}
			}
		}
		stop()
		wg.Wait()
		drain(t, e)
		if served.Load() < 100 || losses.Load() == 0 {
			t.Errorf("only %d requests and %d losses: the test proves little", served.Load(), losses.Load())
		}
		if counts, _ := e.Counts(); counts.Jobs != 0 {
			t.Errorf("left over: %+v", counts)
		}
	})
}

func TestBadDeploymentChangesNothing(t *testing.T) {
	boom := errors.New("boom")
	synctest.Test(t, func(t *testing.T) {
		bad, panics := false, false
		e, served := start(t, plan.PolicyAll, 1, func(fake.Run) error {
			if panics {
				panic("a defect of the runtime")
			}
			if bad {
				return boom
			}
			return nil
		})
		bad = true
		if err := e.Deploy(t.Context(), version("1")); !errors.Is(err, boom) {
			t.Errorf("a model that fails when it is warmed up: %v", err)
		}
		panics = true
		if err := e.Deploy(t.Context(), version("1")); slo.KindOf(err) != slo.KindInternal {
			t.Errorf("a model at which the runtime panics: %v", err)
		}
		bad, panics = false, false
		broken := version("1")
		broken.Profile.Variants = broken.Profile.Variants[:1]
		if err := e.Deploy(t.Context(), broken); slo.KindOf(err) != slo.KindInvalid {
			t.Errorf("a profile that is not the model's: %v", err)
		}
		l, err := e.Use("pair", "1")
		if err != nil || l.Model != served.Model {
			t.Errorf("the good model has gone: %v", err)
		}
		l.Release()
		drain(t, e)
		if err := e.Deploy(t.Context(), version("2")); slo.KindOf(err) != slo.KindUnavailable {
			t.Errorf("after the end: %v", err)
		}
		if err := e.Remove("pair", ""); slo.KindOf(err) != slo.KindUnavailable {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestRemovedModelStaysForItsRequests checks that a removed model's instances are
// closed when its last request has ended, and not before.
func TestRemovedModelStaysForItsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := pair()
		rt := &counting{Runtime: fake.New(fake.Config{})}
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Instances: 2, Threads: 1, QueueItemsMax: 10, QueueJobsMax: 10, Log: discard}, rt)
		if err != nil {
			t.Fatal(err)
		}
		l, err := e.Use("pair", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Remove("pair", ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if rt.open != 2 {
			t.Errorf("%d instances are open while a request holds the model, want 2", rt.open)
		}
		r := request(items(rand.New(rand.NewPCG(1, 1)), 3), 0)
		if got, err := l.Infer(t.Context(), r); err != nil || checkAnswers(l.Served, r, got) != nil {
			t.Errorf("a request that came before the removal: %v", err)
		}
		l.Release()
		synctest.Wait()
		if rt.open != 0 {
			t.Errorf("%d instances are open after the last request", rt.open)
		}
		if err := e.Deploy(t.Context(), served); err != nil {
			t.Fatal(err)
		}
		drain(t, e)
		if rt.open != 0 {
			t.Errorf("%d instances are open after the end", rt.open)
		}
	})
}

// counting counts open instances.
type counting struct {
	runtime.Runtime
	open int
}

// TestNothingIsRunForNobody checks that a batch is aborted when its only client gives
// up, and that the instance is then free for the next batch.
func TestNothingIsRunForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := start(t, plan.PolicyAll, 1, nil)
		rng := rand.New(rand.NewPCG(4, 4))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := e.Infer(ctx, "pair", "", request(items(rng, 8), 0)); slo.KindOf(err) != slo.KindCancelled {
			t.Errorf("cancelled while it ran: %v", err)
		}
		if _, err := e.Infer(t.Context(), "pair", "", request(items(rng, 1), 0)); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 15*time.Millisecond {
			t.Errorf("an item of 10 ms behind a batch of 80 ms that was given up after 5 ms took %v", took)
		}
		drain(t, e)
	})
}

// Load implements runtime.Runtime.
func (c *counting) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	instance, err := c.Runtime.Load(ctx, m, opts)
	if err == nil {
		c.open++
	}
	return &counted{Instance: instance, runtime: c}, err
}

type counted struct {
	runtime.Instance
	runtime *counting
}

// Close implements runtime.Instance.
func (c *counted) Close() error {
	c.runtime.open--
	return c.Instance.Close()
}
