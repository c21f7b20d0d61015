package remote

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// route is a variant on its server. All of it is fixed once it is loaded.
type route struct {
	server     *server
	model      *modelpkg.Model
	variant    int
	where      *modelpkg.Remote
	inputs     []input
	outputs    []string      // of the model, in order
	modalities []string      // of another mosel, to run exactly these; nil: of another server
	free       chan struct{} // holds one for each request under way
}

// input is one of the variant's inputs.
type input struct {
	index   int  // into Model.Inputs
	batched bool // the server's tensor has the batch as its first dimension
}

// run sends a batch and reads its answer. Errors have the kinds of a Run.
func (r *route) run(ctx context.Context, items []runtime.Item) ([]tensor.Tensor, error) {
	limited, cancel := context.WithTimeout(ctx, r.where.Timeout)
	defer cancel()
	select {
	case r.free <- struct{}{}:
		defer func() { <-r.free }()
	case <-limited.Done():
		if ctx.Err() != nil {
			return nil, ended("", ctx.Err())
		}
		return nil, slo.E("", slo.KindUnavailable, "%d other requests were under way for %v, which is the bound (slots)", r.where.Slots, r.where.Timeout)
	}
	q := client.Request{Model: r.where.Model, Version: r.where.Version, Outputs: r.outputs, Modalities: r.modalities, Inputs: r.tensors(items), JSON: r.server.json}
	for attempt := 1; ; attempt++ {
		answer, err := r.server.client.Infer(limited, q)
		if err == nil {
			return r.read(answer, len(items))
		}
		pause, again := retry(err, attempt)
		if !again || !rest(limited, pause) {
			return nil, r.failed(ctx, limited, err)
		}
	}
}

// rest waits, if there is time for it and for another attempt.
func rest(ctx context.Context, pause time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < pause {
		return false
	}
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}

// tensors are the items' inputs as one tensor each.
func (r *route) tensors(items []runtime.Item) []tensor.Tensor {
	list := make([]tensor.Tensor, 0, len(r.inputs))
	for _, in := range r.inputs {
		spec := r.model.SpecOf(r.variant, in.index)
		own := items
		shape := make(tensor.Shape, 0, len(spec.Shape)+1)
		if in.batched {
			shape = append(shape, int64(len(items)))
		} else {
			own = items[:1] // the others have the same
		}
		size := len(items[0][in.index])
		for _, d := range spec.Shape {
			if d == -1 {
				d = int64(size / runtime.ItemBytes(spec))
			}
			shape = append(shape, d)
		}
		data := make([]byte, 0, len(own)*size)
		for _, item := range own {
			data = append(data, item[in.index]...)
		}
		list = append(list, tensor.Tensor{Name: spec.Name, DType: spec.DType, Shape: shape, Data: data})
	}
	return list
}

// read holds an answer against the package. Its tensors are sound: they have the
// bytes that their shapes ask for.
func (r *route) read(answer *client.Response, items int) ([]tensor.Tensor, error) {
	results := make([]tensor.Tensor, len(r.model.Outputs))
	for i, spec := range r.model.Outputs {
		out, ok := answer.Output(spec.Name)
		want := append(tensor.Shape{int64(items)}, spec.Shape...)
		switch {
		case !ok:
			return nil, wrong("it has no output %q", spec.Name)
		case out.DType != spec.DType:
			return nil, wrong("output %q is %v, not %v", spec.Name, out.DType, spec.DType)
		case !out.Shape.Fits(want):
			return nil, wrong("output %q has the shape %v for %d items, not %v", spec.Name, out.Shape, items, want)
		}
		if at := slices.Index(spec.Shape, -1); at >= 0 && spec.Max > 0 && out.Shape[at+1] > spec.Max {
			return nil, slo.E("", slo.KindTooLarge, "output %q has the shape %v; the package declares at most %d", spec.Name, out.Shape, spec.Max)
		}
		results[i] = tensor.Tensor{Name: spec.Name, DType: spec.DType, Shape: out.Shape, Data: out.Data}
	}
	for _, item := range answer.FailedItems { // of another mosel: their rows mean nothing
		row := results[0].Row(item)
		for i := range row {
			row[i] = 0xff // not a number, in every floating-point type: the item has no answer
		}
	}
	return results, nil
}

// wrong is the error of an answer that does not fit the package.
func wrong(format string, args ...any) error {
	return slo.E("", slo.KindInternal, "the other server's answer does not fit the package: %w", fmt.Errorf(format, args...))
}
