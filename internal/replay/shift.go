package replay

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// ShiftKind is a way in which the data that is sent differs from the held-out set.
type ShiftKind string

// The kinds of shifts.
const (
	ShiftInvert ShiftKind = "invert" // every number of an input is mirrored: dark is light
	ShiftGain   ShiftKind = "gain"   // every number of an input is multiplied
	ShiftNoise  ShiftKind = "noise"  // normal noise is added to an input
	ShiftEmpty  ShiftKind = "empty"  // an input is blank, zero or silent in a share of the items
	ShiftSwap   ShiftKind = "swap"   // an input is that of another sample
	ShiftLabels ShiftKind = "labels" // a share of the items is of few classes
)

// Shift is one change of the data.
type Shift struct {
	Kind    ShiftKind
	Input   string   // an input, or a modality that has one; "" for ShiftLabels
	Amount  float64  // the factor of ShiftGain; the level of ShiftNoise, a share of full scale; the share of items of ShiftEmpty and ShiftLabels
	Classes []string // of ShiftLabels
}

// gainMax bounds the factor of a gain: more than the range of 16 bits.
const gainMax = 100_000

// shiftForm is how a person writes a kind.
type shiftForm struct {
	kind  ShiftKind
	parts int // separated by colons
	form  string
}

var shiftForms = []shiftForm{
	{ShiftInvert, 2, "invert:INPUT"},
	{ShiftGain, 3, "gain:INPUT:FACTOR"},
	{ShiftNoise, 3, "noise:INPUT:LEVEL"},
	{ShiftEmpty, 3, "empty:INPUT:SHARE"},
	{ShiftSwap, 2, "swap:INPUT"},
	{ShiftLabels, 3, "labels:CLASS,CLASS,...:SHARE"},
}

// ShiftForms lists the forms that ParseShift reads.
func ShiftForms() string {
	forms := make([]string, len(shiftForms))
	for i, f := range shiftForms {
		forms[i] = f.form
	}
	return strings.Join(forms, ", ")
}

// ParseShift parses a shift such as "gain:audio:0.1".
func ParseShift(text string) (Shift, error) {
	parts := strings.Split(text, ":")
	at := slices.IndexFunc(shiftForms, func(f shiftForm) bool { return string(f.kind) == parts[0] })
	if at < 0 {
		return Shift{}, fmt.Errorf("there is no shift %q; the shifts are %s", parts[0], ShiftForms())
	}
	form := shiftForms[at]
	if len(parts) != form.parts || slices.Contains(parts, "") {
		return Shift{}, fmt.Errorf("%q does not have the form %s", text, form.form)
	}
	s := Shift{Kind: form.kind, Input: parts[1]}
	var err error
	switch s.Kind {
	case ShiftGain:
		s.Amount, err = factor(parts[2])
	case ShiftNoise, ShiftEmpty:
		s.Amount, err = share(parts[2])
	case ShiftLabels:
		s.Input, s.Classes = "", strings.Split(parts[1], ",")
		s.Amount, err = share(parts[2])
	case ShiftInvert, ShiftSwap:
	}
	if err != nil {
		return Shift{}, fmt.Errorf("%s: %w", text, err)
	}
	return s, nil
}

// String returns the form that ParseShift reads.
func (s Shift) String() string {
	amount := strconv.FormatFloat(s.Amount, 'g', -1, 64)
	switch s.Kind {
	case ShiftLabels:
		return string(s.Kind) + ":" + strings.Join(s.Classes, ",") + ":" + amount
	case ShiftInvert, ShiftSwap:
		return string(s.Kind) + ":" + s.Input
	default:
		return string(s.Kind) + ":" + s.Input + ":" + amount
	}
}

// share parses a share above 0, as "0.3" or "30%".
func share(text string) (float64, error) {
	digits, isPercent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if isPercent {
		v /= 100
	}
	if err != nil || !(v > 0 && v <= 1) {
		return 0, fmt.Errorf("%q is not a share between 0 and 1, such as 0.3 or 30%%", text)
	}
	return v, nil
}

// factor parses the factor of a gain.
func factor(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v <= gainMax) {
		return 0, fmt.Errorf("%q is not a factor between 0 and %d, such as 0.1", text, gainMax)
	}
	return v, nil
}

// input finds the input that a shift names, itself or by its modality.
func (s Shift) input(m *modelpkg.Model) (int, error) {
	at := slices.IndexFunc(m.Inputs, func(in modelpkg.Input) bool { return in.Name == s.Input })
	if at < 0 {
		if mod := slices.IndexFunc(m.Modalities, func(mod modelpkg.Modality) bool { return mod.Name == s.Input }); mod >= 0 {
			own := ownInputs(m, m.Modalities[mod].Inputs)
			if len(own) != 1 {
				return 0, fmt.Errorf("the modality %s has the inputs %s; name one", s.Input, strings.Join(inputNames(m, own), ", "))
			}
			at = own[0]
		}
	}
	if at < 0 {
		return 0, fmt.Errorf("the model %s has no input %q; its inputs are %s", m.Name, s.Input, strings.Join(inputNames(m, ownInputs(m, nil)), ", "))
	}
	if !slices.Contains(ownInputs(m, nil), at) {
		return 0, fmt.Errorf("%s belongs to another input; the inputs are %s", s.Input, strings.Join(inputNames(m, ownInputs(m, nil)), ", "))
	}
	switch s.Kind {
	case ShiftInvert, ShiftGain, ShiftNoise:
		return at, s.amounts(m, at)
	default:
		return at, nil
	}
}

// amounts returns an error if an input's numbers are not amounts, which may be
// multiplied or mirrored.
func (s Shift) amounts(m *modelpkg.Model, at int) error {
	if isAmount(m.Inputs[at]) {
		return nil
	}
	able := slices.DeleteFunc(ownInputs(m, nil), func(i int) bool { return !isAmount(m.Inputs[i]) })
	say := "no input of the model has amounts"
	if len(able) > 0 {
		say = string(s.Kind) + " is for " + strings.Join(inputNames(m, able), ", ")
	}
	what := "is " + m.Inputs[at].DType.String()
	if isText(m.Inputs[at]) {
		what = "holds text"
	}
	return fmt.Errorf("%s %s, not amounts such as loudness or brightness: %s; for %s use empty or swap", s.Input, what, say, s.Input)
}

func isText(in modelpkg.Input) bool {
	return in.Media == modelpkg.MediaText || in.Tokens != nil || in.DType == tensor.Bytes || in.Absent.Kind == modelpkg.AbsentBlank
}

func isAmount(in modelpkg.Input) bool {
	return !isText(in) && in.DType != tensor.Bool
}

// ownInputs are those of the inputs (nil: of all) that a sample has on its own account:
// not a mask and the like, and not a setting for a whole batch.
func ownInputs(m *modelpkg.Model, of []int) []int {
	var own []int
	for i, in := range m.Inputs {
		if (of == nil || slices.Contains(of, i)) && !in.Unbatched && !isBeside(m, i) {
			own = append(own, i)
		}
	}
	return own
}

// isBeside reports whether an input is filled beside another one.
func isBeside(m *modelpkg.Model, input int) bool {
	return m.IsBeside(input) || slices.ContainsFunc(m.Inputs, func(in modelpkg.Input) bool {
		return in.Tokens != nil && (in.Tokens.Mask == input || in.Tokens.Types == input)
	})
}

func inputNames(m *modelpkg.Model, of []int) []string {
	names := make([]string, len(of))
	for i, k := range of {
		names[i] = m.Inputs[k].Name
	}
	return names
}
