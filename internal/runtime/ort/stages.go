package ort

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"slices"

	onnx "github.com/yalue/onnxruntime_go"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

var _ runtime.Staged = (*instance)(nil)

// Keeps reports whether the variant has stages and is loaded.
func (in *instance) Keeps(variant int) bool {
	return in.steps[variant] != nil && in.model.Variants[variant].Steps != nil
}

// RunStages runs a part of a variant. Tensors that are given are copied together for the
// run; tensors to keep are copied out of ONNX Runtime's memory once.
func (in *instance) RunStages(ctx context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	if err := in.check(part.Variant); err != nil {
		return nil, nil, err
	}
	run, err := part.Check(in.model)
	if err != nil {
		return nil, nil, err
	}
	return in.runSteps(ctx, &part, run)
}

// keep copies the tensors that a part keeps, unless they are larger than it allows.
func (in *instance) keep(steps []step, part *runtime.Part) ([]tensor.Tensor, error) {
	values, outs, ds, sizes := make([]handle, len(part.Keep)), make([]output, len(part.Keep)), make([]described, len(part.Keep)), make([]int, len(part.Keep))
	sum := 0
	for i, wanted := range part.Keep {
		values[i] = in.valueOf(steps, wanted)
		var err error
		if outs[i], ds[i], sizes[i], err = intermediate(wanted.Name, values[i], len(part.Items)); err != nil {
			return nil, err
		}
		if sum += sizes[i]; sum > part.KeepBytesMax {
			return nil, nil
		}
	}
	in.huge = in.huge || sum > hugeBytes
	kept := make([]tensor.Tensor, len(part.Keep))
	for i := range kept {
		var err error
		if kept[i], err = outs[i].copy(values[i], ds[i], sizes[i]); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// valueOf returns the tensor that a step of this run gave.
func (in *instance) valueOf(steps []step, wanted modelpkg.Intermediate) handle {
	for _, s := range steps {
		if s.unit == wanted.Unit {
			if i := slices.Index(s.handed, wanted.Name); i >= 0 {
				return in.out[s.first+i]
			}
		}
	}
	return nil // the part was checked
}

// intermediate describes a tensor between stages, whose type and shape no package
// declares.
func intermediate(name string, value handle, items int) (o output, d described, bytes int, err error) {
	if d, err = describe(value); err != nil {
		return o, d, 0, err
	}
	dtype, ok := typeOf(d.element)
	if !ok {
		return o, d, 0, fmt.Errorf("%q is of the type %v, which cannot be kept", name, d.element)
	}
	if len(d.shape) == 0 || d.shape[0] != int64(items) {
		return o, d, 0, fmt.Errorf("%q has the shape %v for %d items: its first dimension must be the batch", name, d.shape, items)
	}
	elements, err := d.shape.Elements()
	if err != nil {
		return o, d, 0, fmt.Errorf("%q: %w", name, err)
	}
	if bytes = elements * dtype.Size(); dtype == tensor.Bytes {
		bytes = d.text + 4*elements
	}
	return output{declaration{Spec: modelpkg.Spec{Name: name, DType: dtype}}}, d, bytes, nil
}

func typeOf(element onnx.TensorElementDataType) (tensor.DType, bool) {
	for dtype, e := range elementTypes {
		if e == element {
			return dtype, true
		}
	}
	return tensor.Invalid, false
}

// restored are tensors of this run that hold what earlier runs computed.
type restored struct {
	values []handle // by Given of the part; nil: not needed yet
	pin    goruntime.Pinner
}

// tensor returns the rows of a given tensor as one.
func (r *restored) tensor(part *runtime.Part, wanted modelpkg.Intermediate) (handle, error) {
	at := slices.IndexFunc(part.Given, func(g runtime.Given) bool { return g.Intermediate == wanted })
	if at < 0 {
		return nil, errors.New("no run has computed " + wanted.Name)
	}
	if r.values == nil {
		r.values = make([]handle, len(part.Given))
	}
	if r.values[at] != nil {
		return r.values[at], nil
	}
	rows := part.Given[at].Rows
	shape := slices.Clone(rows[0].Shape)
	shape[0] = int64(len(rows))
	size := 0
	for _, row := range rows {
		size += len(row.Data)
	}
	data := make([]byte, 0, max(size, 1))
	for _, row := range rows {
		data = append(data, row.Data...)
	}
	var err error
	if rows[0].DType == tensor.Bytes {
		count, _ := tensor.Count(tensor.Bytes, data)
		r.values[at], err = newTexts(shape, data, count)
	} else {
		r.pin.Pin(&data[:1][0])
		r.values[at], err = newTensor(shape, data, elementTypes[rows[0].DType])
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", wanted.Name, err)
	}
	return r.values[at], nil
}

// release frees the tensors.
func (r *restored) release() {
	for _, value := range r.values {
		if value != nil {
			releaseValue(value)
		}
	}
	r.values = nil
	r.pin.Unpin()
}
