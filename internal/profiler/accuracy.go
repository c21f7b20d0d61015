package profiler

import (
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// answer runs a declared variant over all samples in use, each on the variant of the
// sample's sizes, unless the answers are known or scores are external.
func (r *run) answer(instance runtime.Instance, name string) error {
	if _, known := r.samples.Variants[name]; known || r.m.Scoring.External() {
		return nil
	}
	answers := r.set.Judge().NewAnswers(len(r.pick))
	for variant, v := range r.m.Variants {
		if v.Declared() != name {
			continue
		}
		for _, group := range r.groups[variant].own {
			if err := r.answerGroup(instance, variant, group, answers); err != nil {
				return err
			}
		}
	}
	r.samples.Variants[name] = answers
	if r.o.Keep != nil {
		return r.o.Keep(r.samples)
	}
	return nil
}

// answerGroup runs one variant over samples that may share batches.
func (r *run) answerGroup(instance runtime.Instance, variant int, group []int, answers modelpkg.VariantSamples) error {
	last := len(r.o.Batches) - 1
	for places := range slices.Chunk(group, r.o.Batches[last]) {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		outputs, err := instance.Run(r.ctx, variant, r.items(variant, places[0], len(places)))
		if err != nil {
			return r.explained(variant, err)
		}
		if err := r.judge(answers, outputs[0], places); err != nil {
			return slo.E("profile "+r.m.Name, slo.KindInvalid, "variant %s, %w", r.m.Variants[variant].Name, err)
		}
		if err := r.estimate(variant, outputs, places); err != nil {
			return err
		}
		r.primaries(variant, outputs, places)
		r.meter.advance(r, "accuracy", r.timings[variant][last].first)
	}
	return nil
}

// judge scores each row of the first output and stores the result at the row's place.
func (r *run) judge(answers modelpkg.VariantSamples, output tensor.Tensor, places []int) error {
	want := append(tensor.Shape{int64(len(places))}, r.m.Outputs[0].Shape...)
	if output.DType != r.m.Outputs[0].DType || !output.Shape.Fits(want) {
		return fmt.Errorf("the output %s is %v %v, not %v %v", output.Name, output.DType, output.Shape, r.m.Outputs[0].DType, want)
	}
	for row, place := range places {
		result, err := r.set.Score(output, row, r.pick[place])
		if err != nil {
			return fmt.Errorf("sample %d: %w%s", r.pick[place], err, r.notFinite(r.pick[place]))
		}
		answers.Put(place, result)
	}
	return nil
}

// estimate stores the estimates of a gate, which follow the model's outputs.
func (r *run) estimate(variant int, outputs []tensor.Tensor, places []int) error {
	g := r.m.GateOf(variant)
	if g == nil {
		return nil
	}
	name, n, output := r.m.Variants[variant].Declared(), len(g.Choices), outputs[len(r.m.Outputs)]
	if want := append(tensor.Shape{int64(len(places))}, g.Output.Shape...); output.DType != g.Output.DType || !output.Shape.Fits(want) {
		return slo.E("profile "+r.m.Name, slo.KindInvalid, "gate %s: the output %s is %v %v, not %v %v", name, output.Name, output.DType, output.Shape, g.Output.DType, want)
	}
	if r.samples.Estimates == nil {
		r.samples.Estimates = map[string][]float64{}
	}
	if r.samples.Estimates[name] == nil {
		r.samples.Estimates[name] = make([]float64, n*len(r.pick))
	}
	for row, place := range places {
		copy(r.samples.Estimates[name][n*place:], modelpkg.Floats(output, row))
	}
	return nil
}

// primaries stores the primary modality of each answer.
func (r *run) primaries(variant int, outputs []tensor.Tensor, places []int) {
	at, name := r.m.Weights(), r.m.Variants[variant].Declared()
	if at < 0 {
		return
	}
	if r.samples.Primaries == nil {
		r.samples.Primaries = map[string][]int{}
	}
	if r.samples.Primaries[name] == nil {
		r.samples.Primaries[name] = make([]int, len(r.pick))
	}
	for row, place := range places {
		r.samples.Primaries[name][place] = modelpkg.Primary(outputs[at], row)
	}
}

// notFinite says whether the sample itself has numbers that are not finite.
func (r *run) notFinite(sample int) string {
	for i, in := range r.m.Inputs {
		if !in.IsFinite(r.set.Item(sample)[i]) {
			return fmt.Sprintf(" (array %q of that sample has NaN or infinite numbers, too)", in.Name)
		}
	}
	return ""
}
