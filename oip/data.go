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
	// An element takes at least two bytes of text, so a short body cannot cause a large
	// allocation.
	if n > (len(r.buf)-r.pos)/2+1 {
		return fmt.Errorf("tensor %q: shape %v needs %d elements, data has fewer", t.Name, t.Shape, n)
	}
	f := filler{r: r, t: t, n: n}
	if t.DType == tensor.Bytes {
		f.out = make([]byte, 0, 4*n)
	} else {
		f.out = make([]byte, n*t.DType.Size())
	}
	if err := f.fill(0); err != nil {
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
	r    *reader
	t    *tensor.Tensor
	out  []byte
	i    int   // elements read
	n    int   // elements wanted
	held []int // by depth: elements in an array of that depth, 0 before the first has ended
}

// fail builds an error that names the tensor and the element.
func (f *filler) fail(format string, args ...any) error {
	return fmt.Errorf("tensor %q: element %d: %w", f.t.Name, f.i, fmt.Errorf(format, args...))
}

// fill reads an array and the arrays nested in it.
func (f *filler) fill(depth int) error {
	r := f.r
	if !r.accept('[') {
		return f.fail("%w", r.unexpected("data (an array)"))
	}
	start := f.i
	var err error
	switch r.peek() {
	case ']':
	case '[':
		err = f.nested(depth)
	default:
		err = f.leaves()
	}
	if err != nil {
		return err
	}
	if !r.accept(']') {
		return f.fail("%w", r.unexpected("',' or ']'"))
	}
	return f.ended(depth, f.i-start)
}

// nested reads the arrays inside an array.
func (f *filler) nested(depth int) error {
	if depth+1 >= f.r.lim.Rank {
		return f.fail("data is nested deeper than %d: %w", f.r.lim.Rank, ErrTooLarge)
	}
	if f.held == nil {
		f.held = make([]int, f.r.lim.Rank)
	}
	for {
		if err := f.fill(depth + 1); err != nil {
			return err
		}
		if !f.r.accept(',') {
			return nil
		}
	}
}

// ended checks the number of elements of an array. The outermost array must hold all
// elements. The arrays of one depth must hold equally many, and their number must be the
// product of some of the shape's last dimensions: for the shape [1,28,28] a picture may
// be sent as 28 rows, but not with rows and columns swapped.
func (f *filler) ended(depth, held int) error {
	switch {
	case depth == 0 && held != f.n:
		return fmt.Errorf("tensor %q: shape %v needs %d elements, data has %d", f.t.Name, f.t.Shape, f.n, held)
	case depth == 0:
		return nil
	case f.held[depth] != 0 && f.held[depth] != held:
		return f.fail("one nested array has %d elements, another %d: data is flat or nested along shape %v", f.held[depth], held, f.t.Shape)
	}
	f.held[depth] = held
	size := int64(1)
	for i := len(f.t.Shape); i >= 0; i-- {
		if i < len(f.t.Shape) {
			size *= f.t.Shape[i]
		}
		if size == int64(held) {
			return nil
		}
	}
	return f.fail("a nested array has %d elements: data is flat or nested along shape %v", held, f.t.Shape)
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

// room fails if the tensor has all its elements already.
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
	var d decimal
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
		if !r.plain(&d) {
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
	var d decimal
	for {
		if err := f.room(); err != nil {
			return err
		}
		r.space()
		start := r.pos
		if !r.plain(&d) {
			if r.nulls && r.word("null") {
				f.null(size)
				if !r.accept(',') {
					return nil
				}
				continue
			}
			var err error
			if d, err = r.decimal(); err != nil {
				return f.fail("%w", err)
			}
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

// null writes NaN for a null.
func (f *filler) null(size int) {
	if size == 4 {
		binary.LittleEndian.PutUint32(f.out[4*f.i:], math.Float32bits(float32(math.NaN())))
	} else {
		binary.LittleEndian.PutUint64(f.out[8*f.i:], math.Float64bits(math.NaN()))
	}
	f.i++
}

// shown shortens a long text for an error.
func shown(text []byte) string {
	if len(text) > shownMax {
		return string(text[:shownMax]) + "..."
	}
	return string(text)
}
