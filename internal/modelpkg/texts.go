package modelpkg

import (
	"encoding/binary"
	"fmt"

	"github.com/mosel-serve/mosel/tensor"
)

// textBytesDefault is the longest element of a BYTES input, in bytes, where a package
// gives none: some 10,000 words.
const textBytesDefault = 64 << 10

// textLongest bounds what a package may give: as much as a request may have.
const textLongest = 64 << 20

// declareTexts reads what a package may say of an input of texts.
func (r *report) declareTexts(in *Input, ts tensorSpec) {
	if in.DType != tensor.Bytes {
		if ts.longest.Given() && in.DType != tensor.Invalid {
			r.At(ts.longest.Place, "max_bytes is for BYTES, of which each element has a length of its own, not %v", in.DType)
		}
		return
	}
	in.BytesMax = textBytesDefault
	if ts.longest.Given() {
		in.BytesMax = int(ts.longest.Value)
	}
	switch {
	case in.Absent.Kind != AbsentNever && in.Absent.Kind != AbsentBlank:
		r.At(ts.absent.Place, "absent: %s is for numbers; for BYTES there is blank", in.Absent.Kind)
	case ts.span.Given():
		r.At(ts.span.place, "range is for numbers, not BYTES")
	}
}

// CheckTexts returns an error that names the first element of an item of a BYTES input
// that is longer than the package allows; nil of other inputs.
func (in Input) CheckTexts(item []byte) error {
	if in.DType != tensor.Bytes {
		return nil
	}
	for i, rest := 0, item; len(rest) > 0; i++ {
		element, tail, ok := tensor.CutBytes(rest)
		switch {
		case !ok:
			return fmt.Errorf("input %q: its bytes end within element %d", in.Name, i)
		case len(element) > in.BytesMax:
			return fmt.Errorf("input %q: element %d has %d bytes, but the model takes at most %d (max_bytes in its package)", in.Name, i, len(element), in.BytesMax)
		}
		rest = tail
	}
	return nil
}

// blankTexts reports whether all elements of BYTES are empty or white space.
func blankTexts(data []byte) bool {
	for len(data) > 0 {
		element, rest, ok := tensor.CutBytes(data)
		if !ok || !isBlank(tensor.Uint8, element) {
			return false
		}
		data = rest
	}
	return true
}

// tensor is the array as a tensor of BYTES.
func (a textArray) tensor() tensor.Tensor {
	t := tensor.Tensor{Name: a.name, DType: tensor.Bytes, Shape: a.shape}
	for _, text := range a.texts {
		t.Data = append(binary.LittleEndian.AppendUint32(t.Data, uint32(len(text))), text...)
	}
	return t
}

// textInputs are the names of the model's inputs that are texts.
func textInputs(m *Model) (names []string) {
	for _, in := range m.Inputs {
		if in.DType == tensor.Bytes {
			names = append(names, in.Name)
		}
	}
	return names
}
