package score

import (
	"fmt"
	"math"
)

// entry is one metric. A new metric needs only an entry here, with its rule for scoring
// a sample, and a line in docs/model-package.md.
type entry struct {
	name   string
	task   string // of such a model; "": any
	title  func(Metric) string
	params []Param
	output *output    // requirements on the first output; nil: none
	labels *labelForm // requirements on labels; nil: no labels
	// score scores one answer; nil: scores come from files.
	score      func(*Judge, []float64, int) (Result, error)
	exact      bool                            // the score is 1 if the class is that of the label, else 0
	agree      *agreement                      // how answers are compared with each other; nil: they cannot be
	confidence func(Metric, []float64) float64 // of one answer, for cascades; nil: none is known
	statistics []statistic
}

// subject returns the beginning of messages about outputs.
func (e *entry) subject() string {
	if e.name == "accuracy" || e.name == "top_k" {
		return e.task
	}
	return "the metric " + e.name
}

// table has all metrics. The first is the default.
var table = []entry{
	{
		name: "accuracy", task: "classification", title: called("accuracy"),
		output: classScores, labels: classLabels, score: bestClass, exact: true, confidence: topScore, agree: sameClass,
		statistics: []statistic{macroF1, auc, ece},
	},
	{
		name: "top_k", task: "classification", title: func(m Metric) string { return fmt.Sprintf("top-%d accuracy", m.k) },
		params: []Param{paramK},
		output: classScores, labels: classLabels, score: amongBest, confidence: topScore, agree: sameBest,
		statistics: []statistic{macroF1, auc, ece},
	},
	{
		name: "binary", task: "classification", title: called("binary accuracy"),
		params: []Param{paramThreshold, paramValues},
		output: oneNumber, labels: binaryLabels, score: overThreshold, confidence: distance, agree: sameBit,
		statistics: []statistic{macroF1, auc, ece},
	},
	{
		name: "sign", task: "regression", title: called("sign accuracy"),
		output: anyNumbers, labels: realLabels, score: eachNumber(sameSign), confidence: magnitude, agree: sameSigns,
		statistics: []statistic{mae, pearson},
	},
	{
		name: "within", task: "regression", title: func(m Metric) string { return fmt.Sprintf("score: within %v", m.tolerance) },
		params: []Param{paramTolerance},
		output: anyNumbers, labels: realLabels, score: eachNumber(nearEnough),
		statistics: []statistic{mae, pearson},
	},
	{
		name: "bounded_error", task: "regression", title: func(m Metric) string { return fmt.Sprintf("score: bounded error (scale %v)", m.scale) },
		params: []Param{paramScale},
		output: anyNumbers, labels: realLabels, score: eachNumber(boundedError), agree: smallErrors,
		statistics: []statistic{mae, pearson},
	},
	{
		name: "multilabel", task: "multilabel", title: multilabelTitle,
		params: []Param{paramThreshold, paramValues, paramScore},
		output: labelScores, labels: multiHot, score: labelsRight, confidence: distance, agree: sameLabels,
		statistics: []statistic{macroF1, auc, ece},
	},
	{
		name: "token_accuracy", task: "token_classification", title: called("token accuracy"),
		params: []Param{paramPadding},
		output: tokenScores, labels: tokenLabels, score: tokensRight, agree: sameOfTokens,
		statistics: []statistic{macroF1},
	},
	{
		name: "retrieval", task: "retrieval", title: called("retrieval accuracy"),
		output: embedding, labels: identities, score: nearest, exact: true,
		statistics: []statistic{macroF1},
	},
	{name: "external", title: called("external score")},
}

func called(title string) func(Metric) string { return func(Metric) string { return title } }

func multilabelTitle(m Metric) string {
	if m.f1 {
		return "sample F1"
	}
	return "label accuracy"
}

// Param is a parameter of a metric, with its key in mosel.yaml. It is a number, or one
// of a few words: then the number is the word's index in the list.
type Param struct {
	Key       string
	Required  bool
	Words     []string
	Whole     bool
	Low, High float64
	set       func(*Metric, float64)
}

// Set sets the parameter.
func (p Param) Set(m *Metric, v float64) { p.set(m, v) }

// paddingDefault is the label that PyTorch's losses ignore by default.
const paddingDefault = -100

// The lowest tolerance or scale, and the highest of any number: beyond these, a 32-bit
// number is 0 or infinite.
const (
	smallest = 1e-9
	largest  = 1e30
)

// The parameters.
var (
	paramK = Param{Key: "k", Required: true, Whole: true, Low: 1, High: 65536,
		set: func(m *Metric, v float64) { m.k = int(v) }}
	paramThreshold = Param{Key: "threshold", Low: -largest, High: largest,
		set: func(m *Metric, v float64) { m.threshold, m.given = v, true }}
	paramValues = Param{Key: "values", Words: []string{"probability", "logit"},
		set: func(m *Metric, v float64) { m.logits = v == 1 }}
	paramTolerance = Param{Key: "tolerance", Required: true, Low: smallest, High: largest,
		set: func(m *Metric, v float64) { m.tolerance = v }}
	paramScale = Param{Key: "scale", Required: true, Low: smallest, High: largest,
		set: func(m *Metric, v float64) { m.scale = v }}
	paramScore = Param{Key: "score", Words: []string{"share", "f1"},
		set: func(m *Metric, v float64) { m.f1 = v == 1 }}
	paramPadding = Param{Key: "padding", Whole: true, Low: math.MinInt32, High: math.MaxInt32,
		set: func(m *Metric, v float64) { m.padding = int(v) }}
)

// output is a metric's requirement on the first output, without its batch dimension.
type output struct {
	want       string // in words
	fits       func(shape []int64) bool
	classes    func(shape []int64) int // nil: it has none
	classesMin int
}

// The forms of outputs.
var (
	classScores = &output{want: "[classes] with a score for every class (further dimensions may be 1)",
		fits: oneList, classes: count, classesMin: 2}
	oneNumber = &output{want: "[] or [1]: one number",
		fits:    func(s []int64) bool { return fixed(s) && count(s) == 1 },
		classes: func([]int64) int { return 2 }, classesMin: 2}
	anyNumbers  = &output{want: "of fixed size, such as [1]", fits: fixed}
	labelScores = &output{want: "[labels] with a number for every label (further dimensions may be 1)",
		fits: oneList, classes: count, classesMin: 2}
	tokenScores = &output{want: "[tokens, classes] with a score of every class for every token",
		fits:    func(s []int64) bool { return len(s) == 2 && s[1] > 0 },
		classes: func(s []int64) int { return lastOf(s) }, classesMin: 2}
	embedding = &output{want: "[dimensions]: the embedding, of fixed size (further dimensions may be 1)",
		fits: func(s []int64) bool { return fixed(s) && oneList(s) }}
)

// fixed reports whether no size varies.
func fixed(s []int64) bool {
	for _, d := range s {
		if d < 1 {
			return false
		}
	}
	return true
}

// oneList reports whether a shape is a list: at most one dimension is above 1. A single
// dimension may have any size here; a size that varies is checked separately.
func oneList(s []int64) bool {
	if len(s) == 1 {
		return true
	}
	large := 0
	for _, d := range s {
		if d > 1 {
			large++
		}
	}
	return fixed(s) && large == 1
}

func count(s []int64) int {
	n := int64(1)
	for _, d := range s {
		n *= d
	}
	return int(n)
}

func lastOf(s []int64) int {
	if len(s) == 0 {
		return 0
	}
	return int(s[len(s)-1])
}
