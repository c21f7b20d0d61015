package modelpkg

import (
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// WeightsOutput is the name of the output that says, for each modality, how much an answer
// depends on it. The modality with the largest weight is the primary one.
const WeightsOutput = "modality_weights"

// Weights returns the index of the output with the weights of the modalities; -1: the
// model has none.
func (m *Model) Weights() int {
	return slices.IndexFunc(m.Outputs, func(out Spec) bool { return out.Name == WeightsOutput })
}

// Primary returns the modality with the largest weight for an item of a batch of the
// output; the first among equals, and -1 if a weight is not a number.
func Primary(weights tensor.Tensor, item int) int {
	list, best := Floats(weights, item), 0
	for i, w := range list {
		if math.IsNaN(w) {
			return -1
		}
		if w > list[best] {
			best = i
		}
	}
	if len(list) == 0 {
		return -1
	}
	return best
}

// checkWeights checks the declaration of the weights.
func (r *report) checkWeights(m *Model, s *spec) {
	at := m.Weights()
	if at < 0 {
		return
	}
	out, declared := m.Outputs[at], s.outputs[at]
	switch {
	case at == 0:
		r.At(declared.Place, "the output %s cannot be the first, which the metric scores", WeightsOutput)
	case out.DType != tensor.Invalid && !isScore(out.DType):
		r.At(declared.dtype.Place, "the output %s must be FP32, FP16 or FP64, not %v", WeightsOutput, out.DType)
	}
	if !out.Shape.Equal(tensor.Shape{int64(len(m.Modalities))}) {
		r.At(declared.shaped, "the output %s must have the shape [%d]: one weight for each of %s, not %v", WeightsOutput, len(m.Modalities),
			strings.Join(m.ModalityNames(), ", "), out.Shape)
	}
}

// PrimarySets returns each modality as a set, by index; nothing for -1.
func PrimarySets(primary []int) []slo.Modalities {
	sets := make([]slo.Modalities, len(primary))
	for i, p := range primary {
		if p >= 0 {
			sets[i] = 1 << p
		}
	}
	return sets
}

// checkPrimaries checks the counts of primary modalities of a variant.
func (v *VariantProfile) checkPrimaries(m *Model) error {
	if n := len(v.Primaries); n != 0 && (m.Weights() < 0 || n != len(m.Modalities)) {
		return errors.New("primaries must have a number for each modality of a model with the output " + WeightsOutput)
	}
	if slices.ContainsFunc(v.Primaries, func(n int) bool { return n < 0 }) {
		return errors.New("primaries has a negative number")
	}
	return nil
}
