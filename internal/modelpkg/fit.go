package modelpkg

import (
	"bytes"
	"slices"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Fitted is an item whose inputs are filled up to the shapes of their buckets.
type Fitted struct {
	Item  [][]byte
	Sizes slo.Sizes
	Own   []tensor.Shape // by input: the item's own shape, of inputs that declare buckets; nil without any
}

// Sized reports whether inputs of the model have buckets.
func (m *Model) Sized() bool { return m.sized > 0 }

// IsBeside reports whether an input is filled beside another one with buckets, so that
// it may be left out.
func (m *Model) IsBeside(input int) bool {
	return slices.ContainsFunc(m.Inputs, func(in Input) bool {
		b := in.Buckets
		return b != nil && (b.Mask == input || b.Types == input || b.Length == input)
	})
}

// FittedBytesMax is how many bytes the inputs with buckets of an item have at most that
// carries these modalities. shapes are those that are known of its inputs, by input; nil:
// of none.
func (m *Model) FittedBytesMax(present slo.Modalities, shapes []tensor.Shape) (sum int64) {
	for _, in := range m.Inputs {
		b := in.Buckets
		if b == nil || !present.Has(1<<in.Modality) {
			continue
		}
		k := len(b.Shapes) - 1
		if shapes != nil && shapes[b.Of] != nil {
			if room, err := m.Inputs[b.Of].bucketOf(shapes[b.Of]); err == nil {
				k = room
			}
		}
		sum += int64(elements(b.Shapes[k])) * int64(in.DType.Size())
	}
	return sum
}

// Fit fills the inputs of an item up to the shapes of their buckets, and fills the inputs
// that go beside them. shapes are the item's own, by input; they are only needed where
// more than one dimension is -1. The given item stays as it is. Its error has kind
// invalid: an input is longer than its largest bucket, or does not have the shape of the
// one that it goes beside.
func (m *Model) Fit(item [][]byte, shapes []tensor.Shape) (Fitted, error) {
	f := Fitted{Item: item}
	if !m.Sized() {
		return f, nil
	}
	f.Item, f.Own = slices.Clone(item), make([]tensor.Shape, len(m.Inputs))
	for i, in := range m.Inputs {
		if !in.Buckets.leads(i) || item[i] == nil {
			continue
		}
		own := in.ownShape(item[i], shapes, i)
		k, err := in.bucketOf(own)
		if err != nil {
			return f, err
		}
		f.Own[i] = own
		f.Sizes = f.Sizes.With(in.Buckets.Number, k)
		if err := m.fill(f.Item, i, k, own, shapes); err != nil {
			return f, err
		}
	}
	return f, nil
}

// Refit fills an item's input that was made after its bucket was chosen: it is cut or
// filled up to the shape that the variant reads. The inputs beside it follow. It returns
// the shape that it had. Inputs without buckets stay as they are.
func (m *Model) Refit(item [][]byte, variant, input int) (own tensor.Shape, err error) {
	b := m.Inputs[input].Buckets
	if !b.leads(input) {
		return nil, nil
	}
	own = m.Inputs[input].ownShape(item[input], nil, input)
	return own, m.fill(item, input, m.Variants[variant].Sizes.Bucket(b.Number), own, nil)
}

// Conform makes of an item with other sizes one for a variant: inputs with buckets are
// cut or filled up. It is for measuring times, not for answers.
func (m *Model) Conform(item [][]byte, sizes slo.Sizes, variant int) [][]byte {
	v := m.Variants[variant]
	item = slices.Clone(item)
	for i, in := range m.Inputs {
		if v.Shapes == nil || v.Shapes[i] == nil || item[i] == nil {
			continue
		}
		if k := sizes.Bucket(in.Buckets.Number); k >= 0 {
			item[i] = Reshape(item[i], in.Buckets.Shapes[k], v.Shapes[i], in.Buckets.Pad)
		}
		if at := in.Buckets.Length; at >= 0 && item[at] != nil {
			item[at] = m.lengthWithin(at, item[at], ownSizes(in.Shape, v.Shapes[i]))
		}
	}
	return item
}

// Together fills samples of different sizes up to the same shapes, so that they are one
// tensor for each input. It returns these shapes, by input.
func (m *Model) Together(items [][][]byte, sizes []slo.Sizes) (filled [][][]byte, shapes []tensor.Shape) {
	shapes = make([]tensor.Shape, len(m.Inputs))
	filled = make([][][]byte, len(items))
	for i := range items {
		filled[i] = slices.Clone(items[i])
	}
	for k, in := range m.Inputs {
		shapes[k] = in.Shape
		if in.Buckets == nil {
			continue
		}
		most := slices.Clone(in.Buckets.Shapes[0])
		for _, s := range sizes {
			for d, n := range in.Buckets.Shapes[max(0, s.Bucket(in.Buckets.Number))] {
				most[d] = max(most[d], n)
			}
		}
		shapes[k] = most
		for i, s := range sizes {
			if at := s.Bucket(in.Buckets.Number); at >= 0 {
				filled[i][k] = Reshape(items[i][k], in.Buckets.Shapes[at], most, in.Buckets.Pad)
			}
		}
	}
	return filled, shapes
}

// BucketFor returns the sizes of an item whose input has this many elements in its
// dimension of -1. Larger ones get the largest bucket.
func (m *Model) BucketFor(input, length int) slo.Sizes {
	in := m.Inputs[input]
	own := filledShape(in.Shape, slices.Repeat([]int64{int64(length)}, dimensionsMax))
	k, err := in.bucketOf(own)
	if err != nil {
		k = len(in.Buckets.Shapes) - 1
	}
	return slo.Sizes(0).With(in.Buckets.Number, k)
}

// ownShape is the shape of an item's input.
func (in Input) ownShape(data []byte, shapes []tensor.Shape, index int) tensor.Shape {
	if shapes != nil && shapes[index] != nil {
		return shapes[index]
	}
	unit := 1
	for _, d := range in.Shape {
		if d != -1 {
			unit *= int(d)
		}
	}
	n, _ := tensor.Count(in.DType, data)
	return filledShape(in.Shape, append([]int64{int64(n / unit)}, slices.Repeat([]int64{1}, dimensionsMax)...))
}

// bucketOf returns the first bucket that has room for the shape.
func (in Input) bucketOf(own tensor.Shape) (int, error) {
	k := slices.IndexFunc(in.Buckets.Shapes, func(s tensor.Shape) bool { return hasRoom(s, own) })
	if k >= 0 {
		return k, nil
	}
	last := len(in.Buckets.Shapes) - 1
	if in.Buckets.Cut {
		return last, nil
	}
	return 0, slo.E("", slo.KindInvalid, "input %q has the shape %v, which no bucket has room for; the largest is %v", in.Name, own, in.Buckets.Shapes[last])
}

// Refuses reports whether an item of a shape is larger than the largest bucket, and is not
// cut.
func (b *Buckets) Refuses(own tensor.Shape) bool {
	return !b.Cut && !hasRoom(b.Shapes[len(b.Shapes)-1], own)
}

func hasRoom(bucket, own tensor.Shape) bool {
	for i := range own {
		if own[i] > bucket[i] {
			return false
		}
	}
	return true
}

// fill fills input i of an item, and those beside it, up to bucket k.
func (m *Model) fill(item [][]byte, i, k int, own tensor.Shape, shapes []tensor.Shape) error {
	in := m.Inputs[i]
	b := in.Buckets
	for d, most := range b.Shapes[k] {
		if own[d] > most && !b.Cut {
			return slo.E("", slo.KindInvalid, "input %q has the shape %v, more than its bucket of %v", in.Name, own, b.Shapes[k])
		}
	}
	item[i] = Reshape(item[i], own, b.Shapes[k], b.Pad)
	if b.Length >= 0 {
		if err := m.fillLength(item, i, k, own); err != nil {
			return err
		}
	}
	for which, other := range []int{b.Mask, b.Types} {
		if other < 0 {
			continue
		}
		beside := m.Inputs[other]
		shape := beside.ownOf(in, own)
		if item[other] == nil {
			item[other] = bytes.Repeat(Element(beside.DType, float64(1-which)), elements(shape))
		} else if got := beside.ownShape(item[other], shapes, other); !got.Equal(shape) {
			return slo.E("", slo.KindInvalid, "input %q has the shape %v; beside %q of the shape %v it must be %v", beside.Name, got, in.Name, own, shape)
		}
		item[other] = Reshape(item[other], shape, beside.Buckets.Shapes[k], beside.Buckets.Pad)
	}
	return nil
}

// fillLength fills the input that has an item's own sizes, or checks what was sent for
// it: sizes up to those of the tensor, because a tensor may be filled up already. Of what
// is cut, the sizes of the bucket are left.
func (m *Model) fillLength(item [][]byte, i, k int, own tensor.Shape) error {
	in := m.Inputs[i]
	at := in.Buckets.Length
	length := m.Inputs[at]
	sizes := ownSizes(in.Shape, own)
	if item[at] == nil {
		for _, n := range sizes {
			item[at] = append(item[at], Element(length.DType, float64(n))...)
		}
	} else {
		for d, n := range length.lengths(item[at]) {
			if n < 0 || n > sizes[d] {
				return slo.E("", slo.KindInvalid, "input %q is %d; beside %q of the shape %v it must be between 0 and %d", length.Name, n, in.Name, own, sizes[d])
			}
		}
	}
	item[at] = m.lengthWithin(at, item[at], ownSizes(in.Shape, in.Buckets.Shapes[k]))
	return nil
}

// lengths are the sizes in an input that has those of another one.
func (in Input) lengths(data []byte) (sizes []int64) {
	for size := in.DType.Size(); len(data) >= size; data = data[size:] {
		sizes = append(sizes, integerAt(in.DType, data))
	}
	return sizes
}

// lengthWithin returns sizes of which none is larger than those.
func (m *Model) lengthWithin(input int, data []byte, most []int64) (within []byte) {
	in := m.Inputs[input]
	for d, n := range in.lengths(data) {
		within = append(within, Element(in.DType, float64(min(n, most[d])))...)
	}
	return within
}

// ownOf is the shape of an input beside another one of the shape own.
func (in Input) ownOf(leader Input, own tensor.Shape) tensor.Shape {
	return filledShape(in.Shape, ownSizes(leader.Shape, own))
}

// Reshape copies elements into another shape of as many dimensions. What is beyond it is
// cut off; what is missing is filled up.
func Reshape(data []byte, from, to tensor.Shape, pad []byte) []byte {
	if from.Equal(to) {
		return data
	}
	n, _ := to.Elements()
	out := make([]byte, 0, n*len(pad))
	return appendReshaped(out, data, from, to, pad)
}

func appendReshaped(out, data []byte, from, to tensor.Shape, pad []byte) []byte {
	if from.Equal(to) { // also where no dimension is left
		return append(out, data...)
	}
	each, _ := to[1:].Elements()
	step, _ := from[1:].Elements()
	step *= len(pad)
	for i := range to[0] {
		if i >= from[0] {
			return append(out, bytes.Repeat(pad, each*int(to[0]-i))...)
		}
		out = appendReshaped(out, data[int(i)*step:(int(i)+1)*step], from[1:], to[1:], pad)
	}
	return out
}

// OwnOutput is the shape of an item's output without what belongs to the padding of the
// input that it follows. shape is that of the graph's answer; own is as in Fitted.
func (m *Model) OwnOutput(output int, shape tensor.Shape, own []tensor.Shape) tensor.Shape {
	spec := m.Outputs[output]
	at := slices.IndexFunc(m.Inputs, func(in Input) bool { return in.Name == spec.Follows })
	if at < 0 || own == nil {
		return shape
	}
	leader := m.Inputs[at].Buckets.Of
	if own[leader] == nil {
		return shape
	}
	want := filledShape(spec.Shape, ownSizes(m.Inputs[leader].Shape, own[leader]))
	for d := range want {
		want[d] = min(want[d], shape[d])
	}
	return want
}

// Follows reports whether an output has the sizes of an input.
func (m *Model) Follows() bool {
	return slices.ContainsFunc(m.Outputs, func(out Spec) bool { return out.Follows != "" })
}

// trimmed is the shape of a sample's input without what fills it up: the elements of
// padding at the end of each dimension of -1.
func (in Input) trimmed(data []byte, stored tensor.Shape) tensor.Shape {
	own := slices.Clone(stored)
	if size := len(in.Buckets.Pad); len(own) == 1 { // such as sound, of which there is much
		for own[0] > 1 && bytes.HasSuffix(data, in.Buckets.Pad) {
			data, own[0] = data[:len(data)-size], own[0]-1
		}
		return own
	}
	for d, declared := range in.Shape {
		for declared == -1 && own[d] > 1 && in.padded(data, stored, own, d) {
			own[d]--
		}
	}
	return own
}

// padded reports whether the last slice of a dimension is padding.
func (in Input) padded(data []byte, stored, own tensor.Shape, d int) bool {
	last := slices.Clone(own)
	index := make([]int64, len(own))
	index[d] = own[d] - 1
	size := len(in.Buckets.Pad)
	for {
		at := int64(0)
		for k, n := range stored {
			at = at*n + index[k]
		}
		if !bytes.Equal(data[int(at)*size:(int(at)+1)*size], in.Buckets.Pad) {
			return false
		}
		k := len(index) - 1
		for ; k >= 0; k-- {
			if k == d {
				continue
			}
			if index[k]++; index[k] < last[k] {
				break
			}
			index[k] = 0
		}
		if k < 0 {
			return true
		}
	}
}

// fitSample fills a sample of an evaluation set up to its buckets. All samples of an array
// have one shape, so what fills them up at the end is cut off first: what is beyond the
// sizes in an array of lengths, else where a mask is zero, else the elements of padding.
func (m *Model) fitSample(item [][]byte, stored []tensor.Shape) (Fitted, error) {
	if !m.Sized() {
		return Fitted{Item: item}, nil
	}
	cut, shapes := slices.Clone(item), make([]tensor.Shape, len(m.Inputs))
	for i, in := range m.Inputs {
		if !in.Buckets.leads(i) || item[i] == nil {
			continue
		}
		sizes, err := m.sampleSizes(item, stored, i)
		if err != nil {
			return Fitted{}, err
		}
		for k, other := range m.Inputs {
			if other.Buckets != nil && other.Buckets.Of == i && item[k] != nil {
				shapes[k] = filledShape(other.Shape, sizes)
				cut[k] = Reshape(item[k], stored[k], shapes[k], other.Buckets.Pad)
			}
		}
	}
	return m.Fit(cut, shapes)
}

// sampleSizes returns a sample's own sizes of an input that declares buckets.
func (m *Model) sampleSizes(item [][]byte, stored []tensor.Shape, input int) ([]int64, error) {
	in := m.Inputs[input]
	if at := in.Buckets.Length; at >= 0 && item[at] != nil {
		sizes := m.Inputs[at].lengths(item[at])
		for d, most := range ownSizes(in.Shape, stored[input]) {
			if sizes[d] < 0 || sizes[d] > most {
				return nil, slo.E("", slo.KindInvalid, "array %q has %d, which is not between 0 and %d, the size in array %q", m.Inputs[at].Name, sizes[d], most, in.Name)
			}
			sizes[d] = max(sizes[d], 1)
		}
		return sizes, nil
	}
	by := input // what shows the padding
	if mask := in.Buckets.Mask; mask >= 0 && item[mask] != nil {
		by = mask
	}
	return ownSizes(m.Inputs[by].Shape, m.Inputs[by].trimmed(item[by], stored[by])), nil
}
