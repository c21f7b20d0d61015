package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/mosel-serve/mosel/internal/modelpkg"
)

// writeAgreement tells what drift is noticed by, if the profile has it: how far the answers
// of each variant are those of the most accurate one, and how confident they are.
func writeAgreement(b *strings.Builder, p *modelpkg.Profile) error {
	with := ""
	for _, v := range p.Variants {
		if v.Agreement != nil {
			with = v.Agreement.With
		}
	}
	if with == "" {
		return nil
	}
	fmt.Fprintf(b, "\nwhat drift is noticed by: agreement with %s, its lower bound, and the mean confidence\n", with)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "variant\tagreement\tat least\tconfidence\t")
	for _, v := range p.Declared() {
		agreement, low, confidence := "-", "-", "-"
		if a := v.Agreement; a != nil {
			agreement, low = fmt.Sprintf("%.4f", a.Mean), fmt.Sprintf("%.4f", a.Low)
		}
		if v.Confidence > 0 {
			confidence = fmt.Sprintf("%.4f", v.Confidence)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", v.Name, agreement, low, confidence)
	}
	return w.Flush()
}
