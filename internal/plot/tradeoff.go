package plot

import (
	"cmp"
	"image/color"
	"math"
	"slices"

	"github.com/mosel-serve/mosel/internal/slo"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Point is one choice: its cost x, its accuracy y with the interval around it.
type Point struct {
	Name      string
	X, Y      float64
	Low, High float64 // of Y
	Bound     float64 // a lower bound of Y at another confidence; 0: none
	Frontier  bool    // no other point is better in both
}

// lowest is the lower end of what is drawn for the point.
func (p Point) lowest() float64 {
	if p.Bound > 0 {
		return min(p.Low, p.Bound)
	}
	return p.Low
}

// Tradeoff is a chart of accuracy against cost: a named point with its interval for
// each choice, a line through the frontier, and optional further lines, such as the
// strategies of a job.
type Tradeoff struct {
	Axes
	Points  []Point
	Bounds  string // what the points' bounds are, for the legend
	Overlay []Series
}

// Save writes the chart as SVG or PNG, by the file's extension.
func (t Tradeoff) Save(file string) error {
	p := t.frame()
	p.Legend.Left, p.Legend.Top = false, false // the corner where there are never points
	p.Legend.YOffs, p.Legend.XOffs = vg.Points(6), -vg.Points(8)
	if err := t.draw(p); err != nil {
		return slo.E("plot "+file, slo.KindInternal, "%w", err)
	}
	return save(p, file)
}

func (t Tradeoff) draw(p *plot.Plot) error {
	var all, frontier, others intervals
	for _, pt := range t.Points {
		all.add(pt)
		if pt.Frontier {
			frontier.add(pt)
		} else {
			others.add(pt)
		}
	}
	bars, err := plotter.NewYErrorBars(all)
	if err != nil {
		return err
	}
	bars.Color, bars.Width = grey, vg.Points(1)
	p.Add(bars)
	if len(frontier.XYs) > 0 {
		if err := addFrontier(p, frontier.XYs); err != nil {
			return err
		}
	}
	if len(others.XYs) > 0 {
		dots, err := plotter.NewScatter(others.XYs)
		if err != nil {
			return err
		}
		dots.GlyphStyle = draw.GlyphStyle{Color: grey, Radius: vg.Points(3.5), Shape: draw.CircleGlyph{}}
		p.Add(dots)
		p.Legend.Add("beaten", dots)
	}
	if err := t.addBounds(p); err != nil {
		return err
	}
	for i, s := range t.Overlay {
		if err := addLine(p, s, colors[(i+1)%len(colors)], false); err != nil {
			return err
		}
	}
	p.Add(names{t.Points, p.X.Tick.Label})
	t.margins(p)
	return nil
}

// addBounds marks the bounds with triangles.
func (t Tradeoff) addBounds(p *plot.Plot) error {
	var bounds plotter.XYs
	for _, pt := range t.Points {
		if pt.Bound > 0 {
			bounds = append(bounds, plotter.XY{X: pt.X, Y: pt.Bound})
		}
	}
	if len(bounds) == 0 {
		return nil
	}
	marks, err := plotter.NewScatter(bounds)
	if err != nil {
		return err
	}
	marks.GlyphStyle = draw.GlyphStyle{Color: grey, Radius: vg.Points(3), Shape: draw.TriangleGlyph{}}
	p.Add(marks)
	p.Legend.Add(t.Bounds, marks)
	return nil
}

// margins leaves room for names at the edges.
func (t Tradeoff) margins(p *plot.Plot) {
	if t.LogX {
		p.X.Min, p.X.Max = p.X.Min/1.25, p.X.Max*1.35
	} else {
		p.X.Min, p.X.Max = 0, p.X.Max*1.12
	}
	span := p.Y.Max - p.Y.Min
	p.Y.Min, p.Y.Max = p.Y.Min-0.08*span, p.Y.Max+0.08*span
	if t.YShare {
		p.Y.Max = min(p.Y.Max, 1.005)
	}
}

func addFrontier(p *plot.Plot, points plotter.XYs) error {
	slices.SortFunc(points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = colors[0], vg.Points(1.5)
	dots.GlyphStyle = draw.GlyphStyle{Color: colors[0], Radius: vg.Points(4), Shape: draw.CircleGlyph{}}
	p.Add(line, dots)
	p.Legend.Add("frontier", line, dots)
	return nil
}

// intervals is points with their error bars.
type intervals struct {
	plotter.XYs
	plotter.YErrors
}

func (b *intervals) add(p Point) {
	b.XYs = append(b.XYs, plotter.XY{X: p.X, Y: p.Y})
	b.YErrors = append(b.YErrors, struct{ Low, High float64 }{p.Y - p.Low, p.High - p.Y})
}

// names writes every point's name beside it, where no other name or point is.
type names struct {
	points []Point
	style  draw.TextStyle
}

// Plot implements plot.Plotter.
func (n names) Plot(c draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&c)
	at := func(pt Point) vg.Point { return vg.Point{X: toX(pt.X), Y: toY(pt.Y)} }
	var taken []vg.Rectangle
	for _, pt := range n.points {
		taken = append(taken, around(at(pt), vg.Points(9), vg.Points(9)))
		taken = append(taken, vg.Rectangle{
			Min: vg.Point{X: toX(pt.X) - vg.Points(3), Y: toY(pt.lowest())},
			Max: vg.Point{X: toX(pt.X) + vg.Points(3), Y: toY(pt.High)},
		})
	}
	points := slices.SortedFunc(slices.Values(n.points), func(a, b Point) int { return cmp.Compare(a.X, b.X) })
	var last *Point
	for i, pt := range points {
		if pt.Frontier {
			if last != nil {
				taken = append(taken, along(at(*last), at(pt))...)
			}
			last = &points[i]
		}
	}
	for _, pt := range points {
		style := n.style
		style.Color = grey
		if pt.Frontier {
			style.Color = color.Black
		}
		from := at(pt)
		box := n.place(from, pt.Name, c.Rectangle, taken)
		taken = append(taken, box)
		if end := nearest(box, from); math.Hypot(float64(end.X-from.X), float64(end.Y-from.Y)) > leaderMin {
			c.StrokeLine2(draw.LineStyle{Color: grey, Width: vg.Points(0.5)}, from.X, from.Y, end.X, end.Y)
		}
		style.XAlign, style.YAlign = 0, 0
		c.FillText(style, box.Min, pt.Name)
	}
}

// along covers a line with small boxes.
func along(from, to vg.Point) []vg.Rectangle {
	const boxes = 64
	line := make([]vg.Rectangle, boxes)
	for i := range line {
		part := vg.Length(i) / (boxes - 1)
		line[i] = around(vg.Point{X: from.X + part*(to.X-from.X), Y: from.Y + part*(to.Y-from.Y)}, 4, 4)
	}
	return line
}

// leaderMin is the distance of a name from its point above which a line connects them.
const leaderMin = 14

// place finds the free spot that is nearest to the point, on rings around it,
// the first direction being that below on the right; without one, there.
func (n names) place(at vg.Point, name string, canvas vg.Rectangle, taken []vg.Rectangle) vg.Rectangle {
	w, h := n.style.Width(name), n.style.Height(name)
	spot := func(distance vg.Length, turn float64) vg.Rectangle {
		dx, dy := vg.Length(math.Cos(turn)), vg.Length(math.Sin(turn))
		// The name's side that looks to the point is at the distance.
		center := vg.Point{X: at.X + dx*distance + sign(dx)*w/2, Y: at.Y + dy*(distance+h/2)}
		return around(center, w, h)
	}
	for ring := range 14 {
		for step := range 16 {
			turn := -math.Pi/5 + math.Pi/8*float64((step+1)/2)*float64(1-2*(step%2))
			b := spot(vg.Points(9+7*float64(ring)), turn)
			inside := b.Min.X >= canvas.Min.X && b.Max.X <= canvas.Max.X && b.Min.Y >= canvas.Min.Y && b.Max.Y <= canvas.Max.Y
			if inside && !slices.ContainsFunc(taken, func(o vg.Rectangle) bool { return overlap(b, o) }) {
				return b
			}
		}
	}
	return spot(vg.Points(9), -math.Pi/5)
}

// sign is -1, 0 or 1; what is nearly upright counts as 0.
func sign(x vg.Length) vg.Length {
	switch {
	case x > 0.25:
		return 1
	case x < -0.25:
		return -1
	}
	return 0
}

// nearest is the point of a box that is nearest to p.
func nearest(b vg.Rectangle, p vg.Point) vg.Point {
	return vg.Point{X: min(max(p.X, b.Min.X), b.Max.X), Y: min(max(p.Y, b.Min.Y), b.Max.Y)}
}

func around(p vg.Point, w, h vg.Length) vg.Rectangle {
	return vg.Rectangle{Min: vg.Point{X: p.X - w/2, Y: p.Y - h/2}, Max: vg.Point{X: p.X + w/2, Y: p.Y + h/2}}
}

func overlap(a, b vg.Rectangle) bool {
	return a.Min.X < b.Max.X && b.Min.X < a.Max.X && a.Min.Y < b.Max.Y && b.Min.Y < a.Max.Y
}
