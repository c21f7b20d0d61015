package ort

import (
	"context"
	"errors"
	"maps"
	goruntime "runtime"
	"slices"

	onnx "github.com/yalue/onnxruntime_go"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// instance runs the variants of one model, one batch at a time.
type instance struct {
	runtime  *Runtime
	model    *modelpkg.Model
	keys     map[int]key // variants that are loaded
	sessions []*session  // by variant, nil: not loaded
	inputs   []*input    // by input of the model
	outputs  []output
	options  *onnx.RunOptions
	pins     goruntime.Pinner // of the outputs, during a run
	closed   bool

	terminate  func()        // ends the run that is under way
	terminated chan struct{} // receives when terminate has done so

	in, out []onnx.Value // of the run that is under way
}

// Load makes an instance. With one thread its sessions are shared with the
// other instances of the same Model value.
func (r *Runtime) Load(_ context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	op := "load " + m.Name
	if opts.Threads < 1 {
		return nil, slo.E(op, slo.KindInvalid, "%d intra-op threads: at least 1 is needed", opts.Threads)
	}
	variants := opts.Variants
	if variants == nil {
		for i := range m.Variants {
			variants = append(variants, i)
		}
	}
	in := &instance{
		runtime:    r,
		model:      m,
		keys:       make(map[int]key, len(variants)),
		sessions:   make([]*session, len(m.Variants)),
		terminated: make(chan struct{}, 1),
	}
	if err := in.declare(op); err != nil {
		return nil, err
	}
	files := &files{model: m}
	defer files.delete()
	for _, v := range variants {
		if err := in.load(op, v, opts.Threads, files); err != nil {
			return nil, errors.Join(err, in.Close())
		}
	}
	options, err := onnx.NewRunOptions()
	if err != nil {
		return nil, errors.Join(slo.E(op, slo.KindInternal, "%w", err), in.Close())
	}
	in.options = options
	in.terminate = func() {
		_ = options.Terminate() // fails only for options that are gone; a run would still end by itself
		in.terminated <- struct{}{}
	}
	return in, nil
}

// declare prepares the model's tensors.
func (in *instance) declare(op string) error {
	for _, spec := range in.model.Inputs {
		i, err := newInput(spec.Spec, in.model.Limits.BatchItemsMax)
		if err != nil {
			return slo.E(op, slo.KindUnsupported, "%w", err)
		}
		in.inputs = append(in.inputs, i)
	}
	for _, spec := range in.model.Outputs {
		o, err := newOutput(spec)
		if err != nil {
			return slo.E(op, slo.KindUnsupported, "%w", err)
		}
		in.outputs = append(in.outputs, o)
	}
	return nil
}

func (in *instance) load(op string, variant, threads int, files *files) error {
	if variant < 0 || variant >= len(in.model.Variants) {
		return slo.E(op, slo.KindInvalid, "there is no variant %d; the model has %d", variant, len(in.model.Variants))
	}
	if in.sessions[variant] != nil {
		return nil
	}
	k := key{model: in.model, variant: variant}
	if threads > 1 {
		k.owner = in
	}
	s, err := in.runtime.acquire(k, threads, files)
	if err != nil {
		return err
	}
	in.keys[variant], in.sessions[variant] = k, s
	return nil
}

// Run gathers the items' inputs into the instance's buffers and runs the graph,
// which writes its outputs into memory that is the caller's from then on. An
// output with a dynamic dimension is copied once.
func (in *instance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	if err := in.check(variant, items); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, in.ended(ctx, variant)
	}
	defer in.reset()
	for _, i := range in.model.Variants[variant].Inputs {
		value, err := in.inputs[i].gather(items, i)
		if err != nil {
			return nil, in.failed(variant, err)
		}
		in.in = append(in.in, value)
	}
	results := make([]tensor.Tensor, len(in.outputs))
	for i, out := range in.outputs {
		value, err := out.place(&results[i], len(items), &in.pins)
		if err != nil {
			return nil, in.failed(variant, err)
		}
		in.out = append(in.out, value)
	}
	if err := in.run(ctx, in.sessions[variant]); err != nil {
		if ctx.Err() != nil {
			return nil, in.ended(ctx, variant)
		}
		return nil, in.failed(variant, err)
	}
	for i, out := range in.outputs {
		if err := out.collect(&results[i], in.out[i], len(items)); err != nil {
			return nil, in.failed(variant, err)
		}
	}
	return results, nil
}

// check refuses what does not fit the contract of Run.
func (in *instance) check(variant int, items []runtime.Item) error {
	op := "run " + in.model.Name
	if in.closed {
		return slo.E(op, slo.KindUnavailable, "the instance is closed")
	}
	if err := runtime.CheckBatch(in.model, variant, items); err != nil {
		return err
	}
	if in.sessions[variant] == nil {
		return slo.E(op, slo.KindInvalid, "variant %s is not loaded", in.model.Variants[variant].Name)
	}
	return nil
}

// run executes the graph and ends it when ctx does.
func (in *instance) run(ctx context.Context, s *session) error {
	if ctx.Done() == nil {
		return s.graph.RunWithOptions(in.in, in.out, in.options)
	}
	stop := context.AfterFunc(ctx, in.terminate)
	err := s.graph.RunWithOptions(in.in, in.out, in.options)
	if !stop() {
		<-in.terminated // not before: the flag must not be set for the next run
		err = errors.Join(err, in.options.UnsetTerminate())
	}
	return err
}

// reset forgets a run's tensors. The inputs' stay, for the next run.
func (in *instance) reset() {
	for _, value := range in.out {
		if value != nil {
			_ = value.Destroy() // never fails; what it frees is only the library's view
		}
	}
	in.pins.Unpin()
	in.in, in.out = in.in[:0], in.out[:0]
}

// ended is the error of a run that its context ended.
func (in *instance) ended(ctx context.Context, variant int) error {
	kind := slo.KindCancelled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = slo.KindDeadlineExceeded
	}
	return slo.E("run "+variantName(in.model, variant), kind, "%w", ctx.Err())
}

// failed is the error of a run that ONNX Runtime could not do.
func (in *instance) failed(variant int, err error) error {
	return slo.E("run "+variantName(in.model, variant), slo.KindInternal, "%w", err)
}

// Close frees the instance's buffers and its share of the sessions. It does
// nothing the second time.
func (in *instance) Close() error {
	if in.closed {
		return nil
	}
	in.closed = true
	var errs []error
	for _, variant := range slices.Sorted(maps.Keys(in.keys)) {
		errs = append(errs, in.runtime.release(in.keys[variant]))
	}
	for _, i := range in.inputs {
		i.free()
	}
	if in.options != nil {
		errs = append(errs, in.options.Destroy())
	}
	return errors.Join(errs...)
}
