package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/stats"
)

// caller is one client with at most one request in flight.
type caller interface {
	exchange() error // send a request and read its answer
	close()
}

// opener connects one more client to a server.
type opener func() (caller, error)

// openAll connects n callers and sends one request on each.
func openAll(open opener, n int) ([]caller, error) {
	var callers []caller
	for range n {
		c, err := open()
		if err != nil {
			closeAll(callers)
			return nil, err
		}
		callers = append(callers, c)
		if err := c.exchange(); err != nil {
			closeAll(callers)
			return nil, err
		}
	}
	return callers, nil
}

func closeAll(callers []caller) {
	for _, c := range callers {
		c.close()
	}
}

// closedLoop lets every caller send its next request as soon as it has the last answer,
// for some time, and returns the number of answers.
func closedLoop(callers []caller, span time.Duration) (answered int, took time.Duration, err error) {
	var total atomic.Int64
	errs := make(chan error, len(callers))
	var group sync.WaitGroup
	began := time.Now()
	for _, c := range callers {
		group.Go(func() {
			n := 0
			for time.Since(began) < span {
				if err := c.exchange(); err != nil {
					errs <- err
					return
				}
				n++
			}
			total.Add(int64(n))
		})
	}
	group.Wait()
	took = time.Since(began)
	select {
	case err = <-errs:
	default:
	}
	return int(total.Load()), took, err
}

// arrivals draws the instants at which requests are sent: at random with a rate
// per second, the same instants for the same seed.
func arrivals(rate float64, span time.Duration, seed uint64) []time.Duration {
	random := rand.New(rand.NewPCG(seed, 0))
	var at []time.Duration
	for t := 0.0; ; {
		t += random.ExpFloat64() / rate
		if t >= span.Seconds() {
			return at
		}
		at = append(at, time.Duration(t*float64(time.Second)))
	}
}

// openLoop sends a request at each instant, even if earlier ones are not answered, if a
// caller is free. A latency is measured from the instant at which the request was meant
// to be sent, so it includes the wait for a caller and delays of this program.
func openLoop(ctx context.Context, callers []caller, at []time.Duration) ([]time.Duration, error) {
	took := make([]time.Duration, len(at))
	due := make(chan int, len(at))
	errs := make(chan error, len(callers))
	var group sync.WaitGroup
	began := time.Now()
	for _, c := range callers {
		group.Go(func() {
			for i := range due {
				if err := c.exchange(); err != nil {
					errs <- err
					return
				}
				took[i] = time.Since(began) - at[i]
			}
		})
	}
	keepTime(ctx, began, at, due)
	group.Wait()
	select {
	case err := <-errs:
		return nil, err
	default:
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	slices.Sort(took)
	return took, nil
}

// keepTime passes on the requests when they are due, on its own thread.
func keepTime(ctx context.Context, began time.Time, at []time.Duration, due chan<- int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(due)
	for i, t := range at {
		if wait := t - time.Since(began); wait > 0 {
			pause(wait)
		}
		if ctx.Err() != nil {
			return
		}
		due <- i
	}
}

// middle is the median of values, which it sorts.
func middle(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return stats.Quantile(values, 0.5)
}

// unexpectedAnswer is the error for an answer that is not a success.
func unexpectedAnswer(line []byte) error { return fmt.Errorf("the server answered %q", line) }
