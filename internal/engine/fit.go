package engine

import (
	"context"
	"slices"

	"github.com/mosel-serve/mosel/internal/media"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// fit gives the items of a job the buckets of their inputs and fills the inputs up to
// them. What is still a file is filled up when it has been read; here only its length is
// found out. It runs in the caller's goroutine, until ctx ends: a request may have many
// long texts.
func (c *call) fit(ctx context.Context, decoder *media.Decoder) error {
	m := c.served.Model
	if !m.Sized() {
		return nil
	}
	if err := c.tokenize(ctx, decoder); err != nil {
		return err
	}
	items, sizes := make([]runtime.Item, len(c.Items)), make([]slo.Sizes, len(c.Items))
	for i, item := range c.Items {
		if ctx.Err() != nil {
			return runtime.Ended("infer "+m.Name, ctx.Err())
		}
		given, files := c.withoutFiles(i)
		f, err := m.Fit(given, c.Shapes)
		if err != nil {
			return slo.E("", slo.KindInvalid, "item %d: %w", i, err)
		}
		for _, k := range files {
			f.Item[k] = item[k]
			if m.Inputs[k].Buckets != nil {
				f.Sizes |= m.BucketFor(k, media.Length(m.Inputs[k], item[k]))
			}
		}
		items[i], sizes[i] = f.Item, f.Sizes
		if m.Follows() {
			c.own = append(c.own, f.Own)
		}
	}
	c.Items, c.sizes = items, sizes[0]
	if slices.ContainsFunc(sizes, func(s slo.Sizes) bool { return s != sizes[0] }) {
		c.Mixed, c.sizes = c.runs(sizes), 0
		return nil
	}
	for i := range c.Mixed {
		c.Mixed[i].Sizes = sizes[0]
	}
	return nil
}

// tokenize makes ids of the texts whose length decides about their items' buckets, with the
// decoder's bounds on time and goroutines. Then they are no files any more: ids are made
// once. A text of which no ids can be made, or too many, stays a file, so that its item
// fails only if the text is read.
func (c *call) tokenize(ctx context.Context, decoder *media.Decoder) error {
	m := c.served.Model
	var files []media.File
	var places []place // by file
	for k, isFile := range c.Encoded {
		in := &m.Inputs[k]
		for i := 0; isFile && in.Tokens != nil && in.Buckets != nil && i < len(c.Items); i++ {
			if text := c.Items[i][k]; text != nil && len(text) <= media.CountedTextMax {
				files, places = append(files, media.File{Input: in, Data: text}), append(places, place{i, k})
			}
		}
	}
	if files == nil {
		return nil
	}
	if err := decoder.Decode(ctx, files); err != nil {
		return runtime.Ended("infer "+m.Name, err)
	}
	c.Items, c.files = slices.Clone(c.Items), slices.Repeat([][]bool{c.Encoded}, len(c.Items))
	for f, at := range places {
		in := m.Inputs[at.input]
		if files[f].Err != nil || in.Buckets.Refuses(tensor.Shape{int64(len(files[f].Item) / in.DType.Size())}) {
			continue
		}
		c.Items[at.item], c.files[at.item] = slices.Clone(c.Items[at.item]), slices.Clone(c.files[at.item])
		c.Items[at.item][at.input], c.files[at.item][at.input] = files[f].Item, false
		for input, data := range files[f].Beside {
			c.Items[at.item][input] = data
		}
	}
	return nil
}

// encoded says which inputs of an item are files.
func (c *call) encoded(item int) []bool {
	if c.files == nil {
		return c.Encoded
	}
	return c.files[item]
}

// withoutFiles returns an item without the inputs that are files, and which these are.
func (c *call) withoutFiles(at int) (given runtime.Item, files []int) {
	item := c.Items[at]
	for k, isFile := range c.encoded(at) {
		if isFile && item[k] != nil {
			if files == nil {
				given = slices.Clone(item)
			}
			given[k], files = nil, append(files, k)
		}
	}
	if files == nil {
		return item, nil
	}
	return given, files
}

// runs describes items of these sizes to the core.
func (c *call) runs(sizes []slo.Sizes) (runs []slo.Carried) {
	before := c.Mixed
	if before == nil {
		before = []slo.Carried{{Items: len(c.Items), Present: c.Modalities, Choice: c.Choice}}
	}
	at := 0
	for _, r := range before {
		for range r.Items {
			one := slo.Carried{Items: 1, Present: r.Present, Choice: r.Choice, Sizes: sizes[at]}
			at++
			if n := len(runs) - 1; n >= 0 {
				if last := runs[n]; last.Present == one.Present && last.Choice == one.Choice && last.Sizes == one.Sizes {
					runs[n].Items++
					continue
				}
			}
			runs = append(runs, one)
		}
	}
	return runs
}

// refit fills an input up that has been read from a file, and notes its own shape.
func (b *running) refit(item, input int) error {
	own, err := b.served.Model.Refit(b.items[item], b.core.variant, input)
	if own != nil && len(b.own) > 0 {
		b.own[item] = slices.Clone(b.own[item])
		b.own[item][input] = own
	}
	return err
}

// cut cuts a part's outputs that have the sizes of an input to the items' own sizes. If all
// its items failed, it has none, so that they do not matter for the others of the job.
func (b *running) cut(r partResult, first, count int) partResult {
	if len(b.own) == 0 || r.outputs == nil || r.err != nil {
		return r
	}
	if r.errs != nil && !slices.Contains(r.errs, nil) {
		r.outputs = nil
		return r
	}
	m := b.served.Model
	r.outputs = slices.Clone(r.outputs)
	for o, out := range r.outputs {
		if m.Outputs[o].Follows == "" {
			continue
		}
		each := out.Shape[1:]
		var shape tensor.Shape
		for k := range count {
			if r.errs != nil && r.errs[k] != nil {
				continue // its row means nothing
			}
			own := m.OwnOutput(o, each, b.own[first+k])
			if shape != nil && !shape.Equal(own) {
				return partResult{err: differ(out.Name, append(tensor.Shape{1}, shape...), append(tensor.Shape{1}, own...))}
			}
			shape = own
		}
		cut := tensor.Tensor{Name: out.Name, DType: out.DType, Shape: append(tensor.Shape{int64(count)}, shape...)}
		for k := range count {
			cut.Data = append(cut.Data, modelpkg.Reshape(out.Row(k), each, shape, make([]byte, out.DType.Size()))...)
		}
		r.outputs[o] = cut
	}
	return r
}

// ownRow is the part of a row of an output that is not of what filled the item up.
func (b *running) ownRow(output int, out tensor.Tensor, row, item int) []byte {
	data := out.Row(row)
	if len(b.own) == 0 || b.served.Model.Outputs[output].Follows == "" {
		return data
	}
	each := out.Shape[1:]
	return modelpkg.Reshape(data, each, b.served.Model.OwnOutput(output, each, b.own[item]), make([]byte, out.DType.Size()))
}
