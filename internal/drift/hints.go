package drift

import (
	"fmt"
	"math"

	"github.com/mosel-serve/mosel/internal/slo"
)

// A hint is told if what is served differs from the profile by at least hintErrors
// standard errors, so that it is not by chance, and by so much that a person wants to know.
const (
	hintErrors     = 5
	predictionsMin = 0.05 // total variation: the share of answers that would have to change class
	confidenceMin  = 0.01
	absentMin      = 0.05
	levelMin       = 0.5 // standard deviations of one sample
	blankMin       = 0.05
)

// hintItems is the number of items in a half of the window that hints look at, and
// hintItemsMin the least number that any hint is told about.
const (
	hintItems    = 1000
	hintItemsMin = 200
)

// Usual is what a profile says of answers and inputs.
type Usual struct {
	Classes    []string // names; nil: none
	Variants   []UsualAnswers
	Modalities []UsualPresence // in the model's order
	Inputs     []UsualInput    // in the model's order; nil: not known
	Samples    int             // that the profile is of
}

// UsualAnswers is what a profile says of a variant's answers.
type UsualAnswers struct {
	Name       string
	Confidence float64 // their mean; NaN: not known
	Predicted  []int   // answers by class; nil: not known
	Primaries  []int   // answers by primary modality; nil: not known
}

// UsualPresence is what a profile says of where a modality is there.
type UsualPresence struct {
	Name   string
	Absent float64 // the share of items without it
}

// UsualInput is what a profile says of the samples of an input.
type UsualInput struct {
	Name      string
	Level     float64 // their mean level
	Deviation float64 // the standard deviation of the level
	Blank     float64 // the share of blank ones
}

// Hints compares the answers and inputs that are served with those of the profile. They
// are signs that the data have changed, not proofs: other inputs may be as easy, and
// answers that look as usual may be wrong.
type Hints struct {
	usual    Usual
	variants []answers
	inputs   halves
	absent   [slo.ModalitiesMax][2]int // by half
	levels   []levels                  // by input
}

// levels are those of an input's samples, by half.
type levels struct {
	seen         halves
	sum, squares [2]float64
	blank        [2]float64
}

// halves counts items in the two halves of a window. When the newer half is full, the older
// one is forgotten.
type halves struct {
	n     [2]int
	newer int
}

// add counts an item. It reports whether it is the first of a half, which is to be cleared.
func (h *halves) add() (half int, first bool) {
	if first = h.n[h.newer] == hintItems; first {
		h.newer = 1 - h.newer
		h.n[h.newer] = 0
	}
	h.n[h.newer]++
	return h.newer, first
}

func (h *halves) items() float64 { return float64(h.n[0] + h.n[1]) }

// answers are those of one variant.
type answers struct {
	predicted halves
	classes   [2][]int // by half
	weighed   halves
	primaries [2][]int // by half
	sure      halves
	sum       [2]float64
	squares   [2]float64
}

// NewHints returns hints that have seen nothing.
func NewHints(usual Usual) *Hints {
	h := &Hints{usual: usual, variants: make([]answers, len(usual.Variants)), levels: make([]levels, len(usual.Inputs))}
	for i, v := range usual.Variants {
		for half := range 2 {
			h.variants[i].classes[half] = make([]int, len(v.Predicted))
			h.variants[i].primaries[half] = make([]int, len(v.Primaries))
		}
	}
	return h
}

// Answer observes an answer of a variant: its class, or -1, and its certainty, or NaN.
func (h *Hints) Answer(variant, class int, certainty float64) {
	if variant < 0 || variant >= len(h.variants) {
		return
	}
	a := &h.variants[variant]
	if class >= 0 && class < len(a.classes[0]) {
		half, first := a.predicted.add()
		if first {
			clear(a.classes[half])
		}
		a.classes[half][class]++
	}
	if certainty >= 0 && certainty <= 1 {
		half, first := a.sure.add()
		if first {
			a.sum[half], a.squares[half] = 0, 0
		}
		a.sum[half] += certainty
		a.squares[half] += certainty * certainty
	}
}

// Primary observes the modality that an answer of a variant depended on most, or -1.
func (h *Hints) Primary(variant, modality int) {
	if variant < 0 || variant >= len(h.variants) || modality < 0 || modality >= len(h.variants[variant].primaries[0]) {
		return
	}
	a := &h.variants[variant]
	half, first := a.weighed.add()
	if first {
		clear(a.primaries[half])
	}
	a.primaries[half][modality]++
}

// Item observes which modalities an item has.
func (h *Hints) Item(present slo.Modalities) {
	half, first := h.inputs.add()
	for i := range h.usual.Modalities {
		if first {
			h.absent[i][half] = 0
		}
		if !present.Has(1 << i) {
			h.absent[i][half]++
		}
	}
}

// Input observes a sample of an input: its level, and whether it is blank.
func (h *Hints) Input(input int, level float64, blank bool) {
	if input < 0 || input >= len(h.levels) || math.IsNaN(level) || math.IsInf(level, 0) {
		return
	}
	l := &h.levels[input]
	half, first := l.seen.add()
	if first {
		l.sum[half], l.squares[half], l.blank[half] = 0, 0, 0
	}
	l.sum[half] += level
	l.squares[half] += level * level
	if blank {
		l.blank[half]++
	}
}

// Hint is something that differs from the profile.
type Hint struct {
	Kind    HintKind
	Of      string  // the variant or the modality
	Live    float64 // a mean confidence or a share
	Profile float64 // the same in the profile
	Items   int     // that Live is of
	Text    string  // all of it in a sentence
}

// HintKind is what a hint is about.
type HintKind string

// The kinds of hints.
const (
	HintPredictions HintKind = "predictions" // Live is the share of the class that differs most
	HintConfidence  HintKind = "confidence"
	HintInputs      HintKind = "inputs"    // Live is the share of items without the modality
	HintLevels      HintKind = "levels"    // Live is the mean level of the input
	HintBlanks      HintKind = "blanks"    // Live is the share of blank samples of the input
	HintPrimaries   HintKind = "primaries" // Live is the share of the modality that differs most
)

// State returns what differs now.
func (h *Hints) State() []Hint {
	var list []Hint
	for i := range h.usual.Modalities {
		list = h.appendInputs(list, i)
	}
	for i := range h.usual.Inputs {
		list = h.appendLevels(list, i)
	}
	for i := range h.usual.Variants {
		list = h.appendPrimaries(h.appendConfidence(h.appendPredictions(list, i), i), i)
	}
	return list
}

func (h *Hints) appendInputs(list []Hint, modality int) []Hint {
	u, n := h.usual.Modalities[modality], h.inputs.items()
	share := float64(h.absent[modality][0]+h.absent[modality][1]) / n
	if !h.sharesDiffer(n, share, u.Absent, absentMin) {
		return list
	}
	return append(list, Hint{Kind: HintInputs, Of: u.Name, Live: share, Profile: u.Absent, Items: int(n),
		Text: fmt.Sprintf("inputs: %s is absent in %s of items, %s in the profile", u.Name, percent(share), percent(u.Absent))})
}

func (h *Hints) appendLevels(list []Hint, input int) []Hint {
	u, l := h.usual.Inputs[input], &h.levels[input]
	n := l.seen.items()
	if blank := (l.blank[0] + l.blank[1]) / n; h.sharesDiffer(n, blank, u.Blank, blankMin) {
		list = append(list, Hint{Kind: HintBlanks, Of: u.Name, Live: blank, Profile: u.Blank, Items: int(n),
			Text: fmt.Sprintf("inputs: %s is blank in %s of the items that have it, %s in the profile", u.Name, percent(blank), percent(u.Blank))})
	}
	mean := (l.sum[0] + l.sum[1]) / n
	variance := (l.squares[0]+l.squares[1])/n - mean*mean
	if !h.differs(n, mean-u.Level, levelMin*u.Deviation, max(variance, u.Deviation*u.Deviation)) {
		return list
	}
	return append(list, Hint{Kind: HintLevels, Of: u.Name, Live: mean, Profile: u.Level, Items: int(n),
		Text: fmt.Sprintf("inputs: the mean level of %s is %.3g, %.3g in the profile", u.Name, mean, u.Level)})
}

// sharesDiffer reports whether a share of n items differs from the profile's.
func (h *Hints) sharesDiffer(n, share, usual, least float64) bool {
	samples := float64(h.usual.Samples)
	both := (share*n + usual*samples) / (n + samples)
	return h.differs(n, share-usual, least, both*(1-both))
}

func (h *Hints) appendConfidence(list []Hint, variant int) []Hint {
	u, a := h.usual.Variants[variant], &h.variants[variant]
	n := a.sure.items()
	mean := (a.sum[0] + a.sum[1]) / n
	variance := (a.squares[0]+a.squares[1])/n - mean*mean
	if !h.differs(n, mean-u.Confidence, confidenceMin, variance) {
		return list
	}
	return append(list, Hint{Kind: HintConfidence, Of: u.Name, Live: mean, Profile: u.Confidence, Items: int(n),
		Text: fmt.Sprintf("confidence: answers of %s are %s sure on average, %s in the profile", u.Name, percent(mean), percent(u.Confidence))})
}

// differs reports whether a mean of n items differs from the profile's, given the variance
// of one item.
func (h *Hints) differs(n, difference, least, variance float64) bool {
	if n < hintItemsMin || !(math.Abs(difference) >= least) {
		return false
	}
	err := math.Sqrt(max(0, variance) * (1/n + 1/float64(max(1, h.usual.Samples))))
	return math.Abs(difference) >= hintErrors*err
}

func (h *Hints) appendPredictions(list []Hint, variant int) []Hint {
	u, a := h.usual.Variants[variant], &h.variants[variant]
	d, differs := compareCounts(u.Predicted, a.classes, a.predicted.items())
	if !differs {
		return list
	}
	return append(list, Hint{Kind: HintPredictions, Of: u.Name, Live: d.live, Profile: d.profile, Items: int(a.predicted.items()),
		Text: fmt.Sprintf("predictions: %s is %s of the answers of %s, %s in the profile", h.class(d.most), percent(d.live), u.Name, percent(d.profile))})
}

func (h *Hints) appendPrimaries(list []Hint, variant int) []Hint {
	u, a := h.usual.Variants[variant], &h.variants[variant]
	d, differs := compareCounts(u.Primaries, a.primaries, a.weighed.items())
	if !differs {
		return list
	}
	return append(list, Hint{Kind: HintPrimaries, Of: u.Name, Live: d.live, Profile: d.profile, Items: int(a.weighed.items()),
		Text: fmt.Sprintf("primaries: %s decides %s of the answers of %s, %s in the profile", h.usual.Modalities[d.most].Name, percent(d.live), u.Name, percent(d.profile))})
}

// difference is of the kind of answer whose share differs most.
type difference struct {
	most          int
	live, profile float64
}

// compareCounts compares n answers, counted by kind in two halves, with those of the
// profile, by the chi-square test of homogeneity.
func compareCounts(usual []int, counted [2][]int, n float64) (d difference, differs bool) {
	samples := 0.0
	for _, count := range usual {
		samples += float64(count)
	}
	if n < hintItemsMin || samples == 0 {
		return d, false
	}
	chi, kinds, variation := 0.0, 0.0, 0.0
	for kind, expected := range usual {
		got := float64(counted[0][kind] + counted[1][kind])
		if got == 0 && expected == 0 {
			continue
		}
		p, q := got/n, float64(expected)/samples
		kinds++
		chi += n * samples * (p - q) * (p - q) / (got + float64(expected))
		variation += math.Abs(p-q) / 2
		if math.Abs(p-q) > math.Abs(d.live-d.profile) {
			d = difference{kind, p, q}
		}
	}
	return d, variation >= predictionsMin && chiSquareExceeds(chi, kinds-1)
}

// chiSquareExceeds reports whether a chi-square value is hintErrors standard errors above
// its mean, with the approximation of Wilson and Hilferty (1931): its cube root is nearly
// normal.
func chiSquareExceeds(chi, freedom float64) bool {
	if freedom < 1 {
		return false
	}
	err := 2 / (9 * freedom)
	return math.Cbrt(chi/freedom) >= 1-err+hintErrors*math.Sqrt(err)
}

// class returns the name of a class in quotes, or its number.
func (h *Hints) class(i int) string {
	if i < len(h.usual.Classes) {
		return fmt.Sprintf("class %q", h.usual.Classes[i])
	}
	return fmt.Sprintf("class %d", i)
}

// percent prints a share to a tenth of a percent, to whole percents from ten on.
func percent(share float64) string {
	if share > 0 && share < 0.0995 || share > 0.9005 && share < 1 {
		return fmt.Sprintf("%.1f %%", 100*share)
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}
