package modelpkg

import (
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/tensor"
)

// checkLengths ensures that every dynamic input has a largest size: the declared one,
// or that of the samples that the model is profiled on. Without it, the time and the
// memory of a batch are unknown.
func (r *report) checkLengths(m *Model, s *spec, h *home) {
	var missing []int
	for i, in := range m.Inputs {
		if dynamicAxis(in.Shape) >= 0 && in.Max == 0 && in.Buckets == nil {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return
	}
	shapes, err := setShapes(h, m.Evaluation.Profile)
	if IsSystemFault(err) {
		r.unread(s.profile.Place, err, "evaluation set %s", m.Evaluation.Profile)
		return
	}
	for _, i := range missing {
		in, at := &m.Inputs[i], s.input(i).shaped
		length := int64(0)
		if shape := shapes[in.Name]; len(shape) == len(in.Shape)+1 {
			length = shape[1+dynamicAxis(in.Shape)]
		}
		if length < 1 {
			r.At(at, "%s has a dimension of -1 and no max: write the largest size that will be served, such as max: 512%s", in.Name, noSamples(m, err))
			continue
		}
		in.Max = length
		r.warn(at, "%s has a dimension of -1 and no max: %d is taken, the size of the samples in %s; write max: %d, or the largest size that will be served",
			in.Name, length, m.Evaluation.Profile, length)
	}
}

// noSamples returns why no size could be taken from the samples.
func noSamples(m *Model, err error) string {
	switch {
	case m.Evaluation.Profile == "":
		return " (evaluation.profile names no samples to take it from)"
	case err != nil:
		return fmt.Sprintf(" (%s cannot give it: %s)", m.Evaluation.Profile, reason(err))
	}
	return fmt.Sprintf(" (%s has no array of that name and shape)", m.Evaluation.Profile)
}

// setShapes reads the shapes of an evaluation set's arrays, not their data.
func setShapes(h *home, name string) (map[string]tensor.Shape, error) {
	if name == "" {
		return nil, nil
	}
	f, info, err := h.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ShapesNPZ(f, info.Size())
}

// LongestSample returns the largest size of an input's dimension that is -1 among the
// samples of a set; 0 if there is none, or the input has buckets. All samples of one array have the same size.
func (s *Set) LongestSample(in Input, index int) int64 {
	if dynamicAxis(in.Shape) < 0 || s.Len() == 0 || in.Buckets != nil {
		return 0
	}
	unit := int64(1)
	for _, d := range in.Shape {
		if d > 0 {
			unit *= d
		}
	}
	n, _ := tensor.Count(in.DType, s.Item(0)[index])
	return int64(n) / unit
}

// wanted returns the names of the arrays that the model reads from an evaluation set.
func wanted(m *Model) []string {
	var names []string
	if !m.Scoring.External() {
		names = append(names, labelArray)
	}
	if m.Scoring.Gallery() {
		names = append(names, galleryArray, galleryLabelArray)
	}
	for _, in := range m.Inputs {
		names = append(names, in.Name)
	}
	return slices.Clip(names)
}
