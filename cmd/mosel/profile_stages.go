package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/mosel-serve/mosel/internal/modelpkg"
)

// writeStages prints the times of the stages, and which variants' times are sums over
// them. It prints nothing if no stage was measured alone.
func writeStages(out io.Writer, p *modelpkg.Profile) error {
	if len(p.Stages) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "stage\t")
	for i, items := range shownBatches(p) {
		if i == 0 {
			fmt.Fprint(w, "ms/item, ")
		}
		fmt.Fprintf(w, "batch %d\t", items)
	}
	fmt.Fprintln(w)
	for _, s := range p.Stages {
		fmt.Fprintf(w, "%s\t", s.Name)
		for _, items := range shownBatches(p) {
			fmt.Fprintf(w, "%s\t", perItem(s.Batches, items))
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var sums, whole []string
	for _, v := range p.Variants {
		if v.Sum == nil {
			continue
		}
		text := fmt.Sprintf("%s (%+.1f %%)", v.Name, 100*v.Sum.Off)
		if v.Sum.Used {
			sums = append(sums, text)
		} else {
			whole = append(whole, text)
		}
	}
	if sums != nil {
		fmt.Fprintf(out, "times that are sums of stages, and how much these differ from the whole variant: %s\n", strings.Join(sums, ", "))
	}
	if whole != nil {
		fmt.Fprintf(out, "measured whole, because the sum of the stages differs too much: %s\n", strings.Join(whole, ", "))
	}
	return nil
}
