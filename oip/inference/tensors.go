package inference

import (
	"fmt"
	"math"
	"slices"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// tensorMessage is an input of a request or an output of a response.
type tensorMessage interface {
	GetName() string
	GetDatatype() string
	GetShape() []int64
	GetParameters() map[string]*InferParameter
	GetContents() *InferTensorContents
}

// decodeTensors appends the tensors of a message to list, reusing the memory of an earlier
// message. raw are the raw contents: either none, or one for each tensor, and then no
// tensor has contents of its own.
func decodeTensors[M tensorMessage](b bounds, list []tensor.Tensor, messages []M, raw [][]byte) ([]tensor.Tensor, error) {
	if len(messages) > b.Tensors {
		return list, fmt.Errorf("%d tensors, the bound is %d: %w", len(messages), b.Tensors, oip.ErrTooLarge)
	}
	if len(raw) > 0 && len(raw) != len(messages) {
		return list, fmt.Errorf("there are %d raw contents for %d tensors: send one for each, or none", len(raw), len(messages))
	}
	for i, m := range messages {
		if n := len(list); n < cap(list) {
			list = list[:n+1]
		} else {
			list = append(list, tensor.Tensor{})
		}
		t := &list[len(list)-1]
		n, err := b.head(t, m)
		if err != nil {
			return list, err
		}
		if len(raw) > 0 {
			err = attach(t, raw[i], m.GetContents())
		} else {
			err = fill(t, n, m.GetContents())
		}
		if err != nil {
			return list, err
		}
	}
	return list, nil
}

// head reads everything of a tensor but its elements, and returns how many elements it
// must have.
func (b bounds) head(t *tensor.Tensor, m tensorMessage) (elements int, err error) {
	t.Name, t.DType, t.Data = m.GetName(), tensor.Invalid, nil
	if err := b.name("the name of a tensor", t.Name); err != nil {
		return 0, err
	}
	if rank := len(m.GetShape()); rank > b.Rank {
		return 0, fmt.Errorf("tensor %q: a shape of %d dimensions, the bound is %d: %w", t.Name, rank, b.Rank, oip.ErrTooLarge)
	}
	t.Shape = append(t.Shape[:0], m.GetShape()...)
	if t.DType, err = tensor.ParseDType(m.GetDatatype()); err != nil {
		return 0, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	params := m.GetParameters()
	if err := b.count(len(params)); err != nil {
		return 0, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if params["shared_memory_region"] != nil {
		return 0, fmt.Errorf("tensor %q: shared memory is %w: send the data", t.Name, oip.ErrUnsupported)
	}
	if elements, err = t.Shape.Elements(); err != nil {
		return 0, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if elements > b.Elements {
		return 0, fmt.Errorf("tensor %q: shape %v has %d elements, the bound is %d: %w", t.Name, t.Shape, elements, b.Elements, oip.ErrTooLarge)
	}
	return elements, nil
}

// attach gives a tensor its raw bytes.
func attach(t *tensor.Tensor, raw []byte, c *InferTensorContents) error {
	if held(c) > 0 {
		return fmt.Errorf("tensor %q has both contents and raw contents", t.Name)
	}
	t.Data = slices.Clip(raw)
	return oip.CheckTensor(*t)
}

// sound checks a tensor before it is written.
func sound(t tensor.Tensor) error {
	if err := text("the name of tensor", t.Name); err != nil {
		return err
	}
	return oip.CheckTensor(t)
}

// held counts the elements in contents, of all types.
func held(c *InferTensorContents) int {
	if c == nil {
		return 0
	}
	return len(c.BoolContents) + len(c.IntContents) + len(c.Int64Contents) + len(c.UintContents) + len(c.Uint64Contents) +
		len(c.Fp32Contents) + len(c.Fp64Contents) + len(c.BytesContents)
}

// heldOf counts the elements in the field of contents that a datatype has; none
// stands for a datatype without one.
func heldOf(c *InferTensorContents, d tensor.DType) (n int, field string) {
	switch d {
	case tensor.Bool:
		return len(c.GetBoolContents()), "bool_contents"
	case tensor.Int8, tensor.Int16, tensor.Int32:
		return len(c.GetIntContents()), "int_contents"
	case tensor.Int64:
		return len(c.GetInt64Contents()), "int64_contents"
	case tensor.Uint8, tensor.Uint16, tensor.Uint32:
		return len(c.GetUintContents()), "uint_contents"
	case tensor.Uint64:
		return len(c.GetUint64Contents()), "uint64_contents"
	case tensor.FP32:
		return len(c.GetFp32Contents()), "fp32_contents"
	case tensor.FP64:
		return len(c.GetFp64Contents()), "fp64_contents"
	case tensor.Bytes:
		return len(c.GetBytesContents()), "bytes_contents"
	default:
		return 0, ""
	}
}

// fill turns the n elements in contents into the bytes of a tensor.
func fill(t *tensor.Tensor, n int, c *InferTensorContents) error {
	all := held(c)
	own, field := heldOf(c, t.DType)
	switch {
	case field == "":
		return fmt.Errorf("tensor %q: %v exists only as raw contents", t.Name, t.DType)
	case all == 0 && n > 0:
		return fmt.Errorf("tensor %q has neither contents nor raw contents", t.Name)
	case all != own:
		return fmt.Errorf("tensor %q: elements of %v must be in %s, but %d are in other fields", t.Name, t.DType, field, all-own)
	case own != n:
		return fmt.Errorf("tensor %q: shape %v needs %d elements, %s has %d", t.Name, t.Shape, n, field, own)
	case t.DType == tensor.Bytes:
		return fillBytes(t, c.GetBytesContents())
	}
	t.Data = make([]byte, n*t.DType.Size()) // no more than the message's own list, which is n long
	bad := fillNumbers(t.DType, t.Data, c)
	if bad < n {
		return fmt.Errorf("tensor %q: element %d is out of range for %v", t.Name, bad, t.DType)
	}
	return nil
}

// fillBytes writes each element after its length.
func fillBytes(t *tensor.Tensor, elements [][]byte) error {
	size := 4 * len(elements)
	for i, e := range elements {
		if uint64(len(e)) > math.MaxUint32 {
			return fmt.Errorf("tensor %q: element %d has %d bytes: %w", t.Name, i, len(e), oip.ErrTooLarge)
		}
		size += len(e)
	}
	t.Data = make([]byte, 0, size)
	for _, e := range elements {
		t.Data = order.AppendUint32(t.Data, uint32(len(e)))
		t.Data = append(t.Data, e...)
	}
	return nil
}
