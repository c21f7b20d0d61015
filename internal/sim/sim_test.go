package sim_test

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run only this random scenario")
	seedsFlag = flag.Uint64("seeds", 240, "how many random scenarios to run")
)

func TestInvariantsHoldInRandomScenarios(t *testing.T) {
	seeds := []uint64{*seedFlag}
	if *seedFlag == 0 {
		seeds = nil
		for s := range *seedsFlag {
			seeds = append(seeds, s+1)
		}
	}
	workers := max(1, runtime.GOMAXPROCS(0))
	failures := make([]error, len(seeds))
	var escalating atomic.Int64
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < len(seeds); i += workers {
				wentOn, err := holds(t, seeds[i])
				if failures[i] = err; wentOn > 0 {
					escalating.Add(1)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d scenarios; in %d of them items went on to a second variant", len(seeds), escalating.Load())
	for i, err := range failures {
		if err != nil {
			t.Errorf("%v\nreplay: go test ./internal/sim -run TestInvariantsHold -seed %d", err, seeds[i])
		}
	}
}

// holds runs one random scenario. It returns how often an item went on to another variant.
func holds(t testing.TB, seed uint64) (wentOn int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v\n%s", p, debug.Stack())
		}
	}()
	cfg, list := scenario(t, seed)
	p := newPlain(list)
	report, err := sim.Run(cfg, slices.Values(list), p.see)
	if err != nil {
		return p.wentOn, err
	}
	if report.Totals.JCT.Sum() != p.jct || report.JCT.Count != p.ran {
		return p.wentOn, fmt.Errorf("%d jobs ran for %v, the report says %d for %v", p.ran, p.jct, report.JCT.Count, report.JCT.Sum())
	}
	report.JCT = p.JCT
	if report.Totals.MinMargin != p.MinMargin || fmt.Sprint(report.Totals) != fmt.Sprint(p.Totals) {
		return p.wentOn, fmt.Errorf("the report has\n%+v, a count of the actions\n%+v", report.Totals, p.Totals)
	}
	return p.wentOn, nothingLost(list, report)
}

// plain counts what a report counts, from the trace alone, without records.
type plain struct {
	record.Totals
	jobs map[sched.JobID]sim.Arrival
	jct  time.Duration
	ran  int
	// wentOn is how often an item went on to another variant.
	wentOn int
}

func newPlain(list []sim.Arrival) *plain {
	p := &plain{jobs: map[sched.JobID]sim.Arrival{}}
	for _, a := range list {
		p.jobs[a.Job] = a
	}
	return p
}

func (p *plain) see(at slo.Instant, what any) {
	switch a := what.(type) {
	case sched.Done:
		for _, v := range a.Verdicts {
			if _, on := v.Next(); on {
				p.wentOn++
			}
		}
	case sched.Dispatch:
		p.Batches++
		for _, part := range a.Parts {
			p.Batched += part.Count
		}
	case sched.FinishJob:
		j := p.jobs[a.Job]
		if j.Background {
			return // no request of a client
		}
		p.Jobs[a.Outcome]++
		p.Items[a.Outcome] += j.Items
		if a.Outcome != slo.OnTime && a.Outcome != slo.Late {
			return
		}
		if margin := a.Expected - j.Objective.Floor; p.ran == 0 || margin < p.MinMargin {
			p.MinMargin = margin
		}
		p.ran++
		p.Ran += j.Items
		p.Score += a.Expected.Times(j.Items)
		p.jct += at.Sub(j.At)
	}
}

// nothingLost checks that no job was lost and no floor was broken.
func nothingLost(list []sim.Arrival, r sim.Report) error {
	items, requests := 0, 0
	for _, a := range list {
		if !a.Background {
			items, requests = items+a.Items, requests+1
		}
	}
	if ended, jobs := r.Items.Total(), r.Jobs.Total(); items != ended || jobs != requests {
		return fmt.Errorf("I-2: %d items arrived, %d ended; %d jobs, %d ended", items, ended, requests, jobs)
	}
	if r.MinMargin < 0 {
		return fmt.Errorf("I-5: a job ended %v below its floor", -r.MinMargin)
	}
	return nil
}

func TestSameSeedSameTrace(t *testing.T) {
	digest := func() uint64 {
		cfg, list := scenario(t, 42)
		h := fnv.New64a()
		if _, err := sim.Run(cfg, slices.Values(list), func(at slo.Instant, what any) { fmt.Fprintf(h, "%d %#v\n", at, what) }); err != nil {
			t.Fatal(err)
		}
		return h.Sum64()
	}
	if a, b := digest(), digest(); a != b {
		t.Errorf("I-11: two runs of one seed differ: %x, %x", a, b)
	}
}

// digits is a planner similar to that of the shipped model.
func digits(t testing.TB) *plan.Planner {
	t.Helper()
	rows := []struct {
		acc      float64
		base, ms float64
	}{{.82, .12, .28}, {.94, .12, .45}, {.978, .14, .7}, {.96, .3, 4.2}, {.984, .3, 4.5}, {.989, .3, 4.8}, {.994, .3, 5.1}}
	sets := []slo.Modalities{1, 2, 3, 4, 5, 6, 7}
	var variants []plan.Variant
	for i, r := range rows {
		var points []plan.Point
		for b := 1; b <= 32; b *= 2 {
			points = append(points, plan.Point{Items: b, Time: time.Duration((r.base + r.ms*float64(b)) * 1e6)})
		}
		curve, err := plan.NewCurve(points)
		if err != nil {
			t.Fatal(err)
		}
		acc, _ := slo.AccuracyOf(r.acc)
		variants = append(variants, plan.Variant{Modalities: sets[i], Accuracy: acc, Curve: curve})
	}
	p, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// poisson draws single requests with one floor and one relative deadline.
func poisson(seed uint64, rate float64, seconds int, late slo.LateRule) []sim.Arrival {
	rng := rand.New(rand.NewPCG(seed, 3))
	var list []sim.Arrival
	for at := 0.0; at < float64(seconds)*1e9; at += rng.ExpFloat64() * 1e9 / rate {
		a := sim.Arrival{At: slo.Instant(at)}
		a.Arrive = sched.Arrive{Job: sched.JobID(len(list)), Items: 1, Present: 7,
			Objective: slo.Objective{Floor: 969_000, Deadline: a.At.Add(100 * time.Millisecond), Late: late}}
		list = append(list, a)
	}
	return list
}

func single(t testing.TB, policy plan.Policy) sim.Config {
	return sim.Config{Instances: sim.Alike(1), Seed: 1, Faults: sim.Faults{Noise: 0.05}, Core: sched.Config{Policy: policy,
		QueueItemsMax: sched.DefaultQueueItemsMax, QueueJobsMax: sched.DefaultQueueJobsMax,
		Models: []sched.Model{{Name: "digits", Planner: digits(t), BatchItemsMax: 32}}}}
}

func mustRun(t testing.TB, cfg sim.Config, list []sim.Arrival) sim.Report {
	t.Helper()
	r, err := sim.Run(cfg, slices.Values(list), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMoselHoldsSeveralTimesTheLoadOfAll(t *testing.T) {
	load := poisson(1, 900, 10, slo.LateDrop)
	mosel := mustRun(t, single(t, plan.PolicyMosel), load)
	all := mustRun(t, single(t, plan.PolicyAll), load)
	if mosel.Items.LateShare() > 0.01 || all.Items.LateShare() < 0.5 {
		t.Errorf("at 900/s mosel misses %.3f, all %.3f", mosel.Items.LateShare(), all.Items.LateShare())
	}
	if mosel.MinMargin < 0 {
		t.Errorf("a floor was broken by %v", -mosel.MinMargin)
	}
}

func TestMoselIsAccurateWhenIdle(t *testing.T) {
	r := mustRun(t, single(t, plan.PolicyMosel), poisson(1, 20, 10, slo.LateDrop))
	if r.Accuracy() < 993_000 || r.Items.LateShare() > 0 {
		t.Errorf("at 20/s accuracy %v, late %.3f: a server with time to spare runs all modalities", r.Accuracy(), r.Items.LateShare())
	}
}

func TestCompletionTimesUnderOverload(t *testing.T) {
	load := poisson(1, 280, 20, slo.LateRun)
	mosel, all := mustRun(t, single(t, plan.PolicyMosel), load), mustRun(t, single(t, plan.PolicyAll), load)
	if mosel.JCT.Mean()*11 > all.JCT.Mean() {
		t.Errorf("mean completion time at 1.5 x the capacity of all: mosel %v, all %v", mosel.JCT.Mean(), all.JCT.Mean())
	}
}

func TestLoadTable(t *testing.T) {
	if !testing.Verbose() {
		t.Skip("a table to look at, with -v")
	}
	for _, rate := range []float64{20, 50, 100, 180, 250, 400, 600, 900, 1100, 1300, 1500} {
		line := fmt.Sprintf("%5.0f/s", rate)
		for _, policy := range []plan.Policy{plan.PolicyAll, plan.PolicyMosel} {
			r := mustRun(t, single(t, policy), poisson(1, rate, 20, slo.LateDrop))
			line += fmt.Sprintf("   %-6s late %6.3f accuracy %.4f p50 %6.1fms p99 %6.1fms", policy, r.Items.LateShare(), r.Accuracy().Float(),
				float64(r.JCT.Quantile(0.5))/1e6, float64(r.JCT.Quantile(0.99))/1e6)
		}
		t.Log(line)
	}
}

// TestRandomScenariosCoverTheContract counts what the random scenarios do, so that no
// invariant is checked only on cases that never occur.
func TestRandomScenariosCoverTheContract(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(150) {
		cfg, list := scenario(t, seed+1)
		batches := map[sched.BatchID]sched.Dispatch{}
		var ends sched.Dispatch // the batch that ends now
		_, err := sim.Run(cfg, slices.Values(list), func(_ slo.Instant, what any) {
			if _, happens := what.(sched.Event); happens {
				ends = sched.Dispatch{}
			}
			switch a := what.(type) {
			case sched.Done:
				ends = batches[a.Batch]
				for _, v := range a.Verdicts {
					if _, ok := v.Next(); ok {
						seen["items go on"]++
					}
				}
				if a.Failed {
					seen["batches fail"]++
				}
			case sched.InstanceDown:
				seen["instances are lost"]++
			case sched.InstanceResize:
				seen["instances are resized"]++
			case sched.Dispatch:
				batches[a.Batch] = a
				if class := cfg.Instances[a.Instance].Class; class > 0 {
					seen["batches run on other classes"]++
					if m := cfg.Core.Models[a.Model]; m.Classes != nil && m.Classes[class].Curves != nil {
						seen["batches run at a class's own latencies"]++
					}
				}
				if a.Routes != nil {
					seen["batches have gates"]++
				}
			case sched.Finish:
				if a.Outcome.Ran() && !slices.ContainsFunc(ends.Parts, func(p sched.Part) bool { return p.Job == a.Job }) {
					seen["items are answered early"]++
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Log(seen)
	for what, least := range map[string]int{"items go on": 1000, "batches fail": 10, "instances are lost": 100, "instances are resized": 100,
		"batches run on other classes": 500, "batches run at a class's own latencies": 100, "batches have gates": 500} {
		if seen[what] < least {
			t.Errorf("%s: %d times, want %d at least", what, seen[what], least)
		}
	}
}
