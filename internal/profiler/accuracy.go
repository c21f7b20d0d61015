package profiler

import (
	"fmt"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// answer runs one variant over all samples that are used, unless its answers
// are known.
func (r *run) answer(instance runtime.Instance, variant int) error {
	name := r.m.Variants[variant].Name
	if _, known := r.samples.Variants[name]; known {
		return nil
	}
	n, last := len(r.pick), len(r.o.Batches)-1
	answers := modelpkg.VariantSamples{Predicted: make([]int, 0, n), Confidence: make([]float32, 0, n)}
	for from := 0; from < n; from += r.o.Batches[last] {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		count := min(r.o.Batches[last], n-from)
		outputs, err := instance.Run(r.ctx, variant, r.items(from, count))
		if err != nil {
			return err
		}
		if err := classify(&answers, outputs, count, r.m.Classes()); err != nil {
			return slo.E("profile "+r.m.Name, slo.KindInvalid, "variant %s, samples from %d on: %w", name, from, err)
		}
		r.meter.advance(r, "accuracy", r.timings[variant][last].first)
	}
	r.samples.Variants[name] = answers
	if r.o.Keep != nil {
		return r.o.Keep(r.samples)
	}
	return nil
}

// classify appends the class with the highest score of each row of the first
// output, and that score.
func classify(answers *modelpkg.VariantSamples, outputs []tensor.Tensor, rows, classes int) error {
	scores := outputs[0] // the contract: the outputs of the model, which has at least one
	if scores.DType != tensor.FP32 || !scores.Shape.Equal(tensor.Shape{int64(rows), int64(classes)}) {
		return fmt.Errorf("the output %s is %v %v, not FP32 [%d,%d]", scores.Name, scores.DType, scores.Shape, rows, classes)
	}
	for row := range rows {
		best, confidence, err := modelpkg.BestClass(scores, row)
		if err != nil {
			return err
		}
		answers.Predicted = append(answers.Predicted, best)
		answers.Confidence = append(answers.Confidence, confidence)
	}
	return nil
}
