package engine

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

const (
	// warmUpRuns is the number of timed runs of each variant and size, after an untimed
	// one. There are fewer, but at least one, if they take longer than their share of
	// warmUpTime, which is that of all variants of a model together.
	warmUpRuns = 3
	warmUpTime = 200 * time.Millisecond
	// scaleNoted is the ratio to the profile, or its inverse, from which the log
	// advises a profile of this machine.
	scaleNoted = 1.25
)

// trial is an item to warm up with.
type trial struct {
	what string
	item func(variant int) runtime.Item // every input that the variant reads
}

// trials returns the items to warm up a model with, the best first. The best is a
// sample of the set that it was profiled on, which its graphs are known to accept. The
// next is zeros, or the closest numbers that the package declares as allowed; the last
// is ones. Inputs with a dynamic dimension have the length of the profile, so that
// measured times can be compared with it.
func (e *Engine) trials(d *deployment) []trial {
	var trials []trial
	most := 1
	if d.dynamicOutput() {
		most = sizedSamples
	}
	samples, err := d.Model.FirstSamples(most)
	if err != nil && most > 1 { // they are large, or a later one is not as declared
		samples, err = d.Model.FirstSamples(1)
	}
	if err != nil {
		e.log.Warn("no sample to warm up with", "model", d.Model.Name, "error", err)
	}
	lengths := d.lengths(samples)
	for _, sample := range samples {
		sample.Item = d.fit(sample.Item, lengths)
		d.samples = append(d.samples, sample)
	}
	if len(samples) > 0 {
		trials = append(trials, trial{"a sample of the package", func(v int) runtime.Item { return d.sample(0, v) }})
	}
	return append(trials, trial{"zeros, where the package allows them", func(v int) runtime.Item { return d.uniform(v, lengths, 0) }},
		trial{"ones", func(v int) runtime.Item { return d.uniform(v, lengths, 1) }})
}

// lengths returns the sizes of the inputs' dynamic dimensions for measuring: those of
// the profile, else of the samples, else the largest allowed.
func (d *deployment) lengths(samples []modelpkg.Fitted) []int {
	lengths := make([]int, len(d.Model.Inputs))
	for i, in := range d.Model.Inputs {
		switch {
		case !slices.Contains(in.Shape, -1) || in.Buckets != nil:
			lengths[i] = 1
		case d.Profile.Lengths[in.Name] > 0:
			lengths[i] = int(d.Profile.Lengths[in.Name])
		case len(samples) > 0:
			lengths[i] = runtime.Length(in.Spec, samples[0].Item[i])
		default:
			lengths[i] = int(max(in.Max, 1))
		}
	}
	return lengths
}

// fit makes an item of these lengths from a sample, by cutting or repeating it. If the
// dynamic dimension is not the first, elements move to other places, but every number
// of the item is one of the sample's.
func (d *deployment) fit(sample runtime.Item, lengths []int) runtime.Item {
	item := make(runtime.Item, len(sample))
	for i, in := range d.Model.Inputs {
		if item[i] = sample[i]; in.Buckets == nil {
			item[i] = runtime.Resize(in.Spec, sample[i], lengths[i])
		}
	}
	return item
}

// sample returns a sample with the sizes that a variant is made for.
func (d *deployment) sample(i, variant int) runtime.Item {
	return d.Model.Conform(d.samples[i].Item, d.samples[i].Sizes, variant)
}

// uniform returns an item for a variant, of these lengths, in which every element is
// number, or the number of the declared range closest to it.
func (d *deployment) uniform(variant int, lengths []int, number float64) runtime.Item {
	item := make(runtime.Item, len(d.Model.Inputs))
	for i, in := range d.Model.Inputs {
		value := number
		if in.Range != nil {
			value = min(max(value, in.Range.Low), in.Range.High)
		}
		item[i] = bytes.Repeat(modelpkg.Element(in.DType, value), lengths[i]*runtime.Elements(d.Model.SpecOf(variant, i)))
	}
	return item
}

// sizedSamples is how many samples are run to detect whether the size of an output
// depends on values.
const sizedSamples = 8

// dynamicOutput reports whether the model has an output without a fixed size.
func (d *deployment) dynamicOutput() bool {
	return slices.ContainsFunc(d.Model.Outputs, func(out modelpkg.Spec) bool { return slices.Contains(out.Shape, -1) })
}

// differsBySample returns the name of an output of a variant whose size is not the same
// for all samples, although their inputs have the same sizes; "" if there is none.
func (d *deployment) differsBySample(ctx context.Context, instance runtime.Instance, variant int) string {
	if !d.dynamicOutput() {
		return ""
	}
	var first []tensor.Tensor
	for i := range d.samples {
		outputs, err := instance.Run(ctx, variant, []runtime.Item{d.sample(i, variant)})
		switch {
		case err != nil: // measuring finds out which items the graph accepts
		case first == nil:
			first = outputs
		default:
			for o, out := range outputs {
				if !out.Shape.Equal(first[o].Shape) {
					return out.Name
				}
			}
		}
	}
	return ""
}

// measure returns how long a variant takes relative to its profile, with the first of
// the trials that its graph accepts.
func (d *deployment) measure(ctx context.Context, instance runtime.Instance, v int) (float64, error) {
	return d.attempt(ctx, func(item runtime.Item) (float64, error) { return d.measureWith(ctx, instance, v, item) }, v)
}

// attempt runs a variant with the first of the trials that its graph accepts. If it
// accepts none, the error is that of the first.
func (d *deployment) attempt(ctx context.Context, run func(runtime.Item) (float64, error), v int) (float64, error) {
	var first error
	for _, t := range d.trials {
		scale, err := run(t.item(v))
		if err == nil {
			return scale, nil
		}
		if first == nil {
			first = fmt.Errorf("with %s: %w", t.what, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return 0, first
}

// measureWith returns the geometric mean, over two sizes of the batch, of the best of a
// few runs. The sizes are one item, and the largest batch for which there is time; at
// least two items, so that a graph that only takes one is found out.
func (d *deployment) measureWith(ctx context.Context, instance runtime.Instance, v int, item runtime.Item) (float64, error) {
	curve := d.planner.Variants()[v].Curve
	share, began := warmUpTime/time.Duration(len(d.Model.Variants)), time.Now()
	one, err := d.ratio(ctx, instance, v, []runtime.Item{item}, share/2)
	if err != nil {
		return 0, err
	}
	size := min(curve.Max(), d.Model.Limits.BatchItemsMax)
	if size == 1 {
		return one, nil
	}
	left := share - time.Since(began)
	for size > 2 && 2*one*float64(curve.Batch(size)) > float64(left) { // one run is not timed
		size = max(2, size/2)
	}
	more, err := d.ratio(ctx, instance, v, slices.Repeat([]runtime.Item{item}, size), left)
	if err != nil {
		return 0, err
	}
	return geometricMean([]float64{one, more}), nil
}

// ratio returns the best time of a few runs of a batch relative to the profile. It takes
// about as long as given, but runs the batch at least twice. Other programs may use the
// processor now, and may or may not when requests come: the time is half way, by ratio,
// between that with and that without waiting for a core.
func (d *deployment) ratio(ctx context.Context, instance runtime.Instance, v int, items []runtime.Item, most time.Duration) (float64, error) {
	best, bestOwn := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	start := time.Now()
	for run := 0; run <= 1 || (run <= warmUpRuns && time.Since(start)+best <= most); run++ {
		whole, own, err := runtime.TimeOf(instance, func() error { return d.try(ctx, instance, v, items) })
		if err != nil {
			return 0, err
		}
		if run > 0 {
			best, bestOwn = min(best, whole), min(bestOwn, own)
		}
	}
	took := math.Sqrt(float64(max(best, 1)) * float64(max(bestOwn, 1))) // exact if they are the same
	return took / float64(d.planner.Variants()[v].Curve.Batch(len(items))), nil
}

// warmUpOthers runs every variant once on the instances here after the first, on which
// they were measured.
func (e *Engine) warmUpOthers(ctx context.Context, d *deployment, warming *limit) error {
	here := d.here()
	if here == nil {
		return nil
	}
	var all sync.WaitGroup
	errs := make([]error, len(d.instances))
	for i := 1; i < len(d.instances); i++ {
		all.Go(func() {
			errs[i] = guarded(func() error {
				for v := range d.Model.Variants {
					if !here.has(v) {
						continue
					}
					if err := d.proves(ctx, warming.of(d.instances[i]), v); err != nil {
						return fmt.Errorf("warming up %s, instance %d, variant %s: %w", d.Model.Name, i, d.Model.Variants[v].Name, err)
					}
				}
				return nil
			})
		})
	}
	all.Wait()
	return cmp.Or(errs...)
}

// guarded makes an error of a panic: no caller could recover in another goroutine.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = slo.E("", slo.KindInternal, "the runtime panicked: %v", p)
		}
	}()
	return f()
}

// proves runs a variant once with the first of the trials that its graph accepts.
func (d *deployment) proves(ctx context.Context, instance runtime.Instance, v int) error {
	_, err := d.attempt(ctx, func(item runtime.Item) (float64, error) { return 0, d.try(ctx, instance, v, []runtime.Item{item}) }, v)
	return err
}

// try runs items as a worker does.
func (d *deployment) try(ctx context.Context, instance runtime.Instance, v int, items []runtime.Item) error {
	if d.valueSized(v) == "" {
		_, err := instance.Run(ctx, v, items)
		return err
	}
	for i := range items {
		if _, err := instance.Run(ctx, v, items[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

func geometricMean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(values)))
}
