package runtime

import (
	"bytes"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

// CheckBatch holds a batch against the contract of Instance.Run, so that every
// implementation refuses the same in the same words: the variant must exist,
// the number of items be within the limits, and every item carry the bytes of
// each of the variant's inputs. With a dynamic dimension it is the items that
// say how many bytes, and all items of a batch must say the same. An input without
// a batch dimension has the same value in all items. Errors have kind invalid or too
// large.
func CheckBatch(m *modelpkg.Model, variant int, items []Item) error {
	op := "run " + m.Name
	switch {
	case variant < 0 || variant >= len(m.Variants):
		return slo.E(op, slo.KindInvalid, "there is no variant %d; the model has %d", variant, len(m.Variants))
	case len(items) == 0:
		return slo.E(op, slo.KindInvalid, "the batch has no items")
	case len(items) > m.Limits.BatchItemsMax:
		return slo.E(op, slo.KindTooLarge, "a batch of %d items exceeds the limit of %d", len(items), m.Limits.BatchItemsMax)
	}
	for _, index := range m.Variants[variant].Inputs {
		if err := checkInput(op, m, index, items); err != nil {
			return err
		}
	}
	return nil
}

// checkInput checks one input of all items.
func checkInput(op string, m *modelpkg.Model, index int, items []Item) error {
	spec := m.Inputs[index].Spec
	unit := ItemBytes(spec)
	dynamic := slices.Contains(spec.Shape, -1)
	for i, item := range items {
		if index >= len(item) || item[index] == nil {
			return slo.E(op, slo.KindInvalid, "item %d has no input %q", i, spec.Name)
		}
		got := len(item[index])
		switch {
		case !dynamic && got != unit:
			return slo.E(op, slo.KindInvalid, "item %d has %d bytes of input %q; %v %v has %d", i, got, spec.Name, spec.DType, spec.Shape, unit)
		case got == 0 || got%unit != 0:
			return slo.E(op, slo.KindInvalid, "item %d has %d bytes of input %q; %v %v has a positive multiple of %d",
				i, got, spec.Name, spec.DType, spec.Shape, unit)
		case got != len(items[0][index]):
			return slo.E(op, slo.KindInvalid, "item %d has %d bytes of input %q, item 0 has %d: the items of one batch must agree",
				i, got, spec.Name, len(items[0][index]))
		case m.Inputs[index].Unbatched && i > 0 && !bytes.Equal(item[index], items[0][index]):
			return slo.E(op, slo.KindInvalid, "item %d has another value of input %q than item 0: it is one value for the whole batch", i, spec.Name)
		}
	}
	return nil
}

// ItemBytes is the number of bytes of one item of a tensor. A dynamic dimension
// counts as 1, so that the items of such a tensor have a multiple of it.
func ItemBytes(spec modelpkg.Spec) int {
	size := spec.DType.Size()
	for _, d := range spec.Shape {
		if d != -1 {
			size *= int(d)
		}
	}
	return size
}
