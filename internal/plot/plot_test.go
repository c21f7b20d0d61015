package plot

import (
	"bytes"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
	"gonum.org/v1/plot/vg"
)

// digits is a trade-off like that of a real model: points on the frontier and
// off it, some close together.
func digits() Tradeoff {
	return Tradeoff{
		Axes: Axes{Title: "digits on cpu", X: "time per item (ms, batches of 32)", Y: "accuracy", LogX: true, YShare: true},
		Points: []Point{
			{"text", 0.11, 0.842, 0.826, 0.857, 0, true},
			{"image", 0.33, 0.861, 0.845, 0.875, 0, true},
			{"image_text", 0.46, 0.968, 0.959, 0.975, 0, true},
			{"audio", 2.9, 0.913, 0.900, 0.924, 0, false},
			{"audio_text", 3.1, 0.975, 0.967, 0.981, 0, false},
			{"audio_image", 3.3, 0.977, 0.970, 0.983, 0, false},
			{"all", 3.5, 0.991, 0.986, 0.994, 0, true},
			{"all_int8", 2.6, 0.9905, 0.985, 0.994, 0, true},
		},
	}
}

func TestTradeoffSaves(t *testing.T) {
	chart := digits()
	chart.Overlay = []Series{{Name: "strategies, 32 items", X: []float64{0.2, 0.4, 2}, Y: []float64{0.85, 0.95, 0.98}}}
	dir := t.TempDir()
	svg := filepath.Join(dir, "a.svg")
	if err := chart.Save(svg); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", ">all_int8<", ">image_text<", ">95 %<", ">0.5<", ">frontier<", "strategies, 32 items", "digits on cpu"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the SVG lacks %q", want)
		}
	}
	again := filepath.Join(dir, "b.svg")
	if err := chart.Save(again); err != nil {
		t.Fatal(err)
	}
	if other, _ := os.ReadFile(again); !bytes.Equal(text, other) {
		t.Error("the same chart gives other bytes")
	}
}

func TestLinesSave(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lines.png")
	chart := Lines{
		Axes: Axes{Title: "share late", X: "requests/s", Y: "late", YShare: true},
		Series: []Series{
			{"all", []float64{30, 50, 80}, []float64{0.25, 0.56, 0.70}},
			{"mosel", []float64{30, 50, 80}, []float64{0, 0.02, 0.09}},
		},
	}
	if err := chart.Save(file); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	config, err := png.DecodeConfig(f)
	if err != nil {
		t.Fatal(err)
	}
	if config.Width < 900 || config.Height < 600 {
		t.Errorf("the picture is %d x %d", config.Width, config.Height)
	}
}

func TestSaveErrors(t *testing.T) {
	if err := digits().Save(filepath.Join(t.TempDir(), "x.gif")); slo.KindOf(err) != slo.KindInvalid {
		t.Errorf("unknown format: %v", err)
	}
	if err := digits().Save(filepath.Join(t.TempDir(), "none", "x.svg")); slo.KindOf(err) != slo.KindInvalid {
		t.Errorf("no such folder: %v", err)
	}
	bad := Lines{Series: []Series{{"nan", []float64{1}, []float64{math.NaN()}}}}
	if err := bad.Save(filepath.Join(t.TempDir(), "x.svg")); err == nil {
		t.Error("not a number was drawn")
	}
}

func TestTicks(t *testing.T) {
	var labels []string
	for _, tick := range (decades{}).Ticks(0.09, 3) {
		if tick.Label != "" {
			labels = append(labels, tick.Label)
		}
	}
	if got := strings.Join(labels, " "); got != "0.1 0.2 0.5 1 2" {
		t.Errorf("decades: %s", got)
	}
	for _, c := range []struct {
		low, high float64
		label     func(float64) string
		want      string
	}{
		{0.815, 1.004, percent, "85 % 90 % 95 % 100 %"},
		{0.9701, 0.9799, percent, "97.2 % 97.4 % 97.6 % 97.8 %"},
		{0, 80, plain, "0 20 40 60 80"},
		{-1, 1, plain, "-1 -0.5 0 0.5 1"},
		{5, 5, plain, "5"},
	} {
		labels = nil
		for _, tick := range (steps{c.label}).Ticks(c.low, c.high) {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, " "); got != c.want {
			t.Errorf("%v to %v: %s, want %s", c.low, c.high, got, c.want)
		}
	}
}

// TestNamesFindRoom checks that names of points that lie together neither cover
// each other nor a point.
func TestNamesFindRoom(t *testing.T) {
	chart := digits()
	style := chart.frame().X.Tick.Label
	n := names{style: style}
	canvas := vg.Rectangle{Max: vg.Point{X: 400, Y: 300}}
	var taken []vg.Rectangle
	for i := range 6 {
		taken = append(taken, around(vg.Point{X: 200 + vg.Length(i), Y: 150}, 9, 9))
	}
	for i := range 6 {
		box := n.place(vg.Point{X: 200 + vg.Length(i), Y: 150}, "audio_image", canvas, taken)
		for _, other := range taken {
			if overlap(box, other) {
				t.Errorf("name %d at %v covers %v", i, box, other)
			}
		}
		taken = append(taken, box)
	}
	tight := n.place(vg.Point{X: 5, Y: 5}, "audio_image", vg.Rectangle{Max: vg.Point{X: 10, Y: 10}}, nil)
	if tight.Max.X <= tight.Min.X {
		t.Errorf("without room: %v", tight)
	}
}

// TestCourse checks the chart over time: the interval of a few items does not set the axis,
// and no mark of the axis is in the room for the legend.
func TestCourse(t *testing.T) {
	chart := Course{Axes: Axes{Title: "digits", X: "seconds", Y: "accuracy"},
		Lines:    []Series{{"expected", []float64{0, 10}, []float64{0.99, 0.99}}, {"bound", []float64{0, 10}, []float64{0.98, 0.98}}},
		Measured: Intervals{"measured", []Interval{{1, 0.95, 0.9, 1}, {2, 1, 0.1, 1}}},
		Levels:   []Level{{"floor", 0.97}}, Marks: []Mark{{"shift begins", 5}}}
	p, err := chart.build()
	if err != nil {
		t.Fatal(err)
	}
	if p.Y.Min < 0.8 || p.Y.Max < 1.02 || p.X.Min != 0 {
		t.Errorf("the axes are from %v to %v and from %v", p.Y.Min, p.Y.Max, p.X.Min)
	}
	for _, tick := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		if tick.Value > 1 {
			t.Errorf("the axis is marked at %v", tick.Value)
		}
	}
	file := filepath.Join(t.TempDir(), "course.svg")
	if err := chart.Save(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	for _, want := range []string{">expected<", ">bound<", ">measured<", ">floor<", ">shift begins<"} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("the SVG lacks %q: %v", want, err)
		}
	}
	if err := (Course{}).Save(filepath.Join(t.TempDir(), "empty.png")); err != nil {
		t.Errorf("an empty chart: %v", err)
	}
}

func TestGridSaves(t *testing.T) {
	x := []float64{1, 2, 3}
	lines := Lines{Axes: Axes{Title: "queue", X: "seconds", Y: "items", Bare: true}, Series: []Series{{"", x, []float64{4, 5, 6}}}}
	areas := Areas{Axes: Axes{Title: "what ran", X: "seconds", Y: "share", YShare: true},
		Series: []Series{{"audio", x, []float64{0.2, 0.5, 1}}, {"", x, []float64{0, 0, 0}}, {"both", x, []float64{0.8, 0.5, 0}}}}
	file := filepath.Join(t.TempDir(), "grid.svg")
	if err := (Grid{Columns: 2, Panels: []Panel{lines, areas, lines}}).Save(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{">queue<", ">what ran<", ">audio<", ">both<", ">100 %<"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the SVG lacks %q", want)
		}
	}
	if strings.Contains(string(text), ">120 %<") {
		t.Error("a share above the whole has a mark")
	}
	if err := areas.Save(filepath.Join(t.TempDir(), "areas.png")); err != nil {
		t.Error(err)
	}
}
