package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/plot"
	"github.com/mosel-serve/mosel/internal/slo"
)

// profileTable formats a profile as a table.
func profileTable(m *modelpkg.Model, p *modelpkg.Profile) (string, error) {
	frontier, err := frontierOf(m, p)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s on %s (%s), threads: %d, %s %s, %s\n", p.Model, p.ModelVersion, p.Device, p.DeviceDetail, p.Threads,
		p.Runtime, p.RuntimeVersion, p.Created.Format("2006-01-02"))
	fmt.Fprintf(&b, "%s; brackets are 95 %% intervals; \"at %v\" is the lower bound that certified floors use; times are medians; * is on the frontier\n\n",
		measuredOn(p), slo.ConfidenceShown.Float())
	for _, v := range p.Variants {
		if v.AccuracyOf != "" {
			fmt.Fprintf(&b, "too few labels: the accuracy of %s is that on %d samples of %s\n\n", v.Name, v.Accuracy.Samples, v.AccuracyOf)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Lengths)) {
		fmt.Fprintf(&b, "times were measured with %s of size %d\n\n", name, p.Lengths[name])
	}
	columns := shownBatches(p)
	rows := [][]string{{"", "variant", "modalities", "precision"}}
	for i, v := range p.Variants {
		mark := " "
		if frontier[i].shown {
			mark = "*"
		}
		rows = append(rows, []string{mark, v.Name, strings.Join(v.Modalities, "+") + recovering(m, i), v.Precision})
	}
	lines := padded(rows)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s\t%s\tat %v\t", lines[0], m.Scoring.Title(), slo.ConfidenceShown.Float())
	for i, items := range columns {
		if i == 0 {
			fmt.Fprintf(w, "ms/item, batch %d\t", items)
			continue
		}
		fmt.Fprintf(w, "batch %d\t", items)
	}
	fmt.Fprintln(w, "items/s\tmemory\t")
	for i, v := range p.Variants {
		a := v.Accuracy
		fmt.Fprintf(w, "%s\t%.4f [%.4f, %.4f]\t%s\t", lines[i+1], a.Mean, a.Low, a.High, certified(a, p.VariantBounds(m)))
		for _, items := range columns {
			fmt.Fprintf(w, "%s\t", perItem(v.Batches, items))
		}
		fmt.Fprintf(w, "%.0f\t%s\t\n", 1000/frontier[i].msPerItem, memory(v.Batches[len(v.Batches)-1].MemoryBytes))
	}
	if err := w.Flush(); err != nil {
		return "", err
	}
	if err := writeStages(&b, p); err != nil {
		return "", err
	}
	if err := writeCascades(&b, m, p); err != nil {
		return "", err
	}
	if err := writeAgreement(&b, p); err != nil {
		return "", err
	}
	err = writeStatistics(&b, p)
	return b.String(), err
}

// measuredOn says on what the accuracies were measured.
func measuredOn(p *modelpkg.Profile) string {
	if p.Feedback == nil {
		return fmt.Sprintf("%d samples of %s", p.Variants[0].Accuracy.Samples, p.Dataset)
	}
	const minute = "2006-01-02 15:04"
	var parts []string
	for _, v := range p.Variants {
		if v.AccuracyOf == "" {
			parts = append(parts, fmt.Sprintf("%s %d", v.Name, v.Accuracy.Samples))
		}
	}
	return fmt.Sprintf("accuracies are of labelled answers of a server, sampled at random (%s), %s to %s UTC", strings.Join(parts, ", "), p.Feedback.First.Format(minute), p.Feedback.Last.Format(minute))
}

// certified is the lower bound of an accuracy at ConfidenceShown.
func certified(a modelpkg.AccuracyMean, variants int) string {
	low := a.Bounds(variants)[slo.ConfidenceShown-1]
	if low == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4f", low.Float())
}

// writeStatistics tells the numbers of the whole set that are no floor, if there are any.
func writeStatistics(b *strings.Builder, p *modelpkg.Profile) error {
	known := map[string]bool{}
	for _, v := range p.Variants {
		for name := range v.Statistics {
			known[name] = true
		}
	}
	if len(known) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(known))
	fmt.Fprintln(b, "\nof the whole set, and no floor:")
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "variant\t%s\t\n", strings.Join(names, "\t"))
	for _, v := range p.Declared() {
		fmt.Fprintf(w, "%s\t", v.Name)
		for _, name := range names {
			cell := "-"
			if value, ok := v.Statistics[name]; ok {
				cell = fmt.Sprintf("%.4f", value)
			}
			fmt.Fprintf(w, "%s\t", cell)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// choice is what the planner computes of a variant.
type choice struct {
	msPerItem float64 // at its best batch size
	shown     bool    // on the frontier
}

func frontierOf(m *modelpkg.Model, p *modelpkg.Profile) ([]choice, error) {
	planner, err := plan.FromProfile(m, p)
	if err != nil {
		return nil, err
	}
	choices := make([]choice, len(p.Variants))
	for i, v := range planner.Variants()[:len(p.Variants)] { // without those that only gates lead to
		choices[i].msPerItem = v.Curve.PerItem() / 1e6
		alike := planner.Runnable(slo.Carried{Present: 1<<slo.ModalitiesMax - 1, Sizes: planner.SizesOf(i)}) // of those for items of the same sizes
		choices[i].shown = slices.ContainsFunc(planner.Frontier(alike), func(p plan.FrontierPoint) bool { return p.Route == i })
	}
	return choices, nil
}

// shownBatches picks up to three batch sizes: 1, the largest up to 8, the largest.
func shownBatches(p *modelpkg.Profile) []int {
	batches := p.Variants[0].Batches
	middle := 1
	for _, b := range batches {
		if b.Items <= 8 {
			middle = b.Items
		}
	}
	return slices.Compact([]int{1, middle, batches[len(batches)-1].Items})
}

func perItem(batches []modelpkg.BatchProfile, items int) string {
	for _, b := range batches {
		if b.Items == items {
			return fmt.Sprintf("%.3f", b.P50MS/float64(items))
		}
	}
	return "-"
}

func memory(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20))
}

// padded joins the cells of each row; every column is as wide as its widest cell.
func padded(rows [][]string) []string {
	lines := make([]string, len(rows))
	for column := range rows[0] {
		width := 0
		for _, r := range rows {
			width = max(width, len(r[column]))
		}
		for i, r := range rows {
			lines[i] += fmt.Sprintf("%-*s ", width+1, r[column])
		}
	}
	return lines
}

// drawProfile draws the mean score against time per item.
func drawProfile(m *modelpkg.Model, p *modelpkg.Profile, file string) error {
	choices, err := frontierOf(m, p)
	if err != nil {
		return err
	}
	chart := plot.Tradeoff{Axes: plot.Axes{
		Title:  fmt.Sprintf("%s on %s", p.Model, p.Device),
		X:      fmt.Sprintf("time per item at the best batch size (ms, threads: %d)", p.Threads),
		Y:      m.Scoring.Title() + ", 95 % interval",
		LogX:   true,
		YShare: true,
	}, Bounds: fmt.Sprintf("at least, at a confidence of %v", slo.ConfidenceShown.Float())}
	for i, v := range p.Variants {
		a := v.Accuracy
		chart.Points = append(chart.Points, plot.Point{
			Name: v.Name, X: choices[i].msPerItem, Y: a.Mean, Low: a.Low, High: a.High, Frontier: choices[i].shown,
			Bound: a.Bounds(p.VariantBounds(m))[slo.ConfidenceShown-1].Float(),
		})
	}
	points, err := cascadePoints(m, p)
	if err != nil {
		return err
	}
	chart.Points = append(chart.Points, points...)
	return chart.Save(file)
}

// recovering says how many modalities a variant recovers; "" if it recovers none.
func recovering(m *modelpkg.Model, variant int) string {
	if n := m.Variants[variant].Recovers.Len(); n > 0 {
		return fmt.Sprintf(", recovers %d", n)
	}
	return ""
}
