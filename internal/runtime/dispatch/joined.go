package dispatch

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

var _ runtime.Staged = (*joined)(nil)

// joined runs variants of which some stages run on graphs here and some on other servers:
// each stage in its place, one after the other. Batches wait for each other where graphs
// run, but not for other servers.
type joined struct {
	model  *modelpkg.Model
	graphs runtime.Staged
	remote runtime.Staged
	free   chan struct{} // holds one for each run of graphs
}

// join loads variants in both places.
func join(ctx context.Context, m *modelpkg.Model, opts runtime.Options, graphs, remote runtime.Runtime) (runtime.Instance, error) {
	there, err := remote.Load(ctx, m, opts) // first: it is the one that may be away
	if err != nil {
		return nil, err
	}
	here, err := graphs.Load(ctx, m, opts)
	if err != nil {
		return nil, errors.Join(err, there.Close())
	}
	for _, v := range opts.Variants {
		if !runtime.Keeps(here, v) || !runtime.Keeps(there, v) {
			return nil, errors.Join(slo.E("load "+m.Name, slo.KindUnsupported, "variant %s: stages on another server need a runtime that runs stages one by one", m.Variants[v].Name),
				here.Close(), there.Close())
		}
	}
	return &joined{model: m, graphs: here.(runtime.Staged), remote: there.(runtime.Staged), free: make(chan struct{}, here.Slots())}, nil
}

// Slots is how many requests the other servers take.
func (in *joined) Slots() int { return in.remote.Slots() }

// Keeps reports whether the variant is loaded.
func (in *joined) Keeps(variant int) bool { return runtime.Keeps(in.graphs, variant) }

// Run runs a whole variant.
func (in *joined) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	if err := runtime.CheckBatch(in.model, variant, items); err != nil {
		return nil, err
	}
	outputs, _, err := in.RunStages(ctx, runtime.Part{Variant: variant, Items: items})
	return outputs, err
}

// RunStages runs the stages of a part. A stage on another server runs as soon as what it
// reads is there; graphs run only then, or when such a stage reads what they give.
func (in *joined) RunStages(ctx context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	run, err := part.Check(in.model)
	if err != nil {
		return nil, nil, err
	}
	if !in.Keeps(part.Variant) {
		return nil, nil, slo.E("run "+in.model.Name, slo.KindInvalid, "variant %s is not loaded", in.model.Variants[part.Variant].Name)
	}
	b := &batch{joined: in, Part: part, steps: in.model.Variants[part.Variant].Steps, run: run, known: slices.Clone(part.Given), made: map[modelpkg.Intermediate]tensor.Tensor{}}
	for k, where := range in.model.RemotesOf(part.Variant) {
		if where == nil || !run[k] {
			continue
		}
		if err := b.prepare(ctx, k); err != nil {
			return nil, nil, err
		}
		only := make([]bool, len(run))
		only[k] = true
		inner := part.Inner || k < len(run)-1
		if outputs, err = b.stages(ctx, elsewhere, b.handed(only), inner); err != nil {
			return nil, nil, err
		}
	}
	missing := slices.DeleteFunc(slices.Clone(part.Keep), b.has)
	if wanted := !part.Inner && outputs == nil; wanted || len(missing) > 0 {
		last, err := b.stages(ctx, here, missing, !wanted)
		if err != nil {
			return nil, nil, err
		}
		if wanted {
			outputs = last
		}
	}
	return outputs, b.kept(), nil
}

// Close closes both places.
func (in *joined) Close() error { return errors.Join(in.graphs.Close(), in.remote.Close()) }

// batch is a part while it runs.
type batch struct {
	*joined
	runtime.Part
	steps []modelpkg.Step
	run   []bool          // by step: it is needed
	known []runtime.Given // what the batch was given, and what its stages have computed
	made  map[modelpkg.Intermediate]tensor.Tensor
}

func (b *batch) has(value modelpkg.Intermediate) bool {
	_, made := b.made[value]
	return made
}

// prepare has graphs compute what a stage on another server reads of them.
func (b *batch) prepare(ctx context.Context, step int) error {
	var wanted, given []modelpkg.Intermediate
	for _, g := range b.known {
		given = append(given, g.Intermediate)
	}
	for _, s := range b.steps[step].Inputs {
		if s.Input < 0 && !slices.Contains(given, b.valueOf(s)) {
			wanted = append(wanted, b.valueOf(s))
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	run, _, err := b.model.Needed(b.Variant, given, wanted, true)
	if err == nil {
		_, err = b.stages(ctx, here, b.handed(run), true)
	}
	return err
}

func (b *batch) valueOf(s modelpkg.Source) modelpkg.Intermediate {
	return modelpkg.Intermediate{Unit: b.steps[s.Step].Unit, Name: s.Name}
}

// handed returns what some steps give that other steps read, or that the part keeps: no
// step runs twice.
func (b *batch) handed(run []bool) (values []modelpkg.Intermediate) {
	for k, step := range b.steps {
		if !b.run[k] || run[k] {
			continue
		}
		for _, s := range step.Inputs {
			if s.Input < 0 && run[s.Step] && !slices.Contains(values, b.valueOf(s)) {
				values = append(values, b.valueOf(s))
			}
		}
	}
	for _, value := range b.Keep {
		gives := func(s modelpkg.Step) bool { return s.Unit == value.Unit }
		if run[slices.IndexFunc(b.steps, gives)] && !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	return values
}

// stages runs stages in one of the places and notes what they give.
func (b *batch) stages(ctx context.Context, where place, keep []modelpkg.Intermediate, inner bool) ([]tensor.Tensor, error) {
	in := b.remote
	if where == here {
		in = b.graphs
		select {
		case b.free <- struct{}{}:
			defer func() { <-b.free }()
		case <-ctx.Done():
			return nil, runtime.Ended("run "+b.model.Name+"/"+b.model.Variants[b.Variant].Name, ctx.Err())
		}
	}
	part := runtime.Part{Variant: b.Variant, Items: b.Items, Given: b.known, Keep: keep, KeepBytesMax: math.MaxInt, Inner: inner}
	outputs, kept, err := in.RunStages(ctx, part)
	if err != nil {
		return nil, err
	}
	for i, t := range kept {
		b.made[keep[i]] = t
		b.known = append(b.known, runtime.Given{Intermediate: keep[i], Rows: runtime.RowsOf(t)})
	}
	return outputs, nil
}

// kept returns what the part keeps, nil if that is larger than it allows.
func (b *batch) kept() (kept []tensor.Tensor) {
	size := 0
	for _, value := range b.Keep {
		t := b.made[value]
		if size += len(t.Data); size > b.KeepBytesMax {
			return nil
		}
		kept = append(kept, t)
	}
	return kept
}
