package sched

import (
	"math"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// forecast predicts arrivals from the recent past: when jobs come, how much work they
// bring at their cheapest, and how long they can wait. It answers one question for the
// policy: with a given amount of work when this batch starts, how many expected
// items will that make late?
//
// Each figure is an average that forgets by the number of jobs, not by time: the
// forecast notices a burst while it lasts.
type forecast struct {
	jobs            int         // jobs seen
	last            slo.Instant // last arrival
	lastSize        float64     // its items
	items           float64     // mean items per job
	work            float64     // mean cheapest work per job, ns per instance
	meanDeadline    float64     // mean relative deadline, ns
	noDeadlineShare float64     // share of items without a deadline

	gap, gapPerItem spread // time between jobs; the same per item of the earlier job

	// waits[i] is the share of items that can wait less than waitEdges[i+1]. An item
	// can wait for its job's relative deadline minus the job's shortest time.
	waits [waitBins]float64
}

// spread is an exponentially weighted mean and mean square.
type spread struct{ mean, square float64 }

// forget is the weight of one job in the averages.
const forget = 1.0 / 48

// Waiting times are counted in bins from waitMin. Each bin is waitRatio times as wide
// as the previous one: 0.5 ms to 50 s.
const (
	waitBins  = 56
	waitMin   = 0.5e6
	waitRatio = 1.23
)

// drainMin keeps the forecast finite if work arrives as fast as it is done. The time to
// drain a backlog is then about thirty times its length.
const drainMin = 0.03

// impliedDeadline is the assumed deadline of a job without one, or the job's own time
// if that is longer. Such clients mind waiting too. If they were assumed never to be
// late, the server would run everything on all modalities, whatever the load.
const impliedDeadline = time.Second

// waitEdges are the bounds of the bins.
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

// variation returns the squared coefficient of variation: 0 for regular arrivals, 1 for
// a Poisson process.
func (s *spread) variation() float64 {
	if s.mean <= 0 {
		return 1
	}
	return max(0, s.square/(s.mean*s.mean)-1)
}

// arrive learns from a job of the given number of items: when it is due, how much work
// it brings (ns) and how long its start can wait.
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

// impatient returns the share of items that cannot wait t ns.
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

// area returns the integral of impatient from 0 to t.
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

// irregular returns 0 for regular arrivals and 1 for arrivals at least as random as a
// Poisson process.
func (f *forecast) irregular() float64 {
	return min(1, f.gap.variation(), f.gapPerItem.variation())
}

// load returns the share of the instances' time that recent jobs need at their
// cheapest. It exceeds 1 if they bring more work than the instances can do.
func (f *forecast) load() float64 { return f.work / max(f.gap.mean, 1) }

// late returns the expected number of items, of expected jobs, that will be late if the
// instances have backlog ns of work each from now on.
func (f *forecast) late(now slo.Instant, backlog float64) float64 {
	if f.jobs < 2 || backlog <= 0 {
		return 0
	}
	// The arrivals per ns, and by how much the backlog shrinks per ns in spite of them.
	mean, size, variation := f.gap.mean, 1.0, f.gap.variation()
	if v := f.gapPerItem.variation(); v < variation {
		mean, size, variation = f.gapPerItem.mean, f.lastSize, v
	}
	rate := 1 / max(f.gap.mean, 1)
	drain := max(drainMin, 1-f.load())
	perArea := f.items * rate / drain
	// The next arrival: at the mean gap if arrivals are regular, at any time if they
	// are random, and a mixture in between.
	irregular := min(1, variation)
	since := float64(now - f.last)
	left := max(0, mean*size-since)
	regular := 0.0
	if x := backlog - left; x > 0 {
		regular = f.items*f.impatient(x) + perArea*max(0, f.area(x+f.work)-f.area(f.work))
	}
	return irregular*perArea*f.area(backlog) + (1-irregular)*regular
}
