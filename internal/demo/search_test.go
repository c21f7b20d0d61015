package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// fakeServer sheds what is beyond its capacity and answers the rest on time; a
// short run near the edge is lucky or unlucky.
type fakeServer struct {
	now      time.Time
	capacity float64
	noise    float64 // relative, of a run of one second; shrinks with its root
	rng      *rand.Rand
	trials   []string
}

func (f *fakeServer) try(_ context.Context, rate float64, length time.Duration) (float64, error) {
	capacity := f.capacity * (1 + f.noise*f.rng.NormFloat64()/math.Sqrt(length.Seconds()))
	share := min(1, capacity/rate)
	if share < 0.98 { // hopeless trials are given up
		length /= 2
	}
	f.now = f.now.Add(length + 200*time.Millisecond)
	f.trials = append(f.trials, fmt.Sprintf("%.0f for %v: %.3f", rate, length, share))
	return share, nil
}

func (f *fakeServer) search(guess float64) search {
	return search{target: 0.99, guess: guess, probe: 2 * time.Second, confirm: 7 * time.Second, budget: 32 * time.Second, limit: 32 * time.Second,
		precision: 1.05, clock: func() time.Time { return f.now }}
}

func TestSearchFindsTheCapacity(t *testing.T) {
	for _, capacity := range []float64{3, 60, 150, 1500, 9000} {
		for _, wrong := range []float64{0.2, 0.5, 0.8, 1, 1.2, 2, 4} {
			for seed := range uint64(5) {
				f := &fakeServer{capacity: capacity, noise: 0.02, rng: rand.New(rand.NewPCG(seed, 1))}
				start := f.now
				got, err := f.search(capacity*wrong).run(t.Context(), f.try)
				if err != nil || got < 0.84*capacity || got > 1.04*capacity {
					t.Errorf("capacity %v, guess x%v, seed %d: %v %v after %q", capacity, wrong, seed, got, err, f.trials)
				}
				if took := f.now.Sub(start); took > 32*time.Second {
					t.Errorf("capacity %v, guess x%v: took %v: %q", capacity, wrong, took, f.trials)
				}
			}
		}
	}
}

// TestOnlyConfirmedRatesCount: a server that holds a rate for short runs only
// gets the rate it holds for long ones.
func TestOnlyConfirmedRatesCount(t *testing.T) {
	f := &fakeServer{capacity: 100, rng: rand.New(rand.NewPCG(1, 1))}
	got, err := f.search(100).run(t.Context(), func(ctx context.Context, rate float64, length time.Duration) (float64, error) {
		f.capacity = 100
		if length > 3*time.Second {
			f.capacity = 80
		}
		return f.try(ctx, rate, length)
	})
	if err != nil || got > 81 || got < 70 {
		t.Errorf("%v %v after %q", got, err, f.trials)
	}
}

// TestMishapsAreTriedAgain: what else runs on the machine ruins the first
// confirmations, and there is time for more.
func TestMishapsAreTriedAgain(t *testing.T) {
	f := &fakeServer{capacity: 100, rng: rand.New(rand.NewPCG(1, 1))}
	s := f.search(100)
	s.limit = 60 * time.Second
	ruined := 0
	got, err := s.run(t.Context(), func(ctx context.Context, rate float64, length time.Duration) (float64, error) {
		share, err := f.try(ctx, rate, length)
		if length == s.confirm && ruined < 3 {
			ruined++
			share = 0.95
		}
		return share, err
	})
	if err != nil || got < 80 {
		t.Errorf("%v %v after %q", got, err, f.trials)
	}
}

func TestSearchGivesUp(t *testing.T) {
	f := &fakeServer{rng: rand.New(rand.NewPCG(1, 1))}
	if got, err := f.search(100).run(t.Context(), f.try); !errors.Is(err, errNoCapacity) {
		t.Errorf("%v %v after %q", got, err, f.trials)
	}
	if f.now.Sub(time.Time{}) > 32*time.Second {
		t.Errorf("took until %v: %q", f.now, f.trials)
	}
	died := errors.New("the server died")
	if _, err := f.search(100).run(t.Context(), func(context.Context, float64, time.Duration) (float64, error) { return 0, died }); !errors.Is(err, died) {
		t.Errorf("%v", err)
	}
}

func TestLearnSurvivesContradictions(t *testing.T) {
	var b bracket
	b.learn(100, 1, 0.99) // held
	next := b.learn(90, 0.5, 0.99)
	if b.low != 0 || b.high != 90 || next >= 90 {
		t.Errorf("%+v, next %v", b, next)
	}
}
