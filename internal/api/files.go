package api

import (
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// isFiles reports whether a tensor has files for an input that has media: BYTES, one
// for each item, in place of what the input is made from them.
func isFiles(in *tensor.Tensor, spec modelpkg.Input) bool {
	single := len(in.Shape) == 1 || len(in.Shape) == 2 && in.Shape[1] == 1
	return spec.Media != modelpkg.MediaNone && spec.DType != tensor.Bytes && in.DType == tensor.Bytes && single && in.Rows() > 0
}

// markFiles notes that the items hold files for an input. The engine may read the list
// for as long as it reads the items, so that it is not used again.
func (x *exchange) markFiles(input, inputs int) {
	if x.files == nil {
		x.files = make([]bool, inputs)
	}
	x.files[input] = true
}

func (x *exchange) isFile(input int) bool { return x.files != nil && x.files[input] }

// isAbsent reports whether an item's input looks absent. Pictures and sounds in files
// are not looked at before they are read: only an empty file is absent. A text is if it is
// blank.
func (x *exchange) isAbsent(in modelpkg.Input, index int, data []byte) bool {
	switch {
	case !x.isFile(index):
		return in.IsAbsent(data)
	case in.Media != modelpkg.MediaText:
		return len(data) == 0
	}
	in.DType, in.Absent.Kind = tensor.Uint8, modelpkg.AbsentBlank
	return in.IsAbsent(data)
}

// isFilled reports whether an input is made, beside the ids, of the text that was sent for
// these.
func (x *exchange) isFilled(m *modelpkg.Model, input int) bool {
	for i, in := range m.Inputs {
		if x.isFile(i) && in.Tokens != nil && (in.Tokens.Mask == input || in.Tokens.Types == input) {
			return true
		}
	}
	return false
}

// sentTwice refuses inputs that were sent beside a text from which they are made.
func (x *exchange) sentTwice(m *modelpkg.Model, given []*tensor.Tensor) error {
	for i, in := range given {
		if in != nil && x.isFilled(m, i) {
			return invalid("input %q was sent, but it is made of the text that was sent for the ids: leave it out", in.Name)
		}
	}
	return nil
}
