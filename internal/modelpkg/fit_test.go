package modelpkg

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// reshaped is Reshape by the index of each element.
func reshaped(data []byte, from, to tensor.Shape, pad []byte) (out []byte) {
	size, n := len(pad), elements(to)
	for at := range n {
		source, step, inside := 0, 1, true
		rest := at
		for d := len(to) - 1; d >= 0; d-- {
			i := rest % int(to[d])
			rest /= int(to[d])
			inside = inside && i < int(from[d])
			source += i * step
			step *= int(from[d])
		}
		if inside {
			out = append(out, data[source*size:(source+1)*size]...)
		} else {
			out = append(out, pad...)
		}
	}
	return out
}

func TestReshape(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	shape := func(rank int) (s tensor.Shape) {
		for range rank {
			s = append(s, int64(1+rng.IntN(4)))
		}
		return s
	}
	for range 2000 {
		rank := rng.IntN(5)
		from, to, size := shape(rank), shape(rank), []int{1, 2, 4, 8}[rng.IntN(4)]
		if rank > 0 && rng.IntN(10) == 0 {
			from[rng.IntN(rank)] = 0 // an empty output
		}
		data, pad := make([]byte, elements(from)*size), make([]byte, size)
		for i := range data {
			data[i] = byte(rng.IntN(256))
		}
		for i := range pad {
			pad[i] = byte(rng.IntN(256))
		}
		before := slices.Clone(data)
		if got, want := Reshape(data, from, to, pad), reshaped(data, from, to, pad); !bytes.Equal(got, want) {
			t.Fatalf("%v to %v of %x with %x is %x, want %x", from, to, data, pad, got, want)
		}
		if !bytes.Equal(data, before) {
			t.Fatal("it changes what it reads")
		}
	}
}

// numbered makes a tensor of these elements: 1, 2, 3 and so on.
func numbered(d tensor.DType, shape tensor.Shape) (data []byte) {
	for i := range elements(shape) {
		data = append(data, Element(d, float64(i+1))...)
	}
	return data
}

// TestFit fits items of all sizes and compares each input with what is defined: the own
// elements in their places, padding elsewhere, a mask that says which is which, and the
// own sizes.
func TestFit(t *testing.T) {
	m := loadSized(t)
	for n := int64(1); n <= 16; n++ {
		for _, picture := range []tensor.Shape{{3, 1, 1}, {3, 2, 2}, {3, 3, 1}, {3, 1, 5}, {3, 3, 5}, {3, 4, 2}, {3, 9, 9}} {
			item, shapes := make([][]byte, len(m.Inputs)), make([]tensor.Shape, len(m.Inputs))
			item[idsInput], item[pixelsInput] = numbered(tensor.Int32, tensor.Shape{n}), numbered(tensor.Uint8, picture)
			shapes[idsInput], shapes[pixelsInput] = tensor.Shape{n}, picture
			given := slices.Clone(item)
			f, err := m.Fit(item, shapes)
			if err != nil {
				t.Fatal(err)
			}
			k := slices.IndexFunc([]int64{4, 8, 16}, func(size int64) bool { return n <= size })
			text := []int64{4, 8, 16}[k]
			l := 0
			if picture[1] > 2 || picture[2] > 2 {
				l = 1
			}
			bucket := []tensor.Shape{{3, 2, 2}, {3, 3, 5}}[l]
			if f.Sizes != slo.Sizes(0).With(0, k).With(1, l) || !f.Own[idsInput].Equal(tensor.Shape{n}) || !f.Own[pixelsInput].Equal(picture) {
				t.Errorf("%d and %v: sizes %x, own %v", n, picture, f.Sizes, f.Own)
			}
			ones := tensor.Shape{min(picture[1], bucket[1]), min(picture[2], bucket[2])}
			for input, want := range map[int][]byte{
				idsInput:    reshaped(item[idsInput], tensor.Shape{n}, tensor.Shape{text}, Element(tensor.Int32, 7)),
				seenInput:   reshaped(bytes.Repeat(Element(tensor.Int64, 1), int(n)), tensor.Shape{n}, tensor.Shape{text}, make([]byte, 8)),
				countInput:  Element(tensor.Int64, float64(n)),
				pixelsInput: reshaped(item[pixelsInput], picture, bucket, []byte{0}),
				insideInput: reshaped(bytes.Repeat([]byte{1}, elements(ones)), ones, bucket[1:], []byte{0}),
				sizeInput:   append(Element(tensor.Int32, float64(ones[0])), Element(tensor.Int32, float64(ones[1]))...),
			} {
				if !bytes.Equal(f.Item[input], want) {
					t.Errorf("%d and %v: %s is %x, want %x", n, picture, m.Inputs[input].Name, f.Item[input], want)
				}
			}
			for i := range item {
				if !bytes.Equal(item[i], given[i]) || (item[i] == nil) != (given[i] == nil) {
					t.Fatal("the item was changed")
				}
			}
			out := m.OwnOutput(1, tensor.Shape{text, 3}, f.Own)
			if !out.Equal(tensor.Shape{n, 3}) {
				t.Errorf("%d: an output of %v", n, out)
			}
			if out := m.OwnOutput(2, append(tensor.Shape{2}, bucket[1:]...), f.Own); !out.Equal(append(tensor.Shape{2}, ones...)) {
				t.Errorf("%v: an output of %v", picture, out)
			}
			if out := m.OwnOutput(0, tensor.Shape{2}, f.Own); !out.Equal(tensor.Shape{2}) {
				t.Errorf("an output of its own is %v", out)
			}
		}
	}
}

// TestFitGiven fits items of which the client sends the inputs beside, too.
func TestFitGiven(t *testing.T) {
	m := loadSized(t)
	for _, c := range []struct {
		what   string
		change func(item [][]byte, shapes []tensor.Shape)
		want   string // of the error, or of the mask and the length
	}{
		{"a mask", func(item [][]byte, shapes []tensor.Shape) {
			item[seenInput] = append(Element(tensor.Int64, 1), make([]byte, 16)...)
			shapes[seenInput] = tensor.Shape{3}
		}, "1000 3"},
		{"a mask of another length", func(item [][]byte, shapes []tensor.Shape) {
			item[seenInput] = make([]byte, 8*4)
			shapes[seenInput] = tensor.Shape{4}
		}, `input "seen" has the shape [4]; beside "ids" of the shape [3] it must be [3]`},
		{"a length", func(item [][]byte, _ []tensor.Shape) { item[countInput] = Element(tensor.Int64, 2) }, "1110 2"},
		{"a length beyond it", func(item [][]byte, _ []tensor.Shape) { item[countInput] = Element(tensor.Int64, 4) },
			`input "count" is 4; beside "ids" of the shape [3] it must be between 0 and 3`},
		{"a length below zero", func(item [][]byte, _ []tensor.Shape) { item[countInput] = Element(tensor.Int64, -1) },
			`input "count" is -1; beside "ids" of the shape [3] it must be between 0 and 3`},
		{"too long", func(item [][]byte, shapes []tensor.Shape) {
			item[idsInput] = make([]byte, 4*17)
			shapes[idsInput] = tensor.Shape{17}
		}, `input "ids" has the shape [17], which no bucket has room for; the largest is [16]`},
		{"no text", func(item [][]byte, _ []tensor.Shape) { item[idsInput] = nil }, " 0"},
	} {
		item, shapes := make([][]byte, len(m.Inputs)), make([]tensor.Shape, len(m.Inputs))
		item[idsInput], shapes[idsInput] = numbered(tensor.Int32, tensor.Shape{3}), tensor.Shape{3}
		c.change(item, shapes)
		f, err := m.Fit(item, shapes)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			for _, v := range m.Inputs[seenInput].lengths(f.Item[seenInput]) {
				got += string(rune('0' + v))
			}
			got += " " + string(rune('0'+integerAt(tensor.Int64, append(slices.Clone(f.Item[countInput]), make([]byte, 8)...))))
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
		if c.what == "no text" && f.Sizes != 0 {
			t.Errorf("sizes %x", f.Sizes)
		}
	}
}

// TestFitCuts cuts an input beyond the largest bucket, with what the client says of its
// mask and its size.
func TestFitCuts(t *testing.T) {
	m := loadSized(t)
	item, shapes := make([][]byte, len(m.Inputs)), make([]tensor.Shape, len(m.Inputs))
	item[pixelsInput], shapes[pixelsInput] = numbered(tensor.Uint8, tensor.Shape{3, 4, 6}), tensor.Shape{3, 4, 6}
	item[insideInput], shapes[insideInput] = bytes.Repeat([]byte{0, 1}, 12), tensor.Shape{4, 6}
	item[sizeInput] = append(Element(tensor.Int32, 4), Element(tensor.Int32, 2)...)
	f, err := m.Fit(item, shapes)
	if err != nil {
		t.Fatal(err)
	}
	if want := append(Element(tensor.Int32, 3), Element(tensor.Int32, 2)...); !bytes.Equal(f.Item[sizeInput], want) {
		t.Errorf("size %x, want %x", f.Item[sizeInput], want)
	}
	if want := reshaped(item[insideInput], tensor.Shape{4, 6}, tensor.Shape{3, 5}, []byte{0}); !bytes.Equal(f.Item[insideInput], want) {
		t.Errorf("mask %x, want %x", f.Item[insideInput], want)
	}
}

// TestRefit fits an input that was made of a file after its bucket was chosen.
func TestRefit(t *testing.T) {
	m := loadSized(t)
	eight := slices.IndexFunc(m.Variants, func(v Variant) bool { return v.Name == "text@8" })
	item := make([][]byte, len(m.Inputs))
	item[idsInput] = numbered(tensor.Int32, tensor.Shape{3}) // shorter than it was taken for
	own, err := m.Refit(item, eight, idsInput)
	if err != nil || !own.Equal(tensor.Shape{3}) || len(item[idsInput]) != 8*4 || len(item[seenInput]) != 8*8 || !bytes.Equal(item[countInput], Element(tensor.Int64, 3)) {
		t.Errorf("%v, own %v, %x", err, own, item)
	}
	item = make([][]byte, len(m.Inputs))
	item[idsInput] = numbered(tensor.Int32, tensor.Shape{9})
	if _, err := m.Refit(item, eight, idsInput); err == nil || !strings.Contains(err.Error(), `input "ids" has the shape [9], more than its bucket of [8]`) {
		t.Errorf("longer than it was taken for: %v", err)
	}
	item[6] = make([]byte, 8)
	if own, err := m.Refit(item, eight, 6); own != nil || err != nil || len(item[6]) != 8 {
		t.Errorf("an input without buckets: %v %v", own, err)
	}
	for length, want := range map[int]int{1: 0, 4: 0, 5: 1, 16: 2, 17: 2, 1 << 31: 2} {
		if got := m.BucketFor(idsInput, length).Bucket(0); got != want {
			t.Errorf("a length of %d has bucket %d", length, got)
		}
	}
}

// TestTrimmed checks that what fills an item up is what is cut off again.
func TestTrimmed(t *testing.T) {
	m := loadSized(t)
	in := m.Inputs[pixelsInput]
	for height := int64(1); height <= 3; height++ {
		for width := int64(1); width <= 5; width++ {
			own, bucket := tensor.Shape{3, height, width}, tensor.Shape{3, 3, 5}
			if got := in.trimmed(Reshape(numbered(tensor.Uint8, own), own, bucket, in.Buckets.Pad), bucket); !got.Equal(own) {
				t.Errorf("%v is cut to %v", own, got)
			}
		}
	}
	if got := in.trimmed(make([]byte, 45), tensor.Shape{3, 3, 5}); !got.Equal(tensor.Shape{3, 1, 1}) {
		t.Errorf("padding alone is cut to %v", got)
	}
}

// TestConform makes items for variants of other sizes, for measuring.
func TestConform(t *testing.T) {
	m := loadSized(t)
	item, shapes := make([][]byte, len(m.Inputs)), make([]tensor.Shape, len(m.Inputs))
	item[idsInput], shapes[idsInput] = numbered(tensor.Int32, tensor.Shape{7}), tensor.Shape{7}
	item[pixelsInput], shapes[pixelsInput] = numbered(tensor.Uint8, tensor.Shape{3, 3, 5}), tensor.Shape{3, 3, 5}
	item[6] = make([]byte, 8)
	f, err := m.Fit(item, shapes)
	if err != nil {
		t.Fatal(err)
	}
	for v, variant := range m.Variants {
		got := m.Conform(f.Item, f.Sizes, v)
		for _, i := range variant.Inputs {
			spec := m.SpecOf(v, i)
			if want := elements(spec.Shape) * spec.DType.Size(); len(got[i]) != want {
				t.Errorf("%s: %s has %d bytes, want %d", variant.Name, spec.Name, len(got[i]), want)
			}
		}
		if slices.Contains(variant.Inputs, countInput) {
			ids, count := m.SpecOf(v, idsInput).Shape[0], integerAt(tensor.Int64, got[countInput])
			if count != min(7, ids) {
				t.Errorf("%s: a length of %d in %d", variant.Name, count, ids)
			}
		}
	}
}

// TestTogether puts samples of different sizes into one tensor.
func TestTogether(t *testing.T) {
	m := loadSized(t)
	var items [][][]byte
	var sizes []slo.Sizes
	for _, n := range []int64{3, 7} {
		item, shapes := make([][]byte, len(m.Inputs)), make([]tensor.Shape, len(m.Inputs))
		item[idsInput], shapes[idsInput] = numbered(tensor.Int32, tensor.Shape{n}), tensor.Shape{n}
		item[pixelsInput], shapes[pixelsInput] = numbered(tensor.Uint8, tensor.Shape{3, 2, 2}), tensor.Shape{3, 2, 2}
		f, err := m.Fit(item, shapes)
		if err != nil {
			t.Fatal(err)
		}
		items, sizes = append(items, f.Item), append(sizes, f.Sizes)
	}
	filled, shapes := m.Together(items, sizes)
	if !shapes[idsInput].Equal(tensor.Shape{8}) || !shapes[seenInput].Equal(tensor.Shape{8}) || !shapes[pixelsInput].Equal(tensor.Shape{3, 2, 2}) || !shapes[6].Equal(tensor.Shape{2}) {
		t.Errorf("shapes %v", shapes)
	}
	if want := reshaped(numbered(tensor.Int32, tensor.Shape{3}), tensor.Shape{3}, tensor.Shape{8}, Element(tensor.Int32, 7)); !bytes.Equal(filled[0][idsInput], want) {
		t.Errorf("the shorter is %x, want %x", filled[0][idsInput], want)
	}
	if len(items[0][idsInput]) != 4*4 {
		t.Error("the samples were changed")
	}
}

// sizedSet are arrays of samples with these ids, filled up to a length of 12, and
// pictures of [3, 3, 5] of which two rows and columns are not padding.
func sizedSet(texts ...[]int32) []tensor.Tensor {
	n := int64(len(texts))
	ids := tensor.Tensor{Name: "ids", DType: tensor.Int32, Shape: tensor.Shape{n, 12}}
	pixels := tensor.Tensor{Name: "pixels", DType: tensor.Uint8, Shape: tensor.Shape{n, 3, 3, 5}}
	labels := tensor.Tensor{Name: "label", DType: tensor.Uint8, Shape: tensor.Shape{n}, Data: make([]byte, n)}
	for i, text := range texts {
		for k := range 12 {
			id := float64(7)
			if k < len(text) {
				id = float64(text[k])
			}
			ids.Data = append(ids.Data, Element(tensor.Int32, id)...)
		}
		pixels.Data = append(pixels.Data, reshaped(numbered(tensor.Uint8, tensor.Shape{3, 2, 2}), tensor.Shape{3, 2, 2}, tensor.Shape{3, 3, 5}, []byte{0})...)
		labels.Data[i] = byte(i % 2)
	}
	x := tensor.Tensor{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{n, 2}, Data: make([]byte, 8*n)}
	return []tensor.Tensor{ids, pixels, labels, x}
}

// TestSamplesGetTheirSizes reads a set whose samples are filled up to one length: by the
// padding, by a mask, or by lengths.
func TestSamplesGetTheirSizes(t *testing.T) {
	dir := sizedPackage(t, "variants:", "evaluation: {profile: eval.npz}\nvariants:")
	base := sizedSet([]int32{1, 2}, []int32{1, 2, 3, 4, 5}, []int32{1, 7, 7})
	mask := tensor.Tensor{Name: "seen", DType: tensor.Int64, Shape: tensor.Shape{3, 12}}
	count := tensor.Tensor{Name: "count", DType: tensor.Int64, Shape: tensor.Shape{3, 1}}
	for _, n := range []int{2, 9, 3} {
		mask.Data = append(mask.Data, reshaped(bytes.Repeat(Element(tensor.Int64, 1), n), tensor.Shape{int64(n)}, tensor.Shape{12}, make([]byte, 8))...)
		count.Data = append(count.Data, Element(tensor.Int64, float64(n+1))...)
	}
	for _, c := range []struct {
		what  string
		more  []tensor.Tensor
		sizes []int64 // of ids
		own   []int64
		empty string
	}{
		{"by padding", nil, []int64{4, 8, 4}, []int64{2, 5, 1}, "the bucket 16 of ids"},
		{"by a mask", []tensor.Tensor{mask}, []int64{4, 16, 4}, []int64{2, 9, 3}, "the bucket 8 of ids"},
		{"by lengths", []tensor.Tensor{mask, count}, []int64{4, 16, 4}, []int64{3, 10, 4}, "the bucket 8 of ids"},
	} {
		write(t, dir, "eval.npz", npz(t, slices.Concat(base, c.more)))
		f := CheckIn("", dir)
		if len(f.Problems) > 0 {
			t.Fatalf("%s: %v", c.what, f.Problems)
		}
		told := strings.Join(f.Warnings, "\n")
		for _, want := range []string{c.empty + ": whether such answers are right is not measured", "belongs to the bucket 3x5 of pixels"} {
			if !strings.Contains(told, want) {
				t.Errorf("%s: the warnings are\n%s\nwant in them %q", c.what, told, want)
			}
		}
		set, err := OpenSet(f.Model.File("eval.npz"), f.Model)
		if err != nil {
			t.Fatal(err)
		}
		few, err := f.Model.FirstSamples(3)
		if err != nil {
			t.Fatal(err)
		}
		for i := range set.Len() {
			k := set.Sizes(i).Bucket(0)
			if got := f.Model.Inputs[idsInput].Buckets.Shapes[k][0]; got != c.sizes[i] || set.Sizes(i).Bucket(1) != 0 {
				t.Errorf("%s: sample %d has the bucket %d", c.what, i, got)
			}
			if got := integerAt(tensor.Int64, set.Item(i)[countInput]); got != c.own[i] {
				t.Errorf("%s: sample %d has a length of %d, want %d", c.what, i, got, c.own[i])
			}
			if few[i].Sizes != set.Sizes(i) || !slices.EqualFunc(few[i].Item, set.Item(i), bytes.Equal) {
				t.Errorf("%s: sample %d of the first ones is another", c.what, i)
			}
		}
	}
}

// TestSamplesThatDoNotFit checks what is said of samples that no bucket has room for, and
// of lengths that cannot be.
func TestSamplesThatDoNotFit(t *testing.T) {
	dir := sizedPackage(t, "buckets: [4, 8, 16]", "buckets: [4, 8]")
	m, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	long := make([]int32, 12)
	count := tensor.Tensor{Name: "count", DType: tensor.Int64, Shape: tensor.Shape{1, 1}, Data: Element(tensor.Int64, 13)}
	for want, arrays := range map[string][]tensor.Tensor{
		`sample 0: input "ids" has the shape [12], which no bucket has room for; the largest is [8]`: sizedSet(long),
		`sample 0: array "count" has 13, which is not between 0 and 12, the size in array "ids"`:     append(sizedSet([]int32{1}), count),
		`it has no array "ids"`: {sizedSet([]int32{1})[1], sizedSet([]int32{1})[2], sizedSet([]int32{1})[3]},
	} {
		write(t, dir, "eval.npz", npz(t, arrays))
		if _, err := OpenSet(m.File("eval.npz"), m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}
