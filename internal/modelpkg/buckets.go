package modelpkg

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
	"go.yaml.in/yaml/v3"
)

// Buckets are the shapes that the items of an input are filled up to. Items of one bucket
// share batches, and every variant that reads the input has its own latency for each.
type Buckets struct {
	Number int            // of the input among those with buckets: its place in slo.Sizes
	Of     int            // index into Model.Inputs of the input that declares them: this one, or the one that this is a mask or types of
	Shapes []tensor.Shape // of an item in each bucket, the smallest first
	Pad    []byte         // the element that fills up
	Cut    bool           // items that are larger than the largest bucket are cut
	Mask   int            // index of the input that gets 1 for each own element and 0 for what fills up; -1: none
	Types  int            // of the input that gets zeros; -1: none
	Length int            // of the input that gets the item's own sizes; -1: none
}

// leads reports whether the input declares the buckets itself.
func (b *Buckets) leads(input int) bool { return b != nil && b.Of == input }

// The values of longer.
const (
	longerRefuse = "refuse"
	longerCut    = "cut"
)

// bucketSpec is what an input declares of its buckets.
type bucketSpec struct {
	strictyaml.Place
	sizes  [][]number // of each bucket, by dynamic dimension
	pad    level
	longer word
	length word // the name of another input
}

// buckets reads a list of sizes, or of lists of them: [64, 128] or [[32, 32], [64, 48]].
func (r *report) buckets(n *yaml.Node) (sizes [][]number) {
	r.List(n, "buckets", slo.BucketsMax, func(n *yaml.Node) {
		var size []number
		if n.Kind == yaml.SequenceNode {
			r.List(n, "a bucket", dimensionsMax, func(n *yaml.Node) { size = append(size, r.Whole(n, "a size of a bucket", 1, dimensionMax)) })
		} else {
			size = []number{r.Whole(n, "a bucket", 1, dimensionMax)}
		}
		if len(size) > 0 { // else it was reported
			sizes = append(sizes, size)
		}
	})
	return sizes
}

// dynamicAxes returns how many dimensions are -1.
func dynamicAxes(s tensor.Shape) (n int) {
	for _, d := range s {
		if d == -1 {
			n++
		}
	}
	return n
}

// filledShape is a declared shape with sizes in place of its dimensions of -1.
func filledShape(declared tensor.Shape, sizes []int64) tensor.Shape {
	shape := slices.Clone(declared)
	for i, d := range shape {
		if d == -1 {
			shape[i], sizes = sizes[0], sizes[1:]
		}
	}
	return shape
}

// ownSizes are the sizes of the declared dimensions of -1 in a shape.
func ownSizes(declared, shape tensor.Shape) (sizes []int64) {
	for i, d := range declared {
		if d == -1 {
			sizes = append(sizes, shape[i])
		}
	}
	return sizes
}

// buildBuckets reads the buckets of all inputs, and ties other inputs to them that are
// filled beside.
func (r *report) buildBuckets(m *Model, s *spec) {
	before := len(r.Problems)
	for i := range m.Inputs {
		in, ts := &m.Inputs[i], s.input(i)
		switch {
		case !ts.fill.Given():
		case in.Buckets != nil:
			r.At(ts.fill.Place, "%s is filled beside %s, so it has its buckets", in.Name, m.Inputs[in.Buckets.Of].Name)
		default:
			r.declareBuckets(m, i, ts)
		}
	}
	if m.sized > slo.SizesMax {
		r.At(s.root, "%d inputs have buckets; at most %d may", m.sized, slo.SizesMax)
	}
	if len(r.Problems) > before {
		return // an input may lack the buckets of another one that were reported
	}
	for i := range m.Inputs {
		if m.Inputs[i].Buckets == nil {
			r.needsBuckets(&m.Inputs[i], s.input(i))
		}
	}
}

// declareBuckets reads the buckets that an input declares.
func (r *report) declareBuckets(m *Model, i int, ts tensorSpec) {
	in := &m.Inputs[i]
	b := &Buckets{Number: m.sized, Of: i, Mask: -1, Types: -1, Length: r.lengthInput(m, i, ts)}
	if in.Tokens != nil {
		b.Mask, b.Types = in.Tokens.Mask, in.Tokens.Types
	} else {
		b.Mask, b.Types = r.maskInput(m, i, ts.mask, "mask"), r.maskInput(m, i, ts.types, "types")
		if b.Mask >= 0 && b.Mask == b.Types {
			r.At(ts.types.Place, "types is the same input as mask")
			return
		}
	}
	if !r.bucketShapes(in, b, ts) {
		return
	}
	in.Buckets = b
	m.sized++
	for at, k := range map[place]int{ts.mask.Place: b.Mask, ts.types.Place: b.Types} {
		if k >= 0 && k != i {
			r.follow(m, i, k, at)
		}
	}
}

// needsBuckets refuses what only an input with buckets may have.
func (r *report) needsBuckets(in *Input, ts tensorSpec) {
	switch n := dynamicAxes(in.Shape); {
	case n > 1:
		r.At(ts.shaped, "%s has %d dimensions of -1, so it needs buckets, the sizes that items are filled up to, such as buckets: [[128, 128], [256, 256]]", in.Name, n)
	case ts.fill.pad.Given():
		r.At(ts.fill.pad.place, "pad is for an input with buckets")
	case ts.fill.longer.Given():
		r.At(ts.fill.longer.Place, "longer is for an input with buckets")
	case ts.fill.length.Given():
		r.At(ts.fill.length.Place, "length is for an input with buckets")
	}
}

// bucketShapes checks the declaration of an input with buckets.
func (r *report) bucketShapes(in *Input, b *Buckets, ts tensorSpec) bool {
	axes := dynamicAxes(in.Shape)
	before := len(r.Problems)
	switch {
	case axes == 0:
		r.At(ts.fill.Place, "buckets are sizes of dimensions that are -1; the shape %v has none", in.Shape)
	case in.DType == tensor.Bytes || in.Unbatched:
		r.At(ts.fill.Place, "buckets are for numbers with a batch, not for BYTES or batched: false")
	case ts.most.Given():
		r.At(ts.most.Place, "max is for an input without buckets: the largest bucket is the bound")
	case in.Media == MediaImage:
		r.At(ts.fill.Place, "media image makes pictures of one size; give the sizes that are -1, or leave out media")
	}
	b.Cut = r.OneOf(ts.fill.longer.Or(longerRefuse), "longer", longerRefuse, longerCut) == longerCut
	if len(r.Problems) > before {
		return false
	}
	r.padding(in, b, ts)
	for k, size := range ts.fill.sizes {
		sizes := make([]int64, len(size))
		for d, n := range size {
			if !n.Given() {
				return false
			}
			sizes[d] = n.Value
		}
		if len(sizes) != axes {
			r.At(size[0].Place, "a bucket of %s needs %d sizes, one for each dimension of -1", in.Name, axes)
			return false
		}
		shape := filledShape(in.Shape, sizes)
		if n, err := shape.Elements(); err != nil || n > tensorBytesMax/8 {
			r.At(size[0].Place, "a bucket of the shape %v is too large", shape)
			return false
		}
		switch {
		case slices.ContainsFunc(b.Shapes, shape.Equal):
			r.At(size[0].Place, "the bucket %v occurs twice", shape)
		case k > 0 && elements(shape) < elements(b.Shapes[k-1]):
			r.At(size[0].Place, "buckets must be in ascending order of their elements: %v comes after %v", shape, b.Shapes[k-1])
		}
		b.Shapes = append(b.Shapes, shape)
	}
	if len(r.Problems) > before || len(b.Shapes) == 0 {
		return false
	}
	if axes == 1 {
		in.Max = ownSizes(in.Shape, b.Shapes[len(b.Shapes)-1])[0]
	}
	return true
}

// elements is the number of elements of a bucket.
func elements(s tensor.Shape) int {
	n, _ := s.Elements() // it was checked
	return n
}

// padding reads the element that fills up.
func (r *report) padding(in *Input, b *Buckets, ts tensorSpec) {
	pad := ts.fill.pad
	b.Pad = Element(in.DType, pad.value)
	least, greatest := valuesOf(in.DType)
	if in.DType == tensor.Bool {
		greatest = 1
	}
	switch {
	case !pad.Given():
	case pad.value < least || pad.value > greatest:
		r.At(pad.place, "pad is %s; %v has values from %s to %s", numberText(pad.value), in.DType, numberText(least), numberText(greatest))
	case !isFloat(in.DType) && pad.value != math.Trunc(pad.value):
		r.At(pad.place, "pad is %s; %v has whole values only", numberText(pad.value), in.DType)
	}
}

// checkPadding holds the elements that fill up against the declared ranges, once
// tokenizers have been read.
func (r *report) checkPadding(m *Model, s *spec) {
	for i, in := range m.Inputs {
		if in.Buckets == nil || in.CheckRange(in.Buckets.Pad) == nil {
			continue
		}
		at, ts := s.input(i).span.place, s.input(i)
		if ts.fill.pad.Given() {
			at = ts.fill.pad.place
		}
		r.At(at, "%s is filled up with %s, which is outside its range; declare another pad, or a range with it", in.Name, elementText(in.DType, in.Buckets.Pad))
	}
}

// maskInput is the index of an input that is filled beside another one; -1 if none is
// named.
func (r *report) maskInput(m *Model, of int, w word, key string) int {
	if !w.Given() {
		return -1
	}
	i := r.otherInput(m, of, w, key)
	if i < 0 {
		return -1
	}
	in, mask := m.Inputs[of], m.Inputs[i]
	axes := slices.Repeat(tensor.Shape{-1}, dynamicAxes(in.Shape))
	if mask.DType == tensor.Bytes || !mask.Shape.Equal(in.Shape) && !mask.Shape.Equal(axes) {
		r.At(w.Place, "%s: %s is %v %v; it must be numbers %v or %v", key, w.Text, mask.DType, mask.Shape, in.Shape, axes)
		return -1
	}
	return i
}

// lengthInput is the index of an input that is filled with an item's own sizes; -1 if
// none is named.
func (r *report) lengthInput(m *Model, of int, ts tensorSpec) int {
	w := ts.fill.length
	if !w.Given() {
		return -1
	}
	i := r.otherInput(m, of, w, "length")
	if i < 0 {
		return -1
	}
	if other := slices.IndexFunc(m.Inputs[:of], func(in Input) bool { return in.Buckets != nil && in.Buckets.Length == i }); other >= 0 {
		r.At(w.Place, "length: %s has the sizes of %s already", w.Text, m.Inputs[other].Name)
		return -1
	}
	axes := dynamicAxes(m.Inputs[of].Shape)
	got := m.Inputs[i]
	single := axes == 1 && len(got.Shape) == 0
	if got.DType != tensor.Int64 && got.DType != tensor.Int32 || !single && !got.Shape.Equal(tensor.Shape{int64(axes)}) {
		r.At(w.Place, "length: %s is %v %v; it must be INT64 or INT32 [%d]", w.Text, got.DType, got.Shape, axes)
		return -1
	}
	return i
}

// otherInput finds an input of the same modality by its name.
func (r *report) otherInput(m *Model, of int, w word, key string) int {
	i := slices.IndexFunc(m.Inputs, func(in Input) bool { return in.Name == w.Text })
	switch {
	case i < 0:
		r.At(w.Place, "%s: the model has no input %q", key, w.Text)
	case i == of || m.Inputs[i].Modality != m.Inputs[of].Modality || m.Inputs[i].Unbatched:
		r.At(w.Place, "%s: %s must be another input of the same modality, with a batch", key, w.Text)
		return -1
	}
	return i
}

// follow gives an input that is filled beside another the buckets of that one.
func (r *report) follow(m *Model, of, i int, at place) {
	leader, in := m.Inputs[of], &m.Inputs[i]
	b := &Buckets{Number: leader.Buckets.Number, Of: of, Pad: Element(in.DType, 0), Cut: leader.Buckets.Cut, Mask: -1, Types: -1, Length: -1}
	switch {
	case in.Buckets.leads(i):
		r.At(at, "%s has buckets itself; filled beside %s, it gets those of that", in.Name, leader.Name)
		return
	case in.Buckets != nil:
		r.At(at, "%s is filled beside %s already", in.Name, m.Inputs[in.Buckets.Of].Name)
		return
	}
	for _, shape := range leader.Buckets.Shapes {
		if sizes := ownSizes(leader.Shape, shape); len(sizes) == dynamicAxes(in.Shape) {
			b.Shapes = append(b.Shapes, filledShape(in.Shape, sizes))
		}
	}
	in.Buckets, in.Max = b, leader.Max
}

// checkFollows checks the outputs that have the sizes of an input.
func (r *report) checkFollows(m *Model, s *spec) {
	for i := range m.Outputs {
		out, ts := &m.Outputs[i], s.outputs[i]
		if !ts.follows.Given() {
			continue
		}
		k := slices.IndexFunc(m.Inputs, func(in Input) bool { return in.Name == ts.follows.Text })
		switch {
		case k < 0:
			r.At(ts.follows.Place, "follows: the model has no input %q", ts.follows.Text)
		case m.Inputs[k].Buckets == nil && s.input(k).fill.Given(): // reported before
		case m.Inputs[k].Buckets == nil:
			r.At(ts.follows.Place, "follows: %s has no buckets", ts.follows.Text)
		case dynamicAxes(out.Shape) != dynamicAxes(m.Inputs[k].Shape) || out.DType == tensor.Bytes:
			r.At(ts.follows.Place, "follows: %v %v cannot have the sizes of %s, which is %v", out.DType, out.Shape, ts.follows.Text, m.Inputs[k].Shape)
		default:
			out.Follows = m.Inputs[k].Name
		}
	}
}

// expand makes a variant of each size of the inputs that it reads, named after the
// variant and the sizes, such as text@64. Everything else then needs no notion of
// buckets: such a variant has fixed shapes.
func (r *report) expand(m *Model, s *spec) {
	declared := m.Variants
	m.Variants = nil
	for of, v := range declared {
		v.Of = of
		list := []Variant{v}
		for _, i := range v.Inputs {
			if m.Inputs[i].Buckets.leads(i) && len(list) <= variantsMax {
				list = m.bySize(list, i)
			}
		}
		m.Variants = append(m.Variants, list...)
		if len(m.Variants) > variantsMax {
			r.At(s.variants[of].Place, "variant %s: with a variant for each of their buckets there are more than %d variants: declare fewer buckets", v.Name, variantsMax)
			return
		}
	}
}

// bySize makes of each variant one for each bucket of an input.
func (m *Model) bySize(list []Variant, input int) (all []Variant) {
	b := m.Inputs[input].Buckets
	for _, v := range list {
		for k, shape := range b.Shapes {
			one := v
			one.Base = v.Declared()
			one.Sizes = v.Sizes.With(b.Number, k)
			one.Shapes = make([]tensor.Shape, len(m.Inputs))
			copy(one.Shapes, v.Shapes)
			for i := range m.Inputs {
				if other := m.Inputs[i].Buckets; other != nil && other.Of == input {
					one.Shapes[i] = other.Shapes[k]
				}
			}
			one.Name = v.Name + "@" + sizesText(m.Inputs[input].Shape, shape)
			all = append(all, one)
		}
	}
	return all
}

// sizesText writes the sizes of the dimensions of -1, such as 64 or 32x48.
func sizesText(declared, shape tensor.Shape) string {
	var sizes []string
	for _, n := range ownSizes(declared, shape) {
		sizes = append(sizes, strconv.FormatInt(n, 10))
	}
	return strings.Join(sizes, "x")
}

// SizesText lists the buckets, such as "16,64" or "32x32,64x48".
func (in Input) SizesText() string {
	var list []string
	for _, shape := range in.Buckets.Shapes {
		list = append(list, sizesText(in.Shape, shape))
	}
	return strings.Join(list, ",")
}

// ParseSizes reads buckets such as "text=64" or "image=32x48", by the names of the inputs
// that declare them. Inputs that are not named have their largest.
func (m *Model) ParseSizes(list []string) (sizes slo.Sizes, err error) {
	named := map[string]string{}
	for _, text := range list {
		name, size, _ := strings.Cut(text, "=")
		i := slices.IndexFunc(m.Inputs, func(in Input) bool { return in.Name == name })
		if i < 0 || !m.Inputs[i].Buckets.leads(i) {
			return 0, fmt.Errorf("model %s has no input %q with buckets", m.Name, name)
		}
		named[name] = size
	}
	for i, in := range m.Inputs {
		if !in.Buckets.leads(i) {
			continue
		}
		k := len(in.Buckets.Shapes) - 1
		if size, given := named[in.Name]; given {
			k = slices.Index(strings.Split(in.SizesText(), ","), size)
			if k < 0 {
				return 0, fmt.Errorf("the buckets of %s are %s, not %q", in.Name, in.SizesText(), size)
			}
		}
		sizes = sizes.With(in.Buckets.Number, k)
	}
	return sizes, nil
}

// SpecOf is the declaration of an input as a variant reads it: with the sizes of its
// bucket in place of dimensions of -1.
func (m *Model) SpecOf(variant, input int) Spec {
	spec := m.Inputs[input].Spec
	if shapes := m.Variants[variant].Shapes; shapes != nil && shapes[input] != nil {
		spec.Shape = shapes[input]
	}
	return spec
}

// OutputOf is the declaration of an output as a variant gives it: where it follows an
// input that the variant reads, with the sizes of the bucket in place of dimensions of -1.
func (m *Model) OutputOf(variant, output int) Spec {
	spec := m.Outputs[output]
	at := slices.IndexFunc(m.Inputs, func(in Input) bool { return in.Name == spec.Follows })
	if shapes := m.Variants[variant].Shapes; at >= 0 && shapes != nil && shapes[at] != nil {
		spec.Shape = filledShape(spec.Shape, ownSizes(m.Inputs[at].Shape, shapes[at]))
	}
	return spec
}

// Bases returns the names of the variants as declared, in their order.
func (m *Model) Bases() (names []string) {
	for _, v := range m.Variants {
		if name := v.Declared(); len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}
