// Package dispatch has each variant of a model, and each of its stages, run where the
// package says: on its graph here or in a process of its own, or on another server. To its
// owner that is one instance.
package dispatch

import (
	"context"
	"errors"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Config is what runs variants, by place.
type Config struct {
	Graphs   runtime.Runtime // those on graphs, in this process
	Isolated runtime.Runtime // those on graphs that want a process of their own; nil: there is none
	Remote   runtime.Runtime // those on other servers
}

// Runtime sends variants to their places. It is called what runs the graphs.
type Runtime struct{ config Config }

var _ runtime.Runtime = (*Runtime)(nil)

// New makes a runtime of these, which it closes.
func New(config Config) *Runtime { return &Runtime{config} }

// Name is that of what runs the graphs.
func (r *Runtime) Name() string { return r.config.Graphs.Name() }

// Version is that of what runs the graphs.
func (r *Runtime) Version() string { return r.config.Graphs.Version() }

// Close closes all.
func (r *Runtime) Close() error {
	err := errors.Join(r.config.Graphs.Close(), r.config.Remote.Close())
	if r.config.Isolated != nil {
		err = errors.Join(err, r.config.Isolated.Close())
	}
	return err
}

// Load loads the variants where they belong. Where all belong to one place, the
// instance is that place's own.
func (r *Runtime) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	variants, err := opts.Resolve(m)
	if err != nil {
		return nil, err
	}
	graphs := r.config.Graphs
	if m.Isolation == modelpkg.IsolationProcess {
		graphs = r.config.Isolated
	}
	list := split(m, variants)
	if graphs == nil && slices.ContainsFunc(list, func(l share) bool { return l.place != elsewhere }) {
		return nil, slo.E("load "+m.Name, slo.KindUnsupported, "isolation: process is not offered here")
	}
	in := &instance{model: m, routes: make([]runtime.Instance, len(m.Variants))}
	for _, l := range list {
		opts.Variants = l.variants
		var part runtime.Instance
		switch l.place {
		case here:
			part, err = graphs.Load(ctx, m, opts)
		case elsewhere:
			part, err = r.config.Remote.Load(ctx, m, opts)
		case both:
			part, err = join(ctx, m, opts, graphs, r.config.Remote)
		}
		if err != nil {
			return nil, errors.Join(err, in.Close())
		}
		if len(list) == 1 {
			return part, nil
		}
		in.add(part, l.variants)
	}
	return in, nil
}

// share is the variants of one place.
type share struct {
	place    place
	variants []int
}

// place is where a variant runs.
type place int

const (
	here place = iota // on graphs of the package
	elsewhere
	both // some stages here, some on other servers
)

// split gives each variant to its place, and indices that are none to whatever is
// first, to be refused there.
func split(m *modelpkg.Model, variants []int) []share {
	var list []share
	for _, v := range variants {
		where := here
		switch {
		case v < 0 || v >= len(m.Variants) || len(m.ServersOf(v)) == 0:
		case m.HasGraphs(v):
			where = both
		default:
			where = elsewhere
		}
		at := slices.IndexFunc(list, func(l share) bool { return l.place == where })
		if at < 0 {
			at, list = len(list), append(list, share{place: where})
		}
		list[at].variants = append(list[at].variants, v)
	}
	return list
}

var _ runtime.Staged = (*instance)(nil)

// instance has variants in several places. It is lost with the first of its parts.
type instance struct {
	model  *modelpkg.Model
	parts  []runtime.Instance
	routes []runtime.Instance // by variant, nil: not loaded
	slots  int
	closed bool
}

func (in *instance) add(part runtime.Instance, variants []int) {
	if in.slots == 0 || part.Slots() < in.slots {
		in.slots = part.Slots()
	}
	in.parts = append(in.parts, part)
	for _, v := range variants {
		in.routes[v] = part
	}
}

// Slots is the least that one of its parts has: who runs a batch does not know which
// of them it is for.
func (in *instance) Slots() int { return in.slots }

// Run runs a batch in the variant's place.
func (in *instance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	op := "run " + in.model.Name
	if in.closed {
		return nil, slo.E(op, slo.KindUnavailable, "the instance is closed")
	}
	if variant < 0 || variant >= len(in.routes) {
		return nil, runtime.CheckBatch(in.model, variant, items)
	}
	if in.routes[variant] == nil {
		return nil, slo.E(op, slo.KindInvalid, "variant %s is not loaded", in.model.Variants[variant].Name)
	}
	return in.routes[variant].Run(ctx, variant, items)
}

// Keeps reports whether the variant's place runs parts of it.
func (in *instance) Keeps(variant int) bool {
	return in.routes[variant] != nil && runtime.Keeps(in.routes[variant], variant)
}

// RunStages runs a part of a variant in the variant's place, if that runs parts.
func (in *instance) RunStages(ctx context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	if in.closed {
		return nil, nil, slo.E("run "+in.model.Name, slo.KindUnavailable, "the instance is closed")
	}
	if part.Variant < 0 || part.Variant >= len(in.routes) {
		_, err := part.Check(in.model)
		return nil, nil, err
	}
	if in.Keeps(part.Variant) {
		if staged, ok := in.routes[part.Variant].(runtime.Staged); ok {
			return staged.RunStages(ctx, part)
		}
	}
	return nil, nil, slo.E("run "+in.model.Name, slo.KindUnsupported, "parts of variant %d cannot run here", part.Variant)
}

// Close closes all parts.
func (in *instance) Close() error {
	in.closed = true
	var errs []error
	for _, part := range in.parts {
		errs = append(errs, part.Close())
	}
	return errors.Join(errs...)
}
