package plot

import (
	"fmt"
	"image/color"
	"math"

	"github.com/mosel-serve/mosel/internal/slo"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Course is a chart of what was promised and what was measured over time: lines, points
// with intervals, levels across the chart, and marked instants.
type Course struct {
	Axes
	Lines    []Series
	Measured Intervals
	Levels   []Level
	Marks    []Mark
}

// Intervals are named points with their intervals.
type Intervals struct {
	Name   string
	Points []Interval
}

// Interval is a point with an interval around it.
type Interval struct{ X, Y, Low, High float64 }

// Level is a line across the chart.
type Level struct {
	Name string
	Y    float64
}

// Mark is an instant: a line across the chart, with its name beside it.
type Mark struct {
	Name string
	X    float64
}

// Save writes the chart as SVG or PNG, by the file's extension.
func (c Course) Save(file string) error {
	p, err := c.build()
	if err != nil {
		return slo.E("plot "+file, slo.KindInternal, "%w", err)
	}
	return save(p, file)
}

func (c Course) build() (*plot.Plot, error) {
	p := c.frame()
	p.X.Min = 0
	for i, s := range c.Lines {
		if err := addLine(p, s, lineColor(i), true); err != nil {
			return nil, fmt.Errorf("series %s: %w", s.Name, err)
		}
	}
	if err := c.addMeasured(p); err != nil {
		return nil, err
	}
	for _, l := range c.Levels {
		line, err := plotter.NewLine(plotter.XYs{{X: p.X.Min, Y: l.Y}, {X: p.X.Max, Y: l.Y}})
		if err != nil {
			return nil, err
		}
		line.Color, line.Width, line.Dashes = grey, vg.Points(1.2), []vg.Length{vg.Points(5), vg.Points(3)}
		p.Add(line)
		p.Legend.Add(l.Name, line)
	}
	top := p.Y.Max
	if c.lowest() < math.Inf(1) {
		p.Y.Min = max(p.Y.Min, c.lowest()-barShown)
	}
	if span := top - p.Y.Min; span > 0 { // leave room for the legend above the lines
		p.Y.Tick.Marker = plot.ConstantTicks(steps{plain}.Ticks(p.Y.Min, top))
		lines := float64(min(len(c.Lines)+len(c.Levels)+1, legendMax)) + legendGap
		p.Y.Max = p.Y.Min + span/(1-legendLine*lines)
		p.Y.Min -= 0.02 * span
	}
	p.Add(marks{c.Marks, p.X.Tick.Label, top})
	return p, nil
}

// lineColor is the colour of a line. The second colour is for what is measured.
func lineColor(i int) color.Color {
	if i > 0 {
		i++
	}
	return colors[i%len(colors)]
}

// barShown is how much of an interval is drawn below the lowest value: the interval of
// a few items may be as wide as the axis, and would make the rest of the chart flat.
const barShown = 0.1

// lowest is the lowest value in the chart, without the intervals.
func (c Course) lowest() float64 {
	low := math.Inf(1)
	for _, s := range c.Lines {
		for _, y := range s.Y {
			low = min(low, y)
		}
	}
	for _, m := range c.Measured.Points {
		low = min(low, m.Y)
	}
	for _, l := range c.Levels {
		low = min(low, l.Y)
	}
	return low
}

// addMeasured adds the points with their intervals.
func (c Course) addMeasured(p *plot.Plot) error {
	if len(c.Measured.Points) == 0 {
		return nil
	}
	var points struct {
		plotter.XYs
		plotter.YErrors
	}
	for _, m := range c.Measured.Points {
		points.XYs = append(points.XYs, plotter.XY{X: m.X, Y: m.Y})
		points.YErrors = append(points.YErrors, struct{ Low, High float64 }{m.Y - m.Low, m.High - m.Y})
	}
	bars, err := plotter.NewYErrorBars(points)
	if err != nil {
		return err
	}
	dots, err := plotter.NewScatter(points.XYs)
	if err != nil {
		return err
	}
	bars.Color, bars.Width, bars.CapWidth = colors[1], vg.Points(0.8), vg.Points(3)
	dots.GlyphStyle = draw.GlyphStyle{Color: colors[1], Radius: vg.Points(2.4), Shape: draw.CircleGlyph{}}
	p.Add(bars, dots)
	p.Legend.Add(c.Measured.Name, dots)
	return nil
}

// marks draws instants, with their names along the lines.
type marks struct {
	marks []Mark
	style draw.TextStyle
	top   float64 // where the lines end, below the legend
}

// Plot implements plot.Plotter.
func (m marks) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	style := m.style
	style.Font.Size = vg.Points(8)
	style.Color = color.Gray{90}
	style.Rotation = quarter
	style.XAlign, style.YAlign = draw.XLeft, draw.YBottom
	for _, mark := range m.marks {
		at := x(mark.X)
		line := draw.LineStyle{Color: color.Gray{110}, Width: vg.Points(1), Dashes: []vg.Length{vg.Points(2), vg.Points(2)}}
		c.StrokeLine2(line, at, c.Min.Y, at, y(m.top))
		c.FillText(style, vg.Point{X: at - vg.Points(2), Y: c.Min.Y + vg.Points(4)}, mark.Name)
	}
}

// quarter turns a text so that it reads upwards.
const quarter = math.Pi / 2
