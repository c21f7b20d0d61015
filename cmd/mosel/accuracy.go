package main

import "github.com/mosel-serve/mosel/internal/slo"

// accuracyFlag is a flag that takes an accuracy between 0 and 1.
type accuracyFlag struct{ slo.Accuracy }

// Set implements pflag.Value.
func (a *accuracyFlag) Set(text string) (err error) {
	a.Accuracy, err = slo.ParseAccuracy(text)
	return err
}

// Type implements pflag.Value.
func (*accuracyFlag) Type() string { return "share" }
