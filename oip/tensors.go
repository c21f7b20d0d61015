package oip

import (
	"fmt"

	"github.com/mosel-serve/mosel/tensor"
)

// inJSON marks a tensor without binary part in a list of binary sizes.
const inJSON = -1

// tensors is the list of tensors of a message while it is read: inputs of a
// request or outputs of a response, and how many bytes each has in the binary
// part.
type tensors struct {
	list  []tensor.Tensor
	sizes []int
}

// next appends a tensor to the list, reusing the memory of an earlier message.
func (ts *tensors) next() *tensor.Tensor {
	if n := len(ts.list); n < cap(ts.list) {
		ts.list = ts.list[:n+1]
		ts.list[n].DType, ts.list[n].Shape, ts.list[n].Data = tensor.Invalid, ts.list[n].Shape[:0], nil
	} else {
		ts.list = append(ts.list, tensor.Tensor{})
	}
	ts.sizes = append(ts.sizes, inJSON)
	return &ts.list[len(ts.list)-1]
}

// read reads the array of tensors of a message.
func (ts *tensors) read(r *reader, what string) error {
	ts.list, ts.sizes = ts.list[:0], ts.sizes[:0]
	return r.array(what, func(i int) error {
		if i >= r.lim.Tensors {
			return r.fail("more than %d tensors: %w", r.lim.Tensors, ErrTooLarge)
		}
		return ts.tensor(r)
	})
}

// Fields of a tensor, see reader.fields.
const (
	seenName = 1 << iota
	seenShape
	seenDatatype
	seenData
	seenParameters
	seenTensor = seenName | seenShape | seenDatatype
)

// tensor reads one tensor. If name, shape and datatype stand before its data, as all known
// clients write them, the data is read at once; else it is skipped and read at the end.
func (ts *tensors) tensor(r *reader) error {
	t := ts.next()
	before, dataAt := 0, 0 // the fields so far; where skipped data begins
	seen, err := r.fields("a tensor", tensorField, func(field int) error {
		had := before
		before |= field
		switch field {
		case seenName:
			name, err := r.name("name", t.Name)
			t.Name = name
			return err
		case seenShape:
			return r.shape(t)
		case seenDatatype:
			return r.datatype(t)
		case seenParameters:
			return ts.parameters(r, t)
		}
		if had&seenTensor == seenTensor {
			return r.data(t)
		}
		r.space()
		dataAt = r.pos
		return r.skip(r.lim.Rank + 2)
	})
	if err != nil {
		return err
	}
	if err := r.complete(*t, seen); err != nil {
		return err
	}
	if dataAt > 0 {
		end := r.pos
		r.pos = dataAt
		if err := r.data(t); err != nil {
			return err
		}
		r.pos = end
	}
	return ts.form(t, seen&seenData != 0)
}

func tensorField(key []byte) int {
	switch string(key) {
	case "name":
		return seenName
	case "shape":
		return seenShape
	case "datatype":
		return seenDatatype
	case "data":
		return seenData
	case "parameters":
		return seenParameters
	}
	return 0
}

// complete checks that a tensor has all fields and a valid shape.
func (r *reader) complete(t tensor.Tensor, seen int) error {
	switch {
	case seen&seenName == 0:
		return r.fail("a tensor has no name")
	case seen&seenShape == 0:
		return r.fail("tensor %q has no shape", t.Name)
	case seen&seenDatatype == 0:
		return r.fail("tensor %q has no datatype", t.Name)
	}
	_, err := r.elements(t)
	return err
}

// form checks that the tensor just read has its elements in one form.
func (ts *tensors) form(t *tensor.Tensor, hasData bool) error {
	hasBinary := ts.sizes[len(ts.sizes)-1] != inJSON
	switch {
	case hasData && hasBinary:
		return fmt.Errorf("tensor %q has both data and binary_data_size", t.Name)
	case !hasData && !hasBinary:
		return fmt.Errorf("tensor %q has neither data nor binary_data_size", t.Name)
	}
	return nil
}

// parameters reads the parameters of a tensor. Only those that say where its elements
// are have a meaning.
func (ts *tensors) parameters(r *reader, t *tensor.Tensor) error {
	count := 0
	return r.object("parameters", func(key []byte) error {
		if count++; count > r.lim.Parameters {
			return r.fail("more than %d parameters: %w", r.lim.Parameters, ErrTooLarge)
		}
		switch string(key) {
		case "shared_memory_region":
			return r.fail("tensor %q: shared memory is %w: send the data", t.Name, ErrUnsupported)
		case "binary_data_size":
			size, err := r.size("binary_data_size")
			ts.sizes[len(ts.sizes)-1] = size
			return err
		}
		return r.ignore()
	})
}

// size reads a whole number that is not negative.
func (r *reader) size(what string) (int, error) {
	r.space()
	start := r.pos
	d, err := r.decimal()
	if err != nil {
		return 0, err
	}
	if !d.whole || d.neg && d.mantissa > 0 || d.more || d.mantissa > 1<<62 {
		return 0, r.fail("%s %s is not a size", what, shown(r.buf[start:r.pos]))
	}
	return int(d.mantissa), nil
}

// shape reads dimensions. They are checked later, when the name of the tensor is known
// for the error.
func (r *reader) shape(t *tensor.Tensor) error {
	t.Shape = t.Shape[:0]
	return r.array("shape", func(i int) error {
		if i >= r.lim.Rank {
			return r.fail("a shape of more than %d dimensions: %w", r.lim.Rank, ErrTooLarge)
		}
		r.space()
		start := r.pos
		d, err := r.decimal()
		if err != nil {
			return err
		}
		if !d.whole || d.more || d.mantissa > 1<<62 {
			return r.fail("dimension %s is not a whole number of 62 bits", shown(r.buf[start:r.pos]))
		}
		dim := int64(d.mantissa)
		if d.neg {
			dim = -dim
		}
		t.Shape = append(t.Shape, dim)
		return nil
	})
}

func (r *reader) datatype(t *tensor.Tensor) error {
	name, err := r.text("datatype")
	if err != nil {
		return err
	}
	for d := tensor.Bool; d <= tensor.Bytes; d++ {
		if d.String() == string(name) {
			t.DType = d
			return nil
		}
	}
	_, unknown := tensor.ParseDType(shown(name)) // not above, because it would allocate a string for each name
	return r.fail("%w", unknown)
}

// attach gives the tensors in binary form their bytes: views of the part of the
// body behind the JSON, in the tensors' order. The sizes must add up to it.
func (ts *tensors) attach(part []byte) error {
	rest := part
	for i := range ts.list {
		size := ts.sizes[i]
		if size == inJSON {
			continue
		}
		t := &ts.list[i]
		if size > len(rest) {
			return fmt.Errorf("tensor %q: binary_data_size is %d, but only %d bytes are left of the binary part (%d bytes)",
				t.Name, size, len(rest), len(part))
		}
		t.Data = rest[:size:size]
		rest = rest[size:]
		if err := CheckTensor(*t); err != nil {
			return err
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("the binary part has %d bytes, the tensors' binary_data_size add up to %d", len(part), len(part)-len(rest))
	}
	return nil
}

// CheckTensor checks a tensor's bytes against its datatype and shape: their number must
// be right, a BOOL must be 0 or 1, and the lengths in BYTES must add up. Tensors that
// this package decodes have passed this check; it is for tensors from other sources.
func CheckTensor(t tensor.Tensor) error {
	if t.DType == tensor.Bytes {
		n, err := t.Shape.Elements()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		return checkBytes(t, n)
	}
	if _, err := tensor.New(t.Name, t.DType, t.Shape, t.Data); err != nil {
		return err
	}
	if t.DType != tensor.Bool {
		return nil
	}
	for i, b := range t.Data {
		if b > 1 {
			return fmt.Errorf("tensor %q: element %d: %d is neither 0 (false) nor 1 (true)", t.Name, i, b)
		}
	}
	return nil
}

// checkBytes walks over the n elements of a BYTES tensor.
func checkBytes(t tensor.Tensor, n int) error {
	rest := t.Data
	for i := range n {
		element, tail, ok := tensor.CutBytes(rest)
		if !ok {
			return fmt.Errorf("tensor %q: element %d of %d: its length and bytes do not fit into the %d bytes left", t.Name, i, n, len(rest))
		}
		_, rest = element, tail
	}
	if len(rest) > 0 {
		return fmt.Errorf("tensor %q: shape %v needs %d elements, %d bytes follow them", t.Name, t.Shape, n, len(rest))
	}
	return nil
}
