package oip

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/mosel-serve/mosel/tensor"
)

// data reads the field "data" of a tensor whose datatype and shape are known,
// straight into the tensor's bytes.
func (r *reader) data(t *tensor.Tensor) error {
	n, err := r.elements(*t)
	if err != nil {
		return err
	}
	if t.DType == tensor.FP16 || t.DType == tensor.BF16 {
		return fmt.Errorf("tensor %q: %v exists only in binary form: send binary_data_size and the bytes", t.Name, t.DType)
	}
	// No element takes less than two bytes of text, so a short body cannot make
	// us allocate much.
	if n > (len(r.buf)-r.pos)/2+1 {
		return fmt.Errorf("tensor %q: shape %v needs %d elements, data has fewer", t.Name, t.Shape, n)
	}
	f := filler{r: r, t: t, n: n}
	if t.DType == tensor.Bytes {
		f.out = make([]byte, 0, 4*n)
	} else {
		f.out = make([]byte, n*t.DType.Size())
	}
	if err := f.fill(0, n); err != nil {
		return err
	}
	t.Data = f.out
	return nil
}

// elements checks the shape of a tensor and returns the number of its elements.
func (r *reader) elements(t tensor.Tensor) (int, error) {
	n, err := t.Shape.Elements()
	if err != nil {
		return 0, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if n > r.lim.Elements {
		return 0, fmt.Errorf("tensor %q: shape %v has %d elements, the bound is %d: %w", t.Name, t.Shape, n, r.lim.Elements, ErrTooLarge)
	}
	return n, nil
}

// filler reads nested or flat data into the bytes of a tensor.
type filler struct {
	r   *reader
	t   *tensor.Tensor
	out []byte
	i   int // elements read
	n   int // elements wanted
}

// fail builds an error that names the tensor and the element.
func (f *filler) fail(format string, args ...any) error {
	return fmt.Errorf("tensor %q: element %d: %w", f.t.Name, f.i, fmt.Errorf(format, args...))
}

// fill reads an array that stands for the dimensions from axis on and must hold
// want elements, in itself or in the arrays nested in it.
func (f *filler) fill(axis, want int) error {
	r := f.r
	if !r.accept('[') {
		return f.fail("%w", r.unexpected("data (an array)"))
	}
	start := f.i
	var err error
	switch r.peek() {
	case ']':
	case '[':
		err = f.nested(axis, want)
	default:
		err = f.leaves()
	}
	if err != nil {
		return err
	}
	if !r.accept(']') {
		return f.fail("%w", r.unexpected("',' or ']'"))
	}
	switch got := f.i - start; {
	case got != want && axis == 0:
		return fmt.Errorf("tensor %q: shape %v needs %d elements, data has %d", f.t.Name, f.t.Shape, want, got)
	case got != want:
		return f.fail("shape %v needs %d elements in each array of depth %d, this one has %d", f.t.Shape, want, axis+1, got)
	}
	return nil
}

// nested reads the arrays inside an array.
func (f *filler) nested(axis, want int) error {
	if axis+1 >= len(f.t.Shape) {
		return f.fail("data is nested deeper than shape %v", f.t.Shape)
	}
	inner := 0
	if d := int(f.t.Shape[axis]); d > 0 {
		inner = want / d
	}
	for {
		if err := f.fill(axis+1, inner); err != nil {
			return err
		}
		if !f.r.accept(',') {
			return nil
		}
	}
}

// leaves reads the elements of an innermost array.
func (f *filler) leaves() error {
	switch f.t.DType {
	case tensor.Bool:
		return f.each(f.boolean)
	case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64, tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
		return f.integers()
	case tensor.FP32, tensor.FP64:
		return f.floats()
	case tensor.Bytes:
		return f.each(f.bytes)
	default:
		return f.fail("datatype %v has no JSON form", f.t.DType)
	}
}

// room fails when there is no room for another element.
func (f *filler) room() error {
	if f.i >= f.n {
		return fmt.Errorf("tensor %q: shape %v needs %d elements, data has more", f.t.Name, f.t.Shape, f.n)
	}
	return nil
}

// each reads elements with read until the array ends.
func (f *filler) each(read func() error) error {
	for {
		if err := f.room(); err != nil {
			return err
		}
		if err := read(); err != nil {
			return f.fail("%w", err)
		}
		f.i++
		if !f.r.accept(',') {
			return nil
		}
	}
}

func (f *filler) boolean() error {
	b, err := f.r.boolean("a BOOL")
	if b {
		f.out[f.i] = 1
	}
	return err
}

func (f *filler) bytes() error {
	content, err := f.r.text("an element of BYTES")
	if err != nil {
		return err
	}
	f.out = binary.LittleEndian.AppendUint32(f.out, uint32(len(content)))
	f.out = append(f.out, content...)
	return nil
}

// integers reads numbers into an integer type of any size.
func (f *filler) integers() error {
	r, size := f.r, f.t.DType.Size()
	signed := f.t.DType >= tensor.Int8 && f.t.DType <= tensor.Int64
	positive := uint64(math.MaxUint64) >> (64 - 8*size) // the largest magnitude of each sign
	negative := uint64(0)
	if signed {
		positive >>= 1
		negative = positive + 1
	}
	for {
		if err := f.room(); err != nil {
			return err
		}
		r.space()
		start := r.pos
		d, ok := r.short()
		if !ok {
			var err error
			if d, err = r.decimal(); err != nil {
				return f.fail("%w", err)
			}
		}
		if !d.whole {
			return f.fail("%s is not a whole number, as %v needs", shown(r.buf[start:r.pos]), f.t.DType)
		}
		v := d.mantissa
		if d.more || v > positive && !d.neg || v > negative && d.neg {
			return f.outOfRange(r.buf[start:r.pos], negative, positive)
		}
		if d.neg {
			v = -v
		}
		putUint(f.out[f.i*size:], size, v)
		f.i++
		if !r.accept(',') {
			return nil
		}
	}
}

// putUint writes the lowest size bytes of v in little-endian order.
func putUint(out []byte, size int, v uint64) {
	switch size {
	case 1:
		out[0] = byte(v)
	case 2:
		binary.LittleEndian.PutUint16(out, uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(out, uint32(v))
	default:
		binary.LittleEndian.PutUint64(out, v)
	}
}

func (f *filler) outOfRange(text []byte, negative, positive uint64) error {
	low := "0"
	if negative > 0 {
		low = fmt.Sprintf("-%d", negative)
	}
	return f.fail("%s is out of range for %v (%s..%d)", shown(text), f.t.DType, low, positive)
}

// floats reads numbers into FP32 or FP64.
func (f *filler) floats() error {
	r, size := f.r, f.t.DType.Size()
	for {
		if err := f.room(); err != nil {
			return err
		}
		r.space()
		start := r.pos
		d, err := r.decimal()
		if err != nil {
			return f.fail("%w", err)
		}
		v, ok := d.float(r.buf[start:r.pos], 8*size)
		if !ok {
			return f.fail("%s is out of range for %v", shown(r.buf[start:r.pos]), f.t.DType)
		}
		if size == 4 {
			binary.LittleEndian.PutUint32(f.out[4*f.i:], math.Float32bits(float32(v)))
		} else {
			binary.LittleEndian.PutUint64(f.out[8*f.i:], math.Float64bits(v))
		}
		f.i++
		if !r.accept(',') {
			return nil
		}
	}
}

// shown cuts a long text for an error.
func shown(text []byte) string {
	if len(text) > shownMax {
		return string(text[:shownMax]) + "..."
	}
	return string(text)
}
