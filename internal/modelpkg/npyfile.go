package modelpkg

import (
	"bytes"

	"github.com/mosel-serve/mosel/tensor"
)

// IsNPY reports whether a file is an array as numpy.save writes it.
func IsNPY(file []byte) bool { return bytes.HasPrefix(file, []byte(npyMagic)) }

// ReadNPY reads such a file: a little-endian array in C order, with an element type
// that the protocol has.
func ReadNPY(file []byte, name string) (tensor.Tensor, error) {
	return readNPY(bytes.NewReader(file), name, int64(len(file)))
}
