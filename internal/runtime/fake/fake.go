// Package fake is a runtime without computation: a run takes the time of a profile and
// returns outputs that identify the variant and the item. With it the engine, the
// server and their tests run days of load in virtual time (testing/synctest) with any
// kind of failure, and nothing has to be installed.
package fake

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/mosel-serve/mosel/tensor"
)

// Config configures a fake runtime.
type Config struct {
	// Profiles are those of the models to load, found by name. Runs of a model without
	// a profile take no time.
	Profiles []*modelpkg.Profile
	// Scale multiplies every duration: 1.2 is slower than profiled. 0 means 1.
	Scale float64
	// Slots is how many runs of an instance may be in progress at a time; 0: one.
	Slots int
	// Instant makes every run take no time at all.
	Instant bool
	// Fail, if set, is called after a run's time has passed. An error fails the run: a
	// *slo.Error with its kind, any other error as internal. An error that wraps
	// runtime.ErrLost loses the instance. Instances call Fail concurrently.
	Fail func(Run) error
	// HangLoad, if set, is called at the start of a Load, which then waits until the
	// channel is closed or its context ends. A nil channel: no wait.
	HangLoad func(*modelpkg.Model) <-chan struct{}
	// HangRun, if set, is called after a run's time has passed. The run then waits
	// until the channel is closed, even if its context ends, like an operator that
	// cannot be interrupted. A nil channel: no wait.
	HangRun func(Run) <-chan struct{}
	// Answer, if set, makes the outputs of a run instead of Row, so that a test can
	// have outputs whose size depends on the data. Errors are treated as those of Fail.
	Answer func(Run) ([]tensor.Tensor, error)
	// KeptBytes is the size of each intermediate tensor of an item; 0: 4.
	KeptBytes int
	// Whole makes variants run only as a whole, as on a runtime without stages.
	Whole bool
}

// Run describes a run to the functions of a Config.
type Run struct {
	Context  context.Context // of the run
	Model    string
	Variant  int
	Instance int // in order of loading, from 0
	Number   int // of the instance's runs, from 0
	Items    []runtime.Item
	Stages   []int // that ran, as indices into Model.Stages; nil if the variant has none
}

// Runtime is a fake runtime.
type Runtime struct {
	config    Config
	instances atomic.Int64
}

var _ runtime.Runtime = (*Runtime)(nil)

// New returns a fake runtime.
func New(config Config) *Runtime {
	if config.Scale == 0 {
		config.Scale = 1
	}
	return &Runtime{config: config}
}

// Name returns "fake".
func (*Runtime) Name() string { return "fake" }

// Version returns "1".
func (*Runtime) Version() string { return "1" }

// Close does nothing.
func (*Runtime) Close() error { return nil }

// Load makes an instance. More threads do not make it faster.
func (r *Runtime) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	op := "load " + m.Name
	variants, err := opts.Resolve(m)
	if err != nil {
		return nil, err
	}
	if err := r.hang(ctx, m); err != nil {
		return nil, runtime.Ended(op, err)
	}
	in := &instance{
		config:  r.config,
		model:   m,
		loaded:  make([]bool, len(m.Variants)),
		batches: make([][]modelpkg.BatchProfile, len(m.Variants)),
		stages:  r.stages(m),
	}
	for _, v := range variants {
		batches, err := r.batches(m, v)
		if err != nil {
			return nil, slo.E(op, slo.KindInvalid, "%w", err)
		}
		in.loaded[v], in.batches[v] = true, batches
	}
	in.number = int(r.instances.Add(1) - 1)
	return in, nil
}

// hang waits as HangLoad says.
func (r *Runtime) hang(ctx context.Context, m *modelpkg.Model) error {
	if ctx.Err() != nil || r.config.HangLoad == nil {
		return ctx.Err()
	}
	released := r.config.HangLoad(m)
	if released == nil {
		return nil
	}
	select {
	case <-released:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// batches returns the profiled batches of a variant; nil if runs take no time.
func (r *Runtime) batches(m *modelpkg.Model, variant int) ([]modelpkg.BatchProfile, error) {
	p := slices.IndexFunc(r.config.Profiles, func(p *modelpkg.Profile) bool { return p.Model == m.Name })
	if p < 0 || r.config.Instant {
		return nil, nil
	}
	name := m.Variants[variant].Name
	for _, v := range r.config.Profiles[p].Variants {
		if v.Name == name && len(v.Batches) > 0 {
			return v.Batches, nil
		}
	}
	return nil, fmt.Errorf("the profile has no batches of variant %s", name)
}

// instance simulates runs of batches.
type instance struct {
	config  Config
	model   *modelpkg.Model
	number  int // of the instance
	loaded  []bool
	batches [][]modelpkg.BatchProfile // by variant
	stages  [][]modelpkg.BatchProfile // by stage; nil: unknown
	runs    atomic.Int64
	lost    atomic.Pointer[slo.Error]
	closed  atomic.Bool
}

// Slots returns the configured number.
func (in *instance) Slots() int { return max(1, in.config.Slots) }

// Run takes the profiled time of the variant and the number of items, on the clock of
// package time, and answers every item with Row.
func (in *instance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	if err := in.usable(); err != nil {
		return nil, err
	}
	if err := runtime.CheckBatch(in.model, variant, items); err != nil {
		return nil, err
	}
	outputs, _, err := in.run(ctx, &runtime.Part{Variant: variant, Items: items}, nil)
	return outputs, err
}

// run runs the steps of a part, all if steps is nil.
func (in *instance) run(ctx context.Context, part *runtime.Part, steps []bool) (outputs, kept []tensor.Tensor, err error) {
	variant, items := part.Variant, part.Items
	if !in.loaded[variant] {
		return nil, nil, slo.E("run "+in.model.Name, slo.KindInvalid, "variant %s is not loaded", in.model.Variants[variant].Name)
	}
	op := "run " + in.model.Name + "/" + in.model.Variants[variant].Name
	number := int(in.runs.Add(1)) - 1
	if err := in.wait(ctx, variant, len(items), steps); err != nil {
		return nil, nil, runtime.Ended(op, err)
	}
	run := Run{Context: ctx, Model: in.model.Name, Variant: variant, Instance: in.number, Number: number, Items: items, Stages: in.ran(variant, steps)}
	if in.config.HangRun != nil {
		if released := in.config.HangRun(run); released != nil {
			<-released
		}
	}
	if in.config.Fail != nil {
		if err := in.config.Fail(run); err != nil {
			return nil, nil, in.failed(op, err)
		}
	}
	if err := in.checkGiven(part); err != nil {
		return nil, nil, in.failed(op, err)
	}
	kept = in.keep(part)
	if part.Inner {
		return nil, kept, nil
	}
	if in.config.Answer != nil {
		outputs, err := in.config.Answer(run)
		if err != nil {
			return nil, nil, in.failed(op, err)
		}
		return outputs, kept, nil
	}
	outputs, err = in.outputs(op, part)
	return outputs, kept, err
}

func (in *instance) failed(op string, err error) error {
	if told := new(slo.Error); errors.As(err, &told) {
		return told
	}
	if !errors.Is(err, runtime.ErrLost) {
		return slo.E(op, slo.KindInternal, "%w", err)
	}
	lost := slo.E(op, slo.KindUnavailable, "%w", err)
	in.lost.Store(lost)
	return lost
}

// usable refuses runs of an instance that is lost or closed.
func (in *instance) usable() error {
	switch {
	case in.lost.Load() != nil:
		return in.lost.Load()
	case in.closed.Load():
		return slo.E("run "+in.model.Name, slo.KindUnavailable, "the instance is closed")
	}
	return nil
}

// wait waits for the run's time.
func (in *instance) wait(ctx context.Context, variant, items int, steps []bool) error {
	if ctx.Err() != nil || len(in.batches[variant]) == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(in.config.Scale * float64(in.latency(variant, items, steps))))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Latency returns the time of a batch of a number of items: the median of the profile,
// interpolated linearly between neighbouring batch sizes, and extrapolated beyond the
// largest. The batches must not be empty and must ascend by Items.
func Latency(batches []modelpkg.BatchProfile, items int) time.Duration {
	at, found := slices.BinarySearchFunc(batches, items, func(b modelpkg.BatchProfile, n int) int { return cmp.Compare(b.Items, n) })
	if found {
		return stats.FromMilliseconds(batches[at].P50MS)
	}
	right := min(max(at, 1), len(batches)-1)
	if right == 0 { // only one size: in proportion
		return stats.FromMilliseconds(batches[0].P50MS * float64(items) / float64(batches[0].Items))
	}
	a, b := batches[right-1], batches[right]
	slope := (b.P50MS - a.P50MS) / float64(b.Items-a.Items)
	return stats.FromMilliseconds(max(0, a.P50MS+slope*float64(items-a.Items)))
}

// outputs makes the outputs of a batch, row by row.
func (in *instance) outputs(op string, part *runtime.Part) ([]tensor.Tensor, error) {
	items := part.Items
	specs := in.model.OutputsOf(part.Variant)
	results := make([]tensor.Tensor, 0, len(specs))
	for _, spec := range specs {
		shape := tensor.Shape{int64(len(items))}
		for _, d := range spec.Shape {
			shape = append(shape, max(d, 1)) // a dynamic dimension has size 1
		}
		data := make([]byte, 0, len(items)*runtime.ItemBytes(spec))
		for at, item := range items {
			data = append(data, row(spec, sumOf(in.model, part, at, item))...)
		}
		t, err := tensor.New(spec.Name, spec.DType, shape, data)
		if err != nil {
			return nil, slo.E(op, slo.KindInternal, "%w", err)
		}
		results = append(results, t)
	}
	return results, nil
}

// one is the number 1 in the bytes of the floating-point types.
var one = map[tensor.DType][]byte{
	tensor.FP16: {0x00, 0x3c},
	tensor.BF16: {0x80, 0x3f},
	tensor.FP32: {0, 0, 0x80, 0x3f},
	tensor.FP64: {0, 0, 0, 0, 0, 0, 0xf0, 0x3f},
}

// Row is what a fake run of the variant answers to one item in the model's
// output number output: zeros, and a single 1. Where the 1 stands depends on the
// variant and on the bytes of the inputs that the variant reads, so that a test
// notices an answer to the wrong item or from the wrong variant.
// Read as scores of classes, the answer is certain of one. Texts are the same number
// in hexadecimal, in all elements. The estimates of a gate follow the model's outputs.
func Row(m *modelpkg.Model, output, variant int, item runtime.Item) []byte {
	return row(m.OutputsOf(variant)[output], sumOf(m, &runtime.Part{Variant: variant}, 0, item))
}

// sumOf returns the number that an item's answer shows.
func sumOf(m *modelpkg.Model, part *runtime.Part, at int, item runtime.Item) uint32 {
	v := &m.Variants[part.Variant]
	sum := crc32.ChecksumIEEE([]byte(v.Name))
	if v.Steps != nil {
		return reader{m, part, at, item}.step(v.Steps, len(v.Steps)-1, sum)
	}
	for _, index := range v.Inputs {
		sum = crc32.Update(sum, crc32.IEEETable, item[index])
	}
	return sum
}

func row(spec modelpkg.Spec, sum uint32) []byte {
	if spec.DType == tensor.Bytes {
		return texts(spec, sum)
	}
	row := make([]byte, runtime.ItemBytes(spec))
	size := spec.DType.Size()
	at := int(sum%uint32(len(row)/size)) * size
	if float, ok := one[spec.DType]; ok {
		copy(row[at:], float)
	} else {
		row[at] = 1 // little-endian
	}
	return row
}

func texts(spec modelpkg.Spec, sum uint32) []byte {
	text := fmt.Sprintf("%08x", sum)
	var row []byte
	for range runtime.Elements(spec) {
		row = append(binary.LittleEndian.AppendUint32(row, uint32(len(text))), text...)
	}
	return row
}

// Close ends the instance.
func (in *instance) Close() error {
	in.closed.Store(true)
	return nil
}
