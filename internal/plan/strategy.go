package plan

import (
	"math"
	"sort"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Strategy says how many of a job's items take each route.
type Strategy struct {
	Items []int         // by route; sums to the job's size
	Time  time.Duration // of the routes' batches one after another
	Score slo.Score     // expected: the sum over items of the accuracy of their route
	Exact bool          // false: the search was cut short, so a cheaper strategy may exist
}

// Size returns the number of items of the job.
func (s Strategy) Size() int {
	n := 0
	for _, x := range s.Items {
		n += x
	}
	return n
}

// Accuracy returns the expected mean accuracy of the job, rounded down to a millionth.
func (s Strategy) Accuracy() slo.Accuracy { return s.Score.Mean(s.Size()) }

// nodesMax bounds one search. Searches on profiles of real models visit tens to
// thousands of nodes, even for 100,000 items. Only many routes with almost the same
// trade-off (adversarial profiles) come near the bound. Then the best strategy so far
// is returned with Exact false. A node takes tens of nanoseconds, so the bound keeps
// admission under about 20 ms.
const nodesMax = 200_000

// Cheapest returns the strategy of least time for n >= 1 items whose expected score is
// at least target (for a floor: floor.Times(n)), using only allowed routes. It returns
// false if not even the most accurate route reaches the target. Among strategies of
// equal time the choice is deterministic.
//
// The problem is the paper's integer program: minimise the sum of the routes' times
// under an accuracy constraint. Depth-first branch and bound solves it exactly. A
// route's share is enumerated outwards from where the bound is least. The bound for the
// rest is the lower convex hull of time per item over accuracy, which no batching can
// beat.
func (p *Planner) Cheapest(n int, target slo.Score, allowed Set) (Strategy, bool) {
	if n == 1 {
		return p.cheapestOne(target, allowed)
	}
	s := newSearch(p, n, target, allowed)
	if s == nil {
		return Strategy{}, false
	}
	s.seed()
	s.branch(0, n, target, 0)
	return Strategy{Items: s.best, Time: s.bestTime, Score: s.score(), Exact: s.nodes < nodesMax}, true
}

func (p *Planner) cheapestOne(target slo.Score, allowed Set) (Strategy, bool) {
	best := -1
	for i := range p.routes {
		v := &p.routes[i]
		if !allowed.Has(i) || slo.Score(v.Accuracy) < target {
			continue
		}
		if best < 0 || v.Curve.batch[1] < p.routes[best].Curve.batch[1] ||
			(v.Curve.batch[1] == p.routes[best].Curve.batch[1] && v.Accuracy > p.routes[best].Accuracy) {
			best = i
		}
	}
	if best < 0 {
		return Strategy{}, false
	}
	return p.Uniform(1, best), true
}

// Uniform returns the strategy that runs all n items on route v.
func (p *Planner) Uniform(n, v int) Strategy {
	items := make([]int, len(p.routes))
	items[v] = n
	return Strategy{Items: items, Time: p.routes[v].Curve.Time(n), Score: p.routes[v].Accuracy.Times(n), Exact: true}
}

// Best returns the strategy with the highest expected score for n >= 1 items that takes
// at most budget, and among equals the one of least time. It returns false if even the
// cheapest route takes longer.
func (p *Planner) Best(n int, budget time.Duration, allowed Set) (Strategy, bool) {
	best, ok := p.Cheapest(n, 0, allowed)
	if !ok || best.Time > budget {
		return Strategy{}, false
	}
	low, high := best.Score, p.MaxAccuracy(allowed).Times(n)
	for low < high {
		mid := low + (high-low+1)/2
		s, ok := p.Cheapest(n, mid, allowed)
		if ok && s.Time <= budget {
			best, low = s, s.Score
		} else {
			high = mid - 1
		}
	}
	return best, true
}

// search is one run of branch and bound.
type search struct {
	planner  *Planner
	order    []int     // routes in branching order
	hulls    [][]point // hulls[d]: bound for the routes order[d:]
	items    []int     // the strategy being built, by route
	best     []int
	bestTime time.Duration
	n        int
	target   slo.Score
	nodes    int
}

// point is a corner of a hull: an accuracy and the least time per item for it.
type point struct {
	acc  float64
	time float64
}

// newSearch orders the allowed routes and builds the bounds. It returns nil if the
// target is out of reach.
func newSearch(p *Planner, n int, target slo.Score, allowed Set) *search {
	if p.MaxAccuracy(allowed).Times(n) < target || allowed&(^Set(0)>>(64-len(p.routes))) == 0 {
		return nil
	}
	s := &search{planner: p, n: n, target: target, items: make([]int, len(p.routes)), bestTime: math.MaxInt64}
	for i := range p.routes {
		if allowed.Has(i) && !p.beaten(i, allowed) {
			s.order = append(s.order, i)
		}
	}
	// The last route gets all remaining items, so the routes with most of an optimum
	// (those on the hull, cheap first) go last.
	hull := p.hullOf(s.order)
	sort.SliceStable(s.order, func(a, b int) bool {
		va, vb := &p.routes[s.order[a]], &p.routes[s.order[b]]
		onA, onB := onHull(hull, va), onHull(hull, vb)
		if onA != onB {
			return onB
		}
		return va.Curve.PerItem() > vb.Curve.PerItem()
	})
	s.hulls = make([][]point, len(s.order))
	for d := range s.order {
		s.hulls[d] = p.hullOf(s.order[d:])
	}
	return s
}

// beaten reports whether another allowed route is at least as accurate and takes no
// longer for any number of items, so that i is never needed. The first among equals
// stays.
func (p *Planner) beaten(i int, allowed Set) bool {
	vi := &p.routes[i]
	for j, vj := range p.routes {
		if j == i || !allowed.Has(j) || vj.Accuracy < vi.Accuracy || vj.Curve.Max() < vi.Curve.Max() {
			continue
		}
		less, equal := true, vj.Accuracy == vi.Accuracy
		for b := 1; b <= vi.Curve.Max() && less; b++ {
			less = vj.Curve.split[b] <= vi.Curve.split[b]
			equal = equal && vj.Curve.split[b] == vi.Curve.split[b]
		}
		if less && (!equal || j < i) {
			return true
		}
	}
	return false
}

// hullOf returns the lower left convex hull of (accuracy, time per item) over the
// routes: the least time per item at which a mix reaches an accuracy.
func (p *Planner) hullOf(routes []int) []point {
	points := make([]point, len(routes))
	for i, v := range routes {
		points[i] = point{float64(p.routes[v].Accuracy), p.routes[v].Curve.PerItem()}
	}
	sort.Slice(points, func(i, j int) bool {
		if points[i].acc != points[j].acc {
			return points[i].acc < points[j].acc
		}
		return points[i].time < points[j].time
	})
	var hull []point
	for _, c := range points {
		if len(hull) > 0 && hull[len(hull)-1].acc == c.acc {
			continue // same accuracy, no cheaper
		}
		for len(hull) > 0 && hull[len(hull)-1].time >= c.time {
			hull = hull[:len(hull)-1] // less accurate and no cheaper
		}
		for len(hull) >= 2 {
			a, b := hull[len(hull)-2], hull[len(hull)-1]
			if (b.time-a.time)*(c.acc-a.acc) < (c.time-a.time)*(b.acc-a.acc) {
				break
			}
			hull = hull[:len(hull)-1]
		}
		hull = append(hull, c)
	}
	return hull
}

func onHull(hull []point, r *Route) bool {
	for _, c := range hull {
		if c.acc == float64(r.Accuracy) && c.time == r.Curve.PerItem() {
			return true
		}
	}
	return false
}

// bound returns the least time, in nanoseconds, in which m items of the routes
// order[d:] can score t; +Inf if they cannot. It is convex in (m, t).
func (s *search) bound(d, m int, t slo.Score) float64 {
	if m == 0 {
		if t > 0 {
			return math.Inf(1)
		}
		return 0
	}
	hull := s.hulls[d]
	need := float64(t) / float64(m)
	if need <= hull[0].acc {
		return float64(m) * hull[0].time
	}
	last := hull[len(hull)-1]
	if need > last.acc {
		if need-last.acc < 1e-6*last.acc { // rounding of the division
			return float64(m) * last.time
		}
		return math.Inf(1)
	}
	i := sort.Search(len(hull), func(i int) bool { return hull[i].acc >= need })
	a, b := hull[i-1], hull[i]
	return float64(m) * (a.time + (b.time-a.time)*(need-a.acc)/(b.acc-a.acc))
}

// prune reports whether a bound shows that nothing below it is better than the best so
// far. Times are whole nanoseconds, so a bound above best-1 is enough. The margin
// covers the rounding of the bound.
func (s *search) prune(bound float64) bool {
	return bound > float64(s.bestTime)-1+1e-9*float64(s.bestTime)+1e-3
}

// seed finds a good first strategy, so that pruning starts early. It tries every pair
// of routes, with the more accurate one at its least share or at the next larger shares
// up to a full batch.
func (s *search) seed() {
	for _, i := range s.order {
		for _, j := range s.order {
			s.seedPair(i, j)
		}
	}
}

func (s *search) seedPair(i, j int) {
	vi, vj := &s.planner.routes[i], &s.planner.routes[j]
	lack := s.target - vi.Accuracy.Times(s.n)
	x := 0
	if lack > 0 {
		if vj.Accuracy <= vi.Accuracy {
			return
		}
		gain := slo.Score(vj.Accuracy - vi.Accuracy)
		x = int((lack + gain - 1) / gain)
	}
	for end := min(s.n, x+vj.Curve.best); x <= end; x++ {
		if vi.Accuracy.Times(s.n-x)+vj.Accuracy.Times(x) < s.target {
			return // more items on the less accurate one
		}
		if t := vi.Curve.Time(s.n-x) + vj.Curve.Time(x); t < s.bestTime {
			clear(s.items)
			s.items[i] += s.n - x
			s.items[j] += x
			s.keep(t)
		}
	}
	clear(s.items)
}

func (s *search) keep(t time.Duration) {
	s.bestTime = t
	s.best = append(s.best[:0], s.items...)
}

func (s *search) score() slo.Score {
	var sum slo.Score
	for v, x := range s.best {
		sum += s.planner.routes[v].Accuracy.Times(x)
	}
	return sum
}

// branch divides m items over order[d:] so that they score at least t. The routes
// before have taken spent.
func (s *search) branch(d, m int, t slo.Score, spent time.Duration) {
	if s.nodes >= nodesMax {
		return
	}
	s.nodes++
	v := s.order[d]
	route := &s.planner.routes[v]
	if d == len(s.order)-1 {
		if total := spent + route.Curve.Time(m); route.Accuracy.Times(m) >= t && total < s.bestTime {
			s.items[v] = m
			s.keep(total)
			s.items[v] = 0
		}
		return
	}
	low, high := s.feasible(d, m, t, route.Accuracy)
	if low > high {
		return
	}
	perItem := route.Curve.PerItem()
	bound := func(x int) float64 {
		return float64(spent) + float64(x)*perItem + s.bound(d+1, m-x, t-route.Accuracy.Times(x))
	}
	start := minimise(low, high, bound)
	for x := start; x <= high && !s.prune(bound(x)); x++ {
		s.try(d, x, m, t, spent)
	}
	for x := start - 1; x >= low && !s.prune(bound(x)); x-- {
		s.try(d, x, m, t, spent)
	}
	s.items[v] = 0
}

// try gives x items to order[d] and divides the rest, unless the real time of x, in
// batches, already rules that out.
func (s *search) try(d, x, m int, t slo.Score, spent time.Duration) {
	v := s.order[d]
	route := &s.planner.routes[v]
	spent += route.Curve.Time(x)
	t -= route.Accuracy.Times(x)
	if s.prune(float64(spent) + s.bound(d+1, m-x, t)) {
		return
	}
	s.items[v] = x
	s.branch(d+1, m-x, t, spent)
}

// feasible returns the range of items for a route of accuracy acc that lets the later
// routes reach the remaining score.
func (s *search) feasible(d, m int, t slo.Score, acc slo.Accuracy) (low, high int) {
	hull := s.hulls[d+1]
	rest := slo.Score(hull[len(hull)-1].acc)
	lack := t - rest*slo.Score(m) // > 0: this route must make it up
	diff := slo.Score(acc) - rest
	switch {
	case diff == 0 && lack > 0:
		return 1, 0
	case diff == 0:
		return 0, m
	case diff > 0:
		return int(max(0, (lack+diff-1)/diff)), m
	case lack > 0:
		return 1, 0
	default:
		return 0, int(min(slo.Score(m), lack/diff))
	}
}

// minimise returns the argument of the minimum of a convex function on integers.
func minimise(low, high int, f func(int) float64) int {
	for low < high {
		mid := low + (high-low)/2
		if f(mid) <= f(mid+1) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}
