package modelpkg

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// sizedYAML is a package with buckets of one and of two dimensions; the tests break it.
const sizedYAML = `format: 1
name: sized
modalities:
  - name: text
    inputs:
      - {name: seen, datatype: INT64, shape: [-1]}
      - {name: ids, datatype: INT32, shape: [-1], buckets: [4, 8, 16], pad: 7, mask: seen, length: count}
      - {name: count, datatype: INT64, shape: [1]}
  - name: picture
    inputs:
      - {name: pixels, datatype: UINT8, shape: [3, -1, -1], buckets: [[2, 2], [3, 5]], longer: cut, mask: inside, length: size}
      - {name: inside, datatype: BOOL, shape: [-1, -1]}
      - {name: size, datatype: INT32, shape: [2]}
  - name: other
    inputs:
      - {name: x, datatype: FP32, shape: [2]}
outputs:
  - {name: scores, datatype: FP32, shape: [2]}
  - {name: tags, datatype: FP32, shape: [-1, 3], follows: ids}
  - {name: edges, datatype: FP16, shape: [2, -1, -1], follows: pixels}
variants:
  - {name: text, modalities: [text], path: text.onnx}
  - {name: other, modalities: [other], path: other.onnx}
  - {name: all, modalities: [picture, text], path: all.onnx}
`

var (
	sizedText    = []value{{"seen", 7, []int64{-1, -2}}, {"ids", 6, []int64{-1, -2}}, {"count", 7, []int64{-1, 1}}}
	sizedPicture = []value{{"pixels", 2, []int64{-1, 3, -2, -2}}, {"inside", 9, []int64{-1, -2, -2}}, {"size", 6, []int64{-1, 2}}}
	sizedOutputs = []value{{"scores", 1, []int64{-1, 2}}, {"tags", 1, []int64{-1, -2, 3}}, {"edges", 10, []int64{-1, 2, -2, -2}}}
)

// sizedPackage writes the package with a change of its mosel.yaml.
func sizedPackage(t *testing.T, old, text string) string {
	t.Helper()
	dir := t.TempDir()
	yaml := strings.Replace(sizedYAML, old, text, 1)
	if yaml == sizedYAML && old != text {
		t.Fatalf("%q is not in the package", old)
	}
	write(t, dir, FileName, []byte(yaml))
	write(t, dir, "text.onnx", graphSpec{17, sizedText, sizedOutputs, nil, nil}.encode())
	write(t, dir, "other.onnx", graphSpec{17, []value{{"x", 1, []int64{-1, 2}}}, sizedOutputs, nil, nil}.encode())
	write(t, dir, "all.onnx", graphSpec{17, slices.Concat(sizedText, sizedPicture), sizedOutputs, nil, nil}.encode())
	return dir
}

func loadSized(t *testing.T) *Model {
	t.Helper()
	m, err := Load(sizedPackage(t, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The inputs of the package, by index.
const (
	seenInput = iota
	idsInput
	countInput
	pixelsInput
	insideInput
	sizeInput
)

// TestBucketsBecomeVariants checks what the rest of mosel sees of buckets: a variant for
// each size of the inputs that it reads, with fixed shapes.
func TestBucketsBecomeVariants(t *testing.T) {
	m := loadSized(t)
	text := func(k int) slo.Sizes { return slo.Sizes(0).With(0, k) }
	both := func(k, l int) slo.Sizes { return text(k).With(1, l) }
	want := []Variant{
		{Name: "text@4", Sizes: text(0)}, {Name: "text@8", Sizes: text(1)}, {Name: "text@16", Sizes: text(2)}, {Name: "other"},
		{Name: "all@4@2x2", Sizes: both(0, 0)}, {Name: "all@4@3x5", Sizes: both(0, 1)}, {Name: "all@8@2x2", Sizes: both(1, 0)},
		{Name: "all@8@3x5", Sizes: both(1, 1)}, {Name: "all@16@2x2", Sizes: both(2, 0)}, {Name: "all@16@3x5", Sizes: both(2, 1)},
	}
	if len(m.Variants) != len(want) {
		t.Fatalf("%d variants", len(m.Variants))
	}
	for i, v := range m.Variants {
		if v.Name != want[i].Name || v.Sizes != want[i].Sizes || v.Declared() != strings.SplitN(v.Name, "@", 2)[0] {
			t.Errorf("variant %d is %s of %s, sizes %x", i, v.Name, v.Declared(), v.Sizes)
		}
		for k, in := range m.Inputs {
			spec := m.SpecOf(i, k)
			if reads := slices.Contains(v.Inputs, k); reads && slices.Contains(spec.Shape, -1) {
				t.Errorf("%s reads %s %v", v.Name, in.Name, spec.Shape)
			}
		}
	}
	if got := m.SpecOf(7, pixelsInput).Shape; !got.Equal(tensor.Shape{3, 3, 5}) {
		t.Errorf("pixels of all@8@3x5 are %v", got)
	}
	if got := m.SpecOf(7, insideInput).Shape; !got.Equal(tensor.Shape{3, 5}) {
		t.Errorf("the mask of all@8@3x5 is %v", got)
	}
	if got := m.SpecOf(1, seenInput).Shape; !got.Equal(tensor.Shape{8}) {
		t.Errorf("the mask of text@8 is %v", got)
	}
	for v, want := range map[int]tensor.Shape{0: {4, 3}, 2: {16, 3}, 3: {-1, 3}, 7: {8, 3}} {
		if got := m.OutputOf(v, 1).Shape; !got.Equal(want) {
			t.Errorf("the tags of %s are %v, want %v", m.Variants[v].Name, got, want)
		}
	}
	if got := m.OutputOf(7, 2).Shape; !got.Equal(tensor.Shape{2, 3, 5}) {
		t.Errorf("the edges of all@8@3x5 are %v", got)
	}
	if got := m.Bases(); !slices.Equal(got, []string{"text", "other", "all"}) {
		t.Errorf("declared are %q", got)
	}
	shapes := make([]tensor.Shape, len(m.Inputs))
	shapes[idsInput] = tensor.Shape{5}
	for _, c := range []struct {
		present slo.Modalities
		shapes  []tensor.Shape
		want    int64
	}{{7, nil, 16*8 + 16*4 + 3*3*5 + 3*5}, {7, shapes, 8*8 + 8*4 + 3*3*5 + 3*5}, {5, shapes, 8*8 + 8*4}, {4, shapes, 0}} {
		if got := m.FittedBytesMax(c.present, c.shapes); got != c.want {
			t.Errorf("an item of %b, %v has up to %d bytes, want %d", c.present, c.shapes, got, c.want)
		}
	}
	for i, want := range []bool{true, false, true, false, true, true, false} {
		if m.IsBeside(i) != want {
			t.Errorf("%s may be left out: %v", m.Inputs[i].Name, !want)
		}
	}
}

// TestParseSizes reads buckets as people name them.
func TestParseSizes(t *testing.T) {
	m := loadSized(t)
	for text, want := range map[string]string{
		"": "2 1", "ids=4": "0 1", "pixels=2x2,ids=8": "1 0", "ids=5": `the buckets of ids are 4,8,16, not "5"`,
		"pixels=3": `the buckets of pixels are 2x2,3x5, not "3"`, "seen=4": `model sized has no input "seen" with buckets`,
		"x=1": `model sized has no input "x" with buckets`,
	} {
		var list []string
		if text != "" {
			list = strings.Split(text, ",")
		}
		sizes, err := m.ParseSizes(list)
		got := fmt.Sprint(sizes.Bucket(0), sizes.Bucket(1))
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// TestBucketProblems breaks the declaration of buckets in each way.
func TestBucketProblems(t *testing.T) {
	ids := "buckets: [4, 8, 16], pad: 7, mask: seen, length: count}"
	pixels := "buckets: [[2, 2], [3, 5]], longer: cut, mask: inside, length: size}"
	many := strings.TrimSuffix(strings.Repeat("1, ", slo.BucketsMax+1), ", ")
	var ascending []string
	for k := range slo.BucketsMax {
		ascending = append(ascending, fmt.Sprint(k+1))
	}
	for _, c := range []struct {
		old, text string
		want      []string
	}{
		{ids, "buckets: 4}", []string{`7:60: buckets must be a list, not "4"`}},
		{ids, "buckets: []}", []string{`7:60: buckets: the list is empty`}},
		{ids, "buckets: [[]]}", []string{`7:61: a bucket: the list is empty`}},
		{ids, "buckets: [[], 4]}", []string{`7:61: a bucket: the list is empty`}},
		{ids, "buckets: [0]}", []string{`7:61: a bucket is 0; it must be between 1 and 2147483648`}},
		{ids, "buckets: [four]}", []string{`7:61: a bucket must be a whole number, not "four"`}},
		{ids, "buckets: [" + many + "]}", []string{`7:60: buckets has 65 entries; at most 64 are allowed`}},
		{ids, "buckets: [[4, 4]]}", []string{`7:62: a bucket of ids needs 1 sizes, one for each dimension of -1`}},
		{ids, "buckets: [8, 4], mask: seen}", []string{`7:64: buckets must be in ascending order of their elements: [4] comes after [8]`}},
		{ids, "buckets: [4, 4], mask: seen}", []string{`7:64: the bucket [4] occurs twice`}},
		{ids, "buckets: [4, 8], pad: 0.5}", []string{`7:73: pad is 0.5; INT32 has whole values only`}},
		{ids, "buckets: [4, 8], pad: 3000000000}", []string{`7:73: pad is 3000000000; INT32 has values from -2147483648 to 2147483647`}},
		{ids, "buckets: [4, 8], pad: .nan}", []string{`7:73: pad must be a number, not ".nan"`}},
		{ids, "buckets: [4, 8], pad: 7, mask: seen, range: [0, 6]}", []string{`7:73: ids is filled up with 7, which is outside its range; declare another pad, or a range with it`}},
		{ids, "buckets: [4, 8], mask: seen, range: [1, 6]}", []string{`7:87: ids is filled up with 0, which is outside its range; declare another pad, or a range with it`}},
		{ids, "buckets: [4, 8], longer: split}", []string{`7:76: the longer "split" is not supported; known: refuse, cut`}},
		{ids, "buckets: [4, 8], max: 8}", []string{`7:73: max is for an input without buckets: the largest bucket is the bound`}},
		{ids, "buckets: [4, 8], mask: sen}", []string{`7:74: mask: the model has no input "sen"`}},
		{ids, "buckets: [4, 8], mask: ids}", []string{`7:74: mask: ids must be another input of the same modality, with a batch`}},
		{ids, "buckets: [4, 8], mask: inside}", []string{`7:74: mask: inside must be another input of the same modality, with a batch`}},
		{ids, "buckets: [4, 8], mask: count}", []string{`7:74: mask: count is INT64 [1]; it must be numbers [-1] or [-1]`}},
		{ids, "buckets: [4, 8], types: seen}", nil},
		{ids, "buckets: [4, 8], mask: seen, types: seen}", []string{`7:87: types is the same input as mask`}},
		{ids, "types: seen, max: 9}", []string{`7:58: types is for an input with a tokenizer or buckets`, `19:59: follows: ids has no buckets`}},
		{ids, "buckets: [4, 8], length: seen}", []string{`7:76: length: seen is INT64 [-1]; it must be INT64 or INT32 [1]`}},
		{ids, "buckets: [4, 8], length: counts}", []string{`7:76: length: the model has no input "counts"`}},
		{ids, "pad: 3, max: 9}", []string{`7:56: pad is for an input with buckets`, `19:59: follows: ids has no buckets`}},
		{ids, "longer: cut, max: 9}", []string{`7:59: longer is for an input with buckets`, `19:59: follows: ids has no buckets`}},
		{ids, "length: count, max: 9}", []string{`7:59: length is for an input with buckets`, `19:59: follows: ids has no buckets`}},
		{ids, "mask: seen, max: 9}", []string{`7:57: mask is for an input with a tokenizer or buckets`, `19:59: follows: ids has no buckets`}},
		{"seen, datatype: INT64, shape: [-1]}", "seen, datatype: INT64, shape: [-1], buckets: [4]}", []string{`7:86: seen has buckets itself; filled beside ids, it gets those of that`}},
		{pixels, "length: size}", []string{`11:48: pixels has 2 dimensions of -1, so it needs buckets`, `12:47: inside has 2 dimensions of -1`, `20:64: follows: pixels has no buckets`}},
		{pixels, "buckets: [[2, 2], [3]]}", []string{`11:80: a bucket of pixels needs 2 sizes, one for each dimension of -1`}},
		{pixels, "buckets: [2]}", []string{`11:71: a bucket of pixels needs 2 sizes, one for each dimension of -1`}},
		{pixels, "buckets: [[2, 5], [5, 2], [2, 5]]}", []string{`11:88: the bucket [3,2,5] occurs twice`}},
		{pixels, "buckets: [[65536, 65536]]}", []string{`11:72: a bucket of the shape [3,65536,65536] is too large`}},
		{pixels, "buckets: [[2, 2]], media: image}", []string{`11:70: media image makes pictures of one size; give the sizes that are -1, or leave out media`}},
		{pixels, "buckets: [[2, 2]]}", []string{`12:47: inside has 2 dimensions of -1, so it needs buckets`}},
		{"shape: [2]}\noutputs", "shape: [2], buckets: [4]}\noutputs", []string{`16:56: buckets are sizes of dimensions that are -1; the shape [2] has none`}},
		{"datatype: FP32, shape: [2]}\noutputs", "datatype: BYTES, shape: [-1], buckets: [4]}\noutputs", []string{`16:58: buckets are for numbers with a batch, not for BYTES or batched: false`}},
		{"size, datatype: INT32, shape: [2]}", "size, datatype: FP32, shape: [2]}", []string{`11:123: length: size is FP32 [2]; it must be INT64 or INT32 [2]`}},
		{"follows: ids", "follows: idz", []string{`19:59: follows: the model has no input "idz"`}},
		{"follows: ids", "follows: x", []string{`19:59: follows: x has no buckets`}},
		{"follows: ids", "follows: pixels", []string{`19:59: follows: FP32 [-1,3] cannot have the sizes of pixels, which is [3,-1,-1]`}},
		{ids, "buckets: [" + strings.Join(ascending, ", ") + "], mask: seen, length: count}",
			[]string{`23:5: variant other: with a variant for each of their buckets there are more than 64 variants: declare fewer buckets`}},
	} {
		dir := sizedPackage(t, c.old, c.text)
		got := lines(dir, Check(dir))
		ok := len(got) == len(c.want)
		for i := range c.want {
			ok = ok && strings.Contains(strings.Join(got, "\n"), c.want[i])
		}
		if !ok {
			t.Errorf("%s:\n  %s\nwant\n  %s", c.text, strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
		}
	}
}
