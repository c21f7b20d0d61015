// Package plot draws mosel's charts: accuracy against time for a model's variants, and
// lines and areas along one axis. A chart is a value; Save writes it as SVG or PNG. The
// package keeps fonts, colours and canvases out of the commands, and makes all charts
// look alike.
package plot

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Size of every picture.
const (
	width  = 18 * vg.Centimeter
	height = 12 * vg.Centimeter
	dpi    = 144 // of PNG
)

// colors are the colours of series, which colour-blind people can distinguish too
// (Okabe and Ito). Grey is for secondary elements.
var (
	colors = []color.Color{
		color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 158, 115, 255},
		color.RGBA{204, 121, 167, 255}, color.RGBA{230, 159, 0, 255}, color.RGBA{86, 180, 233, 255},
		color.RGBA{240, 228, 66, 255}, color.Gray{60},
	}
	grey      = color.Gray{140}
	lightGrey = color.Gray{225}
)

// Axes are the title and the axes of a chart.
type Axes struct {
	Title  string
	X, Y   string // what the axes show, with units
	LogX   bool   // every x must be > 0
	LogY   bool   // every y must be > 0
	YShare bool   // y is a share: its axis prints per cent
	Low    bool   // the legend is at the bottom, for lines at the top
	Bare   bool   // without dots, for lines of many points
}

// Series is a named line of points, x ascending, as many X as Y.
type Series struct {
	Name string
	X, Y []float64
}

// Lines is a chart of one or several lines.
type Lines struct {
	Axes
	Series []Series
}

// Formats lists the file extensions Save writes.
func Formats() []string { return []string{".svg", ".png"} }

// CheckFile returns an error of kind invalid if Save cannot write a file of this name.
// Use it before long computations.
func CheckFile(file string) error {
	switch filepath.Ext(file) {
	case ".svg", ".png":
		return nil
	}
	return slo.E("plot "+file, slo.KindInvalid, "the name of a chart must end in %s", strings.Join(Formats(), " or "))
}

// Save writes the chart as SVG or PNG, by the file's extension.
func (l Lines) Save(file string) error {
	p, err := l.build()
	if err != nil {
		return slo.E("plot "+file, slo.KindInternal, "%w", err)
	}
	return save(p, file)
}

func (l Lines) build() (*plot.Plot, error) {
	p := l.frame()
	for i, s := range l.Series {
		if err := addLine(p, s, colors[i%len(colors)], l.Bare); err != nil {
			return nil, fmt.Errorf("series %s: %w", s.Name, err)
		}
	}
	return p, nil
}

// frame is an empty chart with its axes and grid.
func (a Axes) frame() *plot.Plot {
	p := plot.New()
	for _, style := range []*draw.TextStyle{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle,
		&p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		style.Font.Variant = "Sans"
		style.Font.Size = vg.Points(10)
	}
	p.Title.Text = a.Title
	p.Title.TextStyle.Font.Size = vg.Points(13)
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text, p.Y.Label.Text = a.X, a.Y
	p.X.Label.Padding, p.Y.Label.Padding = vg.Points(4), vg.Points(4)
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(8), -vg.Points(6)
	p.Legend.Padding = vg.Points(2)
	if a.Low {
		p.Legend.Top, p.Legend.YOffs = false, vg.Points(6)
	}
	p.BackgroundColor = color.White
	p.X.Tick.Marker, p.Y.Tick.Marker = steps{plain}, steps{plain}
	if a.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	}
	switch {
	case a.LogY:
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decades{}
	case a.YShare:
		p.Y.Tick.Marker = steps{percent}
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = lightGrey, lightGrey
	p.Add(grid)
	return p
}

func addLine(p *plot.Plot, s Series, c color.Color, bare bool) error {
	points := make(plotter.XYs, len(s.X))
	for i := range s.X {
		points[i] = plotter.XY{X: s.X[i], Y: s.Y[i]}
	}
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Width, line.Color = vg.Points(1.8), c
	dots.Shape, dots.Radius, dots.Color = draw.CircleGlyph{}, vg.Points(2.2), c
	p.Add(line)
	if !bare {
		p.Add(dots)
	}
	if s.Name != "" {
		p.Legend.Add(s.Name, line)
	}
	return nil
}

func save(p *plot.Plot, file string) error {
	return write(file, vg.Point{X: width, Y: height}, func(c draw.Canvas) { p.Draw(c) })
}

// write draws on a white canvas of the given size and writes it.
func write(file string, size vg.Point, paint func(draw.Canvas)) error {
	if err := CheckFile(file); err != nil {
		return err
	}
	var canvas interface {
		vg.CanvasSizer
		io.WriterTo
	}
	if filepath.Ext(file) == ".svg" {
		canvas = vgsvg.New(size.X, size.Y)
	} else {
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(size.X, size.Y), vgimg.UseDPI(dpi))}
	}
	paint(inner(draw.New(canvas)))
	var picture bytes.Buffer
	_, err := canvas.WriteTo(&picture)
	if err != nil {
		return slo.E("plot "+file, slo.KindInternal, "%w", err)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(picture.Bytes(), []byte(svgFont), []byte(svgFonts)), 0o644); err != nil {
		return slo.E("plot", slo.KindInvalid, "%w", err)
	}
	return nil
}

// The SVG names the font with which the text was measured. A machine without it should
// use a font with the same widths, not its default font.
const (
	svgFont  = "font-family:Liberation Sans;"
	svgFonts = "font-family:'Liberation Sans',Arial,Helvetica,sans-serif;"
)

// inner leaves a white margin, because SVG viewers do not add one.
func inner(c draw.Canvas) draw.Canvas {
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	return draw.Crop(c, vg.Points(10), -vg.Points(14), vg.Points(8), -vg.Points(8))
}
