package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/internal/cascade"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/tensor"
)

// answers are what every variant answers to every sample of a set.
type answers struct {
	items      []runtime.Item
	class      [][]int // by variant and sample
	confidence [][]float64
	right      [][]bool
}

// batchItems is the size of all batches.
const batchItems = 16

// readProfile reads the answers to the profile set and the times, which `mosel profile`
// has measured.
func (b *bench) readProfile() error {
	p, err := modelpkg.FindProfile(b.m, "")
	if err != nil {
		return err
	}
	samples, err := modelpkg.LoadSamples(b.m, p.Origin(), b.m.SamplesPath(p.Device))
	if err != nil {
		return err
	}
	for i, v := range b.m.Variants {
		of := samples.Variants[v.Name]
		var right []bool
		for _, score := range samples.Scores(v.Name) {
			right = append(right, score == 1)
		}
		b.profile.class, b.profile.confidence, b.profile.right = append(b.profile.class, of.Predicted), append(b.profile.confidence, b.m.Scoring.Confidences(of)), append(b.profile.right, right)
		at := slices.IndexFunc(p.Variants[i].Batches, func(t modelpkg.BatchProfile) bool { return t.Items == batchItems })
		if at < 0 {
			return fmt.Errorf("the profile has no batches of %d items", batchItems)
		}
		b.cost = append(b.cost, p.Variants[i].Batches[at].P50MS/batchItems)
	}
	return nil
}

// answersOf runs all exits over the held-out set, whose items may be changed before.
func (b *bench) answersOf(ctx context.Context, change func(item runtime.Item) runtime.Item) (a answers, err error) {
	set, err := modelpkg.OpenSet(b.m.File(b.m.Evaluation.HeldOut), b.m)
	if err != nil {
		return a, err
	}
	for sample := range set.Len() {
		item := runtime.Item(set.Item(sample))
		if change != nil {
			item = change(item)
		}
		a.items = append(a.items, item)
	}
	for range b.m.Variants {
		a.class, a.confidence, a.right = append(a.class, make([]int, set.Len())), append(a.confidence, make([]float64, set.Len())), append(a.right, make([]bool, set.Len()))
	}
	for _, c := range b.chains {
		w := walk{b: b, steps: c.variants, threshold: never, items: a.items, waiting: make([][]waiting, len(c.variants)+1)}
		w.answer = func(variant, sample int, outputs []tensor.Tensor, row int) error {
			result, err := set.Score(outputs[0], row, sample)
			if err != nil {
				return err
			}
			a.class[variant][sample], a.confidence[variant][sample], a.right[variant][sample] = result.Class, result.Confidence, result.Score == 1
			return nil
		}
		if err := w.all(ctx); err != nil {
			return a, err
		}
	}
	return a, nil
}

// never is a threshold that no confidence reaches: every item goes on.
const never = 2.0

// exit returns after how many blocks an item is sure; one more than all if it never is.
func (a *answers) exit(c chain, sample int) int {
	for k, v := range c.variants {
		if !cascade.GoesOn(a.confidence[v][sample], c.threshold) {
			return k + 1
		}
	}
	return len(c.variants) + 1
}

// answeredBy returns the variant that answers an item: the exit where it is sure, at most
// that of a depth.
func (a *answers) answeredBy(c chain, sample, depth int) int {
	return c.variants[min(a.exit(c, sample), depth)-1]
}

// rightOf returns how many samples are answered right if the first blocks are loaded.
func (a *answers) rightOf(c chain, depth int) (right int) {
	for sample := range a.class[0] {
		if a.right[a.answeredBy(c, sample, depth)][sample] {
			right++
		}
	}
	return right
}

// lossMax is how much less accurate than the last exit a chain may be.
const lossMax = 0.005

// miss is the probability that a certified threshold loses more.
const miss = 0.05

// certified returns the lowest threshold of a chain that is certified to lose at most
// lossMax. Thresholds are tested in a fixed order, from the one at which nothing leaves
// early, until one fails (Learn then Test, fixed sequence).
func certified(a *answers, c chain) float64 {
	last := c.variants[len(c.variants)-1]
	n, kept := len(a.class[0]), never
	for _, threshold := range []float64{0.9999, 0.9995, 0.999, 0.998, 0.995, 0.99, 0.98, 0.97, 0.95, 0.92, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4} {
		c.threshold = threshold
		// Only samples on which the chain and the last exit differ can lose. A sample counts
		// as lost if the last exit is right and the chain is not.
		lost := 0
		for sample := range n {
			if a.right[last][sample] && !a.right[a.answeredBy(c, sample, len(c.variants))][sample] {
				lost++
			}
		}
		if 1-score.LowerShare(n-lost, n, miss) > lossMax {
			break
		}
		kept = threshold
	}
	return kept
}

func count(flags []bool) (n int) {
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n
}

// inverted mirrors every byte of one input: dark is light.
func inverted(input int) func(runtime.Item) runtime.Item {
	return func(item runtime.Item) runtime.Item {
		item = slices.Clone(item)
		data := slices.Clone(item[input])
		for i := range data {
			data[i] = ^data[i]
		}
		item[input] = data
		return item
	}
}
