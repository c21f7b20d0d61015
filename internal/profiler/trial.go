package profiler

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Trial is the result of a few runs of every graph.
type Trial struct {
	Problems []modelpkg.Problem // each with the graph's file
	Warnings []string
}

// The largest expected time, and memory for inputs, of the largest batch in a trial.
const (
	cheapBatch = 2 * time.Second
	cheapBytes = 256 << 20
)

// madeUpLength is the size of a made-up sample's dynamic dimension, unless its max is
// smaller.
const madeUpLength = 64

// Try runs every variant of a model on a few samples: one at a time, in batches of 2
// and, if that is quick, in batches of the model's limit. The operators of a graph may
// break what its declarations promise. Without a set it uses made-up samples; a failure
// is then only a warning. Its error is that of ctx.
func Try(ctx context.Context, rt runtime.Runtime, m *modelpkg.Model, set *modelpkg.Set) (Trial, error) {
	var t Trial
	for v := range m.Variants {
		err := try(ctx, rt, m, set, v)
		if ctx.Err() != nil {
			return t, slo.E("check "+m.Name, slo.KindCancelled, "stopped")
		}
		if err == nil {
			continue
		}
		text := fmt.Sprintf("variant %s: %s", m.Variants[v].Name, plain(err))
		if set == nil && slo.KindOf(err) != slo.KindInvalid {
			t.Warnings = append(t.Warnings, text+" (on made-up samples of zeros, because the package has no evaluation.profile)")
			continue
		}
		if len(m.ServersOf(v)) > 0 {
			if slo.KindOf(err) == slo.KindUnavailable { // now; the package is not to blame
				t.Warnings = append(t.Warnings, text)
				continue
			}
			t.Problems = append(t.Problems, modelpkg.Problem{File: m.File(modelpkg.FileName), Message: text})
			continue
		}
		t.Problems = append(t.Problems, modelpkg.Problem{File: m.File(m.GraphFile(v)), Message: text})
	}
	return t, nil
}

// try loads one variant and runs it.
func try(ctx context.Context, rt runtime.Runtime, m *modelpkg.Model, set *modelpkg.Set, variant int) error {
	instance, err := rt.Load(ctx, m, runtime.Options{Threads: 1, Variants: []int{variant}})
	if err != nil {
		kind := slo.KindInvalid
		if len(m.ServersOf(variant)) > 0 && slo.KindOf(err) == slo.KindUnavailable {
			kind = slo.KindUnavailable
		}
		return slo.E("", kind, "it cannot be loaded: %w", err)
	}
	defer instance.Close()
	items, samples := trialItems(m, set, variant, m.Limits.BatchItemsMax)
	run := func(n int) error {
		outputs, err := instance.Run(ctx, variant, items[:n])
		if err != nil {
			return fixedSize(m, variant, n, batchFails(n, err))
		}
		if err := asDeclared(m, variant, outputs, n); err != nil {
			return fixedSize(m, variant, n, err)
		}
		return scored(set, outputs[0], samples[:min(n, len(samples))])
	}
	start := time.Now()
	for n := 1; n <= min(2, len(items)); n++ {
		if err := run(n); err != nil {
			return err
		}
	}
	each := time.Since(start) / 3
	if n := len(items); n > 2 && each*time.Duration(n) <= cheapBatch && n*itemBytes(items[0]) <= cheapBytes {
		if err := run(n); err != nil {
			return err
		}
	}
	few := int(cheapBatch / max(each, time.Microsecond)) // of a slow model
	return alone(ctx, instance, m, variant, items[:min(len(items), max(2, few))])
}

func itemBytes(item runtime.Item) int {
	n := 0
	for _, data := range item {
		n += len(data)
	}
	return n
}

// scored checks that the metric can score the answers to samples: that they have no
// NaN, and are probabilities if the package says so.
func scored(set *modelpkg.Set, output tensor.Tensor, samples []int) error {
	if set == nil || set.Judge().External() {
		return nil
	}
	for i, sample := range samples {
		if _, err := set.Score(output, i, sample); err != nil {
			return slo.E("", slo.KindInvalid, "the answer to sample %d cannot be scored: %w", sample, err)
		}
	}
	return nil
}

// trialItems returns most items that may share a run of a variant, spread over the set
// and repeated if there are too few, and the samples of the first, unrepeated ones.
// Without a set it returns a made-up item, and without samples of the variant's sizes
// one of other sizes that is cut or filled up.
func trialItems(m *modelpkg.Model, set *modelpkg.Set, variant, most int) (items []runtime.Item, samples []int) {
	var found []runtime.Item
	if set == nil {
		found = []runtime.Item{madeUp(m, variant)}
	} else {
		suiting := suiting(set, m.Variants[variant].Sizes)
		for _, i := range spread(len(suiting), 8*most) {
			at := suiting[i]
			if item := set.Item(at); len(found) == 0 || len(found) < most && shareRun(m, found[0], item) {
				found, samples = append(found, item), append(samples, at)
			}
		}
		if len(found) == 0 {
			found = []runtime.Item{m.Conform(set.Item(0), set.Sizes(0), variant)}
		}
	}
	items = make([]runtime.Item, most)
	for i := range items {
		items[i] = found[i%len(found)]
	}
	return items, samples
}

// suiting returns the samples with the sizes of a variant.
func suiting(set *modelpkg.Set, sizes slo.Sizes) (list []int) {
	for i := range set.Len() {
		if set.Sizes(i).Suits(sizes) {
			list = append(list, i)
		}
	}
	return list
}

// shareRun reports whether two items have the same values of all inputs that apply to a
// whole batch.
func shareRun(m *modelpkg.Model, a, b runtime.Item) bool {
	for i, in := range m.Inputs {
		if in.Unbatched && !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// madeUp returns an item for a variant, of zeros, or of the lowest value if zero is not allowed.
func madeUp(m *modelpkg.Model, variant int) runtime.Item {
	item := make(runtime.Item, len(m.Inputs))
	for i, in := range m.Inputs {
		length := 1
		if in.Buckets == nil {
			length = int(min(max(1, in.Max), madeUpLength))
		}
		item[i] = make([]byte, runtime.ItemBytes(m.SpecOf(variant, i))*length) // texts are empty
		if in.CheckRange(item[i]) == nil || in.DType != tensor.Int64 && in.DType != tensor.Int32 {
			continue
		}
		low := binary.LittleEndian.AppendUint64(nil, uint64(int64(in.Range.Low)))
		for at := 0; at < len(item[i]); at += in.DType.Size() {
			copy(item[i][at:], low[:in.DType.Size()])
		}
	}
	return item
}

// batchFails returns the error for a batch that cannot run, with the usual cause.
func batchFails(items int, err error) error {
	kind := slo.KindOf(err)
	if items == 1 {
		return slo.E("", kind, "it fails: %w", err)
	}
	return slo.E("", slo.KindInvalid, "single items run, but a batch of %d fails: %w. Is there an operator that fixes the batch, such as a Reshape to [1, ...]? "+
		"Export the graph with a dynamic batch, or set limits.max_batch: 1", items, err)
}

// fixedSize adds to the error of a single item what is the usual cause where its inputs
// have buckets.
func fixedSize(m *modelpkg.Model, variant, items int, err error) error {
	if items > 1 || m.Variants[variant].Sizes == 0 {
		return err
	}
	return slo.E("", slo.KindOf(err), "%w. Is there an operator that fixes the size of an input, such as a Reshape? Export the graph with that dimension dynamic, or leave this bucket out", err)
}

// asDeclared checks the outputs of a batch against the declarations.
func asDeclared(m *modelpkg.Model, variant int, outputs []tensor.Tensor, items int) error {
	for i, spec := range m.OutputsOf(variant) {
		if i < len(m.Outputs) {
			spec = m.OutputOf(variant, i)
		}
		want := append(tensor.Shape{int64(items)}, spec.Shape...)
		got := outputs[i]
		if got.DType != spec.DType || !got.Shape.Fits(want) {
			return slo.E("", slo.KindInvalid, "in a batch of %d the output %q is %v %v; it is declared %v %v", items, spec.Name, got.DType, got.Shape, spec.DType, want)
		}
	}
	return nil
}

// The tolerance for the numbers of an item's answer in a batch, compared with its
// answer alone, as a share of the largest number. Larger differences mean that the
// answer depends on the neighbours. Reduced precision, and other kernels for other
// batch sizes, cause some difference; scales that are computed over the whole batch, as
// in dynamic quantization, cause more.
const (
	fullTolerance    = 0.05 // of a variant in full precision
	reducedTolerance = 0.2
	aloneItems       = 8 // compared
)

// alone checks that an item's answer does not depend on the other items of its batch,
// because servers batch items of different clients. It fails if more than half of the
// items get a different answer.
func alone(ctx context.Context, instance runtime.Instance, m *modelpkg.Model, variant int, items []runtime.Item) error {
	items = items[:min(len(items), aloneItems)]
	if len(items) < 2 {
		return nil
	}
	tolerance := fullTolerance
	if m.Variants[variant].Precision != "fp32" {
		tolerance = reducedTolerance
	}
	together, err := instance.Run(ctx, variant, items)
	if err != nil {
		return batchFails(len(items), err)
	}
	type fault struct {
		items int
		off   float64
	}
	faults, outputs := make([]fault, len(together)), m.OutputsOf(variant)
	for i := range items {
		if err := ctx.Err(); err != nil {
			return err
		}
		single, err := instance.Run(ctx, variant, items[i:i+1])
		if err != nil {
			return batchFails(1, err)
		}
		for k, out := range together {
			if slices.Contains(outputs[k].Shape, -1) || single[k].Rows() != 1 || out.Rows() != len(items) {
				continue // its size depends on the data
			}
			off := distance(modelpkg.Floats(single[k], 0), modelpkg.Floats(out, i))
			if off > tolerance {
				faults[k] = fault{faults[k].items + 1, max(faults[k].off, off)}
			}
		}
	}
	for k, f := range faults {
		if 2*f.items > len(items) {
			return slo.E("", slo.KindInvalid, "the output %q of an item depends on the other items of its batch: alone and in a batch of %d, %d of %d answers differ by up to %.0f %% of their largest number. "+
				"Is there an operator over the batch axis, such as a Softmax or a normalization over axis 0?", outputs[k].Name, len(items), f.items, len(items), 100*f.off)
		}
	}
	return nil
}

// distance returns the largest difference between two lists of numbers, as a share of
// the largest number; 0 if nothing can be compared.
func distance(a, b []float64) float64 {
	if len(a) != len(b) {
		return 0
	}
	off, scale := 0.0, 0.0
	for i := range a {
		off = max(off, math.Abs(a[i]-b[i]))
		scale = max(scale, math.Abs(a[i]), math.Abs(b[i]))
	}
	if scale == 0 || math.IsNaN(off) || math.IsInf(scale, 0) {
		return 0
	}
	return off / scale
}

// plainWords are ONNX Runtime's errors for graphs that it cannot load, and what they
// mean.
var plainWords = []struct{ says, means string }{
	{"max supported IR version", "the graph's IR version is newer than the installed ONNX Runtime can read: export it with an older onnx package, or install a newer ONNX Runtime"},
	{"is under development and support for this is limited", "the graph's opset is newer than the installed ONNX Runtime knows: export it with a lower opset (17 is advised), or install a newer ONNX Runtime"},
	{"is not a registered function/op", "the graph has an operator that ONNX Runtime does not know (a custom domain, or a newer opset): export it with standard operators only"},
	{"No Op registered for", "the graph has an operator that ONNX Runtime does not know (a custom domain, or a newer opset): export it with standard operators only"},
	{"No opset import for domain", "the graph has an operator of a domain that it does not import: export it again"},
}

// plain returns an error in words that say what to do.
func plain(err error) string {
	text := err.Error()
	for _, w := range plainWords {
		if strings.Contains(text, w.says) {
			return w.means + " (" + text + ")"
		}
	}
	return text
}
