package proposal

import (
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/tensor"
)

// merged is an input as all graphs together have it.
type merged struct {
	Tensor
	name   string
	graphs []int // that have it, ascending
	open   bool  // no graph gives a shape
}

// openShape is a dimension that no graph fixes.
const openShape = -1

// mergeInputs lists the inputs of all graphs, each once, beginning with the graph that
// has the most. Datatype, batch and shape are those of the graphs.
func (p *Proposal) mergeInputs() []*merged {
	order := make([]int, len(p.Graphs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(p.Graphs[b].Inputs) - len(p.Graphs[a].Inputs) })
	var all []*merged
	for _, g := range order {
		for _, in := range p.Graphs[g].Inputs {
			if !slices.ContainsFunc(all, func(m *merged) bool { return m.name == in.Name }) {
				all = append(all, p.mergeInput(in.Name))
			}
		}
	}
	for i, g := range p.Graphs {
		if !slices.ContainsFunc(all, func(m *merged) bool { return !m.Unbatched && slices.Contains(m.graphs, i) }) {
			p.decide(g.File, "none of its inputs has a batch: each is one value for all items", "export the graph with the batch as the first dimension of its inputs")
		}
	}
	return all
}

// mergeInput is an input as all graphs have it.
func (p *Proposal) mergeInput(name string) *merged {
	m := &merged{name: name}
	var shapes []tensor.Shape
	for i, g := range p.Graphs {
		in := valueNamed(g.Inputs, name)
		if in == nil {
			continue
		}
		if len(m.graphs) == 0 {
			m.Tensor = Tensor{Name: name, Datatype: in.Datatype, dtype: in.dtype}
		}
		m.graphs = append(m.graphs, i)
		if in.Datatype != m.Datatype {
			p.decide(name, fmt.Sprintf("graphs disagree: it is %s in %s and %s in %s", m.Datatype, p.Graphs[m.graphs[0]].File, in.Datatype, g.File),
				"export all graphs with the same datatype", "or give the input another name in one of them")
			return m
		}
		shapes = append(shapes, in.Shape)
	}
	if !p.usable(m) {
		return m
	}
	m.Unbatched = p.isSetting(m, shapes)
	var rest tensor.Shape
	for i, shape := range shapes {
		if shape == nil {
			continue
		}
		if !m.Unbatched {
			if !p.hasBatch(m, shape, p.Graphs[m.graphs[i]].File) {
				return m
			}
			shape = shape[1:]
		}
		var ok bool
		if rest, ok = join(rest, shape); !ok {
			p.decide(m.name, fmt.Sprintf("graphs disagree: it is %v in %s and %v in %s", rest, p.Graphs[m.graphs[0]].File, shape, p.Graphs[m.graphs[i]].File),
				"export all graphs with the same shape", "or give the input another name in one of them")
			return m
		}
	}
	m.Shape, m.open = rest, rest == nil
	return m
}

// usable tells whether mosel can serve an input of the name and type at all.
func (p *Proposal) usable(m *merged) bool {
	switch {
	case !plainName(m.name):
		p.decide(m.name, "the input's name has control characters, is no UTF-8, is empty or is longer than 256 characters", "export the graph with another name")
	case m.dtype == tensor.Invalid:
		p.decide(m.name, fmt.Sprintf("the input is of ONNX type %s, which is no tensor that mosel serves", m.Datatype), "export the graph with a tensor")
	default:
		return true
	}
	return false
}

// isSetting reports whether an input has no batch dimension, so that one value holds
// for a whole batch: it has no dimensions, or its first one is fixed while that of
// another input of the same graph is dynamic.
func (p *Proposal) isSetting(m *merged, shapes []tensor.Shape) bool {
	scalar, setting := false, true
	for i, shape := range shapes {
		if shape == nil {
			return false
		}
		if len(shape) == 0 {
			scalar = true
			continue
		}
		others := p.Graphs[m.graphs[i]].Inputs
		dynamic := slices.ContainsFunc(others, func(v Value) bool { return v.Name != m.name && len(v.Shape) > 0 && v.Shape[0] < 0 })
		setting = setting && shape[0] >= 0 && dynamic
	}
	return scalar || setting
}

// hasBatch checks that the first dimension can be the batch.
func (p *Proposal) hasBatch(m *merged, shape tensor.Shape, file string) bool {
	switch {
	case len(shape) == 0:
		p.decide(m.name, "it has no dimensions in "+file+" and others elsewhere", "export all graphs with the same shape")
	case shape[0] == 1:
		p.MaxBatch = 1
		return true
	case shape[0] < 0:
		return true
	default:
		p.decide(m.name, fmt.Sprintf("its first dimension is fixed at %d in %s; it must be the batch, and dynamic", shape[0], file),
			"export the graph with a dynamic batch: dynamic_axes or dynamic_shapes in PyTorch, None or an initial type without a size elsewhere")
	}
	return false
}

// join is the shape that fits both: an open size is taken from the other shape.
func join(a, b tensor.Shape) (tensor.Shape, bool) {
	if a == nil {
		return append(tensor.Shape{}, b...), true
	}
	if len(a) != len(b) {
		return a, false
	}
	joined := slices.Clone(a)
	for i, size := range b {
		switch {
		case size == openShape:
		case a[i] == openShape:
			joined[i] = size
		case a[i] != size:
			return a, false
		}
	}
	return joined, true
}

// settle fixes what the graphs leave open, from the options or the samples.
func (p *Proposal) settle(inputs []*merged) {
	if len(p.Decisions) > 0 {
		return
	}
	for _, name := range p.unknownNames(inputs) {
		p.decide(name, "no graph has an input or output of that name", "it has "+listed(p.tensorNames()))
	}
	for _, m := range inputs {
		if given, ok := p.options.Shapes[m.name]; ok {
			joined, fits := join(m.Shape, given)
			if !fits {
				p.decide(m.name, fmt.Sprintf("the shape %v does not fit the graphs', which is %v", given, m.Shape), "give the shape without the batch")
				continue
			}
			m.Shape, m.open = joined, false
		}
		if p.samplesFit(m) {
			p.settleShape(m)
			p.settleRange(m)
			m.Media = mediaOf(m)
		}
	}
}

// unknownNames are names in the options that are of no tensor.
func (p *Proposal) unknownNames(inputs []*merged) []string {
	var unknown []string
	known := p.tensorNames()
	for name := range p.options.Shapes {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	for name := range p.options.Max {
		if !slices.ContainsFunc(inputs, func(m *merged) bool { return m.name == name }) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return slices.Compact(unknown)
}

func (p *Proposal) tensorNames() []string {
	var names []string
	for _, g := range p.Graphs {
		for _, v := range slices.Concat(g.Inputs, g.Outputs) {
			if !slices.Contains(names, v.Name) {
				names = append(names, v.Name)
			}
		}
	}
	return names
}

// samplesFit checks the samples of an input against the graphs.
func (p *Proposal) samplesFit(m *merged) bool {
	a := p.chosen.array(m.name)
	if a == nil {
		return true
	}
	sameType := a.dtype == m.dtype || m.dtype == tensor.BF16 && a.dtype == tensor.Uint16 // numpy has no BF16
	if m.dtype != tensor.Bytes && !sameType {
		p.decide(m.name, fmt.Sprintf("its samples in %s are %s; the graphs take %s", p.Profile, a.Datatype, m.Datatype), "save them as the graphs take them, with astype")
		return false
	}
	if m.open {
		return true
	}
	if m.Unbatched && tensor.Shape(a.Shape).Fits(m.Shape) {
		return true
	}
	if len(a.Shape) == 0 || !tensor.Shape(a.Shape[1:]).Fits(m.Shape) {
		p.decide(m.name, fmt.Sprintf("its samples in %s have shape %v; it must be the number of samples, then %v", p.Profile, a.Shape, m.Shape), "save them in the shape that the graphs take")
		return false
	}
	return true
}

// settleShape fixes the sizes that the graphs leave open, or finds the largest.
func (p *Proposal) settleShape(m *merged) {
	var sample tensor.Shape
	if a := p.chosen.array(m.name); a != nil && len(a.Shape) > 0 {
		sample = a.Shape[1:]
	}
	open := 0
	for _, d := range m.Shape {
		if d == openShape {
			open++
		}
	}
	most, given := p.options.Max[m.name]
	switch {
	case m.Unbatched && open > 0:
		p.decide(m.name, fmt.Sprintf("it has no batch, and the size of its shape %v varies", m.Shape), fmt.Sprintf("give the size: --shape %s=SIZE", clip(m.name)), "or export it with a batch")
	case given && open != 1:
		p.decide(m.name, fmt.Sprintf("its shape is %v; only one with one dimension of -1 has a largest size", m.Shape), "leave out --max for it")
	case (m.open || open > 1) && sample == nil:
		p.decide(m.name, "the graphs leave its shape open: "+shapeText(m), fmt.Sprintf("give the shape without the batch: --shape %s=224,224", clip(m.name)), "or put labelled samples beside the graphs, whose shape is then taken")
	case m.open || open > 1:
		m.Shape = sample
		m.Comments = append(m.Comments, "the graphs leave its shape open; this is that of the samples")
	case open == 0:
	case given:
		m.Max = most
	case sample == nil:
		p.decide(m.name, fmt.Sprintf("its shape is %v, and nothing says how large the size can be that is -1", m.Shape),
			fmt.Sprintf("give the largest that will be served: --max %s=512", clip(m.name)), "or put labelled samples beside the graphs, whose size is then taken")
	default:
		m.Max = sample[slices.Index(m.Shape, openShape)]
		m.Comments = append(m.Comments, "max is the size of the samples; write the largest size that will be served")
	}
	if slices.Contains(m.Shape, 0) || slices.Contains(sample, 0) {
		p.decide(m.name, fmt.Sprintf("it has shape %v, its samples %v: there is a size of 0", tensor.Shape(m.Shape), sample), "export the graph, and save samples, with sizes above 0")
		return
	}
	p.checkSize(m)
}

// elementsMax is how many elements one sample of a tensor may have.
const elementsMax = 1 << 28

func (p *Proposal) checkSize(m *merged) {
	full := slices.Clone(tensor.Shape(m.Shape))
	for i, d := range full {
		if d == openShape {
			full[i] = max(1, m.Max)
		}
	}
	if n, err := full.Elements(); err != nil || n > elementsMax {
		p.decide(m.name, fmt.Sprintf("one sample of shape %v is too large: at most %d elements are allowed", full, elementsMax), "export a graph that takes less at a time, or give a smaller --max")
	}
}

func shapeText(m *merged) string {
	if m.open {
		return "unknown"
	}
	return tensor.Shape(m.Shape).String()
}
