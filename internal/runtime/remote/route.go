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

// route is a variant, or a step of one, on its server. All of it is fixed once it is loaded.
type route struct {
	server     *server
	model      *modelpkg.Model
	variant    int
	stage      bool // it is a step, else the whole variant
	where      *modelpkg.Remote
	inputs     []input
	outputs    []modelpkg.Spec // that are asked for, in order
	modalities []string        // of another mosel, to run exactly these; nil: of another server
	free       chan struct{}   // holds one for each request under way
}

// input is a tensor that is sent.
type input struct {
	modelpkg.Source
	batched bool // the server's tensor has the batch as its first dimension
}

// newRoute makes a route for a step of a variant, or for all of it.
func newRoute(s *server, m *modelpkg.Model, variant, step int) *route {
	where := m.RemotesOf(variant)[step]
	r := &route{server: s, model: m, variant: variant, where: where, free: make(chan struct{}, where.Slots), outputs: m.Outputs}
	steps, _ := m.StepsOf(variant)
	for _, source := range steps[step].Inputs {
		r.inputs = append(r.inputs, input{Source: source})
	}
	if m.Variants[variant].Steps == nil {
		return r
	}
	r.stage, r.outputs = true, nil
	specs := m.Stages[steps[step].Stage].Outputs
	if step == len(steps)-1 {
		specs = slices.Concat(m.Outputs, specs)
	}
	for _, name := range m.Handed(variant, step) {
		r.outputs = append(r.outputs, specs[slices.IndexFunc(specs, func(s modelpkg.Spec) bool { return s.Name == name })])
	}
	return r
}

// run sends a batch of so many items and reads its answer. Errors have the kinds of a
// Run.
func (r *route) run(ctx context.Context, inputs []tensor.Tensor, items int) ([]tensor.Tensor, error) {
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
	q := client.Request{Model: r.where.Model, Version: r.where.Version, Modalities: r.modalities, Inputs: inputs, JSON: r.server.json}
	for _, out := range r.outputs {
		q.Outputs = append(q.Outputs, out.Name)
	}
	for attempt := 1; ; attempt++ {
		answer, err := r.server.client.Infer(limited, q)
		if err == nil {
			return r.read(answer, items)
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

// gather returns an input of the model of all items as one tensor.
func (r *route) gather(in input, items []runtime.Item) tensor.Tensor {
	spec := r.model.SpecOf(r.variant, in.Input)
	own := items
	shape := make(tensor.Shape, 0, len(spec.Shape)+1)
	if in.batched {
		shape = append(shape, int64(len(items)))
	} else {
		own = items[:1] // the others have the same
	}
	size := len(items[0][in.Input])
	for _, d := range spec.Shape {
		if d == -1 {
			d = int64(size / runtime.ItemBytes(spec))
		}
		shape = append(shape, d)
	}
	data := make([]byte, 0, len(own)*size)
	for _, item := range own {
		data = append(data, item[in.Input]...)
	}
	return tensor.Tensor{Name: spec.Name, DType: spec.DType, Shape: shape, Data: data}
}

// read holds an answer against the package. Its tensors are sound: they have the
// bytes that their shapes ask for.
func (r *route) read(answer *client.Response, items int) ([]tensor.Tensor, error) {
	results := make([]tensor.Tensor, len(r.outputs))
	for i, spec := range r.outputs {
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
	if r.stage && len(answer.FailedItems) > 0 { // what later stages make of such rows would look like an answer
		return nil, slo.E("", slo.KindInvalid, "the other server failed %d of %d items", len(answer.FailedItems), items)
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
