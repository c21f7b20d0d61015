package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/exits"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
)

// The simulation: items are drawn with replacement from the held-out samples; between two
// of them the pictures are inverted.
const (
	simulated  = 9000
	driftFrom  = 3000
	driftUntil = 6000
	floor      = 0.97
	loads      = 3  // to measure a time
	recentKept = 50 // as many as a look asks for
	// countMax is the counter's threshold: twice the breaches that are expected between two
	// looks. The paper does not give its own.
	countMax = 15
)

// models describes the chains as the policy sees them, as measured on the profile set.
func (b *bench) models(reference int) (list []exits.Model) {
	n := float64(len(b.profile.class[0]))
	for _, c := range b.chains {
		m, before := exits.Model{Name: c.name}, 0.0
		for depth := 1; depth <= len(c.variants); depth++ {
			load := b.load[c.variants[depth-1]]
			d := exits.Depth{Load: max(0, load-before), Cost: b.cost[c.variants[depth-1]], Bytes: b.weights(c.variants[depth-1]), Accuracy: float64(b.profile.rightOf(c, depth)) / n}
			before = max(before, load)
			for sample := range b.profile.class[0] {
				if b.profile.exit(c, sample) <= depth {
					d.Sure += 1 / n
				}
				if b.profile.class[b.profile.answeredBy(c, sample, depth)][sample] == b.profile.class[reference][sample] {
					d.Agreement += 1 / n
				}
			}
			m.Depths = append(m.Depths, d)
		}
		list = append(list, m)
	}
	return list
}

// loadTime returns the milliseconds to load the stages of a variant: the shortest of some.
// Nothing else may be loaded, because instances share graphs.
func (b *bench) loadTime(ctx context.Context, variant int) (ms float64, err error) {
	for i := range loads {
		began := time.Now()
		in, err := b.rt.Load(ctx, b.m, runtime.Options{Threads: 1, Variants: []int{variant}})
		if err != nil {
			return 0, err
		}
		took := float64(time.Since(began).Microseconds()) / 1000
		if err := in.Close(); err != nil {
			return 0, err
		}
		if i == 0 || took < ms {
			ms = took
		}
	}
	return ms, nil
}

// weights returns the bytes of the stages of a variant, with the exits before its own.
func (b *bench) weights(variant int) (sum int64) {
	steps, _ := b.m.StepsOf(variant)
	for _, step := range steps {
		name := b.m.Stages[step.Stage].Name
		sum += b.bytes[name]
		if exit := strings.Replace(name, "_block", "_exit", 1); exit != name {
			sum += b.bytes[exit]
		}
	}
	last := b.m.Stages[steps[len(steps)-1].Stage].Name
	return sum - b.bytes[last] // its exit was counted with its block
}

// trace is what happened in a run of the simulation, by phase: before, during and after
// the change.
type trace struct {
	right, items [3]int
	cost, bytes  [3]float64
	noticed      int // items from the change to the first alarm; -1: none
	early        int // alarms before it
	moves        [3]int
	list         []string
}

// way is how a run of the simulation decides.
type way struct {
	name    string
	fixed   bool // it stays with the first choice
	full    bool // in place of it, all stages of the most accurate model are loaded
	counter int  // exits.Options.Breaches
}

var waysSimulated = []way{{name: "first choice, never changed", fixed: true}, {name: "the most accurate, all its stages", fixed: true, full: true}, {name: "sequential test"}, {name: "counter, as HELIOS", counter: countMax}}

// seen is an item that was answered.
type seen struct {
	a      *answers
	sample int
}

// simulate runs a policy on drawn items.
func (b *bench) simulate(models []exits.Model, drifted *answers, reference int, w way, seed uint64) trace {
	p := exits.New(exits.Options{Models: models, Samples: len(b.profile.class[0]), Floor: floor, Share: exits.ShareDefault, Every: exits.EveryDefault, Breaches: w.counter})
	rng, t := rand.New(rand.NewPCG(b.seed, seed)), trace{noticed: -1}
	var recent []seen
	for i := range simulated {
		phase, a := i/driftFrom, &b.heldout
		if i >= driftFrom && i < driftUntil {
			a = drifted
		}
		sample, at := rng.IntN(len(a.class[0])), p.Loaded()
		if w.full {
			at = b.pointOf(reference)
		}
		c, depths := b.chains[at.Model], models[at.Model].Depths
		exit := a.exit(c, sample)
		t.items[phase]++
		t.cost[phase] += depths[min(exit, at.Depth)-1].Cost
		t.bytes[phase] += float64(depths[at.Depth-1].Bytes)
		if a.right[a.answeredBy(c, sample, at.Depth)][sample] {
			t.right[phase]++
		}
		recent = append(recent[max(0, len(recent)-recentKept+1):], seen{a, sample})
		if w.fixed {
			continue
		}
		alarms := p.Alarms()
		look := p.Observe(exit <= at.Depth)
		if t.count(phase, i, p.Alarms()-alarms); !look {
			continue
		}
		var probes []exits.Probe
		for _, s := range recent[max(0, len(recent)-p.Probes()):] {
			probes = append(probes, b.probe(s, reference))
			for _, m := range models { // the probes cost something, too
				t.cost[phase] += m.Depths[len(m.Depths)-1].Cost
			}
		}
		if move := p.Look(probes); move.Reason != exits.Stayed {
			t.moves[phase]++
			t.list = append(t.list, fmt.Sprintf("after %d items from `%s` with %d stages to `%s` with %d (%s, %.0f ms)", i+1,
				models[move.From.Model].Name, move.From.Depth, models[move.To.Model].Name, move.To.Depth, move.Reason, move.Load))
		}
	}
	return t
}

// pointOf returns the point with all stages of the model that has a variant.
func (b *bench) pointOf(variant int) (at exits.Point) {
	for i, c := range b.chains {
		if slices.Contains(c.variants, variant) {
			at = exits.Point{Model: i, Depth: len(c.variants)}
		}
	}
	return at
}

// count counts alarms at an item.
func (t *trace) count(phase, item, alarms int) {
	switch {
	case alarms == 0:
	case phase == 0:
		t.early += alarms
	case phase == 1 && t.noticed < 0:
		t.noticed = item - driftFrom + 1
	}
}

// probe returns what an item does on all models.
func (b *bench) probe(s seen, reference int) (p exits.Probe) {
	a, sample := s.a, s.sample
	for _, c := range b.chains {
		taken := exits.Taken{Exit: a.exit(c, sample)}
		for depth := range c.variants {
			taken.Agrees = append(taken.Agrees, a.class[a.answeredBy(c, sample, depth+1)][sample] == a.class[reference][sample])
		}
		p = append(p, taken)
	}
	return p
}

// mostAccurate returns the variant that is right most often on the profile set.
func (b *bench) mostAccurate() (best int) {
	for v := range b.m.Variants {
		if count(b.profile.right[v]) > count(b.profile.right[best]) {
			best = v
		}
	}
	return best
}

// partial simulates partial loading and the switch of models.
func (b *bench) partial(ctx context.Context, text *strings.Builder) error {
	reference := b.mostAccurate()
	models := b.models(reference)
	image := slices.IndexFunc(b.m.Inputs, func(in modelpkg.Input) bool { return in.Name == "image" })
	drifted, err := b.answersOf(ctx, inverted(image))
	if err != nil {
		return err
	}
	depthTable(text, models)
	b.simulations(text, models, &drifted, reference)
	return nil
}

// simulations simulates every way and lists the results.
func (b *bench) simulations(text *strings.Builder, models []exits.Model, drifted *answers, reference int) {
	var whole int64
	for _, m := range models {
		whole += m.Depths[len(m.Depths)-1].Bytes
	}
	fmt.Fprintf(text, "Simulated with these figures: %d items, drawn from the held-out samples; the pictures of items %d to %d are inverted. The floor is %g; mean of %d runs. All stages of all models would take %.1f MiB.\n\n",
		simulated, driftFrom+1, driftUntil, floor, b.runs, float64(whole)/(1<<20))
	text.WriteString("| policy | accuracy before / during / after | ms per item, with probes | MiB loaded | alarms before the change, per run | noticed after items, median (90 %) | moves before / during / after |\n|---|---|---|---|--:|---|---|\n")
	example := ""
	for _, w := range waysSimulated {
		var sum trace
		var noticed []int
		for seed := range uint64(b.runs) {
			t := b.simulate(models, drifted, reference, w, seed)
			for phase := range t.items {
				sum.right[phase] += t.right[phase]
				sum.items[phase] += t.items[phase]
				sum.cost[phase] += t.cost[phase]
				sum.bytes[phase] += t.bytes[phase]
				sum.moves[phase] += t.moves[phase]
			}
			sum.early += t.early
			if t.noticed < 0 {
				t.noticed = driftUntil - driftFrom
			}
			if noticed = append(noticed, t.noticed); seed == 0 && !w.fixed && example == "" {
				example = strings.Join(t.list, "; ")
			}
		}
		slices.Sort(noticed)
		delay := "never"
		if !w.fixed {
			delay = fmt.Sprintf("%d (%d)", noticed[len(noticed)/2], noticed[len(noticed)*9/10])
		}
		fmt.Fprintf(text, "| %s | %s | %s | %s | %.2f | %s | %s |\n", w.name,
			phases(func(k int) string { return fmt.Sprintf("%.4f", float64(sum.right[k])/float64(sum.items[k])) }),
			phases(func(k int) string { return fmt.Sprintf("%.2f", sum.cost[k]/float64(sum.items[k])) }),
			phases(func(k int) string { return fmt.Sprintf("%.1f", sum.bytes[k]/float64(sum.items[k])/(1<<20)) }),
			float64(sum.early)/float64(b.runs), delay,
			phases(func(k int) string { return fmt.Sprintf("%.2f", float64(sum.moves[k])/float64(b.runs)) }))
	}
	fmt.Fprintf(text, "\nThe moves of the first run with the test: %s.\n", example)
}

func phases(of func(phase int) string) string {
	return strings.Join([]string{of(0), of(1), of(2)}, " / ")
}

func depthTable(text *strings.Builder, models []exits.Model) {
	text.WriteString("| chain | loaded stages | MiB | load, ms | ms per item | covered | accuracy |\n|---|--:|--:|--:|--:|--:|--:|\n")
	for _, m := range models {
		for k, d := range m.Depths {
			fmt.Fprintf(text, "| `%s` | %d | %.1f | %.0f | %.2f | %.1f %% | %.4f |\n", m.Name, k+1, float64(d.Bytes)/(1<<20), d.Load, d.Cost, 100*d.Sure, d.Accuracy)
		}
	}
	text.WriteString("\n")
}
