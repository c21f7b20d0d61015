package engine

import (
	"slices"

	"github.com/mosel-serve/mosel/internal/media"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

// decode makes inputs of the files that items hold, those alone that the batch's variant
// reads, and notes the items of which a file cannot be read. Its error is that of the
// batch's context, after which nobody waits for the batch.
func (b *running) decode(decoder *media.Decoder) error {
	if !slices.ContainsFunc(b.encoded, func(inputs []bool) bool { return inputs != nil }) {
		return nil
	}
	m := b.served.Model
	var files []media.File
	var places []place // by file
	for i, encoded := range b.encoded {
		for _, k := range b.reads(i) {
			if encoded != nil && encoded[k] {
				files, places = append(files, media.File{Input: &m.Inputs[k], Data: b.items[i][k]}), append(places, place{i, k})
			}
		}
	}
	if err := decoder.Decode(b.ctx, files); err != nil {
		return runtime.Ended("read the files", err)
	}
	for f, at := range places {
		if f == 0 || places[f-1].item != at.item { // the request's own stays as it is: it may run again on another variant
			b.items[at.item] = slices.Clone(b.items[at.item])
		}
		b.items[at.item][at.input] = files[f].Item
		for input, data := range files[f].Beside {
			b.items[at.item][input] = data
		}
		if files[f].Err == nil {
			files[f].Err = b.refit(at.item, at.input)
		}
		if files[f].Err == nil {
			continue
		}
		if b.faulty == nil {
			b.faulty = make([]error, len(b.items))
		}
		if b.faulty[at.item] == nil {
			b.faulty[at.item] = files[f].Err
		}
	}
	return nil
}

// place is an input of an item of a batch.
type place struct{ item, input int }

// join makes a part's outputs from the results of its items, of which some may not have
// run.
func (b *running) join(results []itemResult, first, count int) partResult {
	results = results[first : first+count]
	if b.faulty == nil || !slices.ContainsFunc(b.faulty[first:first+count], func(err error) bool { return err != nil }) {
		return join(results)
	}
	faulty := b.faulty[first : first+count]
	var ran []itemResult
	for i, item := range results {
		if faulty[i] == nil {
			ran = append(ran, item)
		}
	}
	errs := slices.Clone(faulty)
	if len(ran) == 0 {
		return partResult{errs: errs}
	}
	r := join(ran)
	if r.err != nil {
		return r
	}
	at := 0 // of what ran
	from := make([]int, count)
	for i := range from {
		if from[i] = -1; faulty[i] == nil {
			from[i] = at
			if r.errs != nil {
				errs[i] = r.errs[at]
			}
			at++
		}
	}
	outputs := make([]tensor.Tensor, len(r.outputs))
	for o, out := range r.outputs {
		outputs[o] = spread(out, from)
	}
	return partResult{outputs: outputs, errs: errs}
}

// spread makes a tensor of the rows of another, in this order; -1 is a row that means
// nothing.
func spread(out tensor.Tensor, from []int) tensor.Tensor {
	shape := slices.Clone(out.Shape)
	shape[0] = int64(len(from))
	each, _ := shape[1:].Elements() // of an output that was checked
	size := each * out.DType.Size()
	if out.DType == tensor.Bytes {
		size = 4 * each // empty texts
	}
	none := make([]byte, size)
	rows := out.Split()
	spread := tensor.Tensor{Name: out.Name, DType: out.DType, Shape: shape, Data: make([]byte, 0, len(out.Data)+len(from)*size)}
	for _, row := range from {
		if row < 0 {
			spread.Data = append(spread.Data, none...)
		} else {
			spread.Data = append(spread.Data, rows[row]...)
		}
	}
	return spread
}
