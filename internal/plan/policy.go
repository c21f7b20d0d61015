package plan

import (
	"fmt"
	"math"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Policy is a rule that assigns strategies to queued jobs, chosen by name from a fixed
// set. A policy makes two decisions: which strategy a job gets when it is planned, and
// whether the next batch should be smaller or more accurate than planned. (A reference
// policy that replans makes a third, see Reassign.) Order, batching and deadlines
// belong to the core and are the same for every policy, so policies can be compared.
type Policy uint8

// The policies.
const (
	// PolicyMosel plans the cheapest strategy at or above the floor and spends spare
	// time on accuracy.
	PolicyMosel Policy = iota
	// PolicyAll is modality-agnostic: it runs every job on all the modalities it
	// carries.
	PolicyAll
	// PolicyAggressive plans the cheapest strategy at or above the floor and never
	// spends more.
	PolicyAggressive
	// PolicyGreedy starts with the most accurate strategy. If a job would be late, jobs
	// from the head of the queue switch to their cheapest strategies.
	PolicyGreedy
	// PolicyKnapsack starts with the most accurate strategy. If a job would be late,
	// the jobs up to it get the strategies with the highest mean accuracy that meet all
	// their deadlines.
	PolicyKnapsack
	policyEnd
)

var policyNames = [...]string{"mosel", "all", "aggressive", "greedy", "knapsack"}

// String returns the policy's name in configuration and reports.
func (p Policy) String() string {
	if p >= policyEnd {
		return "unknown"
	}
	return policyNames[p]
}

// Policies returns the names of all policies.
func Policies() []string { return policyNames[:] }

// ParsePolicy returns the policy of a name, or an error.
func ParsePolicy(name string) (Policy, error) {
	for i, n := range policyNames {
		if n == name {
			return Policy(i), nil
		}
	}
	return 0, fmt.Errorf("unknown policy %q: choose one of %v", name, policyNames)
}

// Strategy plans n items that must score at least target. It returns false if that is
// impossible.
func (p Policy) Strategy(planner *Planner, n int, target slo.Score, allowed Set) (Strategy, bool) {
	if p == PolicyAll {
		if v := planner.Agnostic(allowed); v >= 0 && planner.routes[v].Accuracy.Times(n) >= target {
			return planner.Uniform(n, v), true
		}
	}
	if p.Replans() {
		target = max(target, planner.MaxAccuracy(allowed).Times(n))
	}
	return planner.Cheapest(n, target, allowed)
}

// LooksAhead reports whether the policy considers the effect of a batch on expected
// arrivals. The other policies run the planned batch.
func (p Policy) LooksAhead() bool { return p == PolicyMosel }

// Batch is a candidate for the next batch: a number of items that start a route.
type Batch struct {
	Route int
	Items int
}

// lateWeight is the number of items' accuracy that one late item costs. Being on time
// comes first: at 10, a policy that gains two points of accuracy accepts at most one
// late item in 500 for them.
const lateWeight = 10

// Choose returns the best of the options, the first of which is the planned batch: the
// one with the greatest gain in accuracy over its items, minus the cost of the items
// that it is expected to make late.
//
// A policy that fills all slack with accuracy leaves no room for what arrives next,
// even if its queue is optimal now; the paper's optimiser misses ten times as many
// deadlines. Here time has a price: the expected jobs that would be late. The price is
// almost nothing on an idle server, which therefore runs all modalities. On a loaded
// server it is higher than the value of any accuracy, so that server runs as cheaply as
// the floors allow.
func (p Policy) Choose(planner *Planner, options []Batch, late func(Batch) float64) Batch {
	planned := planner.routes[options[0].Route].Accuracy
	best, bestValue := options[0], math.Inf(-1)
	for _, b := range options {
		gain := (planner.routes[b.Route].Accuracy - planned).Float() * float64(b.Items)
		if value := gain - lateWeight*late(b); value > bestValue {
			best, bestValue = b, value
		}
	}
	return best
}
