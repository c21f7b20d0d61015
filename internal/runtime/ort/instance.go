package ort

import (
	"context"
	"errors"
	"maps"
	"runtime/debug"
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
	handle   handle // of options
	closed   bool
	huge     bool // the run's outputs are: their memory is given back

	terminate  func()        // ends the run that is under way
	terminated chan struct{} // receives when terminate has done so

	in, out []handle // of the run that is under way
}

// Load makes an instance. With one thread its sessions are shared with the
// other instances of the same Model value. ONNX Runtime cannot be stopped while it
// loads a graph, and reading files may hang: when ctx ends, that goes on by itself,
// and what comes of it is freed.
func (r *Runtime) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	if ctx.Err() != nil {
		return nil, runtime.Ended("load "+m.Name, ctx.Err())
	}
	type result struct {
		instance *instance
		err      error
	}
	if !r.begin() {
		return nil, slo.E("load "+m.Name, slo.KindUnavailable, "the runtime is closed")
	}
	done, gone := make(chan result), make(chan struct{})
	go func() {
		defer r.end()
		in, err := r.guardedLoad(ctx, m, opts)
		select {
		case done <- result{in, err}:
		case <-gone:
			if in != nil {
				_ = in.Close() // what it could not free is lost
			}
		}
	}()
	select {
	case l := <-done:
		if l.err != nil {
			return nil, l.err
		}
		return l.instance, nil
	case <-ctx.Done():
		close(gone)
		return nil, runtime.Ended("load "+m.Name, ctx.Err())
	}
}

// guardedLoad turns a panic inside the binding into an error: nobody else could.
func (r *Runtime) guardedLoad(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (in *instance, err error) {
	defer func() {
		if p := recover(); p != nil {
			in, err = nil, slo.E("load "+m.Name, slo.KindInternal, "%w", &panicked{p, string(debug.Stack())})
		}
	}()
	return r.load(ctx, m, opts)
}

func (r *Runtime) load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (*instance, error) {
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
		if ctx.Err() != nil {
			return nil, errors.Join(runtime.Ended(op, ctx.Err()), in.Close())
		}
	}
	if err := in.prepare(); err != nil {
		return nil, errors.Join(slo.E(op, slo.KindInternal, "%w", err), in.Close())
	}
	return in, nil
}

// prepare makes the options of runs.
func (in *instance) prepare() (err error) {
	if in.options, err = onnx.NewRunOptions(); err != nil {
		return err
	}
	if in.handle, err = handleOf(in.options, "o"); err != nil {
		return err
	}
	in.terminate = func() {
		_ = in.options.Terminate() // fails only for options that are gone; a run would still end by itself
		in.terminated <- struct{}{}
	}
	return nil
}

// declare prepares the model's tensors.
func (in *instance) declare(op string) error {
	for _, spec := range in.model.Inputs {
		i, err := newInput(spec, in.model.Limits.BatchItemsMax)
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

// Run gathers the items' inputs into the instance's buffers, runs the graph and
// copies its outputs. ONNX Runtime makes the room for them: given a buffer it leaves
// that as it is when an output is an input passed through, a weight, or another
// output under a second name. The copy costs what clearing a buffer would.
func (in *instance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	if err := in.check(variant, items); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, runtime.Ended("run "+variantName(in.model, variant), ctx.Err())
	}
	defer in.reset()
	for _, i := range in.model.Variants[variant].Inputs {
		value, err := in.inputs[i].gather(items, i)
		if err != nil {
			return nil, in.failed(variant, err)
		}
		in.in = append(in.in, value)
	}
	in.out = append(in.out, make([]handle, len(in.outputs))...)
	if err := in.run(ctx, in.sessions[variant]); err != nil {
		if ctx.Err() != nil {
			return nil, runtime.Ended("run "+variantName(in.model, variant), ctx.Err())
		}
		return nil, in.failed(variant, err)
	}
	results, err := in.collect(len(items))
	if err != nil {
		return nil, in.failed(variant, err)
	}
	in.sessions[variant].proven.Store(true)
	return results, nil
}

// collect copies the outputs of a run.
func (in *instance) collect(items int) ([]tensor.Tensor, error) {
	results := make([]tensor.Tensor, len(in.outputs))
	sum := 0
	for i, out := range in.outputs {
		d, bytes, err := out.describe(in.out[i], items)
		if sum += bytes; sum > hugeBytes {
			in.huge = true
		}
		if err != nil {
			return nil, err
		}
		results[i] = out.copy(d, bytes)
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
		return graphRun(s, in.handle, in.in, in.out)
	}
	stop := context.AfterFunc(ctx, in.terminate)
	err := graphRun(s, in.handle, in.in, in.out)
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
			releaseValue(value)
		}
	}
	clear(in.out)
	in.in, in.out = in.in[:0], in.out[:0]
	if in.huge {
		in.huge = false
		environment.shrinker.shrink()
	}
}

// Slots is 1: the buffers are reused by each run.
func (*instance) Slots() int { return 1 }

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
