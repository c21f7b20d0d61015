package sched

import (
	"math"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// forecast expects of the near future what the recent past was like: when jobs
// come, how much work they bring at its cheapest, and how long they can wait. It
// answers one question, by which the policy decides what accuracy may cost: if
// the instances have so much to do when this batch starts, how many of the items
// that are yet to come will be late for it?
//
// Everything is an average that forgets with the number of jobs seen, so a burst
// is noticed within a burst.
type forecast struct {
	jobs            int         // seen
	last            slo.Instant // of the last arrival
	lastSize        float64     // its items
	items           float64     // mean items per job
	work            float64     // mean cheapest work per job, ns per instance
	meanDeadline    float64     // mean relative deadline, ns
	noDeadlineShare float64     // share of items without a deadline

	gap, gapPerItem spread // time between jobs; the same per item of the earlier job

	// waits[i] is the share of items, by their job, that can wait less than
	// waitEdges[i+1]: relative deadline less the job's own shortest time.
	waits [waitBins]float64
}

// spread is a mean and a mean square that forget.
type spread struct{ mean, square float64 }

// forget is what one job counts in the averages.
const forget = 1.0 / 48

// Waiting times are counted in bins from waitMin, each wider than the one before
// by waitRatio: 0.5 ms to 50 s.
const (
	waitBins  = 56
	waitMin   = 0.5e6
	waitRatio = 1.23
)

// drainMin keeps the forecast finite when work comes as fast as it is done: a
// backlog then lasts for some thirty times its length.
const drainMin = 0.03

// impliedDeadline is the assumed deadline of a job without one, or the time that it
// takes itself if that is longer. Its client minds waiting, even if it has not said
// so; a server that never expected such jobs to be late would run everything on all
// modalities whatever the load.
const impliedDeadline = time.Second

// waitEdges are the bins' bounds.
var waitEdges = func() (edges [waitBins + 1]float64) {
	edges[0] = 0
	for i := 1; i <= waitBins; i++ {
		edges[i] = waitMin * math.Pow(waitRatio, float64(i-1))
	}
	return edges
}()

func (s *spread) see(x, share float64) {
	s.mean += share * (x - s.mean)
	s.square += share * (x*x - s.square)
}

// variation is the squared coefficient of variation: 0 for a metronome, 1 for a
// Poisson process.
func (s *spread) variation() float64 {
	if s.mean <= 0 {
		return 1
	}
	return max(0, s.square/(s.mean*s.mean)-1)
}

// arrive learns from a job of so many items that is due at deadline, brings work
// and can wait so long for its start.
func (f *forecast) arrive(now slo.Instant, items int, deadline slo.Instant, work int64, wait time.Duration) {
	share := max(forget, 1/float64(f.jobs+1)) // a plain mean at first
	if f.jobs > 0 {
		gap := float64(now - f.last)
		gapShare := max(forget, 1/float64(f.jobs))
		f.gap.see(gap, gapShare)
		f.gapPerItem.see(gap/f.lastSize, gapShare)
	}
	size := float64(items)
	f.items += share * (size - f.items)
	f.work += share * (float64(work) - f.work)
	weight := share * size / max(f.items, 1)
	for i := range f.waits {
		f.waits[i] *= 1 - min(1, weight)
	}
	wait = min(wait, max(impliedDeadline, time.Duration(work)))
	meanDeadline, noDeadlineShare := wait, 1.0
	if deadline != slo.Never {
		meanDeadline, noDeadlineShare = deadline.Sub(now), 0
	}
	f.meanDeadline += share * (float64(meanDeadline) - f.meanDeadline)
	f.noDeadlineShare += min(1, weight) * (noDeadlineShare - f.noDeadlineShare)
	for i := waitBins - 1; i >= 0 && waitEdges[i+1] > float64(wait); i-- {
		f.waits[i] += min(1, weight)
	}
	f.jobs++
	f.last, f.lastSize = now, size
}

// impatient is the share of items that cannot wait t ns.
func (f *forecast) impatient(t float64) float64 {
	if t <= 0 {
		return 0
	}
	below := 0.0
	for i, share := range f.waits {
		if t < waitEdges[i+1] {
			return below + (share-below)*(t-waitEdges[i])/(waitEdges[i+1]-waitEdges[i])
		}
		below = share
	}
	return f.waits[waitBins-1]
}

// area is the integral of impatient from 0 to t.
func (f *forecast) area(t float64) float64 {
	sum, below := 0.0, 0.0
	for i := range f.waits {
		width := min(t, waitEdges[i+1]) - waitEdges[i]
		if width <= 0 {
			break
		}
		sum += width * (below + f.waits[i]) / 2
		below = f.waits[i]
	}
	return sum
}

// irregular is 0 when jobs come like clockwork and 1 when they come at random,
// as Poisson arrivals do, or worse.
func (f *forecast) irregular() float64 {
	return min(1, f.gap.variation(), f.gapPerItem.variation())
}

// load is the share of the instances' time that jobs as of late take at their
// cheapest. It exceeds 1 when they bring more than can be served.
func (f *forecast) load() float64 { return f.work / max(f.gap.mean, 1) }

// late is the expected number of items, of jobs yet to come, that will be late
// when the instances have backlog ns of work each, counted from now.
func (f *forecast) late(now slo.Instant, backlog float64) float64 {
	if f.jobs < 2 || backlog <= 0 {
		return 0
	}
	// Arrivals per ns, and by how much the backlog shrinks per ns in spite of them.
	mean, size, variation := f.gap.mean, 1.0, f.gap.variation()
	if v := f.gapPerItem.variation(); v < variation {
		mean, size, variation = f.gapPerItem.mean, f.lastSize, v
	}
	rate := 1 / max(f.gap.mean, 1)
	drain := max(drainMin, 1-f.load())
	perArea := f.items * rate / drain
	// The next arrival: on the beat as far as arrivals are regular, at any time
	// as far as they are not.
	irregular := min(1, variation)
	since := float64(now - f.last)
	left := max(0, mean*size-since)
	regular := 0.0
	if x := backlog - left; x > 0 {
		regular = f.items*f.impatient(x) + perArea*max(0, f.area(x+f.work)-f.area(f.work))
	}
	return irregular*perArea*f.area(backlog) + (1-irregular)*regular
}
