package modelpkg

import (
	"fmt"
	"math"
	"slices"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
	"go.yaml.in/yaml/v3"
)

// Gate is a variant that also says which variant should answer an item. Beside the
// model's outputs, its graph has one more output: for each of some variants, an estimate
// of what that variant's answer to the item scores.
type Gate struct {
	Variant int   // that every item runs on first
	Output  Spec  // the estimates, FP32, one for each of Choices
	Choices []int // variants of the model; with Variant among them, its own answer may be kept
}

// GateOf returns the gate of a variant; nil: it has none.
func (m *Model) GateOf(variant int) *Gate {
	for i := range m.Gates {
		if m.Gates[i].Variant == variant {
			return &m.Gates[i]
		}
	}
	return nil
}

// OutputsOf returns the outputs of a variant's graph: the model's, then the estimates if
// the variant is a gate.
func (m *Model) OutputsOf(variant int) []Spec {
	if g := m.GateOf(variant); g != nil {
		return append(slices.Clip(m.Outputs), g.Output)
	}
	return m.Outputs
}

// gateSpec is a gate as written.
type gateSpec struct {
	strictyaml.Place
	variant word
	output  word
	choices []word
}

func (r *report) gate(n *yaml.Node) gateSpec {
	g := gateSpec{Place: strictyaml.PlaceOf(n)}
	r.Mapping(n, "a gate", []field{
		strictyaml.Required("variant", r.Into(&g.variant, "a gate's variant")),
		strictyaml.Required("output", r.Into(&g.output, "a gate's output")),
		strictyaml.Required("chooses", func(n *yaml.Node) {
			r.List(n, "chooses", variantsMax, func(n *yaml.Node) { g.choices = append(g.choices, r.Text(n, "a variant")) })
		}),
	})
	return g
}

// buildGates connects the gates to the variants.
func (r *report) buildGates(m *Model, s *spec) {
	var variants []word
	for _, gs := range s.gates {
		variants = append(variants, gs.variant)
		g := Gate{Variant: r.gated(m, gs.variant),
			Output: Spec{Name: r.name(gs.output, tensorForm, tensorWant), DType: tensor.FP32, Shape: tensor.Shape{int64(len(gs.choices))}}}
		if slices.ContainsFunc(m.Outputs, func(out Spec) bool { return out.Name == gs.output.Text }) {
			r.At(gs.output.Place, "the gate's output %q is one of the model's outputs; it needs a name of its own", strictyaml.Clip(gs.output.Text, 80))
		}
		r.Unique(gs.choices, "variant")
		for _, w := range gs.choices {
			g.Choices = append(g.Choices, r.gated(m, w))
		}
		if len(g.Choices) == 1 && g.Choices[0] == g.Variant {
			r.At(gs.Place, "the gate %s chooses only itself; name the variants that it may send items to", gs.variant.Text)
		}
		if g.Variant < 0 || slices.Contains(g.Choices, -1) {
			continue // reported
		}
		if m.Variants[g.Variant].Path == "" {
			r.At(gs.variant.Place, "the gate %s must be one graph (path): gates of stages, or on other servers, are not supported", gs.variant.Text)
			continue
		}
		m.Gates = append(m.Gates, g)
	}
	r.Unique(variants, "gate")
}

// gated returns the variant that a gate names; -1 after a report.
func (r *report) gated(m *Model, w word) int {
	at := slices.IndexFunc(m.Variants, func(v Variant) bool { return v.Name == w.Text })
	switch {
	case !w.Given():
	case at < 0:
		r.At(w.Place, "the model has no variant %q%s", strictyaml.Clip(w.Text, 80), strictyaml.Suggest(w.Text, m.declaredNames()))
	case slices.ContainsFunc(m.Variants[at].Inputs, func(i int) bool { return m.Inputs[i].Buckets != nil }):
		r.At(w.Place, "variant %s has inputs with buckets: gates cannot choose such variants", w.Text)
		return -1
	}
	return at
}

func (m *Model) declaredNames() (names []string) {
	for _, v := range m.Variants {
		names = append(names, v.Name)
	}
	return names
}

// renumberGates follows the variants of gates, which have no buckets, to their places
// among the variants of all sizes.
func (m *Model) renumberGates() {
	at := func(declared int) int {
		return slices.IndexFunc(m.Variants, func(v Variant) bool { return v.Of == declared })
	}
	for i := range m.Gates {
		g := &m.Gates[i]
		g.Variant = at(g.Variant)
		for k := range g.Choices {
			g.Choices[k] = at(g.Choices[k])
		}
	}
}

// checkGateOutput compares the estimates that a graph gives with the declaration.
func (r *report) checkGateOutput(m *Model, s *spec, variant int, g *graph) {
	gate := m.GateOf(variant)
	if gate == nil {
		return
	}
	at := s.gates[slices.IndexFunc(s.gates, func(gs gateSpec) bool { return gs.variant.Text == m.Variants[variant].Declared() })].output.Place
	found := slices.IndexFunc(g.outputs, func(o graphValue) bool { return o.Name == gate.Output.Name })
	if found < 0 {
		r.At(at, "gate %s: %s has no output %q; it has %s", m.Variants[variant].Name, m.Variants[variant].Path, gate.Output.Name, specNames(g.outputs))
		return
	}
	r.compare(m, variant, gate.Output, g.outputs[found], tensorSpec{dtype: word{Place: at}, shaped: at})
}

// GatePoint is a gate at a price, as measured on the samples that are not the pilot. An
// item goes to the variant with the highest estimate less its penalty, which is the price
// times what the variant costs.
type GatePoint struct {
	Gate  string  `json:"gate"`  // the declared variant
	Price float64 `json:"price"` // what a millisecond must gain, as a score

	Accuracy AccuracyMean `json:"accuracy"` // of all items
	// Cautious is as in CascadePoint.
	Cautious float64   `json:"cautious"`
	Ways     []GateWay `json:"ways"` // by choice, in the gate's order
}

// GateWay is one of the variants that a gate chooses from.
type GateWay struct {
	Variant string  `json:"variant"`
	Penalty float64 `json:"penalty"`
	Items   int     `json:"items"` // of the samples that it was chosen for
	// Of these items: the accuracies of the gate's own answers, and of the variant's.
	OnGate float64 `json:"accuracy_on_gate"`
	OnThen float64 `json:"accuracy_on_then"`
}

// Name returns the name of the point: "glance?0.02", for a price of 0.02.
func (p *GatePoint) Name() string { return fmt.Sprintf("%s?%g", p.Gate, p.Price) }

// Share returns the share of items that take a way.
func (p *GatePoint) Share(way int) float64 {
	return float64(p.Ways[way].Items) / float64(p.Accuracy.Samples)
}

// Planned returns the accuracy that the point is planned with if no confidence is asked.
func (p *GatePoint) Planned() slo.Accuracy {
	return slo.Accuracy(math.Round(p.Cautious * float64(slo.AccuracyUnit)))
}

// Penalties returns the penalties of the ways.
func (p *GatePoint) Penalties() []float64 {
	list := make([]float64, len(p.Ways))
	for i, w := range p.Ways {
		list[i] = w.Penalty
	}
	return list
}

// ChooseWay returns the way with the highest estimate less its penalty. If an estimate is
// not a number, it is the way with the highest penalty, which costs most.
func ChooseWay(estimates, penalties []float64) (way int) {
	dearest := 0
	for i := range penalties {
		if penalties[i] > penalties[dearest] {
			dearest = i
		}
		if math.IsNaN(estimates[i]) {
			way = -1
		} else if way >= 0 && estimates[i]-penalties[i] > estimates[way]-penalties[way] {
			way = i
		}
	}
	if way < 0 {
		return dearest
	}
	return way
}

// Round rounds the point's figures as profiles have them. Price and penalties stay exact.
func (p *GatePoint) Round() {
	for i := range p.Ways {
		p.Ways[i].OnGate, p.Ways[i].OnThen = micro(p.Ways[i].OnGate), micro(p.Ways[i].OnThen)
	}
}

// LowOf returns the lower bounds of the accuracy of a gate's point.
func (c *Cascades) LowOf(p *GatePoint) slo.Bounds {
	return p.Accuracy.Bounds(CascadeBounds(c.Tested))
}

// check checks the point as far as planning relies on it.
func (p *GatePoint) check(m *Model) error {
	at := slices.IndexFunc(m.Gates, func(g Gate) bool { return m.Variants[g.Variant].Declared() == p.Gate })
	if at < 0 {
		return fmt.Errorf("the model has no gate %s", p.Gate)
	}
	if err := p.Accuracy.check(); err != nil {
		return err
	}
	items := 0
	for i, w := range p.Ways {
		if i >= len(m.Gates[at].Choices) || w.Variant != m.Variants[m.Gates[at].Choices[i]].Declared() {
			return fmt.Errorf("way %d goes to %s, which is not choice %d of the gate", i, w.Variant, i)
		}
		if w.Items < 0 || !(w.Penalty >= 0) || math.IsInf(w.Penalty, 0) || !(w.OnGate >= 0 && w.OnGate <= 1) || !(w.OnThen >= 0 && w.OnThen <= 1) {
			return fmt.Errorf("way %d has %d items, a penalty of %v and accuracies of %v and %v, which is not possible", i, w.Items, w.Penalty, w.OnGate, w.OnThen)
		}
		items += w.Items
	}
	if len(p.Ways) != len(m.Gates[at].Choices) || items != p.Accuracy.Samples || !(p.Cautious >= 0 && p.Cautious <= 1) || !(p.Price >= 0) || math.IsInf(p.Price, 0) {
		return fmt.Errorf("%d ways for %d of %d items at a price of %v are not possible", len(p.Ways), items, p.Accuracy.Samples, p.Price)
	}
	return nil
}
