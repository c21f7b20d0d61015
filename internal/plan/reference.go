package plan

import (
	"math"
	"sort"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// The reference policies greedy and knapsack assign strategies to the whole queue again
// and again. They are functions from queue to queue, in the order of deadlines, for one
// device that is free from time 0.

// Queued is a waiting job as the reference policies see it.
type Queued struct {
	Options  []Strategy    // at or above its floor, cheapest first, each more accurate than the previous one
	Chosen   int           // index into Options
	Deadline time.Duration // from when the device is free; math.MaxInt64: none
	Keep     bool          // late is better than never: it is not dropped
}

func (q Queued) time() time.Duration { return q.Options[q.Chosen].Time }

// Options returns the distinct strategies for n items, at or above a score target, that
// a matrix of MatrixTargets accuracies has. The paper's online stage chooses from
// these. It is empty if the target is out of reach.
func (p *Planner) Options(n int, target slo.Score, allowed Set) []Strategy {
	var options []Strategy
	add := func(s Strategy, ok bool) {
		if !ok || (len(options) > 0 && options[len(options)-1].Score >= s.Score) {
			return
		}
		for len(options) > 0 && options[len(options)-1].Time >= s.Time {
			options = options[:len(options)-1]
		}
		options = append(options, s)
	}
	add(p.Cheapest(n, target, allowed))
	for _, t := range p.targets(allowed) {
		if score := t.Times(n); score > target {
			add(p.Cheapest(n, score, allowed))
		}
	}
	return options
}

// Reassign lets a policy that replans choose again for every job in the queue, which
// is in order of deadlines. It changes Chosen and returns the indices of the jobs to
// drop, because no choice lets them be on time.
func (p Policy) Reassign(queue []Queued) (drop []int) {
	switch p {
	case PolicyGreedy:
		return repair(queue, stepDown)
	case PolicyKnapsack:
		return repair(queue, knapsack)
	default:
		return nil
	}
}

// Replans reports whether the policy reassigns strategies to queued jobs.
func (p Policy) Replans() bool { return p == PolicyGreedy || p == PolicyKnapsack }

// repair simulates serial execution, and lets fix change the jobs up to the
// first that would be late until none is, or that job is dropped.
func repair(queue []Queued, fix func(upTo []Queued) bool) (drop []int) {
	kept := make([]Queued, 0, len(queue)) // those not dropped
	index := make([]int, 0, len(queue))
	var at time.Duration
	for i, q := range queue {
		kept, index = append(kept, q), append(index, i)
		at += q.time()
		if at <= q.Deadline || q.Keep {
			continue
		}
		if !fix(kept) {
			drop = append(drop, i)
			kept, index = kept[:len(kept)-1], index[:len(index)-1]
		}
		at = 0
		for _, k := range kept {
			at += k.time()
		}
	}
	for k, i := range index {
		queue[i].Chosen = kept[k].Chosen
	}
	return drop
}

// stepDown is the rule of greedy: from the head of the queue each job steps down
// to its cheapest strategy until the last job's tardiness is repaid. If it cannot
// be, nothing changes and the last job goes.
func stepDown(jobs []Queued) bool {
	var at time.Duration
	for _, q := range jobs {
		at += q.time()
	}
	debt := at - jobs[len(jobs)-1].Deadline
	steps := 0
	for ; steps < len(jobs) && debt > 0; steps++ {
		debt -= jobs[steps].time() - jobs[steps].Options[0].Time
	}
	if debt > 0 {
		return false
	}
	for i := range steps {
		jobs[i].Chosen = 0
	}
	return true
}

// knapsack is the paper's optimiser: it chooses one option for each job so that the
// mean accuracy over all jobs is highest and every deadline is met (prefix constraints;
// the paper's prototype has only the last). It is exact: dynamic programming over the
// jobs keeps the undominated pairs of time and score, except those that the fractional
// optimum of the remaining jobs rules out. If even the cheapest options miss a
// deadline, it changes nothing and returns false.
func knapsack(jobs []Queued) bool {
	if late(jobs, func(int) int { return 0 }) {
		return false
	}
	limits := limits(jobs)
	bounds := newBounds(jobs)
	// A guess just below the upper bound prunes most states. If no choice scores that
	// much, the guess is lowered, in the end to a score that is known to be feasible.
	met := float64(roundedDown(jobs, limits))
	top, _ := bounds.rest(0, limits[len(jobs)-1], len(bounds.steps[0]))
	for gap := max(1, (top-met)/guesses); ; gap *= 4 {
		if layers := explore(jobs, limits, bounds, max(met, top-gap)); layers != nil {
			trace(jobs, layers)
			return true
		}
	}
}

// guesses is the ratio of the known gap to the distance of the first guess.
const guesses = 256

// explore keeps, job by job, the undominated states from which the remaining jobs can
// still bring the score to least. It returns nil if there is no such state.
func explore(jobs []Queued, limits []time.Duration, bounds bounds, least float64) [][]state {
	layers := make([][]state, len(jobs)+1)
	layers[0] = []state{{}}
	end := limits[len(jobs)-1]
	var shifted, merged []state
	for i, q := range jobs {
		var next []state
		for o, option := range q.Options {
			shifted = shifted[:0]
			hint := len(bounds.steps[i+1]) // states ascend in time, so the time left decreases
			for from, s := range layers[i] {
				t, score := s.time+option.Time, s.score+option.Score
				if t > limits[i] {
					break
				}
				var rest float64
				if rest, hint = bounds.rest(i+1, end-t, hint); float64(score)+rest >= least-1e-6 {
					shifted = append(shifted, state{t, score, from, o})
				}
			}
			if len(shifted) > 0 {
				merged = undominated(next, shifted, merged[:0])
				next, merged = merged, next
			}
		}
		if len(next) == 0 {
			return nil
		}
		layers[i+1] = next
	}
	return layers
}

// trace follows the best final state back to each job's choice.
func trace(jobs []Queued, layers [][]state) {
	at := len(layers[len(jobs)]) - 1 // undominated: the last state has the highest score
	for i := len(jobs); i > 0; i-- {
		s := layers[i][at]
		jobs[i-1].Chosen, at = s.option, s.from
	}
}

// state is a choice for the first jobs: its time and score, the state of the previous
// layer that it extends, and the option it adds.
type state struct {
	time   time.Duration
	score  slo.Score
	from   int
	option int
}

// undominated merges two lists of states, each ascending in time and score, and appends
// to out those that no other state beats in both.
func undominated(a, b, out []state) []state {
	for len(a) > 0 || len(b) > 0 {
		var s state
		if len(b) == 0 || (len(a) > 0 && (a[0].time < b[0].time || (a[0].time == b[0].time && a[0].score >= b[0].score))) {
			s, a = a[0], a[1:]
		} else {
			s, b = b[0], b[1:]
		}
		if len(out) == 0 || s.score > out[len(out)-1].score {
			out = append(out, s)
		}
	}
	return out
}

// late reports whether any job that may not be late is late under the given choices.
func late(jobs []Queued, choice func(i int) int) bool {
	var at time.Duration
	for i, q := range jobs {
		at += q.Options[choice(i)].Time
		if at > q.Deadline && !q.Keep {
			return true
		}
	}
	return false
}

// limits returns the time by which each prefix of the jobs must be done: the least of
// its own deadline and every later deadline minus the least time of the jobs in
// between.
func limits(jobs []Queued) []time.Duration {
	l := make([]time.Duration, len(jobs))
	next := time.Duration(math.MaxInt64)
	for i := len(jobs) - 1; i >= 0; i-- {
		own := jobs[i].Deadline
		if jobs[i].Keep {
			own = math.MaxInt64
		}
		l[i] = min(own, next)
		if next = l[i]; next != math.MaxInt64 {
			next -= jobs[i].Options[0].Time
		}
	}
	return l
}

// roundedDown returns the score of a feasible choice: it starts with the cheapest
// options and takes those steps up that score most for their time and that every limit
// allows.
func roundedDown(jobs []Queued, limits []time.Duration) slo.Score {
	chosen := make([]int, len(jobs))
	slack := make([]time.Duration, len(jobs)) // of each prefix
	var at time.Duration
	var score slo.Score
	for i, q := range jobs {
		at += q.Options[0].Time
		slack[i] = limits[i] - at
		score += q.Options[0].Score
	}
	for {
		best, bestRate := -1, -1.0
		var bestStep time.Duration
		room := time.Duration(math.MaxInt64)
		for i := len(jobs) - 1; i >= 0; i-- {
			room = min(room, slack[i])
			q := jobs[i]
			if chosen[i]+1 == len(q.Options) {
				continue
			}
			step := q.Options[chosen[i]+1].Time - q.Options[chosen[i]].Time
			gain := q.Options[chosen[i]+1].Score - q.Options[chosen[i]].Score
			if rate := float64(gain) / float64(step); step <= room && rate > bestRate {
				best, bestRate, bestStep = i, rate, step
			}
		}
		if best < 0 {
			return score
		}
		score += jobs[best].Options[chosen[best]+1].Score - jobs[best].Options[chosen[best]].Score
		chosen[best]++
		for i := best; i < len(jobs); i++ {
			slack[i] -= bestStep
		}
	}
}

// bounds computes how much jobs i.. can score at most in a given time, if options could
// be mixed and only the last deadline counted.
type bounds struct {
	base  []slo.Score     // score of jobs i.. at their cheapest
	least []time.Duration // time of that
	steps [][]step        // of jobs i.., best rate first, with running sums
}

type step struct{ time, score float64 }

func newBounds(jobs []Queued) bounds {
	n := len(jobs)
	b := bounds{base: make([]slo.Score, n+1), least: make([]time.Duration, n+1), steps: make([][]step, n+1)}
	var all []step
	for i := n - 1; i >= 0; i-- {
		b.base[i] = b.base[i+1] + jobs[i].Options[0].Score
		b.least[i] = b.least[i+1] + jobs[i].Options[0].Time
		all = append(all, hullSteps(jobs[i].Options)...)
		sort.SliceStable(all, func(x, y int) bool { return all[x].score*all[y].time > all[y].score*all[x].time })
		sums := make([]step, len(all)+1)
		for k, s := range all {
			sums[k+1] = step{sums[k].time + s.time, sums[k].score + s.score}
		}
		b.steps[i] = sums
	}
	b.steps[n] = []step{{}}
	return b
}

// hullSteps returns the steps along the upper convex hull of score over time.
func hullSteps(options []Strategy) []step {
	hull := []int{0}
	for i := 1; i < len(options); i++ {
		for len(hull) >= 2 && !above(options[hull[len(hull)-2]], options[hull[len(hull)-1]], options[i]) {
			hull = hull[:len(hull)-1]
		}
		hull = append(hull, i)
	}
	var steps []step
	for k := 1; k < len(hull); k++ {
		a, b := options[hull[k-1]], options[hull[k]]
		steps = append(steps, step{float64(b.Time - a.Time), float64(b.Score - a.Score)})
	}
	return steps
}

// above reports whether b lies above the line from a to c.
func above(a, b, c Strategy) bool {
	return float64(b.Score-a.Score)*float64(c.Time-a.Time) > float64(c.Score-a.Score)*float64(b.Time-a.Time)
}

// rest returns the most that jobs i.. can score in the time left. hint is the number of
// steps to look at, taken from a call with no less time left. The new hint is returned
// too.
func (b bounds) rest(i int, left time.Duration, hint int) (float64, int) {
	spare := float64(left - b.least[i])
	if spare < 0 {
		return math.Inf(-1), hint
	}
	sums := b.steps[i]
	k := hint // the first step that does not fit, or len(sums)
	for sums[k-1].time > spare {
		k--
	}
	score := float64(b.base[i]) + sums[k-1].score
	if k < len(sums) {
		score += (sums[k].score - sums[k-1].score) * (spare - sums[k-1].time) / (sums[k].time - sums[k-1].time)
	}
	return score, k
}
