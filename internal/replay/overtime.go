package replay

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/mosel-serve/mosel/internal/plot"
)

// variantsShown bounds the variants that a line of the table names.
const variantsShown = 3

// writeTimelines prints what happened over time, one table for each run.
func (d Document) writeTimelines(w io.Writer) error {
	for _, run := range d.Runs {
		if run.Timeline == nil {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", d.overTime(run))
		if err := run.Timeline.writeTable(w); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}

// overTime is the title of a table.
func (d Document) overTime(run RunOut) string {
	title := "over time"
	if run.Policy != "" {
		title += ", policy " + run.Policy
	}
	if len(d.Workload.Shifts) > 0 {
		title += ": " + strings.Join(d.Workload.Shifts, ", ") + " " + d.Workload.shiftTime()
	}
	return title
}

// shiftTime says when the shifts hold.
func (f Facts) shiftTime() string {
	if f.ShiftUntil == 0 {
		return "from " + seconds(f.ShiftFrom) + " s"
	}
	return "from " + seconds(f.ShiftFrom) + " s to " + seconds(f.ShiftUntil) + " s"
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'g', 6, 64) }

func (t *Timeline) writeTable(w io.Writer) error {
	lows := slices.ContainsFunc(t.Windows, func(w Window) bool { return w.ExpectedLow > 0 })
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	line := func(cells ...string) {
		if !lows {
			cells = slices.Delete(cells, 4, 5)
		}
		// The first column is aligned to the left, with the last one outside the table.
		fmt.Fprintf(table, "%s\t  %s\n", strings.Join(cells[:len(cells)-1], "\t"), cells[len(cells)-1])
	}
	line("seconds", "shifted", "items", "expected", "at least", "measured", "infeasible", "no answer", "ran")
	for _, x := range slices.Concat(t.Windows, t.Phases) {
		when := seconds(x.From) + "-" + seconds(x.To)
		if x.Phase != "" {
			when = x.Phase + " " + when
		}
		shifted := ""
		if x.Shifted {
			shifted = "yes"
		}
		expected, low := "-", "-"
		if x.Answered > 0 {
			expected = fmt.Sprintf("%.4f", x.Expected)
		}
		if x.ExpectedLow > 0 {
			low = fmt.Sprintf("%.4f", x.ExpectedLow)
		}
		measured := accuracyCell(Accuracy{Measured: x.Measured, Low: x.Low, High: x.High, Items: x.Scored})
		line(when, shifted, strconv.Itoa(x.Items), expected, low, measured, percent(x.Infeasible, x.Items), percent(x.Missed, x.Items), x.ran())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if t.RefusedFrom != nil {
		fmt.Fprintf(w, "The first request that was refused because no variant keeps its floor was sent at %.1f s.\n", *t.RefusedFrom)
	}
	return nil
}

// ran lists the variants that ran, with their share of the items that have a result.
func (w Window) ran() string {
	var parts []string
	for i, v := range w.Variants {
		if i == variantsShown {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, fmt.Sprintf("%s %.0f %%", v.Variant, 100*float64(v.Items)/float64(max(w.Answered, 1))))
	}
	return strings.Join(parts, ", ")
}

// Draw writes the runs over time as SVG or PNG: on the left what the answers promise beside
// what was measured, on the right what happened to the items.
func (d Document) Draw(file string) error {
	grid := plot.Grid{Columns: 2}
	for _, run := range d.Runs {
		if run.Timeline != nil {
			grid.Panels = append(grid.Panels, d.accuracies(run), d.shares(run))
		}
	}
	return grid.Save(file)
}

// step draws a window's value as a level from its begin to its end.
func step(s *plot.Series, w Window, y float64) {
	s.X, s.Y = append(s.X, w.From, w.To), append(s.Y, y, y)
}

// accuracies draws expected and measured accuracies.
func (d Document) accuracies(run RunOut) plot.Course {
	title := d.Model
	if run.Policy != "" {
		title += ", policy " + run.Policy
	}
	c := plot.Course{Axes: plot.Axes{Title: title, X: "seconds", Y: d.Metric}, Marks: d.marks(run)}
	expected, low := plot.Series{Name: "expected, as the answers say"}, plot.Series{Name: "lower bound in the answers"}
	c.Measured.Name = "measured, 95 % interval"
	for _, w := range run.Timeline.Windows {
		if w.Answered > 0 {
			step(&expected, w, w.Expected)
		}
		if w.ExpectedLow > 0 {
			step(&low, w, w.ExpectedLow)
		}
		if w.Scored > 0 {
			c.Measured.Points = append(c.Measured.Points, plot.Interval{X: (w.From + w.To) / 2, Y: w.Measured, Low: w.Low, High: w.High})
		}
	}
	c.Lines = []plot.Series{expected}
	if len(low.X) > 0 {
		c.Lines = append(c.Lines, low)
	}
	if floor, err := strconv.ParseFloat(d.Workload.MinAccuracy, 64); err == nil && floor > 0 {
		c.Levels = []plot.Level{{Name: "floor " + d.Workload.MinAccuracy, Y: floor}}
	}
	return c
}

// marks are the instants at which something changes.
func (d Document) marks(run RunOut) []plot.Mark {
	var marks []plot.Mark
	if len(d.Workload.Shifts) > 0 {
		marks = append(marks, plot.Mark{Name: "shift begins", X: d.Workload.ShiftFrom})
		if d.Workload.ShiftUntil > 0 {
			marks = append(marks, plot.Mark{Name: "shift ends", X: d.Workload.ShiftUntil})
		}
	}
	if run.Timeline.RefusedFrom != nil {
		marks = append(marks, plot.Mark{Name: "refusals begin", X: *run.Timeline.RefusedFrom})
	}
	return marks
}

// shares draws which shares of the items ran on which variant, and were refused.
func (d Document) shares(run RunOut) plot.Areas {
	title := "what ran"
	if len(d.Workload.Shifts) > 0 {
		title = strings.Join(d.Workload.Shifts, ", ")
	}
	a := plot.Areas{Axes: plot.Axes{Title: title, X: "seconds", Y: "share of items", YShare: true}}
	add := func(name string, of func(Window) int) {
		s := plot.Series{Name: name}
		ran := false
		for _, w := range run.Timeline.Windows {
			n := of(w)
			ran = ran || n > 0
			step(&s, w, float64(n)/float64(w.Items))
		}
		if ran {
			a.Series = append(a.Series, s)
		}
	}
	var names []string
	for _, w := range run.Timeline.Windows {
		for _, v := range w.Variants {
			if !slices.Contains(names, v.Variant) {
				names = append(names, v.Variant)
			}
		}
	}
	for _, name := range names {
		add(name, func(w Window) int {
			if i := slices.IndexFunc(w.Variants, func(v VariantItems) bool { return v.Variant == name }); i >= 0 {
				return w.Variants[i].Items
			}
			return 0
		})
	}
	add("refused as infeasible", func(w Window) int { return w.Infeasible })
	add("no answer", func(w Window) int { return w.Missed })
	return a
}
