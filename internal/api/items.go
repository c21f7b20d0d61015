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

// carried says which modalities the items of a request carry.
type carried struct {
	union  slo.Modalities // what any item carries
	every  slo.Modalities // what every item carries
	items  []slo.Modalities
	absent []slo.Modalities // by item: modalities that were sent but count as absent; nil: none
}

// takeItems makes items from the inputs in x.request: views of their rows. It returns
// which modalities they carry: those that were sent, except those that count as absent
// by the rule in the model package.
func (x *exchange) takeItems(m *modelpkg.Model, itemsMax int) (c carried, err error) {
	given, err := x.givenInputs(m)
	if err != nil {
		return c, err
	}
	for i, in := range given {
		if in != nil && !forAll(m.Inputs[i], in) && in.Rows() > itemsMax {
			return c, slo.E("", slo.KindTooLarge, "the request has %d items, more than the bound of %d: split it into several requests", in.Rows(), itemsMax)
		}
	}
	if err := x.sentTwice(m, given); err != nil {
		return c, err
	}
	sent, err := x.sentModalities(m, given)
	if err != nil {
		return c, err
	}
	places, err := placesOf(x.request.Parameters, m, sent, itemsMax)
	if err != nil {
		return c, err
	}
	n, err := itemsOf(m, given, places)
	if err != nil {
		return c, err
	}
	if err := x.reserve(int64(n) * int64(len(m.Inputs)+1) * sliceBytes); err != nil {
		return c, err
	}
	x.rows(n, len(m.Inputs))
	for i, in := range given {
		if in == nil {
			continue
		}
		if m.Inputs[i].Range != nil && !x.isFile(i) {
			if err := m.Inputs[i].CheckRange(in.Data); err != nil {
				return c, err
			}
		}
		if err := x.deal(m.Inputs[i], i, in, places[m.Inputs[i].Modality]); err != nil {
			return c, err
		}
	}
	c = x.carry(m, sent, places, n)
	return c, c.check(m, false)
}

// deal gives the items their rows of an input; where says which items those are, nil:
// all.
func (x *exchange) deal(spec modelpkg.Input, index int, in *tensor.Tensor, where []int) error {
	whole := forAll(spec, in)
	rows := len(x.items)
	if where != nil {
		rows = len(where)
	}
	rest := in.Data
	for row := range rows {
		at := row
		if where != nil {
			at = where[row]
		}
		switch {
		case whole:
			x.items[at][index] = in.Data
		case in.DType == tensor.Bytes:
			x.items[at][index], rest = cutTexts(rest, in.Shape[1:])
			if x.isFile(index) {
				x.items[at][index], _, _ = tensor.CutBytes(x.items[at][index])
			}
		default:
			x.items[at][index] = in.Row(row)
		}
		if err := spec.CheckTexts(x.items[at][index]); err != nil {
			return invalid("item %d: %w", at, err)
		}
	}
	return nil
}

// cutTexts takes the texts of a row of this shape off the data of a tensor that has been
// checked.
func cutTexts(data []byte, shape tensor.Shape) (row, rest []byte) {
	n, _ := shape.Elements()
	size := 0
	for range n {
		element, _, _ := tensor.CutBytes(data[size:])
		size += 4 + len(element)
	}
	return data[:size:size], data[size:]
}

// givenInputs finds the request's tensors by input of the model, checked against
// their declarations; nil: none was sent.
func (x *exchange) givenInputs(m *modelpkg.Model) ([]*tensor.Tensor, error) {
	given := x.given[:0]
	for range m.Inputs {
		given = append(given, nil)
	}
	x.given, x.files = given, nil
	for k := range x.request.Inputs {
		in := &x.request.Inputs[k]
		i := slices.IndexFunc(m.Inputs, func(spec modelpkg.Input) bool { return spec.Name == in.Name })
		switch {
		case i < 0:
			return nil, invalid("%s has no input %q; its inputs are %s", m.Name, in.Name, describeInputs(m))
		case given[i] != nil:
			return nil, invalid("input %q is given twice", in.Name)
		}
		given[i] = in
		if isFiles(in, m.Inputs[i]) {
			x.markFiles(i, len(m.Inputs))
			continue
		}
		if err := fits(*in, m.Inputs[i]); err != nil {
			return nil, err
		}
	}
	return given, nil
}

// fits checks an input against its declaration. The first dimension, the items, is not
// in the declaration.
func fits(in tensor.Tensor, spec modelpkg.Input) error {
	if in.DType == tensor.Bytes && spec.DType != tensor.Bytes && spec.Media != modelpkg.MediaNone {
		return invalid("input %q takes files as BYTES [items], one for each item, or %v %s, but BYTES %v was sent", in.Name, spec.DType, declared(spec.Spec), in.Shape)
	}
	if in.DType != spec.DType {
		return invalid("input %q has datatype %v, but %v was sent", in.Name, spec.DType, in.DType)
	}
	if forAll(spec, &in) {
		return nil
	}
	sound := len(in.Shape) > 0 && in.Shape[1:].Fits(spec.Shape)
	switch {
	case sound && !slices.Contains(in.Shape, 0):
		return tooLong(in, spec)
	case sound:
		return invalid("input %q has shape %s, but %v was sent, which is empty", in.Name, declared(spec.Spec), in.Shape)
	case in.Shape.Fits(spec.Shape):
		return invalid("input %q has shape %s, but %v was sent: put the number of items first", in.Name, declared(spec.Spec), in.Shape)
	}
	return invalid("input %q has shape %s, but %v was sent", in.Name, declared(spec.Spec), in.Shape)
}

// tooLong checks the dynamic dimension of an input against its bound.
func tooLong(in tensor.Tensor, spec modelpkg.Input) error {
	if spec.Max == 0 || spec.Buckets != nil { // the engine finds a bucket, or none
		return nil
	}
	if axis := slices.Index(spec.Shape, -1); axis >= 0 && in.Shape[1+axis] > spec.Max {
		return invalid("input %q has length %d, but the model takes at most %d (max in its package)", in.Name, in.Shape[1+axis], spec.Max)
	}
	return nil
}

// forAll reports whether an input has one value for all items of the request.
func forAll(spec modelpkg.Input, in *tensor.Tensor) bool {
	return spec.Unbatched && in.Shape.Equal(spec.Shape)
}

// declared returns the shape that a request must have, such as "[items,28,28]".
func declared(spec modelpkg.Spec) string {
	return strings.Replace(batched(spec.Shape).String(), "[-1", "[items", 1)
}

// itemShapes returns the shapes of an item's inputs where they do not follow from its
// bytes, nil for others; nil: there are none.
func itemShapes(m *modelpkg.Model, given []*tensor.Tensor) (shapes []tensor.Shape) {
	for i, in := range given {
		if in == nil || m.Inputs[i].Buckets == nil || in.DType != m.Inputs[i].DType {
			continue
		}
		if shapes == nil {
			shapes = make([]tensor.Shape, len(given))
		}
		shapes[i] = slices.Clone(in.Shape[1:])
	}
	return shapes
}

// sentModalities turns the inputs that were given into modalities: each must be
// given as a whole or not at all.
func (x *exchange) sentModalities(m *modelpkg.Model, given []*tensor.Tensor) (slo.Modalities, error) {
	var set slo.Modalities
	for i, modality := range m.Modalities {
		var missing []int
		if !slices.ContainsFunc(modality.Inputs, func(input int) bool { return given[input] != nil }) {
			continue
		}
		for _, input := range modality.Inputs {
			if given[input] == nil && !x.isFilled(m, input) && !m.IsBeside(input) {
				missing = append(missing, input)
			}
		}
		if len(missing) > 0 {
			return 0, invalid("modality %q needs all of its inputs (%s): %s is missing", modality.Name,
				strings.Join(inputNames(m, modality.Inputs), ", "), strings.Join(inputNames(m, missing), ", "))
		}
		set |= 1 << i
	}
	return set, nil
}

// describeInputs returns text such as "image UINT8 [items,28,28], text UINT8
// [items,12]".
func describeInputs(m *modelpkg.Model) string {
	list := make([]string, len(m.Inputs))
	for i, in := range m.Inputs {
		list[i] = in.Name + " " + in.DType.String() + " " + declared(in.Spec)
	}
	return strings.Join(list, ", ")
}

// wanted returns the outputs that a request names, or all if it names none, as indices
// into the model's outputs, with the form of each.
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
			return nil, nil, invalid("%s has no output %q; its outputs are %s", m.Name, out.Name, strings.Join(names, ", "))
		case slices.Contains(outputs, i):
			return nil, nil, invalid("output %q is requested twice", out.Name)
		}
		outputs, forms = append(outputs, i), append(forms, out.Form)
	}
	return outputs, forms, nil
}
