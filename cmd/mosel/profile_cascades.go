package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/plot"
	"github.com/mosel-serve/mosel/internal/slo"
)

// writeCascades prints the certified gates and cascades and how they were certified. It prints
// nothing if none were searched.
func writeCascades(out io.Writer, m *modelpkg.Model, p *modelpkg.Profile) error {
	c := p.Cascades
	if c == nil {
		return nil
	}
	planner, err := plan.FromProfile(m, p)
	if err != nil {
		return err
	}
	if err := writeGates(out, planner, m, p); err != nil {
		return err
	}
	if len(c.Points) == 0 {
		_, err := fmt.Fprintln(out, "\ncascades: none of two variants is worth offering")
		return err
	}
	fmt.Fprintf(out, "\ncascades: items go on from the first variant to the second if the answer's confidence is below the threshold.\n"+
		"%d samples chose %d points, the other %d certified them; of these, the points below are worth offering.\n"+
		"\"planned\" is the bound at 0.8 for one point, with which floors without a confidence are planned; \"at %v\" holds for all together\n\n",
		c.Pilot, c.Tested, c.Points[0].Accuracy.Samples, slo.ConfidenceShown.Float())
	rows := [][]string{{"cascade"}}
	for i := range c.Points {
		rows = append(rows, []string{c.Points[i].Name()})
	}
	names := padded(rows)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s\tthreshold\t%s\tplanned\tat %v\tgo on\tof those that stop\tof those that go on\tms/item\t\n", names[0], m.Scoring.Title(), slo.ConfidenceShown.Float())
	for i := range c.Points {
		pt := &c.Points[i]
		a := pt.Accuracy
		fmt.Fprintf(w, "%s\t%.6g\t%.4f [%.4f, %.4f]\t%.4f\t%.4f\t%.1f %% [%.1f, %.1f]\t%.4f\t%.4f, not %.4f\t%.3f\t\n", names[i+1], pt.Threshold, a.Mean, a.Low, a.High,
			pt.Cautious, c.Low(pt)[slo.ConfidenceShown-1].Float(), 100*pt.Share(), 100*pt.WentOnLow, 100*pt.WentOnHigh, pt.Stopped, pt.OnThen, pt.OnFirst, cascadeCost(planner, m, p, pt))
	}
	return w.Flush()
}

// writeGates prints the certified points of gates.
func writeGates(out io.Writer, planner *plan.Planner, m *modelpkg.Model, p *modelpkg.Profile) error {
	c := p.Cascades
	if len(c.Gates) == 0 {
		return nil
	}
	fmt.Fprintf(out, "\ngates: an item runs on the gate's variant, then on the one whose estimated score less price x ms is the highest.\n"+
		"%d samples chose the prices, the other %d certified them\n\n", c.Pilot, c.Gates[0].Accuracy.Samples)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "gate\t%s\tplanned\tat %v\tchooses\tms/item\t\n", m.Scoring.Title(), slo.ConfidenceShown.Float())
	for _, g := range plan.GatesOf(m, p) {
		a, ways := g.Point.Accuracy, ""
		for i, way := range g.Point.Ways {
			ways += fmt.Sprintf("  %s %.1f %%", way.Variant, 100*g.Point.Share(i))
		}
		fmt.Fprintf(w, "%s\t%.4f [%.4f, %.4f]\t%.4f\t%.4f\t%s\t%.3f\t\n", g.Name, a.Mean, a.Low, a.High, g.Accuracy.Float(),
			g.Low[slo.ConfidenceShown-1].Float(), ways, routeCost(planner, g.Name))
	}
	return w.Flush()
}

// routeCost returns the time of an item on a route, in ms, in the best batches.
func routeCost(planner *plan.Planner, name string) float64 {
	for _, r := range planner.Routes() {
		if r.Name == name {
			return r.Curve.PerItem() / 1e6
		}
	}
	return 0
}

// cascadeCost returns the time of an item, in ms, in the best batches; with buckets, of
// the smallest items.
func cascadeCost(planner *plan.Planner, m *modelpkg.Model, p *modelpkg.Profile, pt *modelpkg.CascadePoint) float64 {
	for i, c := range plan.CascadesOf(m, p) {
		if c.Point == pt {
			return planner.Routes()[len(planner.Variants())+i].Curve.PerItem() / 1e6
		}
	}
	return 0
}

// cascadePoints returns the cascades for a chart.
func cascadePoints(m *modelpkg.Model, p *modelpkg.Profile) (points []plot.Point, err error) {
	planner, err := plan.FromProfile(m, p)
	if err != nil || p.Cascades == nil {
		return nil, err
	}
	for i := range p.Cascades.Points {
		pt := &p.Cascades.Points[i]
		a := pt.Accuracy
		points = append(points, plot.Point{Name: pt.Named(pt.First, pt.Then), X: cascadeCost(planner, m, p, pt), Y: a.Mean, Low: a.Low, High: a.High, Frontier: true,
			Bound: p.Cascades.Low(pt)[slo.ConfidenceShown-1].Float()})
	}
	for _, g := range plan.GatesOf(m, p) {
		a := g.Point.Accuracy
		points = append(points, plot.Point{Name: g.Name, X: routeCost(planner, g.Name), Y: a.Mean, Low: a.Low, High: a.High, Frontier: true, Bound: g.Low[slo.ConfidenceShown-1].Float()})
	}
	return points, nil
}
