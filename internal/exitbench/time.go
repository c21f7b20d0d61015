package main

import (
	"context"
	"slices"

	"github.com/mosel-serve/mosel/internal/cascade"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

// timed is how many items are run to measure a rate.
const timed = 640

// keepBytesMax bounds the tensors that one batch hands on.
const keepBytesMax = 64 << 20

// waiting is an item before a step.
type waiting struct {
	sample int
	given  []tensor.Tensor // what the step before computed, by value
}

// walk runs items through some exits of a chain. Items that are unsure wait until a batch
// of the next exit is full; those that are sure leave.
type walk struct {
	b         *bench
	steps     []int // variants
	threshold float64
	items     []runtime.Item
	waiting   [][]waiting // by step
	answered  int
	// answer, if not nil, gets the answer of every step.
	answer func(variant, sample int, outputs []tensor.Tensor, row int) error
}

// perSecond returns the items per second of processor time that some exits of a chain
// answer: the median of some rounds.
func (b *bench) perSecond(ctx context.Context, ways [][]int, threshold float64) ([]float64, error) {
	rates := make([][]float64, len(ways))
	for range b.rounds {
		for i, steps := range ways {
			w := walk{b: b, steps: steps, threshold: threshold, items: b.heldout.items[:min(timed, len(b.heldout.items))], waiting: make([][]waiting, len(steps)+1)}
			before := replay.ProcessCPU()
			if err := w.all(ctx); err != nil {
				return nil, err
			}
			rates[i] = append(rates[i], float64(w.answered)/(replay.ProcessCPU()-before).Seconds())
		}
	}
	var medians []float64
	for _, list := range rates {
		slices.Sort(list)
		medians = append(medians, list[len(list)/2])
	}
	return medians, nil
}

func (w *walk) all(ctx context.Context) error {
	for sample := range w.items {
		w.waiting[0] = append(w.waiting[0], waiting{sample: sample})
		for step := range w.steps {
			if len(w.waiting[step]) >= batchItems {
				if err := w.run(ctx, step); err != nil {
					return err
				}
			}
		}
	}
	for step := range w.steps { // what is left of each
		for len(w.waiting[step]) > 0 {
			if err := w.run(ctx, step); err != nil {
				return err
			}
		}
	}
	return nil
}

// run runs a batch of a step.
func (w *walk) run(ctx context.Context, step int) error {
	batch := w.waiting[step][:min(batchItems, len(w.waiting[step]))]
	part := runtime.Part{Variant: w.steps[step], KeepBytesMax: keepBytesMax}
	if step > 0 {
		for k, value := range w.handed(step) {
			given := runtime.Given{Intermediate: value}
			for _, item := range batch {
				given.Rows = append(given.Rows, item.given[k])
			}
			part.Given = append(part.Given, given)
		}
	}
	last := step+1 == len(w.steps)
	if !last {
		part.Keep = w.handed(step + 1)
	}
	for _, item := range batch {
		part.Items = append(part.Items, w.items[item.sample])
	}
	outputs, kept, err := w.b.instance.RunStages(ctx, part)
	if err != nil {
		return err
	}
	var rows [][]tensor.Tensor // of what was kept
	for _, t := range kept {
		rows = append(rows, runtime.RowsOf(t))
	}
	for row, item := range batch {
		if w.answer != nil {
			if err := w.answer(part.Variant, item.sample, outputs, row); err != nil {
				return err
			}
		}
		sure := w.b.m.Scoring.Confidence(modelpkg.Floats(outputs[0], row))
		if last || !cascade.GoesOn(sure, w.threshold) {
			w.answered++
			continue
		}
		next := waiting{sample: item.sample}
		for _, of := range rows {
			next.given = append(next.given, of[row])
		}
		w.waiting[step+1] = append(w.waiting[step+1], next)
	}
	w.waiting[step] = slices.Clone(w.waiting[step][len(batch):])
	return nil
}

// handed returns what a step takes over from the one before.
func (w *walk) handed(step int) []modelpkg.Intermediate {
	return w.b.m.Handover(w.steps[step], w.steps[step-1])
}
