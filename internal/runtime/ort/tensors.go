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

// elementTypes are ONNX Runtime's names of our element types. Bytes has none:
// its elements have no fixed size.
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
}

// declaration is what inputs and outputs have in common.
type declaration struct {
	modelpkg.Spec
	element onnx.TensorElementDataType
	axis    int // of the dynamic dimension in Shape, -1: none
	size    int // bytes of one item, the dynamic dimension counted as 1
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

// batch is the shape of so many items, of so many bytes each.
func (d *declaration) batch(items, itemBytes int) tensor.Shape {
	shape := make(tensor.Shape, 1, 1+len(d.Shape))
	shape[0] = int64(items)
	shape = append(shape, d.Shape...)
	if d.axis >= 0 {
		shape[1+d.axis] = int64(itemBytes / d.size)
	}
	return shape
}

// input is where the items of a batch come together, row after row. All
// variants of an instance use the same buffer.
type input struct {
	declaration
	buffer []byte
	pin    goruntime.Pinner // of buffer, which views point to
	views  []view           // by number of items
}

// view is ONNX Runtime's tensor over the first rows of the buffer.
type view struct {
	tensor    *onnx.CustomDataTensor
	itemBytes int
}

func newInput(spec modelpkg.Spec, batchItemsMax int) (*input, error) {
	d, err := declare(spec)
	if err != nil {
		return nil, err
	}
	return &input{declaration: d, views: make([]view, batchItemsMax+1)}, nil
}

// gather copies input number index of the items, which have been checked, into
// the buffer and returns a tensor of them.
func (in *input) gather(items []runtime.Item, index int) (onnx.Value, error) {
	itemBytes := len(items[0][index])
	in.reserve(len(items) * itemBytes)
	for i, item := range items {
		copy(in.buffer[i*itemBytes:], item[index])
	}
	return in.view(len(items), itemBytes)
}

// reserve makes room, at least doubling it, so that soon no batch needs more.
func (in *input) reserve(n int) {
	if n <= len(in.buffer) {
		return
	}
	in.free()
	in.buffer = make([]byte, max(n, 2*len(in.buffer)))
	in.pin.Pin(&in.buffer[0])
}

// view returns the tensor over so many rows, made once.
func (in *input) view(items, itemBytes int) (onnx.Value, error) {
	v := &in.views[items]
	if v.tensor != nil && v.itemBytes == itemBytes {
		return v.tensor, nil
	}
	if v.tensor != nil {
		_ = v.tensor.Destroy() // never fails
		v.tensor = nil
	}
	made, err := onnx.NewCustomDataTensor(onnx.Shape(in.batch(items, itemBytes)), in.buffer[:items*itemBytes], in.element)
	if err != nil {
		return nil, fmt.Errorf("input %q: %w", in.Name, err)
	}
	*v = view{made, itemBytes}
	return made, nil
}

// free forgets the buffer and all views of it.
func (in *input) free() {
	for i, v := range in.views {
		if v.tensor != nil {
			_ = v.tensor.Destroy() // never fails
		}
		in.views[i] = view{}
	}
	in.pin.Unpin()
}

// output is one declared output.
type output struct{ declaration }

func newOutput(spec modelpkg.Spec) (output, error) {
	d, err := declare(spec)
	if err == nil && d.axis >= 0 && (spec.DType == tensor.FP16 || spec.DType == tensor.BF16) {
		err = fmt.Errorf("output %s: the binding cannot return %v of a dynamic shape; export it as FP32", spec.Name, spec.DType)
	}
	return output{d}, err
}

// place makes room for the output of so many items in fresh memory and returns
// the tensor that ONNX Runtime writes to; nil where only ONNX Runtime will know
// the shape.
func (o output) place(result *tensor.Tensor, items int, pins *goruntime.Pinner) (onnx.Value, error) {
	*result = tensor.Tensor{Name: o.Name, DType: o.DType}
	if o.axis >= 0 {
		return nil, nil
	}
	result.Shape = o.batch(items, o.size)
	result.Data = make([]byte, items*o.size)
	pins.Pin(&result.Data[0])
	value, err := onnx.NewCustomDataTensor(onnx.Shape(result.Shape), result.Data, o.element)
	if err != nil {
		return nil, fmt.Errorf("output %q: %w", o.Name, err)
	}
	return value, nil
}

// collect takes an output whose room ONNX Runtime has made.
func (o output) collect(result *tensor.Tensor, value onnx.Value, items int) error {
	if o.axis < 0 {
		return nil
	}
	shape := tensor.Shape(value.GetShape())
	if want := append(tensor.Shape{int64(items)}, o.Shape...); !shape.Fits(want) {
		return fmt.Errorf("output %q has the shape %v, not %v", o.Name, shape, want)
	}
	data, ok := bytesOf(value)
	if !ok {
		return fmt.Errorf("output %q is not a tensor of %v", o.Name, o.DType)
	}
	checked, err := tensor.New(o.Name, o.DType, shape, data)
	if err != nil {
		return err
	}
	*result = checked
	return nil
}

// bytesOf returns the Go memory into which the binding has copied a tensor. It
// outlives the value.
func bytesOf(value onnx.Value) ([]byte, bool) {
	switch t := value.(type) {
	case *onnx.Tensor[float32]:
		return view8(t.GetData()), true
	case *onnx.Tensor[float64]:
		return view8(t.GetData()), true
	case *onnx.Tensor[int8]:
		return view8(t.GetData()), true
	case *onnx.Tensor[int16]:
		return view8(t.GetData()), true
	case *onnx.Tensor[int32]:
		return view8(t.GetData()), true
	case *onnx.Tensor[int64]:
		return view8(t.GetData()), true
	case *onnx.Tensor[uint8]:
		return view8(t.GetData()), true
	case *onnx.Tensor[uint16]:
		return view8(t.GetData()), true
	case *onnx.Tensor[uint32]:
		return view8(t.GetData()), true
	case *onnx.Tensor[uint64]:
		return view8(t.GetData()), true
	case *onnx.Tensor[bool]:
		return view8(t.GetData()), true
	}
	return nil, false
}

// view8 is the bytes of a slice of numbers.
func view8[T onnx.TensorData](data []T) []byte {
	var element T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*int(unsafe.Sizeof(element)))
}
