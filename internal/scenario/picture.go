package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mosel-serve/mosel/internal/plot"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Draw writes a picture of each group into a directory, which it creates if necessary,
// and returns the files' names. A picture shows the share on time, the accuracy and the
// completion time against the load, and the queue and the running variants over time at
// the middle load.
func (r *Result) Draw(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, slo.E("plot", slo.KindInvalid, "%w", err)
	}
	var files []string
	for _, group := range r.Groups() {
		name := r.Scenario + "-" + group + ".svg"
		if group == r.Scenario {
			name = group + ".svg"
		}
		if err := r.picture(group).Save(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
		files = append(files, name)
	}
	return files, nil
}

// picture draws one group.
func (r *Result) picture(group string) plot.Grid {
	loads := r.Loads(group)
	load := loads[len(loads)/2]
	grid := plot.Grid{Columns: 3, Panels: []plot.Panel{
		r.against(group, plot.Axes{Title: group + ": items on time", Y: "on time", YShare: true, Low: true},
			func(c *Cell) (float64, bool) { return 1 - c.LateShare, true }),
		r.against(group, plot.Axes{Title: "mean accuracy", Y: "expected accuracy"},
			func(c *Cell) (float64, bool) { return c.Accuracy, c.Accuracy > 0 }),
		r.against(group, plot.Axes{Title: "job completion time", Y: "mean, ms", LogY: true},
			func(c *Cell) (float64, bool) { return c.JCTMeanMS, c.JCTMeanMS > 0 }),
		r.queue(group, load),
	}}
	for _, policy := range r.Policies {
		grid.Panels = append(grid.Panels, r.mix(r.cell(group, policy, load)))
	}
	return grid
}

// cell returns an existing cell.
func (r *Result) cell(group, policy string, load float64) *Cell {
	at := slices.IndexFunc(r.Cells, func(c Cell) bool { return c.Group == group && c.Policy == policy && c.Load == load })
	return &r.Cells[at]
}

// against draws a line for each policy over the loads. A cell may have no value.
func (r *Result) against(group string, axes plot.Axes, value func(*Cell) (float64, bool)) plot.Lines {
	axes.X = "items per second"
	chart := plot.Lines{Axes: axes}
	for _, policy := range r.Policies {
		var s plot.Series // the first panel has the name
		if axes.Low {
			s.Name = policy
		}
		for _, load := range r.Loads(group) {
			if y, ok := value(r.cell(group, policy, load)); ok {
				s.X, s.Y = append(s.X, load), append(s.Y, y)
			}
		}
		chart.Series = append(chart.Series, s)
	}
	return chart
}

func (r *Result) queue(group string, load float64) plot.Lines {
	chart := plot.Lines{Axes: plot.Axes{Title: fmt.Sprintf("queue at %.4g/s", load), X: "seconds", Y: "items queued", Bare: true}}
	for _, policy := range r.Policies {
		var s plot.Series
		course := r.cell(group, policy, load).Course
		for i, b := range course.Bins {
			s.X, s.Y = append(s.X, (float64(i)+0.5)*course.BinSeconds), append(s.Y, b.Queued)
		}
		chart.Series = append(chart.Series, s)
	}
	return chart
}

// mix returns the share of each variant among the items over time. Its bins are wider
// than the queue's, which have too few items each.
func (r *Result) mix(c *Cell) plot.Areas {
	const wide = 4
	chart := plot.Areas{Axes: plot.Axes{Title: fmt.Sprintf("%s at %.4g/s: what ran", c.Policy, c.Load), X: "seconds", Y: "share of items", YShare: true}}
	for v, name := range c.Course.Variants {
		var s plot.Series // no name if it never ran, but its colour
		at := c.Course.BinSeconds * wide / 2
		for group := range slices.Chunk(c.Course.Bins, wide) {
			part, all := 0, 0
			for _, b := range group {
				part += b.Variants[v]
				for _, n := range b.Variants {
					all += n
				}
			}
			if all > 0 {
				s.X, s.Y = append(s.X, at), append(s.Y, float64(part)/float64(all))
			}
			at += c.Course.BinSeconds * wide
			if part > 0 {
				s.Name = name
			}
		}
		chart.Series = append(chart.Series, s)
	}
	return chart
}
