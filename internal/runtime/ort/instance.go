package ort

import (
	"context"
	"errors"
	"runtime/debug"

	onnx "github.com/yalue/onnxruntime_go"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// instance runs the variants of one model, one batch at a time.
type instance struct {
	runtime *Runtime
	model   *modelpkg.Model
	keys    map[key]*session // loaded graphs
	steps   [][]step         // by variant, nil: not loaded
	inputs  []*input         // by input of the model
	outputs [][]output       // by variant
	options *onnx.RunOptions
	handle  handle // of the options
	near    bool   // graphs compute on the caller's thread
	closed  bool
	huge    bool // the run's outputs are huge: their memory is returned to the system

	terminate  func()        // ends the current run
	terminated chan struct{} // receives when terminate has done so

	// For the current run: the model's inputs gathered so far, the outputs of all steps,
	// one step after the other, and the inputs of one step.
	given, out, in []handle
	restored       restored
}

// step is a run of a graph in a variant.
type step struct {
	session         *session // nil: it runs on another server
	unit            int
	sources         []modelpkg.Source // of the graph's inputs
	inputs, outputs names
	handed          []string // names of the outputs: those of the step, then others that may be kept
	first           int      // index of its first output among those of all steps
}

// Load makes an instance. With one thread, its sessions are shared with the other
// instances of the same Model value. ONNX Runtime cannot be stopped while it loads a
// graph, and reading files may hang. If ctx ends, loading goes on in the background and
// frees its result.
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
				_ = in.Close() // a failure leaks memory, no more
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

// guardedLoad turns a panic in the binding into an error, because no caller can recover
// in its goroutine.
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
	variants, err := opts.Resolve(m)
	if err != nil {
		return nil, err
	}
	in := &instance{
		runtime:    r,
		model:      m,
		keys:       make(map[key]*session, len(variants)),
		steps:      make([][]step, len(m.Variants)),
		terminated: make(chan struct{}, 1),
	}
	if err := in.declare(op); err != nil {
		return nil, err
	}
	if err := in.loadGraphs(ctx, variants, opts.Threads); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	in.near = opts.Threads == 1
	for k := range in.keys {
		in.near = in.near && k.providers == ""
	}
	for _, v := range variants {
		if err := in.load(v, opts.Threads); err != nil {
			return nil, errors.Join(err, in.Close())
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
		_ = in.options.Terminate() // fails only for freed options; the run then ends by itself
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
	in.given = make([]handle, len(in.inputs))
	in.outputs = make([][]output, len(in.model.Variants))
	for v := range in.model.Variants {
		for _, spec := range in.model.OutputsOf(v) {
			o, err := newOutput(spec)
			if err != nil {
				return slo.E(op, slo.KindUnsupported, "%w", err)
			}
			in.outputs[v] = append(in.outputs[v], o)
		}
	}
	return nil
}

// load makes the steps of a variant, whose graphs are loaded.
func (in *instance) load(variant, threads int) error {
	if in.steps[variant] != nil {
		return nil
	}
	c, err := in.choose(variant, threads)
	if err != nil {
		return err
	}
	steps, paths := in.model.StepsOf(variant)
	remotes := in.model.RemotesOf(variant)
	list := make([]step, 0, len(steps))
	outputs := 0
	for i, declared := range steps {
		var s *session
		if remotes[i] == nil {
			s = in.keys[in.keyOf(paths[i], c)]
		}
		var inputs []string
		for _, source := range declared.Inputs {
			inputs = append(inputs, source.Name)
		}
		handed := in.model.Handed(variant, i)
		list = append(list, step{session: s, unit: declared.Unit, sources: declared.Inputs, inputs: newNames(inputs),
			outputs: newNames(handed), handed: handed, first: outputs})
		outputs += len(handed)
	}
	in.steps[variant] = list
	return nil
}

// choose returns how the instance runs a variant.
func (in *instance) choose(variant, threads int) (c choice, err error) {
	c = choice{variant: variant, threads: threads}
	if c.providers, err = in.runtime.providersOf(in.model, variant); err != nil {
		return c, slo.E("load "+variantName(in.model, variant), slo.KindUnsupported, "%w", err)
	}
	return c, nil
}

func (s step) free() {
	s.inputs.free()
	s.outputs.free()
}

// keyOf returns the key of the session of a graph, which several variants and, unless it
// has threads of its own, several instances may share.
func (in *instance) keyOf(path string, c choice) key {
	k := key{model: in.model, path: path}
	if !modelpkg.PlainCPU(c.providers) {
		k.providers = modelpkg.ProviderNames(c.providers)
	}
	if c.threads > 1 || !concurrent(c.providers) {
		k.owner = in
	}
	return k
}

// Run gathers the items' inputs in the instance's buffers, runs the variant's graphs
// one after the other and copies the outputs of the last. Tensors between graphs are
// not copied. ONNX Runtime allocates the outputs. If it were given a buffer, it would
// leave the buffer unwritten for an output that is an input passed through, a weight,
// or another output under a second name. Copying costs as much as clearing a buffer
// would.
func (in *instance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	if err := in.check(variant); err != nil {
		return nil, err
	}
	if err := runtime.CheckBatch(in.model, variant, items); err != nil {
		return nil, err
	}
	part := runtime.Part{Variant: variant, Items: items}
	outputs, _, err := in.runSteps(ctx, &part, nil)
	return outputs, err
}

// runSteps runs the steps of a part, all if run is nil.
func (in *instance) runSteps(ctx context.Context, part *runtime.Part, run []bool) (outputs, kept []tensor.Tensor, err error) {
	variant := part.Variant
	if ctx.Err() != nil {
		return nil, nil, runtime.Ended("run "+variantName(in.model, variant), ctx.Err())
	}
	defer in.reset()
	steps := in.steps[variant]
	for i := range steps {
		in.out = append(in.out, make([]handle, len(steps[i].outputs))...)
		if run != nil && !run[i] {
			continue
		}
		if steps[i].session == nil {
			return nil, nil, slo.E("run "+variantName(in.model, variant), slo.KindInvalid, "its step %d runs on another server: only other parts of the variant run here", i)
		}
		if err := in.take(&steps[i], part); err != nil {
			return nil, nil, in.failed(variant, steps[i].session, err)
		}
		if err := in.run(ctx, &steps[i]); err != nil {
			if ctx.Err() != nil {
				return nil, nil, runtime.Ended("run "+variantName(in.model, variant), ctx.Err())
			}
			return nil, nil, in.failed(variant, steps[i].session, err)
		}
	}
	last := &steps[len(steps)-1]
	if !part.Inner {
		if outputs, err = in.collect(in.outputs[variant], in.out[last.first:], len(part.Items)); err != nil {
			return nil, nil, in.failed(variant, last.session, err)
		}
	}
	if len(part.Keep) > 0 {
		if kept, err = in.keep(steps, part); err != nil {
			return nil, nil, in.failed(variant, last.session, err)
		}
	}
	for i := range steps {
		if run == nil || run[i] {
			steps[i].session.proven.Store(true)
		}
	}
	return outputs, kept, nil
}

// take makes the inputs of a step.
func (in *instance) take(s *step, part *runtime.Part) error {
	in.in = in.in[:0]
	for _, source := range s.sources {
		value, err := in.source(source, part)
		if err != nil {
			return err
		}
		in.in = append(in.in, value)
	}
	return nil
}

// source returns the tensor that a step reads: the model's input, what a step of this
// run put out, or what an earlier run did.
func (in *instance) source(source modelpkg.Source, part *runtime.Part) (handle, error) {
	if source.Input < 0 {
		from := &in.steps[part.Variant][source.Step]
		if value := in.out[from.first+source.Output]; value != nil {
			return value, nil
		}
		return in.restored.tensor(part, modelpkg.Intermediate{Unit: from.unit, Name: source.Name})
	}
	if in.given[source.Input] == nil {
		value, err := in.inputs[source.Input].gather(part.Items, source.Input, in.model.SpecOf(part.Variant, source.Input).Shape)
		if err != nil {
			return nil, err
		}
		in.given[source.Input] = value
	}
	return in.given[source.Input], nil
}

// collect copies the declared outputs of a run.
func (in *instance) collect(outputs []output, values []handle, items int) ([]tensor.Tensor, error) {
	results := make([]tensor.Tensor, len(outputs))
	sum := 0
	for i, out := range outputs {
		d, bytes, err := out.describe(values[i], items)
		if sum += bytes; sum > hugeBytes {
			in.huge = true
		}
		if err != nil {
			return nil, err
		}
		if results[i], err = out.copy(values[i], d, bytes); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// check refuses runs of variants that the instance does not have.
func (in *instance) check(variant int) error {
	op := "run " + in.model.Name
	if in.closed {
		return slo.E(op, slo.KindUnavailable, "the instance is closed")
	}
	if variant < 0 || variant >= len(in.steps) {
		return nil // checked with the batch
	}
	if in.steps[variant] == nil {
		return slo.E(op, slo.KindInvalid, "variant %s is not loaded", in.model.Variants[variant].Name)
	}
	return nil
}

// run executes a step's graph, and aborts it if ctx ends.
func (in *instance) run(ctx context.Context, s *step) error {
	if ctx.Done() == nil {
		return graphRun(s, in.handle, in.in, in.out[s.first:])
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	stop := context.AfterFunc(ctx, in.terminate)
	err := graphRun(s, in.handle, in.in, in.out[s.first:])
	if !stop() {
		<-in.terminated // wait: the flag must not be set during the next run
		err = errors.Join(err, in.options.UnsetTerminate())
	}
	return err
}

// reset drops a run's tensors, but keeps the inputs' tensors for the next run.
func (in *instance) reset() {
	for _, value := range in.out {
		if value != nil {
			releaseValue(value)
		}
	}
	clear(in.out)
	clear(in.given)
	in.restored.release()
	for _, i := range in.inputs {
		i.releaseTexts()
	}
	in.in, in.out = in.in[:0], in.out[:0]
	if in.huge {
		in.huge = false
		environment.shrinker.shrink()
	}
}

// OnCaller reports whether the instance's graphs have no threads of their own.
func (in *instance) OnCaller() bool { return in.near }

// Slots returns 1: each run reuses the buffers.
func (*instance) Slots() int { return 1 }

// Close frees the instance's buffers and its share of the sessions. A second Close does
// nothing.
func (in *instance) Close() error {
	if in.closed {
		return nil
	}
	in.closed = true
	var errs []error
	for _, steps := range in.steps {
		for _, s := range steps {
			s.free()
		}
	}
	for k := range in.keys {
		errs = append(errs, in.runtime.release(k))
	}
	for _, i := range in.inputs {
		i.free()
	}
	if in.options != nil {
		errs = append(errs, in.options.Destroy())
	}
	return errors.Join(errs...)
}
