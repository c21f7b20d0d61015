package sched_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// benchPlanner is a model of three variants with large batches.
func benchPlanner(b *testing.B) *plan.Planner {
	var variants []plan.Variant
	for i, ms := range []float64{0.3, 0.8, 5} {
		var points []plan.Point
		for size := 1; size <= 32; size *= 2 {
			points = append(points, plan.Point{Items: size, Time: time.Duration((0.2 + ms*float64(size)) * 1e6)})
		}
		curve, err := plan.NewCurve(points)
		if err != nil {
			b.Fatal(err)
		}
		variants = append(variants, plan.Variant{Modalities: slo.Modalities(1<<(i+1) - 1), Accuracy: slo.Accuracy(850_000 + 70_000*i), Curve: curve})
	}
	p, err := plan.New(variants)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkStep measures an event with that many jobs queued. One job arrives per step,
// and one batch ends each time enough jobs for a batch have arrived, so the queue keeps
// its length. Floors are mixed; deadlines are spread over a second.
func BenchmarkStep(b *testing.B) {
	for _, queued := range []int{0, 100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("queued=%d", queued), func(b *testing.B) { benchStep(b, queued) })
	}
}

func benchStep(b *testing.B, queued int) {
	core, err := sched.New(sched.Config{QueueItemsMax: 1 << 30, QueueJobsMax: 1 << 30,
		Models: []sched.Model{{Planner: benchPlanner(b), BatchItemsMax: 32}}})
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var now slo.Instant
	var out []sched.Action
	var batch sched.BatchID
	waiting, job := 0, sched.JobID(0)
	step := func(e sched.Event) {
		now++
		out = core.Step(now, e, out[:0])
		for _, a := range out {
			if d, ok := a.(sched.Dispatch); ok {
				batch = d.Batch
				for _, p := range d.Parts {
					waiting -= p.Count
				}
			}
		}
	}
	arrive := func() {
		job++
		waiting++
		step(sched.Arrive{Job: job, Items: 1, Present: 7, Objective: slo.Objective{Floor: slo.Accuracy(840_000 + rng.IntN(150_000)),
			Deadline: now.Add(time.Duration(rng.IntN(1_000_000_000))), Late: slo.LateRun}})
	}
	step(sched.InstanceUp{})
	for waiting < queued {
		arrive()
	}
	b.ReportAllocs()
	var worst time.Duration // includes garbage collection and other load on the machine
	for b.Loop() {
		began := time.Now()
		if waiting <= queued {
			arrive()
		} else {
			step(sched.Done{Batch: batch})
		}
		worst = max(worst, time.Since(began))
	}
	b.ReportMetric(float64(worst.Nanoseconds()), "worst-ns")
}
