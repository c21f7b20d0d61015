package plan

import (
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Policy is a rule that assigns strategies to queued jobs, chosen by name from
// a closed set. A policy answers two questions: which strategy a job gets when
// it is planned, and whether a batch that is about to run may be given a more
// accurate variant than planned. Order, batching and deadlines are the core's
// and the same under every policy, so that a comparison compares policies.
type Policy uint8

// The policies.
const (
	// PolicyMosel plans the cheapest strategy at or above the floor and spends
	// on accuracy what the load leaves.
	PolicyMosel Policy = iota
	// PolicyAll is modality-agnostic: every job on all the modalities it carries.
	PolicyAll
	policyEnd
)

var policyNames = [...]string{"mosel", "all"}

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
		if v := planner.Agnostic(allowed); v >= 0 && planner.variants[v].Accuracy.Times(n) >= target {
			return planner.Uniform(n, v), true
		}
	}
	return planner.Cheapest(n, target, allowed)
}

// Room is what a batch may spend beyond its planned time.
type Room struct {
	Slack  time.Duration // by which the tightest queued job would still be on time
	Budget time.Duration // what the load has left over lately, see Upgrade
}

// Upgrade chooses the variant for a batch of so many items that was planned to
// run on variant from: the most accurate on the frontier whose extra time fits
// the room, or from itself. Frontier is cheapest first; timeOf gives a variant's
// time for the batch as corrected by measurement.
//
// Filling all slack with accuracy is the known trap: a queue that is optimal
// now leaves nothing for what arrives next (the paper's optimiser loses ten
// times as many deadlines that way). So an upgrade must fit two bounds: half
// the slack of the queue as it stands, and the time that recent arrivals, run
// as cheaply as their floors allow, would have left idle.
func (p Policy) Upgrade(frontier []FrontierPoint, from int, fromAccuracy slo.Accuracy, room Room, timeOf func(v int) time.Duration) int {
	if p == PolicyAll {
		return from
	}
	spend := min(room.Slack/2, room.Budget)
	base := timeOf(from)
	for i := len(frontier) - 1; i >= 0 && frontier[i].Accuracy > fromAccuracy; i-- {
		if timeOf(frontier[i].Variant)-base <= spend {
			return frontier[i].Variant
		}
	}
	return from
}
