package ort

import (
	"fmt"
	goruntime "runtime"
	"slices"
	"unsafe"

	onnx "github.com/yalue/onnxruntime_go"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

// elementTypes are ONNX Runtime's names of our element types.
var elementTypes = map[tensor.DType]onnx.TensorElementDataType{
	tensor.Bool:   onnx.TensorElementDataTypeBool,
	tensor.Uint8:  onnx.TensorElementDataTypeUint8,
	tensor.Uint16: onnx.TensorElementDataTypeUint16,
	tensor.Uint32: onnx.TensorElementDataTypeUint32,
	tensor.Uint64: onnx.TensorElementDataTypeUint64,
	tensor.Int8:   onnx.TensorElementDataTypeInt8,
	tensor.Int16:  onnx.TensorElementDataTypeInt16,
	tensor.Int32:  onnx.TensorElementDataTypeInt32,
	tensor.Int64:  onnx.TensorElementDataTypeInt64,
	tensor.FP16:   onnx.TensorElementDataTypeFloat16,
	tensor.BF16:   onnx.TensorElementDataTypeBFloat16,
	tensor.FP32:   onnx.TensorElementDataTypeFloat,
	tensor.FP64:   onnx.TensorElementDataTypeDouble,
	tensor.Bytes:  onnx.TensorElementDataTypeString,
}

// declaration is the common part of inputs and outputs.
type declaration struct {
	modelpkg.Spec
	element onnx.TensorElementDataType
	axis    int // of the dynamic dimension in Shape, -1: none
	size    int // bytes of one item, the dynamic dimension counted as 1; of BYTES, of empty texts
}

func declare(spec modelpkg.Spec) (declaration, error) {
	d := declaration{Spec: spec, axis: slices.Index(spec.Shape, -1), size: runtime.ItemBytes(spec)}
	element, ok := elementTypes[spec.DType]
	if !ok || d.size <= 0 {
		return d, fmt.Errorf("%s: %v %v cannot be run", spec.Name, spec.DType, spec.Shape)
	}
	d.element = element
	return d, nil
}

// input is the buffer in which the items of a batch are gathered, row after row. All
// variants of an instance share it.
type input struct {
	declaration
	unbatched bool // one value for the batch, and no batch dimension
	buffer    []byte
	pin       goruntime.Pinner // pins buffer, which views point to
	views     []view           // by number of items
	texts     handle           // of the last run; nil: none, or no BYTES
}

// view is ONNX Runtime's tensor over the first rows of the buffer.
type view struct {
	tensor    handle
	each      tensor.Shape
	itemBytes int
}

func newInput(in modelpkg.Input, batchItemsMax int) (*input, error) {
	d, err := declare(in.Spec)
	if err != nil {
		return nil, err
	}
	return &input{declaration: d, unbatched: in.Unbatched, views: make([]view, batchItemsMax+1)}, nil
}

// shape is that of so many items, as the variant reads them; the dimension that is still
// -1 has this size.
func (in *input) shape(each tensor.Shape, items, length int) tensor.Shape {
	shape := make(tensor.Shape, 0, 1+len(each))
	if !in.unbatched {
		shape = append(shape, int64(items))
	}
	for _, d := range each {
		if d == -1 {
			d = int64(length)
		}
		shape = append(shape, d)
	}
	return shape
}

// gather copies one input of the checked items, each of this shape, into the buffer and
// returns a tensor of them. For an input that applies to the whole batch it takes the first item's value:
// the others have the same.
func (in *input) gather(items []runtime.Item, index int, each tensor.Shape) (handle, error) {
	if in.unbatched {
		items = items[:1]
	}
	if in.DType == tensor.Bytes {
		return in.gatherTexts(items, index, each)
	}
	itemBytes := len(items[0][index])
	in.reserve(len(items) * itemBytes)
	for i, item := range items {
		copy(in.buffer[i*itemBytes:], item[index])
	}
	return in.view(each, len(items), itemBytes)
}

// gatherTexts makes a tensor of the items' texts. ONNX Runtime keeps texts in strings of
// its own, so that each run makes them anew.
func (in *input) gatherTexts(items []runtime.Item, index int, each tensor.Shape) (handle, error) {
	in.buffer = in.buffer[:0]
	for _, item := range items {
		in.buffer = append(in.buffer, item[index]...)
	}
	count, _ := tensor.Count(tensor.Bytes, in.buffer) // the items have been checked
	in.releaseTexts()
	value, err := newTexts(in.shape(each, len(items), runtime.Length(in.Spec, items[0][index])), in.buffer, count)
	if err != nil {
		return nil, fmt.Errorf("input %q: %w", in.Name, err)
	}
	in.texts = value
	return value, nil
}

func (in *input) releaseTexts() {
	if in.texts != nil {
		releaseValue(in.texts)
		in.texts = nil
	}
}

// reserve makes room, at least doubling it, so that soon no batch needs more.
func (in *input) reserve(n int) {
	if n <= len(in.buffer) {
		return
	}
	size := max(n, 2*len(in.buffer))
	in.free()
	in.buffer = make([]byte, size)
	in.pin.Pin(&in.buffer[0])
}

// view returns the tensor over that many rows. It is made once.
func (in *input) view(each tensor.Shape, items, itemBytes int) (handle, error) {
	v := &in.views[items]
	if v.tensor != nil && v.itemBytes == itemBytes && v.each.Equal(each) {
		return v.tensor, nil
	}
	if v.tensor != nil {
		releaseValue(v.tensor)
		v.tensor = nil
	}
	made, err := newTensor(in.shape(each, items, itemBytes/in.size), in.buffer[:items*itemBytes], in.element)
	if err != nil {
		return nil, fmt.Errorf("input %q: %w", in.Name, err)
	}
	*v = view{made, each, itemBytes}
	return made, nil
}

// free drops the buffer and all views of it.
func (in *input) free() {
	in.releaseTexts()
	for i, v := range in.views {
		if v.tensor != nil {
			releaseValue(v.tensor)
		}
		in.views[i] = view{}
	}
	in.pin.Unpin()
	in.buffer = nil
}

// output is one declared output.
type output struct{ declaration }

func newOutput(spec modelpkg.Spec) (output, error) {
	d, err := declare(spec)
	return output{d}, err
}

// describe checks an output of a number of items against its declaration and returns
// its size in bytes, which may be known even if there is an error.
func (o output) describe(value handle, items int) (d described, bytes int, err error) {
	if d, err = describe(value); err != nil {
		return d, 0, err
	}
	if d.element != o.element {
		return d, 0, fmt.Errorf("output %q is of the type %v, not %v", o.Name, d.element, o.DType)
	}
	elements, err := d.shape.Elements()
	if err != nil {
		return d, 0, fmt.Errorf("output %q: %w", o.Name, err)
	}
	if bytes = elements * o.DType.Size(); o.DType == tensor.Bytes {
		bytes = d.text + 4*elements
	}
	if want := append(tensor.Shape{int64(items)}, o.Shape...); !d.shape.Fits(want) {
		return d, bytes, fmt.Errorf("output %q has the shape %v for %d items, not %v", o.Name, d.shape, items, want)
	}
	return d, bytes, o.bear(d.shape, items, bytes)
}

// copy takes an output out of ONNX Runtime's memory. That may be an input's, when the
// graph passes one through, or a weight's, and belongs to the next run soon.
func (o output) copy(value handle, d described, bytes int) (tensor.Tensor, error) {
	t := tensor.Tensor{Name: o.Name, DType: o.DType, Shape: d.shape}
	if o.DType != tensor.Bytes {
		t.Data = append([]byte{}, unsafe.Slice((*byte)(d.data), bytes)...)
		return t, nil
	}
	count, err := d.shape.Elements()
	if err == nil {
		t.Data, err = readTexts(value, d, count)
	}
	if err != nil {
		return t, fmt.Errorf("output %q: %w", o.Name, err)
	}
	return t, nil
}
