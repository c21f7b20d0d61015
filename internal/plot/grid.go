package plot

import (
	"github.com/mosel-serve/mosel/internal/slo"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Panel is a chart that can be part of a Grid: Lines and Areas.
type Panel interface {
	build() (*plot.Plot, error)
}

// Grid is several charts in one image, row by row, with aligned axes.
type Grid struct {
	Columns int // >= 1
	Panels  []Panel
}

// Size of a grid's panel.
const (
	panelWidth  = 11 * vg.Centimeter
	panelHeight = 8 * vg.Centimeter
)

// Save writes the image as SVG or PNG, by the file's extension.
func (g Grid) Save(file string) error {
	rows := (len(g.Panels) + g.Columns - 1) / g.Columns
	plots := make([][]*plot.Plot, rows)
	for i, panel := range g.Panels {
		p, err := panel.build()
		if err != nil {
			return slo.E("plot "+file, slo.KindInternal, "panel %d: %w", i, err)
		}
		plots[i/g.Columns] = append(plots[i/g.Columns], p)
	}
	for i := range plots {
		for len(plots[i]) < g.Columns {
			plots[i] = append(plots[i], nil)
		}
	}
	size := vg.Point{X: panelWidth * vg.Length(g.Columns), Y: panelHeight * vg.Length(rows)}
	return write(file, size, func(c draw.Canvas) {
		tiles := draw.Tiles{Rows: rows, Cols: g.Columns, PadX: vg.Points(14), PadY: vg.Points(14)}
		for i, row := range plot.Align(plots, tiles, c) {
			for j, tile := range row {
				if plots[i][j] != nil {
					plots[i][j].Draw(tile)
				}
			}
		}
	})
}

// Areas is a chart of the parts of a whole along x, stacked on each other. All series
// have the same X. Series without a name are not in the legend.
type Areas struct {
	Axes
	Series []Series
}

// Save writes the chart as SVG or PNG, by the file's extension.
func (a Areas) Save(file string) error {
	p, err := a.build()
	if err != nil {
		return slo.E("plot "+file, slo.KindInternal, "%w", err)
	}
	return save(p, file)
}

func (a Areas) build() (*plot.Plot, error) {
	p := a.frame()
	if len(a.Series) == 0 {
		return p, nil
	}
	sums := make([]plotter.XYs, len(a.Series))
	for i, s := range a.Series {
		sums[i] = make(plotter.XYs, len(s.X))
		for j := range s.X {
			sums[i][j] = plotter.XY{X: s.X[j], Y: s.Y[j]}
			if i > 0 {
				sums[i][j].Y += sums[i-1][j].Y
			}
		}
	}
	for i := len(sums) - 1; i >= 0; i-- { // lower areas are drawn over higher ones
		line, err := plotter.NewLine(sums[i])
		if err != nil {
			return nil, err
		}
		line.Width, line.Color, line.FillColor = 0, nil, colors[i%len(colors)]
		p.Add(line)
	}
	named := 0
	for i := len(sums) - 1; i >= 0; i-- {
		if a.Series[i].Name != "" {
			named++
			p.Legend.Add(a.Series[i].Name, swatch{i})
		}
	}
	p.Y.Min = 0
	if a.YShare { // leave room for the legend above the areas
		p.Y.Max = 1.02 / (1 - legendLine*(float64(min(named, legendMax))+legendGap))
		p.Y.Tick.Marker = plot.ConstantTicks(steps{percent}.Ticks(0, 1))
	}
	return p, nil
}

// legendLine is the height of a line of the legend in a panel's, with legendGap lines
// around it; a legend of more than legendMax lines hides some of the chart.
const (
	legendLine = 0.076
	legendGap  = 0.5
	legendMax  = 8
)

// swatch is a field of a series' colour in the legend.
type swatch struct{ series int }

// Thumbnail implements plot.Thumbnailer.
func (s swatch) Thumbnail(c *draw.Canvas) {
	c.SetColor(colors[s.series%len(colors)])
	c.Fill(c.Rectangle.Path())
}
