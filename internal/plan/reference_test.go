package plan_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// randomQueue draws jobs with options of rising time and score, and deadlines close to
// their running times.
func randomQueue(rng *rand.Rand, jobs, options int) []plan.Queued {
	queue := make([]plan.Queued, jobs)
	var at time.Duration
	for i := range queue {
		var s plan.Strategy
		s.Time, s.Score = time.Duration(10+rng.IntN(50)), slo.Score(100+rng.IntN(50))
		for range 1 + rng.IntN(options) {
			queue[i].Options = append(queue[i].Options, s)
			s.Time += time.Duration(1 + rng.IntN(60))
			s.Score += slo.Score(1 + rng.IntN(40))
		}
		queue[i].Chosen = len(queue[i].Options) - 1
		at += queue[i].Options[rng.IntN(len(queue[i].Options))].Time
		queue[i].Deadline = at + time.Duration(rng.IntN(60)-20)
		if i > 0 {
			queue[i].Deadline = max(queue[i].Deadline, queue[i-1].Deadline)
		}
	}
	return queue
}

// bestScore tries every choice for the jobs.
func bestScore(jobs []plan.Queued) (best slo.Score, feasible bool) {
	var walk func(i int, at time.Duration, score slo.Score)
	walk = func(i int, at time.Duration, score slo.Score) {
		if i == len(jobs) {
			best, feasible = max(best, score), true
			return
		}
		for _, o := range jobs[i].Options {
			if at+o.Time <= jobs[i].Deadline {
				walk(i+1, at+o.Time, score+o.Score)
			}
		}
	}
	walk(0, 0, 0)
	return best, feasible
}

func chosen(queue []plan.Queued, drop []int) (score slo.Score, onTime bool) {
	var at time.Duration
	onTime = true
	for i, q := range queue {
		if slices.Contains(drop, i) {
			continue
		}
		at += q.Options[q.Chosen].Time
		score += q.Options[q.Chosen].Score
		onTime = onTime && at <= q.Deadline
	}
	return score, onTime
}

func TestKnapsackEqualsBruteForceUpToTheViolator(t *testing.T) {
	exact := 0
	for seed := range 3000 {
		rng := rand.New(rand.NewPCG(uint64(seed), 11))
		queue := randomQueue(rng, 1+rng.IntN(6), 5)
		last := len(queue) - 1
		// Only the last job can be late: then the rule is one optimisation.
		var at time.Duration
		for i := range queue {
			at += queue[i].Options[queue[i].Chosen].Time
			if i < last {
				queue[i].Deadline = max(queue[i].Deadline, at)
			}
		}
		queue[last].Deadline = max(queue[last].Deadline, slices.MaxFunc(queue[:last+1], func(a, b plan.Queued) int { return int(a.Deadline - b.Deadline) }).Deadline-40)
		if at <= queue[last].Deadline {
			continue
		}
		want, feasible := bestScore(queue)
		drop := plan.PolicyKnapsack.Reassign(queue)
		got, onTime := chosen(queue, drop)
		if !onTime {
			t.Fatalf("seed %d: a kept job is late", seed)
		}
		if feasible != (len(drop) == 0) || (feasible && got != want) {
			t.Fatalf("seed %d: score %d, dropped %v; brute force %d (feasible %v)", seed, got, drop, want, feasible)
		}
		exact++
	}
	if exact < 500 {
		t.Errorf("only %d of the queues were of the kind tested", exact)
	}
}

func TestReassignLeavesNobodyLate(t *testing.T) {
	for seed := range 2000 {
		rng := rand.New(rand.NewPCG(uint64(seed), 12))
		for _, p := range []plan.Policy{plan.PolicyGreedy, plan.PolicyKnapsack} {
			queue := randomQueue(rng, 1+rng.IntN(12), 6)
			if rng.IntN(3) == 0 {
				queue[rng.IntN(len(queue))].Deadline = math.MaxInt64
				slices.SortFunc(queue, func(a, b plan.Queued) int { return min(1, max(-1, int(a.Deadline-b.Deadline))) })
			}
			before := slices.Clone(queue)
			drop := p.Reassign(queue)
			if _, onTime := chosen(queue, drop); !onTime {
				t.Fatalf("seed %d: %v leaves a job late", seed, p)
			}
			if again := p.Reassign(remove(queue, drop)); len(again) != 0 {
				t.Fatalf("seed %d: %v drops %v of what it has kept", seed, p, again)
			}
			if _, onTime := chosen(before, nil); onTime && len(drop) > 0 {
				t.Fatalf("seed %d: %v drops %v of a queue that is on time", seed, p, drop)
			}
		}
	}
}

func remove(queue []plan.Queued, drop []int) []plan.Queued {
	var kept []plan.Queued
	for i, q := range queue {
		if !slices.Contains(drop, i) {
			kept = append(kept, q)
		}
	}
	return kept
}

func TestGreedyStepsDownFromTheHead(t *testing.T) {
	two := func(cheap, dear time.Duration, deadline time.Duration) plan.Queued {
		return plan.Queued{Options: []plan.Strategy{{Time: cheap, Score: 1}, {Time: dear, Score: 2}}, Chosen: 1, Deadline: deadline}
	}
	queue := []plan.Queued{two(5, 10, 100), two(5, 10, 100), two(5, 10, 24), two(5, 30, 25)}
	drop := plan.PolicyGreedy.Reassign(queue)
	got := fmt.Sprint(queue[0].Chosen, queue[1].Chosen, queue[2].Chosen, queue[3].Chosen, drop)
	// The third job is 6 late: the first two switch to their cheapest. The fourth is
	// then 25 late, and on time if all run at their cheapest.
	if got != "0 0 0 0 []" {
		t.Errorf("greedy chose %s", got)
	}
	queue = []plan.Queued{two(5, 10, 100), two(50, 60, 40)}
	if drop := plan.PolicyGreedy.Reassign(queue); fmt.Sprint(queue[0].Chosen, drop) != "1 [1]" {
		t.Errorf("greedy chose %d and dropped %v: a job that cannot be saved changes nothing", queue[0].Chosen, drop)
	}
}

func TestOptionsRiseFromTheFloor(t *testing.T) {
	p := digits(t, 7)
	options := p.Options(20, slo.Accuracy(950_000).Times(20), p.All())
	if len(options) < 5 || options[0].Accuracy() < 950_000 || options[len(options)-1].Accuracy() != 994_000 {
		t.Fatalf("%d options from %v to %v", len(options), options[0].Accuracy(), options[len(options)-1].Accuracy())
	}
	for i, o := range options[1:] {
		if o.Time <= options[i].Time || o.Score <= options[i].Score {
			t.Errorf("option %d does not rise", i+1)
		}
	}
	if options := p.Options(2, slo.Accuracy(999_000).Times(2), p.All()); len(options) != 0 {
		t.Errorf("options out of reach: %v", options)
	}
}

// BenchmarkKnapsack has the size of the paper's problem: 30 jobs with up to 42 choices
// each, for a profile like the paper's (two variants) and one like the shipped model's.
// The budget is 5 ms.
func BenchmarkKnapsack(b *testing.B) {
	for _, k := range []int{3, 7} {
		b.Run(fmt.Sprintf("variants=%d", k), func(b *testing.B) {
			p := digits(b, k)
			rng := rand.New(rand.NewPCG(1, 1))
			queue := make([]plan.Queued, 30)
			var at time.Duration
			for i := range queue {
				n := 20 + rng.IntN(40)
				queue[i].Options = p.Options(n, slo.Accuracy(820_000+rng.IntN(50_000)).Times(n), p.All())
				at += queue[i].Options[len(queue[i].Options)/3+rng.IntN(10)].Time
				queue[i].Deadline = at
			}
			b.ReportAllocs()
			for b.Loop() {
				for i := range queue {
					queue[i].Chosen = len(queue[i].Options) / 3
				}
				queue[29].Chosen = len(queue[29].Options) - 1
				if drop := plan.PolicyKnapsack.Reassign(queue); len(drop) > 0 {
					b.Fatal("dropped ", drop)
				}
			}
		})
	}
}
