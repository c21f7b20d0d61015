package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// lateFusion is a model of three modalities with encoders of 0.5, 2 and 12 MiB and a
// head for each of six subsets.
func lateFusion(staged bool) modelpkgtest.Fusion {
	return modelpkgtest.Fusion{
		Encoders: []modelpkgtest.Encoder{{Name: "text", Width: 256, Layers: 2}, {Name: "audio", Width: 512, Layers: 2}, {Name: "image", Width: 1024, Layers: 3}},
		Subsets:  [][]int{{0}, {1}, {2}, {0, 1}, {0, 2}, {0, 1, 2}},
		Staged:   staged, BatchItemsMax: 16,
	}
}

// lateFusionMeasured are accuracies and milliseconds per item, made up so that both
// kinds of package are planned alike.
var lateFusionMeasured = []struct{ accuracy, item float64 }{{0.80, 0.01}, {0.82, 0.03}, {0.90, 0.12}, {0.87, 0.04}, {0.95, 0.13}, {0.97, 0.16}}

// openORT opens ONNX Runtime.
func openORT(t testing.TB) runtime.Runtime {
	t.Helper()
	rt, err := ort.Open(t.Context(), ort.Config{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// fusionServed returns a package with its made-up profile.
func fusionServed(m *modelpkg.Model) engine.Served {
	p := &modelpkg.Profile{Model: m.Name}
	for i, v := range m.Variants {
		p.Variants = append(p.Variants, modelpkg.VariantProfile{Name: v.Name, Accuracy: modelpkg.AccuracyMean{Mean: lateFusionMeasured[i].accuracy}})
		for _, items := range []int{1, m.Limits.BatchItemsMax} {
			ms := 0.05 + lateFusionMeasured[i].item*float64(items)
			p.Variants[i].Batches = append(p.Variants[i].Batches, modelpkg.BatchProfile{Items: items, P50MS: ms, P95MS: ms})
		}
	}
	return engine.Served{Model: m, Profile: p}
}

// serveFusion makes an engine of two instances.
func serveFusion(t testing.TB, served engine.Served, rt runtime.Runtime, keptBytesMax int64) *engine.Engine {
	t.Helper()
	e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAggressive, Instances: 2, Threads: 1,
		QueueItemsMax: 10000, QueueJobsMax: 5000, KeptBytesMax: keptBytesMax, Log: discard}, rt)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// loadVariable names a package that TestLoadOfAPackage loads.
const loadVariable = "MOSEL_TEST_LOAD"

// TestLoadOfAPackage measures what a package adds to a process that has loaded nothing
// else. BenchmarkStages runs it in a process of its own.
func TestLoadOfAPackage(t *testing.T) {
	dir := os.Getenv(loadVariable)
	if dir == "" {
		t.Skip("it is run by BenchmarkStages")
	}
	m, err := modelpkg.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	rt := openORT(t)
	before, start := residentBytes(t), time.Now()
	e := serveFusion(t, fusionServed(m), rt, 0)
	took := time.Since(start)
	fmt.Printf("\n%s %d %d\n", loadVariable, residentBytes(t)-before, took.Microseconds())
	drain(t, e)
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}

// load loads a package in a process of its own and returns the bytes and microseconds
// that this took.
func load(b *testing.B, dir string) (bytes, microseconds float64) {
	b.Helper()
	child := exec.Command(os.Args[0], "-test.run", "^TestLoadOfAPackage$")
	child.Env = append(os.Environ(), loadVariable+"="+dir)
	out, err := child.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	_, line, found := strings.Cut(string(out), "\n"+loadVariable+" ")
	if _, err := fmt.Sscan(line, &bytes, &microseconds); err != nil || !found {
		b.Fatalf("%v in\n%s", err, out)
	}
	return bytes, microseconds
}

// residentBytes returns the process's memory, without what is free.
func residentBytes(t testing.TB) int {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// saturate sends jobs of 16 items at a floor from 8 clients for a while, and returns
// the items that were answered per second, and by variant.
func saturate(t testing.TB, e *engine.Engine, m *modelpkg.Model, floor slo.Accuracy, length time.Duration) (rate float64, byVariant []int) {
	t.Helper()
	var all sync.WaitGroup
	counts := make([]atomic.Int64, len(m.Variants))
	start := time.Now()
	for client := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 1))
			items := make([]runtime.Item, 16)
			for i := range items {
				for _, in := range m.Inputs {
					items[i] = append(items[i], runtimetest.Random(random, in.Spec, 0))
				}
			}
			for time.Since(start) < length {
				got, err := e.Infer(t.Context(), "fusion", "", engine.Request{Modalities: m.AllModalities(), Items: items,
					Objective: slo.Objective{Floor: floor, Deadline: slo.Never}})
				if err != nil {
					t.Error(err)
					return
				}
				for _, v := range got.Variants {
					counts[v].Add(1)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(start).Seconds()
	sum := 0
	for i := range counts {
		byVariant = append(byVariant, int(counts[i].Load()))
		sum += byVariant[i]
	}
	return float64(sum) / took, byVariant
}

// BenchmarkStages compares a late-fusion package served as stages with the same package
// served as whole graphs: load time and memory in processes of their own, and the rate
// at a floor that mixes variants. Both serve in turns, so that other work on the machine
// affects both.
func BenchmarkStages(b *testing.B) {
	const floor, round, loads = 880_000, 500 * time.Millisecond, 3
	kinds := []string{"whole", "stages"}
	var models [2]*modelpkg.Model
	figures := map[string]*[2][]float64{"MiB": {}, "load-ms": {}, "items/s": {}}
	for i := range kinds {
		var err error
		if models[i], err = lateFusion(i == 1).Write(b.TempDir()); err != nil {
			b.Fatal(err)
		}
	}
	for range loads {
		for i, m := range models {
			bytes, microseconds := load(b, m.Dir)
			figures["MiB"][i] = append(figures["MiB"][i], bytes/(1<<20))
			figures["load-ms"][i] = append(figures["load-ms"][i], microseconds/1000)
		}
	}
	rt := openORT(b)
	defer rt.Close()
	var engines [2]*engine.Engine
	for i, m := range models {
		engines[i] = serveFusion(b, fusionServed(m), rt, 0)
		defer drainBench(b, engines[i])
	}
	var mix [2][]int
	for b.Loop() {
		for i, m := range models {
			rate, byVariant := saturate(b, engines[i], m, floor, round)
			figures["items/s"][i] = append(figures["items/s"][i], rate)
			mix[i] = byVariant
		}
	}
	for i, m := range models {
		b.Logf("%s: items of the last round by variant: %s", kinds[i], mixOf(m, mix[i]))
	}
	for _, name := range []string{"MiB", "load-ms", "items/s"} {
		whole, stages := median(figures[name][0]), median(figures[name][1])
		b.ReportMetric(whole, name+"-whole")
		b.ReportMetric(stages, name+"-stages")
		b.ReportMetric(stages/whole, name+"-ratio")
	}
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// mixOf tells which variants ran on how many items.
func mixOf(m *modelpkg.Model, counts []int) string {
	var list []string
	for v, n := range counts {
		if n > 0 {
			list = append(list, fmt.Sprintf("%s %d", m.Variants[v].Name, n))
		}
	}
	return strings.Join(list, ", ")
}

func drainBench(b *testing.B, e *engine.Engine) {
	b.Helper()
	if err := e.Drain(context.WithoutCancel(b.Context())); err != nil {
		b.Error(err)
	}
}

// BenchmarkCascade compares the rate of a server whose items run the picture, and half of
// them then text and picture, with and without what the first step computed. The two
// servers take turns.
func BenchmarkCascade(b *testing.B) {
	const image, textImage, floor, round = 2, 4, 945_000, 500 * time.Millisecond
	m, err := lateFusion(true).Write(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	rt := openORT(b)
	defer rt.Close()
	var scores []float64
	for _, numbers := range direct(b, rt, m, image, vectors(m, 200)) {
		scores = append(scores, slices.Max(numbers))
	}
	served := fusionServed(m)
	for i, s := range m.Stages { // the encoders, then the heads
		ms := append([]float64{0.01, 0.03, 0.12}, slices.Repeat([]float64{0.001}, len(m.Stages))...)[i]
		served.Profile.Stages = append(served.Profile.Stages, modelpkg.StageProfile{Name: s.Name, Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: ms}, {Items: 16, P50MS: 16 * ms}}})
	}
	served.Routes = []engine.Route{{Name: "image, then both", Accuracy: 949_000, Steps: []engine.Step{
		{Variant: image, Gate: engine.Below(m, median(scores)), Share: 0.5}, {Variant: textImage}}}}
	engines := []*engine.Engine{serveFusion(b, served, rt, -1), serveFusion(b, served, rt, 0)}
	var rates [2][]float64
	var mix []int
	for b.Loop() {
		for i, e := range engines {
			var rate float64
			rate, mix = saturate(b, e, m, floor, round)
			rates[i] = append(rates[i], rate)
		}
	}
	for _, e := range engines {
		drainBench(b, e)
	}
	again, kept := median(rates[0]), median(rates[1])
	b.Logf("items of the last round by variant: %s", mixOf(m, mix))
	b.ReportMetric(again, "items/s-again")
	b.ReportMetric(kept, "items/s-kept")
	b.ReportMetric(kept/again, "ratio")
}

// BenchmarkHandOver measures the second step of a route: both modalities after the
// picture alone, whose encoder is most of the work. The step runs on what the first one
// computed, or on the whole variant, in turns. kept-us is what the first step pays for
// returning what it computed.
func BenchmarkHandOver(b *testing.B) {
	const items = 8
	m, err := lateFusion(true).Write(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	rt := openORT(b)
	defer rt.Close()
	loaded, err := rt.Load(b.Context(), m, runtime.Options{Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer loaded.Close()
	in := loaded.(runtime.Staged)
	const image, textImage = 2, 4
	batch := vectors(m, items)
	first := runtime.Part{Variant: image, Items: batch}
	keeping := runtime.Part{Variant: image, Items: batch, Keep: m.Handover(textImage, image), KeepBytesMax: engine.KeptBytesMaxDefault}
	run := func(part runtime.Part) (kept []tensor.Tensor, took float64) {
		start := time.Now()
		_, kept, err := in.RunStages(b.Context(), part)
		if err != nil {
			b.Fatal(err)
		}
		return kept, float64(time.Since(start).Nanoseconds()) / 1000 / items
	}
	kept, _ := run(keeping)
	second := runtime.Part{Variant: textImage, Items: batch}
	for i, value := range keeping.Keep {
		second.Given = append(second.Given, runtime.Given{Intermediate: value})
		for _, data := range kept[i].Split() {
			row := tensor.Tensor{DType: kept[i].DType, Shape: append(tensor.Shape{1}, kept[i].Shape[1:]...), Data: data}
			second.Given[i].Rows = append(second.Given[i].Rows, row)
		}
	}
	parts := []runtime.Part{first, keeping, second, {Variant: textImage, Items: batch}}
	times := make([][]float64, len(parts))
	for b.Loop() {
		for i, part := range parts {
			run(part) // so that the weights are in the caches
			_, took := run(part)
			times[i] = append(times[i], took)
		}
	}
	rest, whole := median(times[2]), median(times[3])
	b.ReportMetric(whole, "whole-us/item")
	b.ReportMetric(rest, "after-us/item")
	b.ReportMetric(rest/whole, "ratio")
	b.ReportMetric(slices.Min(times[1])-slices.Min(times[0]), "kept-us/item") // a small difference of large numbers
}
