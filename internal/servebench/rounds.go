package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/stats"
)

// Shapes of load: how many requests are under way in the closed loops, and at
// most in the open loop, where a handful are.
var closedCallers = []int{16, 64}

const openCallers = 64

// A round in which other processes used more than this share of the machine is
// repeated, up to a bound; then the quietest rounds are used.
const (
	othersMax  = 0.05
	attemptMax = 1.5
)

// measurement is of one subject in one round.
type measurement struct {
	rate     float64 // requests per second
	p50, p99 float64 // milliseconds
	requests int
	used     usage           // by the server's process
	took     []time.Duration // in the open loop, ascending
}

// round is one turn of every subject under the same load.
type round struct {
	of     [subjectsEnd]measurement
	others float64 // share of the machine that processes other than ours took
}

// result is what was measured of one transport.
type result struct {
	*transport
	closed map[int][]round // by callers
	open   []round
	rate   float64 // requests per second of the open loop
}

// measureTransport measures the servers in turn in short rounds, so that changes of the
// machine's speed affect all of them equally: first saturated, then at half of mosel's
// saturated rate.
func measureTransport(ctx context.Context, o options, p pair, t *transport) (*result, error) {
	r := &result{transport: t, closed: map[int][]round{}}
	for _, callers := range closedCallers {
		rounds, err := takeTurns(ctx, o, p, t, func(s subject, _ int) (measurement, error) { return s.saturate(ctx, callers, o.span) })
		if err != nil {
			return nil, err
		}
		r.closed[callers] = rounds
		r.rate = max(r.rate, median(rounds, mosel, rateOf)/2)
	}
	var err error
	r.open, err = takeTurns(ctx, o, p, t, func(s subject, n int) (measurement, error) {
		return s.pace(ctx, arrivals(r.rate, o.span, uint64(n)))
	})
	return r, err
}

// takeTurns measures every subject once in each round, each time in another
// order, and returns the quietest rounds.
func takeTurns(ctx context.Context, o options, p pair, t *transport, measure func(s subject, n int) (measurement, error)) ([]round, error) {
	var rounds []round
	quiet := 0
	for n := 0; quiet < o.rounds && float64(n) < attemptMax*float64(o.rounds); n++ {
		var r round
		began, before, ours := time.Now(), busyTime(), p.processorTime(ctx)
		for i := range t.subjects {
			at := (i + n) % subjectsEnd
			var err error
			if r.of[at], err = measure(t.subjects[at], n); err != nil {
				return nil, fmt.Errorf("%s: %w", t.subjects[at].name, err)
			}
		}
		others := busyTime() - before - (p.processorTime(ctx) - ours)
		r.others = max(0, others.Seconds()/time.Since(began).Seconds()/float64(runtime.NumCPU()))
		if r.others <= othersMax {
			quiet++
		}
		rounds = append(rounds, r)
	}
	slices.SortStableFunc(rounds, func(a, b round) int { return cmp.Compare(a.others, b.others) })
	return rounds[:min(o.rounds, len(rounds))], nil
}

// processorTime returns the processor time of this process and the two servers together.
func (p pair) processorTime(ctx context.Context) time.Duration {
	sum := replay.ProcessCPU()
	for _, c := range []*child{p.mosel, p.bare} {
		u, err := c.used(ctx)
		if err != nil {
			return 0 // the next measurement will return the error
		}
		sum += time.Duration(u.CPU)
	}
	return sum
}

// saturate measures one round of a closed loop.
func (s subject) saturate(ctx context.Context, n int, span time.Duration) (m measurement, err error) {
	callers, err := openAll(s.open, n)
	if err != nil {
		return m, err
	}
	defer closeAll(callers)
	before, err := s.child.used(ctx)
	if err != nil {
		return m, err
	}
	answered, took, err := closedLoop(callers, span)
	if err != nil {
		return m, err
	}
	after, err := s.child.used(ctx)
	if err != nil {
		return m, err
	}
	m.rate, m.requests = float64(answered)/took.Seconds(), answered
	m.used = after.since(before)
	return m, ctx.Err()
}

// pace measures one round of an open loop.
func (s subject) pace(ctx context.Context, at []time.Duration) (m measurement, err error) {
	callers, err := openAll(s.open, openCallers)
	if err != nil {
		return m, err
	}
	defer closeAll(callers)
	before, err := s.child.used(ctx)
	if err != nil {
		return m, err
	}
	m.took, err = openLoop(ctx, callers, at)
	if err != nil {
		return m, err
	}
	after, err := s.child.used(ctx)
	if err != nil {
		return m, err
	}
	m.requests, m.used = len(at), after.since(before)
	m.p50, m.p99 = stats.Milliseconds(stats.Quantile(m.took, 0.5)), stats.Milliseconds(stats.Quantile(m.took, 0.99))
	return m, nil
}

// Values of a measurement for the table.
func rateOf(m measurement) float64        { return m.rate }
func p50Of(m measurement) float64         { return m.p50 }
func p99Of(m measurement) float64         { return m.p99 }
func processorOf(m measurement) float64   { return float64(m.used.CPU) / 1e3 / float64(m.requests) } // microseconds
func allocationsOf(m measurement) float64 { return float64(m.used.Allocations) / float64(m.requests) }
func allocatedOf(m measurement) float64   { return float64(m.used.Allocated) / float64(m.requests) }

func waitedOf(m measurement) float64 { return float64(m.used.Waited) / 1e3 / float64(m.requests) } // microseconds

// together returns a quantile, in milliseconds, of all latencies of one subject in the
// open loop. It includes events of a few rounds only, such as garbage collections, which
// the median of the rounds leaves out.
func together(rounds []round, subject int, q float64) float64 {
	var all []time.Duration
	for _, r := range rounds {
		all = append(all, r.of[subject].took...)
	}
	slices.Sort(all)
	return stats.Milliseconds(stats.Quantile(all, q))
}

// median returns the median over the rounds of one value of one subject.
func median(rounds []round, subject int, of func(measurement) float64) float64 {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = of(r.of[subject])
	}
	return middle(values)
}
