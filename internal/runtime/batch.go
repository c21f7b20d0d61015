package runtime

import (
	"bytes"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// CheckBatch holds a batch against the contract of Instance.Run, so that every
// implementation refuses the same in the same words: the variant must exist,
// the number of items be within the limits, and every item carry the bytes of
// each of the variant's inputs. With a dynamic dimension it is the items that
// say how many elements, and all items of a batch must say the same; an input with
// buckets has the shape of the variant's. An input without
// a batch dimension has the same value in all items. Errors have kind invalid or too
// large.
func CheckBatch(m *modelpkg.Model, variant int, items []Item) error {
	if err := checkSize(m, variant, len(items)); err != nil {
		return err
	}
	return checkInputs(m, variant, m.Variants[variant].Inputs, items)
}

// checkSize checks the variant and the number of items.
func checkSize(m *modelpkg.Model, variant, items int) error {
	op := "run " + m.Name
	switch {
	case variant < 0 || variant >= len(m.Variants):
		return slo.E(op, slo.KindInvalid, "there is no variant %d; the model has %d", variant, len(m.Variants))
	case items == 0:
		return slo.E(op, slo.KindInvalid, "the batch has no items")
	case items > m.Limits.BatchItemsMax:
		return slo.E(op, slo.KindTooLarge, "a batch of %d items exceeds the limit of %d", items, m.Limits.BatchItemsMax)
	}
	return nil
}

// checkInputs checks some of a variant's inputs of all items.
func checkInputs(m *modelpkg.Model, variant int, inputs []int, items []Item) error {
	op := "run " + m.Name
	for _, index := range inputs {
		if err := checkInput(op, m, variant, index, items); err != nil {
			return err
		}
	}
	return nil
}

// checkInput checks one input of all items.
func checkInput(op string, m *modelpkg.Model, variant, index int, items []Item) error {
	spec := m.SpecOf(variant, index)
	unit := Elements(spec)
	dynamic := slices.Contains(spec.Shape, -1)
	first := 0
	for i, item := range items {
		if index >= len(item) || item[index] == nil {
			return slo.E(op, slo.KindInvalid, "item %d has no input %q", i, spec.Name)
		}
		got, whole := tensor.Count(spec.DType, item[index])
		if i == 0 {
			first = got
		}
		switch {
		case !whole:
			return slo.E(op, slo.KindInvalid, "item %d has %d bytes of input %q, which end within an element of %v", i, len(item[index]), spec.Name, spec.DType)
		case !dynamic && got != unit:
			return slo.E(op, slo.KindInvalid, "item %d has %d elements of input %q; %v %v has %d", i, got, spec.Name, spec.DType, spec.Shape, unit)
		case got == 0 || got%unit != 0:
			return slo.E(op, slo.KindInvalid, "item %d has %d elements of input %q; %v %v has a positive multiple of %d",
				i, got, spec.Name, spec.DType, spec.Shape, unit)
		case got != first:
			return slo.E(op, slo.KindInvalid, "item %d has %d elements of input %q, item 0 has %d: the items of one batch must agree",
				i, got, spec.Name, first)
		case m.Inputs[index].Unbatched && i > 0 && !bytes.Equal(item[index], items[0][index]):
			return slo.E(op, slo.KindInvalid, "item %d has another value of input %q than item 0: it is one value for the whole batch", i, spec.Name)
		}
	}
	return nil
}

// Alike reports whether two items' bytes of an input may be in one run.
func Alike(in modelpkg.Input, a, b []byte) bool {
	switch {
	case in.Unbatched:
		return bytes.Equal(a, b)
	case in.DType != tensor.Bytes:
		return len(a) == len(b)
	case !slices.Contains(in.Shape, -1):
		return true // the number of elements is fixed
	}
	m, _ := tensor.Count(in.DType, a)
	n, _ := tensor.Count(in.DType, b)
	return m == n
}

// Elements is the number of elements of one item of a tensor. A dynamic dimension
// counts as 1, so that the items of such a tensor have a multiple of it.
func Elements(spec modelpkg.Spec) int {
	n := 1
	for _, d := range spec.Shape {
		if d != -1 {
			n *= int(d)
		}
	}
	return n
}

// ItemBytes is the number of bytes of one item of a tensor, a dynamic dimension
// counted as 1. For BYTES it is that of empty texts, the least.
func ItemBytes(spec modelpkg.Spec) int {
	if spec.DType == tensor.Bytes {
		return 4 * Elements(spec) // the length before each
	}
	return spec.DType.Size() * Elements(spec)
}

// Length is the size of the dynamic dimension of one item; 1 if its shape has none.
func Length(spec modelpkg.Spec, item []byte) int {
	n, _ := tensor.Count(spec.DType, item)
	return n / max(Elements(spec), 1)
}

// Resize makes an item whose dynamic dimension has another size: its elements are cut
// off, or repeated. An item without elements stays as it is.
func Resize(spec modelpkg.Spec, item []byte, length int) []byte {
	have, want := Length(spec, item), length
	if have == want || len(item) == 0 {
		return item
	}
	unit := Elements(spec)
	out := bytes.Repeat(item, want/max(have, 1)+1)
	if spec.DType != tensor.Bytes {
		return out[:want*unit*spec.DType.Size()]
	}
	size := 0
	for range want * unit {
		element, _, _ := tensor.CutBytes(out[size:])
		size += 4 + len(element)
	}
	return out[:size]
}
