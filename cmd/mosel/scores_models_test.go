package main

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

func operator(op string, attributes ...[]byte) func(*modelpkgtest.Graph) {
	return func(g *modelpkgtest.Graph) { g.Node(op, []string{"product"}, []string{"y"}, attributes...) }
}

// highest is the place of the largest number.
func highest(y []float64) int { return slices.Index(y, slices.Max(y)) }

func sigmoid(v float64) float64 { return 1 / (1 + math.Exp(-v)) }

func score01(right bool) float64 {
	if right {
		return 1
	}
	return 0
}

// classLabels are the best classes, a quarter of them drawn anew.
func drawnClasses(y [][]float64, rng *rand.Rand) []int64 {
	var classes []int64
	for _, row := range y {
		class := highest(row)
		if rng.Float64() < 0.25 {
			class = rng.IntN(len(row))
		}
		classes = append(classes, int64(class))
	}
	return classes
}

func numbersOf(classes []int64) [][]float64 {
	var all [][]float64
	for _, c := range classes {
		all = append(all, []float64{float64(c)})
	}
	return all
}

// wholeLabels are classes as INT64; the first is changed to wrong.
func wholeLabels(classes []int64, wrong func(first int64) int64) labels {
	l := labels{numbers: numbersOf(classes), arrays: []tensor.Tensor{arrayOf("label", tensor.Shape{int64(len(classes))}, classes)}}
	l.mutate = func() {
		classes[0] = wrong(classes[0])
		l.numbers[0][0] = float64(classes[0])
		l.arrays[0] = arrayOf("label", tensor.Shape{int64(len(classes))}, classes)
	}
	return l
}

// noisy are the numbers with noise, as FP32 labels.
func noisy(spread, shift float64) func([][]float64, *rand.Rand) labels {
	return func(y [][]float64, rng *rand.Rand) labels {
		width := len(y[0])
		l := labels{}
		var values []float32
		for _, row := range y {
			var noisy []float64
			for _, v := range row {
				values = append(values, float32(v+spread*rng.NormFloat64()))
				noisy = append(noisy, float64(values[len(values)-1]))
			}
			l.numbers = append(l.numbers, noisy)
		}
		shape := tensor.Shape{int64(len(y))}
		if width > 1 {
			shape = append(shape, int64(width))
		}
		l.arrays = []tensor.Tensor{arrayOf("label", shape, values)}
		l.mutate = func() {
			values[0] = float32(-math.Copysign(math.Abs(float64(values[0]))+shift, float64(values[0])))
			l.numbers[0][0] = float64(values[0])
			l.arrays[0] = arrayOf("label", shape, values)
		}
		return l
	}
}

// bits are which numbers are positive, some turned, as UINT8 or BOOL labels.
func bits(turned float64, asBool bool) func([][]float64, *rand.Rand) labels {
	return func(y [][]float64, rng *rand.Rand) labels {
		width := len(y[0])
		var l labels
		var values []uint8
		for _, row := range y {
			var bits []float64
			for _, v := range row {
				bit := score01((v >= 0) != (rng.Float64() < turned))
				bits = append(bits, bit)
				values = append(values, uint8(bit))
			}
			l.numbers = append(l.numbers, bits)
		}
		shape := tensor.Shape{int64(len(y))}
		if width > 1 {
			shape = append(shape, int64(width))
		}
		dtype := tensor.Uint8
		if asBool {
			dtype = tensor.Bool
		}
		l.arrays = []tensor.Tensor{{Name: "label", DType: dtype, Shape: shape, Data: values}}
		l.mutate = func() {
			values[0] = 1 - values[0]
			l.numbers[0][0] = float64(values[0])
		}
		return l
	}
}

// tokenClasses are the best of 3 classes for each of 2 tokens, some drawn anew and some
// second ones padding, as INT32 labels.
func tokenClasses(y [][]float64, rng *rand.Rand) labels {
	var l labels
	var values []int32
	for _, row := range y {
		var classes []float64
		for token := range 2 {
			class := highest(row[3*token : 3*token+3])
			switch p := rng.Float64(); {
			case p < 0.2:
				class = rng.IntN(3)
			case p < 0.4 && token == 1:
				class = -1
			}
			classes = append(classes, float64(class))
			values = append(values, int32(class))
		}
		l.numbers = append(l.numbers, classes)
	}
	shape := tensor.Shape{int64(len(y)), 2}
	l.arrays = []tensor.Tensor{arrayOf("label", shape, values)}
	l.mutate = func() {
		values[0] = int32(highest(y[0][:3])+int(values[0])+1) % 3
		if int(values[0]) == int(l.numbers[0][0]) {
			values[0] = (values[0] + 1) % 3
		}
		if score01(int(values[0]) == highest(y[0][:3])) == score01(int(l.numbers[0][0]) == highest(y[0][:3])) {
			values[0] = int32(highest(y[0][:3]))
		}
		l.numbers[0][0] = float64(values[0])
		l.arrays[0] = arrayOf("label", shape, values)
	}
	return l
}

// galleryLabels look samples up in 12 embeddings of 4 kinds; most samples have the
// kind of the nearest.
func galleryLabels(y [][]float64, rng *rand.Rand) labels {
	kinds := []string{"cat", "dog", "größe", "ship"}
	l := labels{texts: map[string][]string{}}
	var values []float64
	for range 12 {
		row := make([]float64, len(y[0]))
		for k := range row {
			row[k] = rng.NormFloat64()
		}
		values = append(values, row...)
		l.more = append(l.more, row)
		l.kinds = append(l.kinds, kinds[rng.IntN(4)])
	}
	names := make([]string, len(y))
	for i, row := range y {
		if names[i] = l.kinds[nearestOf(row, l.more)]; rng.Float64() < 0.3 {
			names[i] = kinds[rng.IntN(4)]
		}
	}
	l.texts["label"], l.texts["gallery_label"] = names, l.kinds
	l.arrays = []tensor.Tensor{arrayOf("gallery", tensor.Shape{12, int64(len(y[0]))}, values)}
	l.mutate = func() {
		right := l.kinds[nearestOf(y[0], l.more)]
		if names[0] == right {
			names[0] = kinds[(slices.Index(kinds, right)+1)%4]
		} else {
			names[0] = right
		}
	}
	return l
}

// nearestOf is the place of the embedding with the smallest angle.
func nearestOf(y []float64, gallery [][]float64) int {
	best, at := math.Inf(1), 0
	for i, g := range gallery {
		dot, a, b := 0.0, 0.0, 0.0
		for k := range y {
			dot += y[k] * g[k]
			a += y[k] * y[k]
			b += g[k] * g[k]
		}
		if angle := math.Acos(dot / math.Sqrt(a*b)); angle < best {
			best, at = angle, i
		}
	}
	return at
}

func firstNumber(l labels, i int) float64 { return l.numbers[i][0] }

var scoredModels = []scoredModel{
	{
		name: "accuracy", metric: "accuracy", columns: 4, shape: []int{4}, after: operator("Softmax", modelpkgtest.Integer("axis", 1)),
		label: func(y [][]float64, rng *rand.Rand) labels {
			return wholeLabels(drawnClasses(y, rng), func(c int64) int64 {
				if right := int64(highest(y[0])); c != right {
					return right
				}
				return (c + 1) % 4
			})
		},
		score: func(y []float64, l labels, i int) float64 { return score01(highest(y) == int(firstNumber(l, i))) },
		stats: []string{"macro_f1", "ece"},
	},
	{
		name: "accuracy of names", metric: "accuracy", more: "classes: [up, down, left]\n", columns: 3, shape: []int{3}, after: operator("Softmax", modelpkgtest.Integer("axis", 1)),
		label: func(y [][]float64, rng *rand.Rand) labels {
			order := []string{"up", "down", "left"}
			l := labels{texts: map[string][]string{}}
			for _, c := range drawnClasses(y, rng) {
				l.texts["label"] = append(l.texts["label"], order[c])
				l.numbers = append(l.numbers, []float64{float64(c)})
			}
			l.mutate = func() {
				c := (highest(y[0]) + int(score01(int(l.numbers[0][0]) == highest(y[0])))) % 3
				l.texts["label"][0], l.numbers[0][0] = order[c], float64(c)
			}
			return l
		},
		score: func(y []float64, l labels, i int) float64 { return score01(highest(y) == int(firstNumber(l, i))) },
		stats: []string{"macro_f1", "ece"},
	},
	{
		name: "top_k", metric: "{name: top_k, k: 2}", columns: 5, shape: []int{5, 1}, after: func(g *modelpkgtest.Graph) {
			g.Weight("axes", tensor.Int64, wholes(2), 1)
			g.Node("Unsqueeze", []string{"product", "axes"}, []string{"y"})
		},
		label: func(y [][]float64, rng *rand.Rand) labels {
			return wholeLabels(drawnClasses(y, rng), func(c int64) int64 {
				order := slices.SortedFunc(slices.Values([]int64{0, 1, 2, 3, 4}), func(a, b int64) int { return int(math.Copysign(1, y[0][b]-y[0][a])) })
				if slices.Contains(order[:2], c) {
					return order[4]
				}
				return order[1]
			})
		},
		score: func(y []float64, l labels, i int) float64 {
			sorted := slices.Sorted(slices.Values(y))
			return score01(y[int(firstNumber(l, i))] >= sorted[3])
		},
		stats: []string{"macro_f1"}, // of logits there is no calibration
	},
	{
		name: "binary", metric: "{name: binary, threshold: 0.6}", columns: 1, shape: []int{1}, after: operator("Sigmoid"), label: bits(0.2, false),
		score: func(y []float64, l labels, i int) float64 {
			return score01((sigmoid(y[0]) >= 0.6) == (firstNumber(l, i) == 1))
		},
		stats: []string{"macro_f1", "auc", "ece"},
	},
	{
		name: "binary of logits", metric: "{name: binary, values: logit, threshold: -0.5}", columns: 1, shape: []int{1}, after: operator("Identity"), label: bits(0.2, true),
		score: func(y []float64, l labels, i int) float64 { return score01((y[0] >= -0.5) == (firstNumber(l, i) == 1)) },
		stats: []string{"macro_f1", "auc", "ece"},
	},
	{
		name: "sign", metric: "sign", columns: 1, shape: []int{1}, after: operator("Identity"), label: noisy(0.7, 0),
		score: func(y []float64, l labels, i int) float64 { return score01(y[0] < 0 == (firstNumber(l, i) < 0)) },
		stats: []string{"mae", "pearson"},
	},
	{
		name: "within", metric: "{name: within, tolerance: 0.5}", columns: 2, shape: []int{2}, after: operator("Identity"), label: noisy(0.5, 9),
		score: func(y []float64, l labels, i int) float64 {
			return score01(math.Abs(y[0]-l.numbers[i][0]) < 0.5)/2 + score01(math.Abs(y[1]-l.numbers[i][1]) < 0.5)/2
		},
		stats: []string{"mae"},
	},
	{
		name: "bounded_error", metric: "{name: bounded_error, scale: 2}", columns: 1, shape: []int{1}, after: operator("Identity"), label: noisy(0.8, 1),
		score: func(y []float64, l labels, i int) float64 { return max(0, 1-math.Abs(y[0]-firstNumber(l, i))/2) },
		stats: []string{"mae", "pearson"},
	},
	{
		name: "multilabel", metric: "{name: multilabel, threshold: 0.5}", columns: 4, shape: []int{4}, after: operator("Sigmoid"), label: bits(0.2, true),
		score: func(y []float64, l labels, i int) float64 {
			sum := 0.0
			for k, v := range y {
				sum += score01((v > 0) == (l.numbers[i][k] == 1)) / 4
			}
			return sum
		},
		stats: []string{"macro_f1", "auc", "ece"},
	},
	{
		name: "multilabel by F1", metric: "{name: multilabel, values: logit, score: f1}", columns: 4, shape: []int{4}, after: operator("Identity"), label: bits(0.2, false),
		score: func(y []float64, l labels, i int) float64 {
			both, either := 0.0, 0.0
			for k, v := range y {
				p, w := score01(v > 0), l.numbers[i][k]
				both += 2 * p * w
				either += p + w
			}
			if either == 0 {
				return 1
			}
			return both / either
		},
		stats: []string{"macro_f1", "auc", "ece"},
	},
	{
		name: "token_accuracy", metric: "{name: token_accuracy, padding: -1}", columns: 6, shape: []int{2, 3}, label: tokenClasses,
		after: func(g *modelpkgtest.Graph) {
			g.Weight("shape", tensor.Int64, wholes(-1, 2, 3), 3)
			g.Node("Reshape", []string{"product", "shape"}, []string{"y"})
		},
		score: func(y []float64, l labels, i int) float64 {
			first, second := score01(highest(y[:3]) == int(l.numbers[i][0])), score01(highest(y[3:]) == int(l.numbers[i][1]))
			if l.numbers[i][1] == -1 {
				return first
			}
			return (first + second) / 2
		},
		stats: []string{"macro_f1"},
	},
	{
		name: "retrieval", metric: "retrieval", columns: 4, shape: []int{4}, after: operator("Identity"), label: galleryLabels,
		score: func(y []float64, l labels, i int) float64 {
			return score01(l.kinds[nearestOf(y, l.more)] == l.texts["label"][i])
		},
		stats: []string{"macro_f1"},
	},
}
