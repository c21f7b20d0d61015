package score

import (
	"cmp"
	"math"
	"slices"
)

// statistic is a figure of a whole set that a profile reports and that cannot be a
// floor.
type statistic struct {
	name string
	// of computes it; NaN: the answers do not have it.
	of func(evidence) float64
}

// evidence is the input of statistics.
type evidence struct {
	Metric
	classes int // 0: as many as there are labels
	form    *labelForm
	labels  Labels
	answers Answers
}

// Statistics returns figures of the whole set in addition to the mean score: the macro
// F1, the AUC, the mean absolute error (mae), Pearson's correlation and the expected
// calibration error (ece), as far as the metric's task has them. Figures that the
// answers leave undefined, such as the correlation with a constant, are left out.
func (j *Judge) Statistics(labels Labels, answers Answers) map[string]float64 {
	e := j.of()
	if e.labels == nil || !e.labels.one && answers.Values == nil {
		return nil
	}
	found := map[string]float64{}
	for _, s := range e.statistics {
		v := s.of(evidence{j.Metric, j.classes, e.labels, labels, answers})
		if isFinite(v) {
			found[s.name] = math.Round(v*1e6) / 1e6
		}
	}
	return found
}

// The statistics.
var (
	macroF1 = statistic{"macro_f1", meanF1}
	auc     = statistic{"auc", areaUnderROC}
	ece     = statistic{"ece", calibration}
	mae     = statistic{"mae", meanAbsoluteError}
	pearson = statistic{"pearson", correlation}
)

// tallies are the counts for an F1.
type tallies struct{ found, predicted, wanted int }

// meanF1 returns the mean F1 over every class or label that is wanted or predicted at
// least once.
func meanF1(e evidence) float64 {
	of := map[int]*tallies{}
	at := func(class int) *tallies {
		if of[class] == nil {
			of[class] = &tallies{}
		}
		return of[class]
	}
	count := func(predicted, wanted int) {
		at(predicted).predicted++
		at(wanted).wanted++
		if predicted == wanted {
			at(wanted).found++
		}
	}
	switch {
	case e.form.one:
		for i, p := range e.answers.Predicted {
			count(p, e.labels.Class(i))
		}
	case e.form.padded:
		for i, v := range e.answers.Values {
			if label := int(e.labels.Values[i]); label != e.padding {
				count(int(v), label)
			}
		}
	case e.labels.Width == 1:
		for i, v := range e.answers.Values {
			count(int(one(v >= e.limit())), e.labels.Class(i))
		}
	default: // several labels: each has its own F1
		for i, v := range e.answers.Values {
			t := at(i % e.labels.Width)
			is, should := v >= e.limit(), e.labels.Values[i] == 1
			t.predicted += int(one(is))
			t.wanted += int(one(should))
			t.found += int(one(is && should))
		}
	}
	return meanOf(of)
}

func meanOf(of map[int]*tallies) float64 {
	right, classes := []float64{}, 0
	for _, t := range of {
		if t.predicted+t.wanted > 0 {
			classes++
			right = append(right, 2*float64(t.found)/float64(t.predicted+t.wanted))
		}
	}
	slices.Sort(right) // a map's order would change the last digit
	sum := 0.0
	for _, f1 := range right {
		sum += f1
	}
	return sum / float64(classes)
}

// areaUnderROC returns the probability that a sample with label 1 has a higher value
// than one with label 0, where equal values count half. With several labels it is the
// mean over those that occur, and are missing, at least once. With classes it is
// defined only for two.
func areaUnderROC(e evidence) float64 {
	if e.form.one {
		values, ok := secondClass(e)
		if !ok {
			return math.NaN()
		}
		return rankArea(values, e.labels.Values, 1, 0)
	}
	sum, labels := 0.0, 0
	for label := range e.labels.Width {
		if area := rankArea(e.answers.Values, e.labels.Values, e.labels.Width, label); !math.IsNaN(area) {
			sum += area
			labels++
		}
	}
	return sum / float64(labels)
}

// secondClass returns the probability of class 1 of two. The confidence is that of the
// better class; if it is not a probability, ok is false.
func secondClass(e evidence) (values []float64, ok bool) {
	if e.classes != 2 || !probable(e.answers.Confidence, 0.5) {
		return nil, false
	}
	values = make([]float64, len(e.answers.Predicted))
	for i, p := range e.answers.Predicted {
		if values[i] = float64(e.answers.Confidence[i]); p == 0 {
			values[i] = 1 - values[i]
		}
	}
	return values, true
}

// probable reports whether confidences may be probabilities of at least least.
func probable(confidence []float32, least float64) bool {
	return !slices.ContainsFunc(confidence, func(c float32) bool {
		return !(float64(c) >= least-probabilitySlack && c <= 1+probabilitySlack)
	})
}

// rankArea computes the area from the ranks of the values at a place of each row.
func rankArea(values, labels []float64, width, at int) float64 {
	type ranked struct {
		value float64
		yes   bool
	}
	var all []ranked
	for i := at; i < len(values); i += width {
		all = append(all, ranked{values[i], labels[i] == 1})
	}
	slices.SortFunc(all, func(a, b ranked) int { return cmp.Compare(a.value, b.value) })
	ranks, yes := 0.0, 0.0
	for from := 0; from < len(all); {
		to := from
		for to < len(all) && all[to].value == all[from].value {
			to++
		}
		for _, r := range all[from:to] {
			if r.yes {
				yes++
				ranks += float64(from+to+1) / 2 // ranks from 1; equal values share the mean rank
			}
		}
		from = to
	}
	return (ranks - yes*(yes+1)/2) / (yes * (float64(len(all)) - yes))
}

// bins is the number of ranges of confidence for calibration: 15 of equal width, as in
// Guo et al. (2017).
const bins = 15

// calibration returns the expected calibration error: how far confidences are from the
// share that is right, as the mean over the bins, weighted by samples. For binary and
// multilabel metrics the confidence is the probability of label 1, and "right" means
// that the label is 1.
func calibration(e evidence) float64 {
	var confidence, right [bins]float64
	n := 0
	add := func(p float64, yes bool) {
		bin := max(0, min(bins-1, int(p*bins)))
		confidence[bin] += p
		right[bin] += one(yes)
		n++
	}
	if e.form.one {
		if !probable(e.answers.Confidence, 0) {
			return math.NaN()
		}
		for i, p := range e.answers.Predicted {
			add(float64(e.answers.Confidence[i]), p == e.labels.Class(i))
		}
	} else {
		for i, v := range e.answers.Values {
			add(e.probability(v), e.labels.Values[i] == 1)
		}
	}
	sum := 0.0
	for i := range bins {
		sum += math.Abs(confidence[i] - right[i])
	}
	return sum / float64(n)
}

func meanAbsoluteError(e evidence) float64 {
	sum := 0.0
	for i, v := range e.answers.Values {
		sum += math.Abs(v - e.labels.Values[i])
	}
	return sum / float64(len(e.answers.Values))
}

// correlation returns Pearson's correlation of predictions and labels with one number
// per sample.
func correlation(e evidence) float64 {
	if e.labels.Width != 1 {
		return math.NaN()
	}
	x, y := e.answers.Values, e.labels.Values
	meanX, meanY := mean(x), mean(y)
	xy, xx, yy := 0.0, 0.0, 0.0
	for i := range x {
		dx, dy := x[i]-meanX, y[i]-meanY
		xy += dx * dy
		xx += dx * dx
		yy += dy * dy
	}
	return xy / math.Sqrt(xx*yy)
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
