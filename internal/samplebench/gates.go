package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// gateFloors are the floors of the table of gates.
var gateFloors = []slo.Accuracy{980_000, 985_000, 990_000, 992_500, 993_000, 993_500, 994_000, 995_000}

// rival is what has the same graphs as the gate and does not look at the items.
const rival = "mixes with the gate's network"

// gateSection compares, by the profiles alone, what the gate is worth beside what else its
// network is good for.
func gateSection(groups []group) (string, error) {
	var text strings.Builder
	for i := range groups {
		g := &groups[i]
		at := slices.IndexFunc(g.ways, func(w way) bool { return w.name == "gate" })
		if at < 0 {
			continue
		}
		gate := &g.ways[at]
		var ways []*way
		for k := range g.ways {
			if g.ways[k].served.Model.Name == gate.served.Model.Name {
				ways = append(ways, &g.ways[k])
			}
		}
		for k := range g.more {
			ways = append(ways, &g.more[k])
		}
		fmt.Fprintf(&text, "Milliseconds for each item of a request of %d, by the cheapest plan that is certified for the floor at %v.\n\n| floor |", jobItems, confidence.Float())
		for _, w := range ways {
			fmt.Fprintf(&text, " %s |", w.name)
		}
		fmt.Fprintf(&text, " the gate saves of mixes | of mixes with its network |\n|---|%s--:|--:|\n", strings.Repeat("--:|", len(ways)))
		for _, floor := range gateFloors {
			if err := gateRow(&text, floor, ways, gate); err != nil {
				return "", err
			}
		}
		text.WriteString("| DynMM, CMU-MOSEI, against its static network | | | | | | | 46.5 % | |\n\n")
		pointsOf(&text, gate)
	}
	return text.String(), nil
}

func gateRow(text *strings.Builder, floor slo.Accuracy, ways []*way, gate *way) error {
	fmt.Fprintf(text, "| %v |", floor.Float())
	costs := map[string]float64{}
	for _, w := range ways {
		_, ms, ok, err := w.planned(floor)
		if err != nil {
			return err
		}
		if !ok {
			text.WriteString(" none |")
			continue
		}
		costs[w.name] = ms
		fmt.Fprintf(text, " %.3f |", ms)
	}
	for _, other := range []string{"mixes", rival} {
		if than, own := costs[other], costs[gate.name]; than > 0 && own > 0 {
			fmt.Fprintf(text, " %.0f %% |", 100*(1-own/than))
		} else {
			text.WriteString(" |")
		}
	}
	text.WriteString("\n")
	return nil
}

// pointsOf lists the certified points of a gate.
func pointsOf(text *strings.Builder, gate *way) {
	fmt.Fprintf(text, "The gate's points that some floor needs, on the profile's samples that chose nothing:\n\n| price | accuracy | certified | chooses |\n|---|---|--:|---|\n")
	for _, g := range plan.GatesOf(gate.served.Model, gate.served.Profile) {
		var ways []string
		for k, w := range g.Point.Ways {
			ways = append(ways, fmt.Sprintf("`%s` %.1f %%", w.Variant, 100*g.Point.Share(k)))
		}
		a := g.Point.Accuracy
		fmt.Fprintf(text, "| %g | %.4f (%.4f to %.4f) | %.4f | %s |\n", g.Point.Price, a.Mean, a.Low, a.High, g.Low[confidence-1].Float(), strings.Join(ways, ", "))
	}
}
