package remote

import (
	"context"
	"errors"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

var _ runtime.Staged = (*instance)(nil)

// Keeps reports whether the variant has stages and is loaded.
func (in *instance) Keeps(variant int) bool {
	return in.routes[variant] != nil && in.model.Variants[variant].Steps != nil
}

// RunStages runs a part of a variant, if all of its steps run on other servers.
func (in *instance) RunStages(ctx context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	if err := in.usable(); err != nil {
		return nil, nil, err
	}
	run, err := part.Check(in.model)
	if err != nil {
		return nil, nil, err
	}
	return in.runSteps(ctx, &part, run)
}

// runSteps runs the steps of a part, all if run is nil, one request after the other.
func (in *instance) runSteps(ctx context.Context, part *runtime.Part, run []bool) (outputs, kept []tensor.Tensor, err error) {
	routes := in.routes[part.Variant]
	if routes == nil {
		return nil, nil, slo.E("run "+in.model.Name, slo.KindInvalid, "variant %s is not loaded", in.model.Variants[part.Variant].Name)
	}
	op := "run " + in.model.Name + "/" + in.model.Variants[part.Variant].Name
	steps, _ := in.model.StepsOf(part.Variant)
	values := make([][]tensor.Tensor, len(steps)) // by step: what it gave
	for k, r := range routes {
		switch {
		case run != nil && !run[k]:
			continue
		case ctx.Err() != nil:
			return nil, nil, ended(op, ctx.Err())
		case r == nil:
			return nil, nil, slo.E(op, slo.KindInvalid, "%s does not run on another server", in.name(part.Variant, k))
		}
		if values[k], err = r.step(ctx, part, steps, values); err != nil {
			told := slo.E(op, slo.KindOf(err), "%w", err)
			if errors.Is(err, runtime.ErrLost) {
				in.lost.Store(told)
			}
			return nil, nil, told
		}
	}
	if !part.Inner {
		outputs = values[len(steps)-1][:len(in.model.Outputs)]
	}
	return outputs, keep(part, steps, values), nil
}

// step runs a step. values are what those before it gave.
func (r *route) step(ctx context.Context, part *runtime.Part, steps []modelpkg.Step, values [][]tensor.Tensor) ([]tensor.Tensor, error) {
	inputs := make([]tensor.Tensor, 0, len(r.inputs))
	for _, in := range r.inputs {
		switch {
		case in.Input >= 0:
			inputs = append(inputs, r.gather(in, part.Items))
		case values[in.Step] != nil:
			inputs = append(inputs, valueOf(values[in.Step], in.Name))
		default:
			wanted := modelpkg.Intermediate{Unit: steps[in.Step].Unit, Name: in.Name}
			at := slices.IndexFunc(part.Given, func(g runtime.Given) bool { return g.Intermediate == wanted }) // the part was checked
			inputs = append(inputs, together(in.Name, part.Given[at].Rows))
		}
	}
	return r.run(ctx, inputs, len(part.Items))
}

// together returns rows as one tensor.
func together(name string, rows []tensor.Tensor) tensor.Tensor {
	t := tensor.Tensor{Name: name, DType: rows[0].DType, Shape: slices.Clone(rows[0].Shape)}
	t.Shape[0] = int64(len(rows))
	for _, row := range rows {
		t.Data = append(t.Data, row.Data...)
	}
	return t
}

// keep returns the tensors that a part keeps, nil if they are larger than it allows.
func keep(part *runtime.Part, steps []modelpkg.Step, values [][]tensor.Tensor) (kept []tensor.Tensor) {
	size := 0
	for _, wanted := range part.Keep {
		k := slices.IndexFunc(steps, func(s modelpkg.Step) bool { return s.Unit == wanted.Unit })
		t := valueOf(values[k], wanted.Name)
		if size += len(t.Data); size > part.KeepBytesMax {
			return nil
		}
		kept = append(kept, t)
	}
	return kept
}

func valueOf(tensors []tensor.Tensor, name string) tensor.Tensor {
	return tensors[slices.IndexFunc(tensors, func(t tensor.Tensor) bool { return t.Name == name })]
}
