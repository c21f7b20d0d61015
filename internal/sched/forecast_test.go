package sched

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

const ms = time.Millisecond

// stream describes jobs of a number of items. gap draws the time between them; they are
// due after deadline, bring work and can wait for wait.
type stream struct {
	items                int
	gap                  func() time.Duration
	deadline, work, wait time.Duration
}

// learn feeds n jobs to a forecast and returns it with the instant of the last arrival.
func (s stream) learn(n int) (*forecast, slo.Instant) {
	f := &forecast{}
	var now slo.Instant
	for range n {
		now = now.Add(s.gap())
		f.arrive(now, s.items, now.Add(s.deadline), int64(s.work), s.wait)
	}
	return f, now
}

func every(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// atRandom draws the gaps of Poisson arrivals.
func atRandom(seed uint64, mean time.Duration) func() time.Duration {
	rng := rand.New(rand.NewPCG(seed, 6))
	return func() time.Duration { return time.Duration(rng.ExpFloat64() * float64(mean)) }
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > tolerance {
		t.Errorf("%s is %g, want %g within %g", what, got, want, tolerance)
	}
}

// TestForecastKnowsNothing checks that a forecast that has seen nothing expects
// nothing.
func TestForecastKnowsNothing(t *testing.T) {
	var f forecast
	f.arrive(5, 3, 100, 10, 50)
	if late := f.late(10, 1e12); late != 0 {
		t.Errorf("after one job %g items are expected to be late", late)
	}
	near(t, "variation of nothing", (&spread{}).variation(), 1, 0)
}

// TestForecastPlainMean checks that the first jobs have equal weight, whatever forget
// is.
func TestForecastPlainMean(t *testing.T) {
	var f forecast
	var now slo.Instant
	var items, work, meanDeadline, gaps float64
	const jobs = 20
	for i := range jobs {
		gap := time.Duration(i*i) * ms
		now = now.Add(gap)
		if i > 0 {
			gaps += float64(gap)
		}
		size, w, d := 1+i%5, int64(1000*i), time.Duration(10+i)*ms
		items, work, meanDeadline = items+float64(size), work+float64(w), meanDeadline+float64(d)
		f.arrive(now, size, now.Add(d), w, d/2)
	}
	near(t, "items", f.items, items/jobs, 1e-9)
	near(t, "work", f.work, work/jobs, 1e-6)
	near(t, "mean deadline", f.meanDeadline, meanDeadline/jobs, 1e-3)
	near(t, "gap", f.gap.mean, gaps/(jobs-1), 1e-3)
}

// TestForecastForgets checks that old jobs no longer count.
func TestForecastForgets(t *testing.T) {
	f, now := stream{8, every(time.Second), time.Second, 50 * ms, 500 * ms}.learn(10_000)
	near(t, "load", f.load(), 0.05, 1e-6)
	for range 240 { // five times the memory
		now = now.Add(10 * ms)
		f.arrive(now, 1, now.Add(40*ms), int64(5*ms), 20*ms)
	}
	near(t, "items", f.items, 1, 0.06)
	near(t, "gap", f.gap.mean, 10e6, 8e6)
	near(t, "mean deadline", f.meanDeadline, 40e6, 8e6)
	near(t, "share that cannot wait 30 ms", f.impatient(30e6), 1, 0.1) // waits are weighted by items: large jobs last
}

// TestForecastIrregular compares regular with random arrivals.
func TestForecastIrregular(t *testing.T) {
	clockwork, _ := stream{2, every(7 * ms), 50 * ms, ms, 40 * ms}.learn(500)
	near(t, "a metronome", clockwork.irregular(), 0, 1e-9)
	var sum float64
	for seed := range uint64(20) {
		f, _ := stream{2, atRandom(seed, 7*ms), 50 * ms, ms, 40 * ms}.learn(500)
		sum += f.irregular() / 20
	}
	if sum < 0.7 || sum > 1 {
		t.Errorf("arrivals at random are %g irregular", sum)
	}
	// Jobs of changing size, each followed by a proportional pause, are regular per
	// item.
	f := &forecast{}
	var now slo.Instant
	for i := range 500 {
		size := 1 + i%7
		f.arrive(now, size, now.Add(50*ms), int64(ms), 40*ms)
		now = now.Add(time.Duration(size) * ms)
	}
	near(t, "a steady stream of items", f.irregular(), 0, 1e-9)
}

// TestImpatient checks the distribution of waiting times: it grows from 0 to 1, is
// exact to one bin, and area is its integral at the bounds of the bins.
func TestImpatient(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 7))
	for range 50 {
		f := &forecast{}
		var now slo.Instant
		for range 1 + rng.IntN(200) {
			now = now.Add(ms)
			wait := time.Duration(math.Exp(rng.Float64()*12) * 1e5) // 0.1 ms to 16 s
			f.arrive(now, 1+rng.IntN(5), now.Add(2*wait), int64(wait), wait)
		}
		last, area := 0.0, 0.0
		for i := 1; i <= waitBins; i++ {
			low, high := waitEdges[i-1], waitEdges[i]
			middle, end := f.impatient((low+high)/2), f.impatient(math.Nextafter(high, 0))
			if middle < last-1e-12 || end < middle-1e-12 || end > 1+1e-12 {
				t.Fatalf("from %g to %g the share goes from %g by %g to %g", low, high, last, middle, end)
			}
			near(t, "the middle of a bin", middle, (last+end)/2, 1e-9)
			before := area
			area += (high - low) * (last + end) / 2
			near(t, "area", f.area(high), area, 1e-6*area)
			if part := f.area((low + high) / 2); part < before-1e-6*area || part > area+1e-6*area {
				t.Fatalf("area %g is not between %g and %g", part, before, area)
			}
			last = end
		}
		near(t, "the share that cannot wait for ever", f.impatient(math.Inf(1)), last, 1e-12)
	}
}

// TestImpatientOfOneKind checks where the share rises if all jobs can wait equally
// long.
func TestImpatientOfOneKind(t *testing.T) {
	for _, wait := range []time.Duration{0, ms, 20 * ms, 3 * time.Second} {
		f, _ := stream{1, every(ms), time.Hour, time.Hour, wait}.learn(300)
		if wait > 0 {
			near(t, "share that cannot wait a bin less", f.impatient(float64(wait)/waitRatio), 0, 1e-9)
		}
		near(t, "share that cannot wait a bin more", f.impatient(max(waitMin, float64(wait))*waitRatio), 1, 1e-9)
		near(t, "share that cannot wait no time", f.impatient(0), 0, 0)
	}
}

// TestForecastWithoutDeadline checks that jobs without a deadline are assumed to have
// the implied deadline, or their own time if that is longer.
func TestForecastWithoutDeadline(t *testing.T) {
	noDeadlineShare := func(work time.Duration) *forecast {
		f := &forecast{}
		for i := range 300 {
			f.arrive(slo.Instant(i)*slo.Instant(ms), 1, slo.Never, int64(work), time.Duration(math.MaxInt64))
		}
		return f
	}
	f := noDeadlineShare(ms)
	near(t, "share without a deadline", f.noDeadlineShare, 1, 1e-9)
	near(t, "mean deadline", f.meanDeadline, float64(impliedDeadline), 1)
	near(t, "share that cannot wait half of it", f.impatient(float64(impliedDeadline)/2), 0, 1e-9)
	near(t, "share that cannot wait twice as long", f.impatient(float64(impliedDeadline)*2), 1, 1e-9)
	f = noDeadlineShare(10 * time.Second)
	near(t, "share of long jobs that cannot wait for their length", f.impatient(7e9), 0, 1e-9)
	for i := range 300 {
		now := slo.Instant(time.Second) + slo.Instant(i)*slo.Instant(ms)
		f.arrive(now, 1, now.Add(50*ms), int64(ms), 20*ms)
	}
	near(t, "share without a deadline, of late", f.noDeadlineShare, 0, 0.01)
}

// TestLateGrows checks that more work never makes fewer items late, and that none is
// late if there is no work or every job can wait for it.
func TestLateGrows(t *testing.T) {
	for name, gap := range map[string]func() time.Duration{"clockwork": every(10 * ms), "random": atRandom(1, 10*ms)} {
		for _, load := range []float64{0.1, 0.5, 0.95, 2} {
			f, now := stream{3, gap, 100 * ms, time.Duration(load * 10e6), 60 * ms}.learn(400)
			last := 0.0
			for backlog := -5e6; backlog < 2e9; backlog += 3e6 {
				late := f.late(now, backlog)
				if late < last || math.IsNaN(late) || math.IsInf(late, 0) {
					t.Fatalf("%s, load %g: %g ns of work make %g items late, less made %g", name, load, backlog, late, last)
				}
				if backlog < 30e6 && late > 0 {
					t.Errorf("%s, load %g: %g items are late for %g ns, which all can wait", name, load, late, backlog)
				}
				last = late
			}
			if last == 0 {
				t.Errorf("%s, load %g: no item is late for two seconds of work", name, load)
			}
		}
	}
}

// TestLateAgainstCount compares the expectation with a count in a simple simulation:
// the backlog shrinks with time and grows with each job, and a job is late if it
// arrives while the backlog is longer than it can wait.
func TestLateAgainstCount(t *testing.T) {
	const gap, wait, items = 10 * ms, 60 * ms, 3
	count := func(backlog float64, work time.Duration, gap func() time.Duration) (late float64) {
		for range 1000 {
			if backlog -= float64(gap()); backlog <= 0 {
				break
			}
			if backlog > float64(wait) {
				late += items
			}
			backlog += float64(work)
		}
		return late
	}
	for _, load := range []float64{0.1, 0.4, 0.7} {
		work := time.Duration(load * float64(gap))
		for _, backlog := range []float64{150e6, 400e6, 900e6} {
			f, now := stream{items, every(gap), 100 * ms, work, wait}.learn(500)
			exact := count(backlog, work, every(gap))
			// The count has whole jobs; the forecast also has parts of them.
			near(t, "late at regular arrivals", f.late(now, backlog), exact, items*(1+load/(1-load))+0.15*exact)

			var expected, mean float64
			const runs = 300
			for seed := range uint64(runs) {
				f, now := stream{items, atRandom(seed, gap), 100 * ms, work, wait}.learn(500)
				expected += f.late(now, backlog) / runs
				mean += count(backlog, work, atRandom(seed+runs, gap)) / runs
			}
			near(t, "late at random arrivals", expected, mean, 0.25*mean+items)
		}
	}
}

// TestLateIsBounded checks that an overloaded server still expects a finite number of
// late items, as drainMin ensures.
func TestLateIsBounded(t *testing.T) {
	f, now := stream{1, atRandom(2, ms), 10 * ms, 5 * ms, 5 * ms}.learn(400)
	if f.load() < 2 {
		t.Fatalf("load %g", f.load())
	}
	const backlog = 1e9
	if late, most := f.late(now, backlog), backlog/f.gap.mean/drainMin*f.items; late <= 0 || late > most {
		t.Errorf("%g items are late, want at most %g", late, most)
	}
}

// TestLateOnTheBeat checks regular arrivals: work that is done before the next job is
// due makes nothing late, and longer work makes the whole job late.
func TestLateOnTheBeat(t *testing.T) {
	f, last := stream{3, every(100 * ms), time.Second, ms, 60 * ms}.learn(500)
	const backlog = 120e6
	near(t, "late just after a job", f.late(last, backlog), 0, 0)
	near(t, "late half-way", f.late(last.Add(30*ms), backlog), 0, 0)
	near(t, "late just before the next", f.late(last.Add(100*ms), backlog), 4.5, 1.5) // and part of the one after it
	near(t, "late when the next is overdue", f.late(last.Add(time.Second), backlog), 4.5, 1.5)
	near(t, "late later", f.late(last, 360e6), 9, 2) // the jobs after 100, 200 and, nearly, 300 ms
}
