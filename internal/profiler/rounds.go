package profiler

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime"
)

// warmBelow is the batch time above which the contents of the processor's caches hardly
// matter.
const warmBelow = 10 * time.Millisecond

// cell is what a round times once: a variant, or a stage alone, at one batch size.
type cell struct {
	*timing
	items int
	run   func(instance runtime.Instance, from int) (time.Duration, error)
}

// cell returns a variant at a batch size.
func (r *run) cell(variant, batch int) cell {
	return cell{timing: &r.timings[variant][batch], items: r.o.Batches[batch], run: func(instance runtime.Instance, from int) (time.Duration, error) {
		return r.once(instance, variant, batch, from)
	}}
}

// cells lists what is timed: every stage at every batch size, the variants made of them
// at some sizes, and the other variants at every size.
func (r *run) cells() []cell {
	var cells []cell
	for v := range r.m.Variants {
		for b := range r.o.Batches {
			if !r.summed(v) || slices.Contains(r.checked(), b) {
				cells = append(cells, r.cell(v, b))
			}
		}
	}
	for s := range r.stages {
		for b := range r.o.Batches {
			cells = append(cells, r.stageCell(s, b))
		}
	}
	return cells
}

// time times all cells, then the variants of which the sum of their stages is not right.
func (r *run) time(instance runtime.Instance) error {
	if err := r.rounds(instance, r.cells()); err != nil {
		return err
	}
	if again := r.notSums(); len(again) > 0 {
		for _, c := range again {
			r.meter.total += time.Duration(r.o.Warmup+r.trials) * c.visit()
		}
		return r.rounds(instance, again)
	}
	return nil
}

// rounds runs every cell in rounds, in a new order each round, so that a disturbance
// does not affect only one of them. Short batches run twice and the second run counts,
// because a loaded server runs a variant many times in a row, with its weights in the
// caches.
func (r *run) rounds(instance runtime.Instance, cells []cell) error {
	order, from := rand.New(rand.NewPCG(1, 1)), 0
	for round := range r.o.Warmup + r.trials {
		order.Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
		for _, c := range cells {
			if c.short() {
				if _, err := c.run(instance, from); err != nil {
					return err
				}
			}
			took, err := c.run(instance, from)
			if err != nil {
				return err
			}
			if round >= r.o.Warmup {
				c.runs = append(c.runs, took)
			}
			from += c.items // different samples every time, as in serving
			r.meter.advance(r, "latency", c.visit())
		}
	}
	return nil
}
