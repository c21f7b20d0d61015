package plan_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestSplit compares the goals of random groups with every division of the target: the
// goals reach the target, each group can reach its goal, and the groups take little
// more time than with the best division.
func TestSplit(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var sum, best time.Duration
	for range 300 {
		p := randomPlanner(t, rng, 2+rng.IntN(4))
		var groups []plan.Group
		n := 0
		for range 2 + rng.IntN(2) {
			g := plan.Group{Items: 1 + rng.IntN(4), Allowed: 1 + plan.Set(rng.Uint64N(uint64(p.All())))}
			groups = append(groups, g)
			n += g.Items
		}
		most := p.MaxScore(groups)
		target := slo.Score(rng.Int64N(int64(most) + 1))
		goals, ok := p.Split(groups, target)
		if !ok {
			t.Fatalf("a target of %d of at most %d is refused", target, most)
		}
		var reached slo.Score
		var took time.Duration
		for i, g := range groups {
			reached += goals[i]
			s, ok := p.Cheapest(g.Items, goals[i], g.Allowed)
			if !ok {
				t.Fatalf("group %+v cannot reach its goal of %d", g, goals[i])
			}
			took += s.Time
		}
		if reached < target {
			t.Fatalf("the goals sum up to %d, the target is %d", reached, target)
		}
		sum, best = sum+took, best+bestDivision(p, groups, target)
		if _, ok := p.Split(groups, most+1); ok {
			t.Fatalf("more than all %d items can score is promised", n)
		}
	}
	if ratio := float64(sum) / float64(best); ratio > 1.15 {
		t.Errorf("the groups take %.3f times what the best division of the target takes", ratio)
	}
}

// bestDivision returns the least time over all strategies of all groups.
func bestDivision(p *plan.Planner, groups []plan.Group, target slo.Score) time.Duration {
	if len(groups) == 1 {
		s, ok := p.Cheapest(groups[0].Items, target, groups[0].Allowed)
		if !ok {
			return math.MaxInt64
		}
		return s.Time
	}
	g, best := groups[0], time.Duration(math.MaxInt64)
	for _, option := range everyStrategy(p, g) {
		rest := bestDivision(p, groups[1:], max(0, target-option.Score))
		if rest < math.MaxInt64 {
			best = min(best, option.Time+rest)
		}
	}
	return best
}

// everyStrategy returns all ways to run a group.
func everyStrategy(p *plan.Planner, g plan.Group) (all []plan.Strategy) {
	var walk func(v, left int, s plan.Strategy)
	walk = func(v, left int, s plan.Strategy) {
		if v == len(p.Variants()) {
			if left == 0 {
				all = append(all, s)
			}
			return
		}
		variant := p.Variants()[v]
		for x := 0; x <= left && (x == 0 || g.Allowed.Has(v)); x++ {
			walk(v+1, left-x, plan.Strategy{Time: s.Time + variant.Curve.Time(x), Score: s.Score + variant.Accuracy.Times(x)})
		}
	}
	walk(0, g.Items, plan.Strategy{})
	return all
}
