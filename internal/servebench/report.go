package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// table is what a person reads, and the verdict on the bounds in it.
type table struct {
	out    *tabwriter.Writer
	missed bool
}

func (t *table) row(cells ...string) {
	for _, c := range cells {
		fmt.Fprintf(t.out, "%s\t", c)
	}
	fmt.Fprintln(t.out)
}

// numbers writes a row: one number of every subject, how mosel compares with the
// brief echo server, and the bound on that.
func (t *table) numbers(name, format string, of [subjectsEnd]float64, compared, bound string) {
	t.row(name, fmt.Sprintf(format, of[brief]), fmt.Sprintf(format, of[equal]), fmt.Sprintf(format, of[mosel]), compared, bound)
}

// judge prints a bound and whether it was kept.
func (t *table) judge(bound string, kept bool) string {
	if kept {
		return bound + " ok"
	}
	t.missed = true
	return bound + " MISSED"
}

// print writes the table and reports whether all bounds are kept.
func (r *result) print(out io.Writer) (sound bool) {
	fmt.Fprintf(out, "\n%s: %s\n", r.name, r.about)
	t := table{out: tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)}
	t.row("", r.subjects[brief].name, r.subjects[equal].name, r.subjects[mosel].name, "mosel : brief", "bound")
	of := func(rounds []round, number func(measurement) float64) (all [subjectsEnd]float64) {
		for i := range all {
			all[i] = median(rounds, i, number)
		}
		return all
	}
	for _, callers := range closedCallers {
		rates := of(r.closed[callers], rateOf)
		ratio, bound := rates[mosel]/rates[brief], ""
		if r.ratioMin > 0 {
			bound = t.judge(fmt.Sprintf(">= %.2f", r.ratioMin), ratio >= r.ratioMin)
		}
		t.numbers(fmt.Sprintf("saturated by %d, items/s", callers), "%.0f", rates, fmt.Sprintf("%.2f", ratio), bound)
	}
	saturated := r.closed[slices.Max(closedCallers)]
	cost := of(saturated, processorOf)
	t.numbers("processor, us/item", "%.1f", cost, fmt.Sprintf("%.2f", cost[brief]/cost[mosel]), "")
	objects := of(saturated, allocationsOf)
	t.numbers("allocations/item", "%.1f", objects, fmt.Sprintf("%+.1f", objects[mosel]-objects[brief]), "")
	memory := of(saturated, allocatedOf)
	t.numbers("allocated, bytes/item", "%.0f", memory, fmt.Sprintf("%+.0f", memory[mosel]-memory[brief]), "")
	middle := of(r.open, p50Of)
	t.numbers(fmt.Sprintf("at %.0f/s, 50%% below, ms", r.rate), "%.3f", middle, fmt.Sprintf("%+.3f", middle[mosel]-middle[brief]), "")
	tail, bound := of(r.open, p99Of), ""
	added := tail[mosel] - tail[brief]
	if r.addedMax > 0 {
		bound = t.judge(fmt.Sprintf("<= %.1f ms", r.addedMax), added <= r.addedMax)
	}
	t.numbers(fmt.Sprintf("at %.0f/s, 99%% below, ms", r.rate), "%.3f", tail, fmt.Sprintf("%+.3f", added), bound)
	var whole [subjectsEnd]float64
	for i := range whole {
		whole[i] = together(r.open, i, 0.99)
	}
	t.numbers("  99% of all rounds together, ms", "%.3f", whole, fmt.Sprintf("%+.3f", whole[mosel]-whole[brief]), "")
	ran, waited := of(r.open, processorOf), of(r.open, waitedOf)
	t.numbers("  processor, us/item", "%.1f", ran, "", "")
	t.numbers("  threads waited for a core, us/item", "%.1f", waited, fmt.Sprintf("%+.1f", waited[mosel]-waited[brief]), "")
	_ = t.out.Flush() // to the terminal
	r.warn(out)
	return !t.missed
}

// warn says when other processes kept the machine so busy that the numbers are
// theirs as well.
func (r *result) warn(out io.Writer) {
	worst := 0.0
	for _, rounds := range append([][]round{r.open}, r.closed[closedCallers[0]], r.closed[closedCallers[1]]) {
		for _, x := range rounds {
			worst = max(worst, x.others)
		}
	}
	if worst > othersMax {
		fmt.Fprintf(out, "  Other processes took up to %.0f %% of the machine: on a quiet one the numbers are better.\n", 100*worst)
	}
}
