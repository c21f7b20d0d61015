package main

import (
	"fmt"
	"strconv"

	"github.com/mosel-serve/mosel/internal/slo"
)

// accuracyFlag is a flag that takes an accuracy between 0 and 1.
type accuracyFlag struct{ slo.Accuracy }

// Set implements pflag.Value.
func (a *accuracyFlag) Set(text string) (err error) {
	a.Accuracy, err = slo.ParseAccuracy(text)
	return err
}

// Type implements pflag.Value.
func (*accuracyFlag) Type() string { return "share" }

// confidenceFlag reads how sure it must be that a floor is kept, as requests do.
type confidenceFlag struct{ slo.Confidence }

// Set reads 0, or a number below 1.
func (f *confidenceFlag) Set(text string) error {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("%q is not a number between 0 and 1, such as 0.95", text)
	}
	if x == 0 {
		f.Confidence = 0
		return nil
	}
	f.Confidence, err = slo.ConfidenceOf(x)
	return err
}

// String returns the level.
func (f *confidenceFlag) String() string { return strconv.FormatFloat(f.Float(), 'g', -1, 64) }

// Type names the value in help.
func (f *confidenceFlag) Type() string { return "share" }
