package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"maps"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

const kindSamples = 40

// set is an evaluation set, and another one with the same samples.
func set(t *testing.T, texts map[string][]string, arrays ...tensor.Tensor) map[string][]byte {
	unused := arrayOf("unused", tensor.Shape{1}, []uint8{1})
	return map[string][]byte{"eval.npz": npzWithTexts(t, arrays, texts), "heldout.npz": npzWithTexts(t, append(arrays, unused), texts)}
}

const evaluation = "evaluation: {profile: eval.npz, heldout: heldout.npz}\n"

// draws are numbers of a normal distribution.
func draws(seed uint64, n int) []float32 {
	rng := rand.New(rand.NewPCG(seed, 3))
	list := make([]float32, n)
	for i := range list {
		list[i] = float32(rng.NormFloat64())
	}
	return list
}

func sum(values []float32) (s float64) {
	for _, v := range values {
		s += float64(v)
	}
	return s
}

func credit(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// twoSums are the inputs x and z of three numbers each and their sums.
func twoSums() (x, z []float32, a, both []float64) {
	x, z = draws(1, 3*kindSamples), draws(2, 3*kindSamples)
	for i := range kindSamples {
		a = append(a, sum(x[3*i:3*i+3]))
		both = append(both, a[i]+sum(z[3*i:3*i+3]))
	}
	return x, z, a, both
}

// total sums the three numbers of each item, times a factor.
func total(g *modelpkgtest.Graph, in, out string, factor float32) {
	g.Weight("w_"+in, tensor.FP32, floats(factor, factor, factor), 3, 1)
	g.Node("MatMul", []string{in, "w_" + in}, []string{out})
}

const sumInputs = `metric: sign
modalities:
  - name: a
    inputs: [{name: x, datatype: FP32, shape: [3]}]
  - name: b
    inputs: [{name: z, datatype: FP32, shape: [3]}]
outputs: [{name: y, datatype: FP32, shape: [1]}]
` + evaluation

// sums is a regression whose value is the sum of two modalities, which a floor needs both
// for.
func sums(t *testing.T, name, variants string, files map[string][]byte) kind {
	x, z, a, both := twoSums()
	k := kind{name: name, yaml: sumInputs + variants, files: set(t, nil, arrayOf("x", tensor.Shape{kindSamples, 3}, x), arrayOf("z", tensor.Shape{kindSamples, 3}, z),
		arrayOf("label", tensor.Shape{kindSamples}, both)), scores: map[string][]float64{}}
	maps.Copy(k.files, files)
	for i := range both {
		k.scores["a"] = append(k.scores["a"], credit((a[i] >= 0) == (both[i] >= 0)))
		k.scores["both"] = append(k.scores["both"], 1)
	}
	one, three := arrayOf("x", tensor.Shape{1, 3}, x[:3]), arrayOf("x", tensor.Shape{3, 3}, x[:9])
	other := arrayOf("z", tensor.Shape{3, 3}, z[:9])
	y := func(values []float64) []result {
		return []result{{output: "y", shape: tensor.Shape{int64(len(values)), 1}, values: values}}
	}
	k.asks = []ask{
		{what: "of one modality", inputs: []tensor.Tensor{one}, floor: 0.5, want: map[string][]result{"a": y(a[:1])}},
		{what: "at a high floor", inputs: []tensor.Tensor{three, other}, floor: 0.99, want: map[string][]result{"both": y(both[:3])}},
		{what: "at a floor that needs both", inputs: []tensor.Tensor{one}, floor: 0.99, fault: "the best is " + strconv.FormatFloat(math.Round(mean(k.scores["a"])*1e6)/1e6, 'f', -1, 64)},
	}
	return k
}

func signGraphs() map[string][]byte {
	var a, both modelpkgtest.Graph
	a.Input("x", tensor.FP32, modelpkgtest.Batch, 3)
	total(&a, "x", "y", 1)
	a.Output("y", tensor.FP32, modelpkgtest.Batch, 1)
	both.Input("x", tensor.FP32, modelpkgtest.Batch, 3)
	both.Input("z", tensor.FP32, modelpkgtest.Batch, 3)
	total(&both, "x", "sum_x", 1)
	total(&both, "z", "sum_z", 1)
	both.Node("Add", []string{"sum_x", "sum_z"}, []string{"y"})
	both.Output("y", tensor.FP32, modelpkgtest.Batch, 1)
	return map[string][]byte{"a.onnx": a.File(), "both.onnx": both.File()}
}

// signKind is the paper's metric.
func signKind(t *testing.T) kind {
	return sums(t, "sign", "variants:\n  - {name: a, modalities: [a], path: a.onnx}\n  - {name: both, modalities: [a, b], path: both.onnx}\n", signGraphs())
}

// remoteKind has one variant on another server.
func remoteKind(t *testing.T, url string) kind {
	files := signGraphs()
	delete(files, "both.onnx")
	return sums(t, "remote", "variants:\n  - {name: a, modalities: [a], path: a.onnx}\n  - {name: both, modalities: [a, b], remote: "+url+"}\n", files)
}

// stagesKind is late fusion.
func stagesKind(t *testing.T) kind {
	encoder := func(in, out string, factor float32) []byte {
		var g modelpkgtest.Graph
		g.Input(in, tensor.FP32, modelpkgtest.Batch, 3)
		total(&g, in, out, factor)
		g.Output(out, tensor.FP32, modelpkgtest.Batch, 1)
		return g.File()
	}
	head := func(op string, inputs ...string) []byte {
		var g modelpkgtest.Graph
		for _, in := range inputs {
			g.Input(in, tensor.FP32, modelpkgtest.Batch, 1)
		}
		g.Weight("half", tensor.FP32, floats(0.5))
		g.Node(op, inputs, []string{"twice"})
		g.Node("Mul", []string{"twice", "half"}, []string{"y"})
		g.Output("y", tensor.FP32, modelpkgtest.Batch, 1)
		return g.File()
	}
	return sums(t, "stages", `stages:
  - {name: encode_a, path: encode_a.onnx}
  - {name: encode_b, path: encode_b.onnx}
  - {name: head, path: head.onnx}
  - {name: fusion, path: fusion.onnx}
variants:
  - {name: a, modalities: [a], stages: [encode_a, head]}
  - {name: both, modalities: [a, b], stages: [encode_a, encode_b, fusion]}
`, map[string][]byte{"encode_a.onnx": encoder("x", "twice_x", 2), "encode_b.onnx": encoder("z", "twice_z", 2), "head.onnx": head("Identity", "twice_x"), "fusion.onnx": head("Add", "twice_x", "twice_z")})
}

// externalKind has scores from files.
func externalKind(t *testing.T) kind {
	x, _, a, _ := twoSums()
	var g modelpkgtest.Graph
	g.Input("x", tensor.FP32, modelpkgtest.Batch, 3)
	total(&g, "x", "y", 1)
	g.Output("y", tensor.FP32, modelpkgtest.Batch, 1)
	var scores []float64
	var data []byte
	for i := range kindSamples {
		scores = append(scores, float64(i%4)/4)
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(scores[i]))
	}
	k := kind{name: "external", yaml: "metric: external\nmodalities:\n  - name: a\n    inputs: [{name: x, datatype: FP32, shape: [3]}]\n" +
		"outputs: [{name: y, datatype: FP32, shape: [1]}]\nvariants: [{name: v, modalities: [a], path: v.onnx}]\n" + evaluation,
		files: set(t, nil, arrayOf("x", tensor.Shape{kindSamples, 3}, x)), scores: map[string][]float64{"v": scores}}
	k.files["v.onnx"], k.files["scores/v.npy"] = g.File(), npy("<f8", fmt.Sprint(kindSamples, ","), data)
	one := arrayOf("x", tensor.Shape{1, 3}, x[:3])
	k.asks = []ask{
		{what: "at the mean", inputs: []tensor.Tensor{one}, floor: 0.375, want: map[string][]result{"v": {{output: "y", shape: tensor.Shape{1, 1}, values: a[:1]}}}},
		{what: "above it", inputs: []tensor.Tensor{one}, floor: 0.4, fault: "the best is 0.375"},
	}
	return k
}

// multilabelKind has a number for each of four labels.
func multilabelKind(t *testing.T) kind {
	const columns = 4
	x, w := draws(3, 3*kindSamples), draws(4, 3*columns)
	var g modelpkgtest.Graph
	g.Input("x", tensor.FP32, modelpkgtest.Batch, 3)
	g.Weight("w", tensor.FP32, floats(w...), 3, columns)
	g.Node("MatMul", []string{"x", "w"}, []string{"logits"})
	g.Node("Sigmoid", []string{"logits"}, []string{"y"})
	g.Output("y", tensor.FP32, modelpkgtest.Batch, columns)
	var labels []uint8
	var probabilities, scores []float64
	for i := range kindSamples {
		wrong := 0
		for c := range columns {
			logit := 0.0
			for k := range 3 {
				logit += float64(x[3*i+k]) * float64(w[columns*k+c])
			}
			probabilities = append(probabilities, 1/(1+math.Exp(-logit)))
			label := uint8(credit(logit >= 0))
			if (i+c)%5 == 0 {
				label, wrong = 1-label, wrong+1
			}
			labels = append(labels, label)
		}
		scores = append(scores, 1-float64(wrong)/columns)
	}
	k := kind{name: "multilabel", yaml: "metric: multilabel\nmodalities:\n  - name: a\n    inputs: [{name: x, datatype: FP32, shape: [3]}]\n" +
		"outputs: [{name: y, datatype: FP32, shape: [4]}]\nvariants: [{name: v, modalities: [a], path: v.onnx}]\n" + evaluation,
		files:  set(t, nil, arrayOf("x", tensor.Shape{kindSamples, 3}, x), arrayOf("label", tensor.Shape{kindSamples, columns}, labels)),
		scores: map[string][]float64{"v": scores}, replayed: true}
	k.files["v.onnx"] = g.File()
	k.asks = []ask{{what: "of two items", inputs: []tensor.Tensor{arrayOf("x", tensor.Shape{2, 3}, x[:6])}, floor: 0.75,
		want: map[string][]result{"v": {{output: "y", shape: tensor.Shape{2, columns}, values: probabilities[:2*columns]}}}}}
	return k
}

// either ends a graph with scores of two classes: y [batch, 1] and -y.
func either(g *modelpkgtest.Graph) {
	g.Node("Neg", []string{"y"}, []string{"not_y"})
	g.Node("Concat", []string{"y", "not_y"}, []string{"scores"}, modelpkgtest.Integer("axis", 1))
	g.Output("scores", tensor.FP32, modelpkgtest.Batch, 2)
}

// scoresOf are those two scores of each number.
func scoresOf(values ...float64) result {
	r := result{output: "scores", shape: tensor.Shape{int64(len(values)), 2}}
	for _, v := range values {
		r.values = append(r.values, v, -v)
	}
	return r
}

// textsKind reads numbers in words, and gives the words back.
func textsKind(t *testing.T) kind {
	var g modelpkgtest.Graph
	g.Input("s", tensor.Bytes, modelpkgtest.Batch)
	g.Weight("column", tensor.Int64, wholes(-1, 1), 2)
	g.Node("Cast", []string{"s"}, []string{"number"}, modelpkgtest.Integer("to", 1))
	g.Node("Reshape", []string{"number", "column"}, []string{"y"})
	either(&g)
	g.Node("Identity", []string{"s"}, []string{"echo"})
	g.Output("echo", tensor.Bytes, modelpkgtest.Batch)
	var texts []string
	var labels []uint8
	var scores []float64
	for i, v := range draws(5, kindSamples) {
		texts = append(texts, strconv.FormatFloat(float64(v), 'f', 3, 32))
		labels = append(labels, uint8(credit((v < 0) != (i%4 == 0))))
		scores = append(scores, credit(i%4 != 0))
	}
	k := kind{name: "texts", yaml: "modalities:\n  - name: words\n    inputs: [{name: s, datatype: BYTES, shape: []}]\n" +
		"outputs:\n  - {name: scores, datatype: FP32, shape: [2]}\n  - {name: echo, datatype: BYTES, shape: []}\nvariants: [{name: v, modalities: [words], path: v.onnx}]\n" + evaluation,
		files: set(t, map[string][]string{"s": texts}, arrayOf("label", tensor.Shape{kindSamples}, labels)), scores: map[string][]float64{"v": scores}, replayed: true}
	k.files["v.onnx"] = g.File()
	s, err := tensor.Strings("s", tensor.Shape{3}, []string{"2.5", "-1e1", "0.125"})
	if err != nil {
		t.Fatal(err)
	}
	k.asks = []ask{{what: "of three texts", inputs: []tensor.Tensor{s}, floor: 0.7,
		want: map[string][]result{"v": {scoresOf(2.5, -10, 0.125), {output: "echo", shape: tensor.Shape{3}, texts: []string{"2.5", "-1e1", "0.125"}}}}}}
	return k
}

// pictureKind says whether a picture is more red than blue, of pixels and of JPEG files.
func pictureKind(t *testing.T) kind {
	var g modelpkgtest.Graph
	g.Input("pixels", tensor.Uint8, modelpkgtest.Batch, 4, 4, 3)
	g.Weight("red_blue", tensor.FP32, floats(1, 0, -1), 3, 1)
	g.Node("Cast", []string{"pixels"}, []string{"numbers"}, modelpkgtest.Integer("to", 1))
	g.Node("ReduceMean", []string{"numbers"}, []string{"colour"}, modelpkgtest.Integers("axes", 1, 2), modelpkgtest.Integer("keepdims", 0))
	g.Node("MatMul", []string{"colour", "red_blue"}, []string{"y"})
	either(&g)
	rng := rand.New(rand.NewPCG(6, 6))
	var pixels, labels []uint8
	var scores []float64
	for i := range kindSamples {
		more := 0
		for k := range 4 * 4 * 3 {
			v := uint8(rng.IntN(256))
			pixels = append(pixels, v)
			more += int(v) * (1 - k%3)
		}
		labels = append(labels, uint8(credit((more < 0) != (i%8 == 0))))
		scores = append(scores, credit(i%8 != 0))
	}
	k := kind{name: "picture", yaml: "modalities:\n  - name: image\n    inputs: [{name: pixels, datatype: UINT8, shape: [4, 4, 3], media: image}]\n" +
		"outputs: [{name: scores, datatype: FP32, shape: [2]}]\nvariants: [{name: v, modalities: [image], path: v.onnx}]\n" + evaluation,
		files:  set(t, nil, arrayOf("pixels", tensor.Shape{kindSamples, 4, 4, 3}, pixels), arrayOf("label", tensor.Shape{kindSamples}, labels)),
		scores: map[string][]float64{"v": scores}, replayed: true}
	k.files["v.onnx"] = g.File()
	var files []string
	for _, c := range []color.RGBA{{R: 200, G: 10, B: 20, A: 255}, {R: 30, G: 40, B: 230, A: 255}} {
		var file bytes.Buffer
		picture := image.NewRGBA(image.Rect(0, 0, 32, 24))
		draw.Draw(picture, picture.Rect, image.NewUniform(c), image.Point{}, draw.Src)
		if err := jpeg.Encode(&file, picture, nil); err != nil {
			t.Fatal(err)
		}
		files = append(files, file.String())
	}
	sent := func(files ...string) []tensor.Tensor {
		x, err := tensor.Strings("pixels", tensor.Shape{int64(len(files))}, files)
		if err != nil {
			t.Fatal(err)
		}
		return []tensor.Tensor{x}
	}
	k.asks = []ask{
		{what: "of two files", inputs: sent(files...), binary: true, floor: 0.8, near: 4, want: map[string][]result{"v": {scoresOf(180, -200)}}}, // colours of JPEG are not exact
		{what: "of a broken file", inputs: sent("\xff\xd8\xffno picture"), binary: true, fault: `input "pixels": the JPEG image is damaged or truncated`},
	}
	return k
}

// gridKind takes grids of two dimensions that vary, says whether their mean is above
// zero, and gives twice the grid back.
func gridKind(t *testing.T) kind {
	any2 := []int{modelpkgtest.Batch, -1, -1}
	var g modelpkgtest.Graph
	g.Input("grid", tensor.FP32, any2...)
	g.Input("inside", tensor.FP32, any2...)
	g.Node("Mul", []string{"grid", "inside"}, []string{"own"})
	for in, out := range map[string]string{"own": "mean", "inside": "share"} {
		g.Node("ReduceMean", []string{in}, []string{out}, modelpkgtest.Integers("axes", 1, 2), modelpkgtest.Integer("keepdims", 0))
	}
	g.Weight("column", tensor.Int64, wholes(-1, 1), 2)
	g.Node("Div", []string{"mean", "share"}, []string{"flat"})
	g.Node("Reshape", []string{"flat", "column"}, []string{"y"})
	either(&g)
	g.Node("Add", []string{"grid", "grid"}, []string{"twice"})
	g.Output("twice", tensor.FP32, any2...)
	const pad = 9
	rng := rand.New(rand.NewPCG(7, 7))
	var grids []float32
	var labels []uint8
	var scores []float64
	for i := range kindSamples {
		height, width, sum := 1+rng.IntN(4), 1+rng.IntN(6), 0.0
		for at := range 4 * 6 {
			v := float32(pad)
			if at/6 < height && at%6 < width {
				v = float32(rng.NormFloat64())
				sum += float64(v)
			}
			grids = append(grids, v)
		}
		labels = append(labels, uint8(credit((sum < 0) != (i%10 == 0))))
		scores = append(scores, credit(i%10 != 0))
	}
	k := kind{name: "grid", yaml: "modalities:\n  - name: a\n    inputs:\n" +
		"      - {name: grid, datatype: FP32, shape: [-1, -1], buckets: [[2, 2], [4, 6]], pad: 9, mask: inside}\n      - {name: inside, datatype: FP32, shape: [-1, -1]}\n" +
		"outputs:\n  - {name: scores, datatype: FP32, shape: [2]}\n  - {name: twice, datatype: FP32, shape: [-1, -1], follows: grid}\nvariants: [{name: v, modalities: [a], path: v.onnx}]\n" + evaluation,
		files:  set(t, nil, arrayOf("grid", tensor.Shape{kindSamples, 4, 6}, grids), arrayOf("label", tensor.Shape{kindSamples}, labels)),
		scores: map[string][]float64{"v": scores}, replayed: true}
	k.files["v.onnx"] = g.File()
	for _, shape := range []tensor.Shape{{1, 1, 2}, {3, 2, 2}, {2, 3, 5}, {1, 4, 6}} {
		n := int(shape[1] * shape[2])
		values := draws(8, int(shape[0])*n)
		twice := result{output: "twice", shape: shape}
		var means []float64
		for i := range int(shape[0]) {
			means = append(means, sum(values[i*n:(i+1)*n])/float64(n))
		}
		for _, v := range values {
			twice.values = append(twice.values, 2*float64(v))
		}
		k.asks = append(k.asks, ask{what: fmt.Sprint("of ", shape), inputs: []tensor.Tensor{arrayOf("grid", shape, values)}, floor: 0.9,
			want: map[string][]result{"v": {scoresOf(means...), twice}}})
	}
	k.asks = append(k.asks, ask{what: "too high", inputs: []tensor.Tensor{arrayOf("grid", tensor.Shape{1, 5, 1}, draws(8, 5))},
		fault: `input "grid" has the shape [5,1], which no bucket has room for; the largest is [4,6]`})
	return k
}

// tagsKind gives each token of a text of any length a class.
func tagsKind(t *testing.T) kind {
	const words, classes, length = 10, 3, 6
	table := draws(9, words*classes)
	best := func(id int64) (class int64) {
		row := table[id*classes : (id+1)*classes]
		for c := range row {
			if row[c] > row[class] {
				class = int64(c)
			}
		}
		return class
	}
	var g modelpkgtest.Graph
	g.Input("ids", tensor.Int64, modelpkgtest.Batch, -1)
	g.Weight("table", tensor.FP32, floats(table...), words, classes)
	g.Node("Gather", []string{"table", "ids"}, []string{"tags"}, modelpkgtest.Integer("axis", 0))
	g.Output("tags", tensor.FP32, modelpkgtest.Batch, -1, classes)
	rng := rand.New(rand.NewPCG(10, 10))
	var ids, labels []int64
	var scores []float64
	for i := range kindSamples {
		n, wrong := 1+rng.IntN(length), 0
		for k := range length {
			id, label := int64(words-1), int64(-100) // what fills up
			if k < n {
				id = int64(rng.IntN(words - 1))
				label = best(id)
				if (i+k)%5 == 0 {
					label, wrong = (label+1)%classes, wrong+1
				}
			}
			ids, labels = append(ids, id), append(labels, label)
		}
		scores = append(scores, 1-float64(wrong)/float64(n))
	}
	k := kind{name: "tags", yaml: "metric: token_accuracy\nmodalities:\n  - name: text\n    inputs: [{name: ids, datatype: INT64, shape: [-1], buckets: [2, 4, 8], pad: 9, longer: cut, range: [0, 9]}]\n" +
		"outputs: [{name: tags, datatype: FP32, shape: [-1, 3], follows: ids}]\nvariants: [{name: v, modalities: [text], path: v.onnx}]\n" + evaluation,
		files:  set(t, nil, arrayOf("ids", tensor.Shape{kindSamples, length}, ids), arrayOf("label", tensor.Shape{kindSamples, length}, labels)),
		scores: map[string][]float64{"v": scores}, replayed: true}
	k.files["v.onnx"] = g.File()
	for _, list := range [][]int64{{4}, {1, 2, 3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 0}} {
		own := list[:min(len(list), 8)] // the rest is cut
		tags := result{output: "tags", shape: tensor.Shape{1, int64(len(own)), classes}}
		for _, id := range own {
			for _, v := range table[id*classes : (id+1)*classes] {
				tags.values = append(tags.values, float64(v))
			}
		}
		k.asks = append(k.asks, ask{what: fmt.Sprint("of ", len(list), " tokens"), inputs: []tensor.Tensor{arrayOf("ids", tensor.Shape{1, int64(len(list))}, list)},
			floor: mean(scores) - 0.01, want: map[string][]result{"v": {tags}}})
	}
	k.asks = append(k.asks, ask{what: "of a token that is none", inputs: []tensor.Tensor{arrayOf("ids", tensor.Shape{1, 1}, []int64{10})}, fault: `input "ids": element 0 is 10`})
	return k
}

// stagedTagsKind is tagsKind with its graph in two stages, between which the length varies.
func stagedTagsKind(t *testing.T) kind {
	k := tagsKind(t)
	var embed, head modelpkgtest.Graph
	embed.Input("ids", tensor.Int64, modelpkgtest.Batch, -1)
	embed.Weight("table", tensor.FP32, floats(draws(9, 10*3)...), 10, 3)
	embed.Node("Gather", []string{"table", "ids"}, []string{"features"}, modelpkgtest.Integer("axis", 0))
	embed.Output("features", tensor.FP32, modelpkgtest.Batch, -1, 3)
	head.Input("features", tensor.FP32, modelpkgtest.Batch, -1, 3)
	head.Node("Identity", []string{"features"}, []string{"tags"})
	head.Output("tags", tensor.FP32, modelpkgtest.Batch, -1, 3)
	k.name = "staged_tags"
	k.yaml = strings.Replace(k.yaml, "variants: [{name: v, modalities: [text], path: v.onnx}]",
		"stages: [{name: embed, path: embed.onnx}, {name: head, path: head.onnx}]\nvariants: [{name: v, modalities: [text], stages: [embed, head]}]", 1)
	delete(k.files, "v.onnx")
	k.files["embed.onnx"], k.files["head.onnx"] = embed.File(), head.File()
	return k
}
