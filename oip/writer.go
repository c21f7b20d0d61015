package oip

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/tensor"
)

// writer appends JSON to out. The first error stays in err; after it out has no
// meaning.
type writer struct {
	out []byte
	err error
	// nulls writes null for NaN and infinities.
	nulls bool
}

func (w *writer) byte(c byte)  { w.out = append(w.out, c) }
func (w *writer) raw(s string) { w.out = append(w.out, s...) }

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// comma separates element i from the one before it.
func (w *writer) comma(i int) {
	if i > 0 {
		w.byte(',')
	}
}

// key writes the name of a member of an object, and the comma before it.
func (w *writer) key(name string) {
	if w.out[len(w.out)-1] != '{' {
		w.byte(',')
	}
	w.text(name)
	w.byte(':')
}

// text writes a string.
func (w *writer) text(s string) {
	var ok bool
	if w.out, ok = appendText(w.out, s); !ok {
		w.fail(fmt.Errorf("%.*q is not UTF-8: %w", shownMax, s, ErrNotJSON))
	}
}

const hexDigits = "0123456789abcdef"

// appendText writes a string in quotes. ok is false if it is not UTF-8.
func appendText[T string | []byte](dst []byte, s T) (out []byte, ok bool) {
	dst = append(dst, '"')
	start := 0
	ascii := true
	for i := range len(s) {
		c := s[i]
		ascii = ascii && c < utf8.RuneSelf
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"'), ascii || utf8.ValidString(string(s))
}

// appendFloat writes the shortest decimal that is read back as the same float of the
// given size, and like other JSON writers without exponent if that is short.
func appendFloat(dst []byte, f float64, bits int) []byte {
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits)
}

// parameters writes the members of an object of parameters.
func (w *writer) parameters(list Parameters) {
	for _, p := range list {
		w.key(p.Name)
		switch p.Value.kind {
		case kindString:
			w.text(p.Value.text)
		case kindNumber, kindBool:
			w.raw(p.Value.text)
		case kindNull:
			w.raw("null")
		default:
			w.fail(fmt.Errorf("parameter %q has no value", p.Name))
		}
	}
}

// output writes an output that a request names, with its form if that is not the form of
// the request.
func (w *writer) output(out Output, form Form) {
	w.byte('{')
	w.key("name")
	w.text(out.Name)
	if out.Form != form {
		w.key("parameters")
		w.raw(`{"binary_data":`)
		w.out = strconv.AppendBool(w.out, out.Form == Binary)
		w.byte('}')
	}
	w.byte('}')
}

// tensors writes an array of tensors; those in binary form without their bytes.
func (w *writer) tensors(list []tensor.Tensor, form func(i int) Form) {
	w.byte('[')
	for i, t := range list {
		w.comma(i)
		w.tensor(t, form(i))
	}
	w.byte(']')
}

func (w *writer) tensor(t tensor.Tensor, form Form) {
	if err := CheckTensor(t); err != nil {
		w.fail(err)
		return
	}
	w.byte('{')
	w.key("name")
	w.text(t.Name)
	w.key("shape")
	w.byte('[')
	for i, d := range t.Shape {
		w.comma(i)
		w.out = strconv.AppendInt(w.out, d, 10)
	}
	w.byte(']')
	w.key("datatype")
	w.text(t.DType.String())
	if form == Binary {
		w.key("parameters")
		w.raw(`{"binary_data_size":`)
		w.out = strconv.AppendInt(w.out, int64(len(t.Data)), 10)
		w.byte('}')
	} else {
		w.key("data")
		w.byte('[')
		w.data(t)
		w.byte(']')
	}
	w.byte('}')
}

// data writes the elements of a tensor, flat.
func (w *writer) data(t tensor.Tensor) {
	switch t.DType {
	case tensor.Bool:
		for i, b := range t.Data {
			w.comma(i)
			w.out = strconv.AppendBool(w.out, b != 0)
		}
	case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64, tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
		w.integers(t)
	case tensor.FP32, tensor.FP64:
		w.floats(t)
	case tensor.Bytes:
		w.bytes(t)
	default:
		w.fail(fmt.Errorf("tensor %q of %v has no JSON form: %w", t.Name, t.DType, ErrNotJSON))
	}
}

func (w *writer) integers(t tensor.Tensor) {
	size := t.DType.Size()
	shift := 64 - 8*size // brings the sign to the top, for sign extension
	signed := t.DType >= tensor.Int8
	for i := 0; i < len(t.Data); i += size {
		w.comma(i)
		v := getUint(t.Data[i:], size)
		if signed {
			w.out = strconv.AppendInt(w.out, int64(v<<shift)>>shift, 10)
		} else {
			w.out = strconv.AppendUint(w.out, v, 10)
		}
	}
}

// getUint reads the lowest size bytes of an integer, the opposite of putUint.
func getUint(data []byte, size int) uint64 {
	switch size {
	case 1:
		return uint64(data[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(data))
	case 4:
		return uint64(binary.LittleEndian.Uint32(data))
	default:
		return binary.LittleEndian.Uint64(data)
	}
}

func (w *writer) floats(t tensor.Tensor) {
	size := t.DType.Size()
	for i := 0; i < len(t.Data); i += size {
		w.comma(i)
		var f float64
		if size == 4 {
			f = float64(math.Float32frombits(binary.LittleEndian.Uint32(t.Data[i:])))
		} else {
			f = math.Float64frombits(binary.LittleEndian.Uint64(t.Data[i:]))
		}
		if math.IsNaN(f) || math.IsInf(f, 0) {
			if w.nulls {
				w.raw("null")
				continue
			}
			w.fail(fmt.Errorf("tensor %q: element %d is %v, which JSON cannot carry: %w", t.Name, i/size, f, ErrNotJSON))
			return
		}
		w.out = appendFloat(w.out, f, 8*size)
	}
}

func (w *writer) bytes(t tensor.Tensor) {
	rest := t.Data
	for i := 0; len(rest) > 0; i++ {
		w.comma(i)
		element, tail, _ := tensor.CutBytes(rest) // checked before, by tensor
		var ok bool
		if w.out, ok = appendText(w.out, element); !ok {
			w.fail(fmt.Errorf("tensor %q: element %d is not UTF-8, which JSON cannot carry: %w", t.Name, i, ErrNotJSON))
			return
		}
		rest = tail
	}
}
