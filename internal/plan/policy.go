package plan

import (
	"fmt"
	"math"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Policy is a rule that assigns strategies to queued jobs, chosen by name from
// a closed set. A policy answers two questions: which strategy a job gets when
// it is planned, and whether the batch that is about to run should rather be a
// smaller or a more accurate one than planned. (A reference policy that replans
// answers a third, see Reassign.) Order, batching and deadlines are the core's and
// the same under every policy, so that a comparison compares policies.
type Policy uint8

// The policies.
const (
	// PolicyMosel plans the cheapest strategy at or above the floor and spends
	// on accuracy what the load leaves.
	PolicyMosel Policy = iota
	// PolicyAll is modality-agnostic: every job on all the modalities it carries.
	PolicyAll
	// PolicyAggressive plans the cheapest strategy at or above the floor and
	// never spends more.
	PolicyAggressive
	// PolicyGreedy starts with the most accurate strategy; when a job would be
	// late, jobs from the head of the queue step down to their cheapest.
	PolicyGreedy
	// PolicyKnapsack starts with the most accurate strategy; when a job would be
	// late, the jobs up to it get the choice of the highest mean accuracy that
	// keeps all their deadlines.
	PolicyKnapsack
	policyEnd
)

var policyNames = [...]string{"mosel", "all", "aggressive", "greedy", "knapsack"}

// String is the policy's name in configuration and reports.
func (p Policy) String() string {
	if p >= policyEnd {
		return "unknown"
	}
	return policyNames[p]
}

// Policies lists the names of all policies.
func Policies() []string { return policyNames[:] }

// ParsePolicy reads a policy's name.
func ParsePolicy(name string) (Policy, error) {
	for i, n := range policyNames {
		if n == name {
			return Policy(i), nil
		}
	}
	return 0, fmt.Errorf("unknown policy %q: choose one of %v", name, policyNames)
}

// Strategy plans n items that must score at least target. It reports false when
// that is impossible.
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

// LooksAhead reports whether the policy weighs batches by what they mean for
// jobs yet to come; the others run what is planned.
func (p Policy) LooksAhead() bool { return p == PolicyMosel }

// Batch is one way to run the next batch: so many items that start a route.
type Batch struct {
	Route int
	Items int
}

// lateWeight is how many items' worth of accuracy one late item outweighs. Being
// on time comes first: at 10, a policy that gained two points of accuracy would
// pay for them with one late item in 500 at most.
const lateWeight = 10

// Choose picks one of the options, the first of which is the batch as planned:
// the one with the greatest gain in accuracy over its items, less the items that
// it is expected to make late.
//
// Filling all slack with accuracy is the known trap: a queue that is optimal now
// leaves no room for what arrives next (the paper's optimiser loses ten times as
// many deadlines that way). Here time has a price, the jobs to come that would
// be late for it: next to nothing when the server is idle, so that it runs all
// modalities, and more than any accuracy is worth when it is loaded, so that it
// runs as cheaply as the floors allow.
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
