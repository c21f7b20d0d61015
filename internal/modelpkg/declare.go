package modelpkg

import (
	"math"

	"github.com/mosel-serve/mosel/tensor"
)

// silenceBelowDefault is the level of silence if a package gives none: 60 dB below full
// scale.
const silenceBelowDefault = 0.001

// declareInput reads a package's optional declarations for an input: its form when
// absent, its range, and whether it has a batch dimension.
func (r *report) declareInput(in *Input, ts tensorSpec) {
	in.Unbatched = ts.batch.Given() && !ts.batch.Value
	r.absence(in, ts)
	r.valueRange(in, ts)
	r.declareTexts(in, ts)
	if !in.Unbatched {
		return
	}
	refuse := func(what string) { r.At(ts.batch.Place, "batched: false is for %s", what) }
	switch {
	case ts.media.Given():
		refuse("a setting that holds for a whole batch, not for an input with media")
	case ts.absent.Given():
		refuse("a setting that holds for a whole batch, which cannot be absent from one item: leave out absent")
	case dynamicAxis(in.Shape) >= 0:
		refuse("a tensor of fixed size; give the size of the dimension that is -1")
	}
}

// absence reads what counts as an absent input.
func (r *report) absence(in *Input, ts tensorSpec) {
	kind := AbsentKind(r.OneOf(ts.absent.Or(""), "absent", string(AbsentZeros), string(AbsentSilence), string(AbsentBlank)))
	in.Absent.Kind = kind
	if ts.below.Given() && kind != AbsentSilence {
		r.At(ts.below.place, "silence_below is for an input with absent: silence")
	}
	if in.DType == tensor.Invalid {
		return // reported before
	}
	switch kind {
	case AbsentSilence:
		in.Absent.Below = silenceBelowDefault
		if ts.below.Given() {
			in.Absent.Below = ts.below.value
		}
		if in.DType != tensor.Int16 && in.DType != tensor.FP32 {
			r.At(ts.absent.Place, "absent: silence is for sound, INT16 or FP32, not %v", in.DType)
		}
	case AbsentBlank:
		if isFloat(in.DType) || in.DType == tensor.Bool {
			r.At(ts.absent.Place, "absent: blank is for character codes, UINT8 or another whole-number type, not %v", in.DType)
		}
	case AbsentZeros, AbsentNever:
	}
}

// valueRange reads the lowest and highest value of an element.
func (r *report) valueRange(in *Input, ts tensorSpec) {
	if !ts.span.Given() || in.DType == tensor.Invalid || in.DType == tensor.Bytes {
		return
	}
	low, high := ts.span.low, ts.span.high
	in.Range = &Range{low, high}
	least, greatest := valuesOf(in.DType)
	switch {
	case in.DType == tensor.Bool:
		r.At(ts.span.place, "range is for numbers, not BOOL")
	case low > high:
		r.At(ts.span.place, "range is [%s, %s]; the least value comes first", numberText(low), numberText(high))
	case low < least || high > greatest:
		r.At(ts.span.place, "range is [%s, %s]; %v has values from %s to %s",
			numberText(low), numberText(high), in.DType, numberText(least), numberText(greatest))
	case !isFloat(in.DType) && (low != math.Trunc(low) || high != math.Trunc(high)):
		r.At(ts.span.place, "range is [%s, %s]; %v has whole values only", numberText(low), numberText(high), in.DType)
	}
}

// valuesOf returns the lowest and highest value of an element type.
func valuesOf(d tensor.DType) (least, greatest float64) {
	switch d {
	case tensor.FP16:
		return -65504, 65504
	case tensor.BF16:
		return -0x1.FEp127, 0x1.FEp127
	case tensor.FP32:
		return -math.MaxFloat32, math.MaxFloat32
	case tensor.FP64:
		return -math.MaxFloat64, math.MaxFloat64
	case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
		half := math.Ldexp(1, 8*d.Size()-1)
		return -half, half - 1
	default:
		return 0, math.Ldexp(1, 8*d.Size()) - 1
	}
}

// dynamicAxis returns the index of the dimension that is -1; -1 if there is none.
func dynamicAxis(s tensor.Shape) int {
	for i, d := range s {
		if d == -1 {
			return i
		}
	}
	return -1
}
