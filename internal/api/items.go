package api

import (
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

func invalid(format string, args ...any) error { return slo.E("", slo.KindInvalid, format, args...) }

func indexOf(names []string, name string) int { return slices.Index(names, name) }

// takeItems makes items of the inputs in x.request: views of their rows. It returns
// the modalities that the items carry.
func (x *exchange) takeItems(m *modelpkg.Model, itemsMax int) (slo.Modalities, error) {
	inputs := x.request.Inputs
	n := inputs[0].Rows()
	given := make([]bool, len(m.Inputs))
	for _, in := range inputs {
		i := slices.IndexFunc(m.Inputs, func(spec modelpkg.Input) bool { return spec.Name == in.Name })
		switch {
		case i < 0:
			return 0, invalid("%s has no input %q, its inputs are %s", m.Name, in.Name, describeInputs(m))
		case given[i]:
			return 0, invalid("input %q is given twice", in.Name)
		}
		given[i] = true
		if err := fits(in, m.Inputs[i].Spec); err != nil {
			return 0, err
		}
		if in.Rows() != n {
			return 0, invalid("input %q has %d items, input %q has %d: all inputs of a request need the same number of items",
				inputs[0].Name, n, in.Name, in.Rows())
		}
	}
	if n > itemsMax {
		return 0, slo.E("", slo.KindTooLarge, "%d items are more than the %d of one request: send several", n, itemsMax)
	}
	if err := x.reserve(int64(n) * int64(len(m.Inputs)+1) * sliceBytes); err != nil {
		return 0, err
	}
	items := x.rows(n, len(m.Inputs))
	for _, in := range inputs {
		i := slices.IndexFunc(m.Inputs, func(spec modelpkg.Input) bool { return spec.Name == in.Name })
		for row := range n {
			items[row][i] = in.Row(row)
		}
	}
	return present(m, given)
}

// fits checks an input against its declaration: the same without the first
// dimension, which is the items.
func fits(in tensor.Tensor, spec modelpkg.Spec) error {
	if in.DType != spec.DType {
		return invalid("input %q is %v, %v was sent", in.Name, spec.DType, in.DType)
	}
	sound := len(in.Shape) > 0 && in.Shape[1:].Fits(spec.Shape)
	switch {
	case sound && !slices.Contains(in.Shape, 0):
		return nil
	case sound:
		return invalid("input %q has shape %s, %v was sent, which is empty", in.Name, declared(spec), in.Shape)
	case in.Shape.Fits(spec.Shape):
		return invalid("input %q has shape %s, %v was sent: put the number of items first", in.Name, declared(spec), in.Shape)
	}
	return invalid("input %q has shape %s, %v was sent", in.Name, declared(spec), in.Shape)
}

// declared prints the shape a request must have: "[items,28,28]".
func declared(spec modelpkg.Spec) string {
	return strings.Replace(batched(spec.Shape).String(), "[-1", "[items", 1)
}

// present turns the inputs that were given into modalities: each must be given
// as a whole or not at all, and at least one variant must run on them.
func present(m *modelpkg.Model, given []bool) (slo.Modalities, error) {
	var set slo.Modalities
	for i, modality := range m.Modalities {
		var missing []int
		for _, input := range modality.Inputs {
			if !given[input] {
				missing = append(missing, input)
			}
		}
		switch {
		case len(missing) == 0:
			set |= 1 << i
		case len(missing) < len(modality.Inputs):
			return 0, invalid("modality %q needs all of its inputs (%s): %s is missing", modality.Name,
				strings.Join(inputNames(m, modality.Inputs), ", "), strings.Join(inputNames(m, missing), ", "))
		}
	}
	if !slices.ContainsFunc(m.Variants, func(v modelpkg.Variant) bool { return set.Has(v.Modalities) }) {
		return 0, invalid("%s cannot run on %s alone: it runs on %s", m.Name, set.Join(m.ModalityNames()), subsets(m))
	}
	return set, nil
}

// describeInputs prints "image UINT8 [items,28,28], text UINT8 [items,12]".
func describeInputs(m *modelpkg.Model) string {
	list := make([]string, len(m.Inputs))
	for i, in := range m.Inputs {
		list[i] = in.Name + " " + in.DType.String() + " " + declared(in.Spec)
	}
	return strings.Join(list, ", ")
}

// wanted resolves the outputs a request names: indices into the model's outputs
// and the form of each. It names none to have all.
func wanted(q *oip.Request, m *modelpkg.Model) (outputs []int, forms []oip.Form, err error) {
	if len(q.Outputs) == 0 {
		for i := range m.Outputs {
			outputs, forms = append(outputs, i), append(forms, q.OutputForm)
		}
		return outputs, forms, nil
	}
	for _, out := range q.Outputs {
		i := slices.IndexFunc(m.Outputs, func(spec modelpkg.Spec) bool { return spec.Name == out.Name })
		switch {
		case i < 0:
			names := make([]string, len(m.Outputs))
			for k, spec := range m.Outputs {
				names[k] = spec.Name
			}
			return nil, nil, invalid("%s has no output %q, its outputs are %s", m.Name, out.Name, strings.Join(names, ", "))
		case slices.Contains(outputs, i):
			return nil, nil, invalid("output %q is wanted twice", out.Name)
		}
		outputs, forms = append(outputs, i), append(forms, out.Form)
	}
	return outputs, forms, nil
}
