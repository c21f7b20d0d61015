package sim_test

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
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

// planner draws a model of 1 to 3 modalities with a variant per subset.
func planner(t testing.TB, rng *rand.Rand) *plan.Planner {
	t.Helper()
	modalities := 1 + rng.IntN(3)
	var variants []plan.Variant
	for set := 1; set < 1<<modalities; set++ {
		cost, acc := 0.2, 0.6
		for m := range modalities {
			if set&(1<<m) != 0 {
				cost += []float64{0.4, 1, 4}[m]
				acc += []float64{0.08, 0.13, 0.15}[m]
			}
		}
		var points []plan.Point
		for b := 1; b <= 16; b *= 2 {
			points = append(points, plan.Point{Items: b, Time: time.Duration(1e6 * (0.5 + cost*float64(b)*(0.9+0.2*rng.Float64())))})
		}
		curve, err := plan.NewCurve(points)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := slo.AccuracyOf(acc + 0.02*rng.Float64())
		variants = append(variants, plan.Variant{Name: fmt.Sprint("v", set), Modalities: slo.Modalities(set), Accuracy: a, Curve: curve})
	}
	p, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wrong is a planner of the same variants that take half to twice the time.
func wrong(t testing.TB, rng *rand.Rand, p *plan.Planner) *plan.Planner {
	t.Helper()
	variants := slices.Clone(p.Variants())
	for i, v := range variants {
		var points []plan.Point
		factor := math.Exp2(2*rng.Float64() - 1)
		for b := 1; b <= v.Curve.Max(); b++ {
			points = append(points, plan.Point{Items: b, Time: time.Duration(float64(v.Curve.Batch(b)) * factor)})
		}
		var err error
		if variants[i].Curve, err = plan.NewCurve(points); err != nil {
			t.Fatal(err)
		}
	}
	other, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// scenario draws everything from one seed: models, instances, bounds, faults,
// jobs of 1 to 200 items, floors feasible and not, deadlines past and far.
func scenario(t testing.TB, seed uint64) (sim.Config, []sim.Arrival) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	cfg := sim.Config{Seed: seed, Check: true, Instances: 1 + rng.IntN(8),
		Faults: sim.Faults{Noise: 0.3 * rng.Float64(), Slow: 0.7 + rng.Float64()}}
	cfg.Core = sched.Config{Policy: plan.Policy(rng.IntN(len(plan.Policies()))), QueueItemsMax: 50 + rng.IntN(2000), QueueJobsMax: 20 + rng.IntN(500)}
	if rng.IntN(4) == 0 {
		cfg.Core.QueueBytesMax = int64(1000 + rng.IntN(20_000))
	}
	for i := range 1 + rng.IntN(3) {
		cfg.Core.Models = append(cfg.Core.Models, sched.Model{Name: fmt.Sprint("m", i), Planner: planner(t, rng), BatchItemsMax: 1 + rng.IntN(16)})
	}
	if rng.IntN(3) == 0 {
		cfg.Faults.LoseEvery = time.Duration(20+rng.IntN(400)) * time.Millisecond
		cfg.Faults.LoseFor = cfg.Faults.LoseEvery / 10
	}
	if rng.IntN(4) == 0 {
		cfg.Faults.FailShare = 0.05
	}
	if rng.IntN(4) == 0 {
		cfg.Faults.FailItemShare = 0.1 * rng.Float64()
	}
	if rng.IntN(4) == 0 {
		cfg.Faults.Slowdowns = []sim.Slowdown{{Instance: sched.InstanceID(rng.IntN(cfg.Instances)), Factor: 1 + 5*rng.Float64(),
			From: slo.Instant(rng.IntN(1e8)), Til: slo.Instant(1e8 + rng.IntN(1e9))}}
	}
	if rng.IntN(4) == 0 {
		cfg.Faults.Outages = []sim.Outage{{Instance: sched.InstanceID(rng.IntN(cfg.Instances)), At: slo.Instant(rng.IntN(2e8)), For: time.Duration(1 + rng.IntN(3e8))}}
	}
	if rng.IntN(4) == 0 { // a profile that has nothing to do with the truth
		for _, m := range cfg.Core.Models {
			cfg.True = append(cfg.True, wrong(t, rng, m.Planner))
		}
	}
	return cfg, arrivals(rng, cfg, 150+rng.IntN(250))
}

func arrivals(rng *rand.Rand, cfg sim.Config, jobs int) []sim.Arrival {
	gap := (0.2 + 3*rng.Float64()) * 1e6 / float64(cfg.Instances)
	var at float64
	var list []sim.Arrival
	for id := range jobs {
		at += rng.ExpFloat64() * gap
		m := rng.IntN(len(cfg.Core.Models))
		mods := slo.Modalities(0)
		for _, v := range cfg.Core.Models[m].Planner.Variants() {
			mods |= v.Modalities
		}
		a := sim.Arrival{At: slo.Instant(at)}
		a.Arrive = sched.Arrive{Job: sched.JobID(id), Model: m, Items: 1, Present: mods, Bytes: int64(rng.IntN(200))}
		if rng.IntN(3) == 0 { // the rest is a flood of one client
			a.Client = sched.ClientID(1 + rng.IntN(4))
		}
		if rng.IntN(4) == 0 {
			a.Present = slo.Modalities(rng.IntN(int(mods) + 1))
		}
		if rng.IntN(10) == 0 {
			a.Choice = slo.Modalities(1 + rng.IntN(int(mods)))
		}
		if rng.IntN(5) == 0 {
			a.Items = 1 + rng.IntN(200)
		}
		a.Objective = slo.Objective{Floor: slo.Accuracy(rng.IntN(1_000_000)), Deadline: slo.Never, Late: slo.LateRule(rng.IntN(2))}
		if rng.IntN(5) > 0 {
			a.Objective.Deadline = a.At.Add(time.Duration(rng.IntN(100)-2) * time.Millisecond)
		}
		if a.Items > 1 && rng.IntN(2) == 0 {
			a.Mixed = mixed(rng, a.Items, mods)
		}
		if rng.IntN(4) == 0 {
			a.Expires = a.Objective.Deadline.Add(time.Duration(rng.IntN(10)) * time.Millisecond)
		}
		if rng.IntN(12) == 0 {
			a.Cancel = a.At.Add(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
		list = append(list, a)
	}
	return list
}

// mixed draws what the items of a job carry: at most four different things, in
// runs of any length.
func mixed(rng *rand.Rand, items int, all slo.Modalities) (runs []slo.Carried) {
	var kinds []slo.Carried
	for range 1 + rng.IntN(4) {
		k := slo.Carried{Present: all}
		if rng.IntN(2) == 0 {
			k.Present = slo.Modalities(rng.IntN(int(all) + 1))
		}
		if rng.IntN(8) == 0 {
			k.Choice = slo.Modalities(1 + rng.IntN(int(all)))
		}
		kinds = append(kinds, k)
	}
	for items > 0 {
		r := kinds[rng.IntN(len(kinds))]
		r.Items = 1 + rng.IntN(min(items, 1+rng.IntN(20)))
		runs, items = append(runs, r), items-r.Items
	}
	return runs
}

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
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < len(seeds); i += workers {
				failures[i] = holds(t, seeds[i])
			}
		})
	}
	all.Wait()
	for i, err := range failures {
		if err != nil {
			t.Errorf("%v\nreplay: go test ./internal/sim -run TestInvariantsHold -seed %d", err, seeds[i])
		}
	}
}

// holds runs one random scenario.
func holds(t testing.TB, seed uint64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v\n%s", p, debug.Stack())
		}
	}()
	cfg, list := scenario(t, seed)
	p := newPlain(list)
	report, err := sim.Run(cfg, slices.Values(list), p.see)
	if err != nil {
		return err
	}
	if report.Totals.JCT.Sum() != p.jct || report.JCT.Count != p.ran {
		return fmt.Errorf("%d jobs ran for %v, the report says %d for %v", p.ran, p.jct, report.JCT.Count, report.JCT.Sum())
	}
	report.JCT = p.JCT
	if report.Totals.MinMargin != p.MinMargin || fmt.Sprint(report.Totals) != fmt.Sprint(p.Totals) {
		return fmt.Errorf("the report has\n%+v, a count of the actions\n%+v", report.Totals, p.Totals)
	}
	return nothingLost(list, report)
}

// plain counts what a report counts from the trace alone, without records.
type plain struct {
	record.Totals
	jobs map[sched.JobID]sim.Arrival
	jct  time.Duration
	ran  int
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
	case sched.Dispatch:
		p.Batches++
		for _, part := range a.Parts {
			p.Batched += part.Count
		}
	case sched.FinishJob:
		j := p.jobs[a.Job]
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

// nothingLost checks that nothing was lost and that no floor was broken.
func nothingLost(list []sim.Arrival, r sim.Report) error {
	items := 0
	for _, a := range list {
		items += a.Items
	}
	if ended, jobs := r.Items.Total(), r.Jobs.Total(); items != ended || jobs != len(list) {
		return fmt.Errorf("I-2: %d items arrived, %d ended; %d jobs, %d ended", items, ended, len(list), jobs)
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

// digits is a planner of the shipped model's shape.
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
	return sim.Config{Instances: 1, Seed: 1, Faults: sim.Faults{Noise: 0.05}, Core: sched.Config{Policy: policy,
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
