package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/drift"
)

// shareFlag is a share as a flag: 0.01 or 1%.
type shareFlag float64

// String implements pflag.Value.
func (s *shareFlag) String() string { return strconv.FormatFloat(float64(*s), 'f', -1, 64) }

// Type implements pflag.Value.
func (s *shareFlag) Type() string { return "share" }

// Set implements pflag.Value.
func (s *shareFlag) Set(text string) error {
	number, percent := strings.CutSuffix(text, "%")
	x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		x /= 100
	}
	if err != nil || !(x >= 0 && x <= 1) {
		return fmt.Errorf("%.40q is not a share: use a number between 0 and 1, such as 0.01, or a percentage, such as 1%%", text)
	}
	*s = shareFlag(x)
	return nil
}

// onDriftFlag is the choice of what follows drift.
type onDriftFlag drift.Policy

// String implements pflag.Value.
func (d *onDriftFlag) String() string { return drift.Policy(*d).String() }

// Type implements pflag.Value.
func (d *onDriftFlag) Type() string { return "choice" }

// Set implements pflag.Value.
func (d *onDriftFlag) Set(text string) error {
	choice, err := drift.ParsePolicy(text)
	*d = onDriftFlag(choice)
	return err
}
