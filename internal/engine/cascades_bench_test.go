//go:build unix

package engine_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
)

// processorTime is what this process has used of all processors.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCascades serves the held-out samples of the shipped models, each as a request
// of its own, from many callers, with and without the cascades of the profile. It reports
// items per second of processor time, which other programs hardly change, and the
// measured accuracy. Policy all is the first line of each model.
//
//	go test ./internal/engine -run xx -bench Cascades -benchtime 3x
func BenchmarkCascades(b *testing.B) {
	rt := openORT(b)
	for _, c := range []struct {
		model      string
		floor      slo.Accuracy
		confidence slo.Confidence
		policy     plan.Policy
	}{
		{"digits", 0, 0, plan.PolicyAll}, {"digits", 973_000, 0, plan.PolicyAggressive}, {"digits", 990_000, 0, plan.PolicyAggressive}, {"digits", 993_000, 0, plan.PolicyAggressive},
		{"digits", 973_000, slo.ConfidenceShown, plan.PolicyAggressive}, {"digits", 990_000, slo.ConfidenceShown, plan.PolicyAggressive},
		{"sentiment", 0, 0, plan.PolicyAll}, {"sentiment", 836_000, 0, plan.PolicyAggressive}, {"sentiment", 870_000, 0, plan.PolicyAggressive}, {"sentiment", 880_000, 0, plan.PolicyAggressive},
		{"sentiment", 860_000, slo.ConfidenceShown, plan.PolicyAggressive},
	} {
		m, err := modelpkg.Load("../../models/" + c.model)
		if err != nil {
			b.Fatal(err)
		}
		p, err := modelpkg.FindProfile(m, "cpu")
		if err != nil {
			b.Fatal(err)
		}
		set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
		if err != nil {
			b.Fatal(err)
		}
		for _, with := range []bool{false, true} {
			served := engine.Served{Model: m, Profile: p}
			name := "mixes"
			if with {
				name, served.Routes = "cascades", engine.CascadesOf(m, p)
			}
			if c.policy == plan.PolicyAll {
				if name = "all"; with {
					continue
				}
			}
			b.Run(fmt.Sprintf("%s/%v/%v/%s", c.model, c.floor, c.confidence.Float(), name), func(b *testing.B) {
				e, err := engine.New(b.Context(), engine.Config{Models: []engine.Served{served}, Policy: c.policy, Instances: 2, Threads: 1, QueueItemsMax: 10000, QueueJobsMax: 10000, Log: discard}, rt)
				if err != nil {
					b.Fatal(err)
				}
				before, items, right := processorTime(b), 0, 0.0
				for b.Loop() {
					right += serveSet(b, e, m, set, slo.Objective{Floor: c.floor, Confidence: c.confidence, Deadline: slo.Never})
					items += set.Len()
				}
				b.ReportMetric(float64(items)/(processorTime(b)-before).Seconds(), "items/cpu-s")
				b.ReportMetric(right/float64(items), "score")
				drainBench(b, e)
			})
		}
	}
}

// serveSet sends every sample of a set as a request of its own, from many callers, and
// returns the sum of the scores.
func serveSet(b *testing.B, e *engine.Engine, m *modelpkg.Model, set *modelpkg.Set, o slo.Objective) (right float64) {
	var next atomic.Int64
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			sum := 0.0
			for {
				at := int(next.Add(1) - 1)
				if at >= set.Len() {
					break
				}
				got, err := e.Infer(b.Context(), m.Name, "", engine.Request{Modalities: m.AllModalities(), Items: []runtime.Item{set.Item(at)}, Objective: o})
				if err != nil {
					b.Error(err)
					return
				}
				result, err := set.Score(got.Outputs[0], 0, at)
				if err != nil {
					b.Error(err)
				}
				sum += result.Score
			}
			mu.Lock()
			right += sum
			mu.Unlock()
		})
	}
	all.Wait()
	return right
}
