package engine

import (
	"encoding/binary"
	"math"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// A floating-point number is infinite or NaN if all bits of its exponent are set. Only
// then does adding the lowest exponent bit carry into the sign bit, which the mask has
// cleared, and it never carries beyond it. So eight bytes of numbers can be checked at
// once.
type exponents struct{ mask, lowest, carry uint64 }

var exponentsOf = map[tensor.DType]exponents{
	tensor.FP16: {0x7c00_7c00_7c00_7c00, 0x0400_0400_0400_0400, 0x8000_8000_8000_8000},
	tensor.BF16: {0x7f80_7f80_7f80_7f80, 0x0080_0080_0080_0080, 0x8000_8000_8000_8000},
	tensor.FP32: {0x7f80_0000_7f80_0000, 0x0080_0000_0080_0000, 0x8000_0000_8000_0000},
	tensor.FP64: {0x7ff0_0000_0000_0000, 0x0010_0000_0000_0000, 0x8000_0000_0000_0000},
}

// finite reports whether all numbers in data are finite: neither infinite nor NaN.
// Types other than floating-point always are.
func finite(d tensor.DType, data []byte) bool {
	e, float := exponentsOf[d]
	if !float {
		return true
	}
	var seen uint64
	for ; len(data) >= 32; data = data[32:] {
		seen |= binary.LittleEndian.Uint64(data)&e.mask + e.lowest
		seen |= binary.LittleEndian.Uint64(data[8:])&e.mask + e.lowest
		seen |= binary.LittleEndian.Uint64(data[16:])&e.mask + e.lowest
		seen |= binary.LittleEndian.Uint64(data[24:])&e.mask + e.lowest
	}
	for ; len(data) >= 8; data = data[8:] {
		seen |= binary.LittleEndian.Uint64(data)&e.mask + e.lowest
	}
	var rest [8]byte
	copy(rest[:], data)
	seen |= binary.LittleEndian.Uint64(rest[:])&e.mask + e.lowest
	return seen&e.carry == 0
}

// infinite returns the index of the first input, among those that the batch's variant
// reads, in which an item has an infinity or a NaN; -1 if there is none.
func (b *running) infinite(item int) int {
	m := b.served.Model
	for _, i := range b.reads(item) {
		if !finite(m.Inputs[i].DType, b.items[item][i]) {
			return i
		}
	}
	return -1
}

// faults returns the errors of the items whose outputs are not finite, by item; nil if
// there are none. Such outputs are no answer: scores with NaN have no best class, and
// JSON cannot represent them. What an output has for what filled an item up is not looked
// at: attention over nothing is NaN.
func (b *running) faults(items []int, outputs []tensor.Tensor) []error {
	var faults []error
	for o, out := range outputs {
		if finite(out.DType, out.Data) {
			continue
		}
		for row, item := range items {
			if faults != nil && faults[row] != nil {
				continue
			}
			if own := b.ownRow(o, out, row, item); !finite(out.DType, own) {
				if faults == nil {
					faults = make([]error, len(items))
				}
				faults[row] = b.fault(item, out.Name, culprit(out.DType, own))
			}
		}
	}
	return faults
}

// fault returns the error of one item. The client is at fault if an input was not
// finite, otherwise the model.
func (b *running) fault(item int, output, what string) error {
	input := b.infinite(item)
	if input < 0 {
		return slo.E("", slo.KindInternal, "output %q is not finite (%s)", output, what)
	}
	in := b.served.Model.Inputs[input]
	return slo.E("", slo.KindInvalid, "output %q is not finite (%s): input %q is not finite either (%s)", output, what, in.Name, culprit(in.DType, b.items[item][input]))
}

// culprit returns the first number that is not finite, as text.
func culprit(d tensor.DType, data []byte) string {
	size := d.Size()
	for ; len(data) >= size; data = data[size:] {
		if finite(d, data[:size]) {
			continue
		}
		switch last := data[size-1]; {
		case !isInfinity(d, data[:size]):
			return "NaN"
		case last&0x80 != 0:
			return "-Inf"
		default:
			return "+Inf"
		}
	}
	return "finite"
}

// isInfinity distinguishes an infinity from a NaN: its mantissa is zero.
func isInfinity(d tensor.DType, number []byte) bool {
	switch d {
	case tensor.FP16:
		return binary.LittleEndian.Uint16(number)&0x03ff == 0
	case tensor.BF16:
		return binary.LittleEndian.Uint16(number)&0x007f == 0
	case tensor.FP32:
		return binary.LittleEndian.Uint32(number)&0x007f_ffff == 0
	default:
		return math.IsInf(math.Float64frombits(binary.LittleEndian.Uint64(number)), 0)
	}
}
