package proposal

import (
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/tensor"
)

// proposeOutputs declares the outputs that all graphs have. The first is one that a
// metric can score.
func (p *Proposal) proposeOutputs() {
	var common []Tensor
	for _, out := range p.allOutputs() {
		t, why := p.mergeOutput(out)
		if why != "" {
			p.LeftOut = append(p.LeftOut, LeftOut{out.Name, why})
			continue
		}
		common = append(common, t)
	}
	if len(common) == 0 {
		var whys []string
		for _, l := range p.LeftOut {
			whys = append(whys, clip(l.Name)+": "+l.Why)
		}
		p.decide("outputs", "the graphs have no output in common that mosel can serve", append(whys, "export all graphs with an output of the same name, datatype and shape")...)
		return
	}
	p.Outputs = common
	before := len(p.Decisions)
	p.proposeMetric()
	if len(p.Decisions) == before {
		p.dropOpen()
	}
}

// allOutputs lists the outputs of all graphs, each once.
func (p *Proposal) allOutputs() []Value {
	var all []Value
	for _, g := range p.Graphs {
		for _, out := range g.Outputs {
			if valueNamed(all, out.Name) == nil {
				all = append(all, out)
			}
		}
	}
	return all
}

// mergeOutput is an output as all graphs together have it, or why it is left out.
func (p *Proposal) mergeOutput(out Value) (t Tensor, why string) {
	t = Tensor{Name: out.Name, Datatype: out.Datatype, dtype: out.dtype}
	switch {
	case !plainName(out.Name):
		return t, "its name has control characters, is no UTF-8, is empty or is longer than 256 characters"
	case out.dtype == tensor.Invalid:
		return t, fmt.Sprintf("it is of ONNX type %s, which is no tensor that mosel serves (of a classifier: export with zipmap=False)", clip(out.Datatype))
	case out.dtype == tensor.Bytes:
		return t, "it has texts"
	}
	for _, g := range p.Graphs {
		found := valueNamed(g.Outputs, out.Name)
		switch {
		case found == nil:
			return t, clip(g.File) + " does not have it"
		case found.Datatype != out.Datatype:
			return t, fmt.Sprintf("it is %s in %s and %s elsewhere", found.Datatype, clip(g.File), out.Datatype)
		case found.Shape == nil:
			continue
		case len(found.Shape) == 0:
			return t, "it has no batch dimension in " + clip(g.File)
		case found.Shape[0] >= 0 && (found.Shape[0] != 1 || p.MaxBatch != 1):
			return t, fmt.Sprintf("its first dimension is fixed at %d in %s, so it is not the batch", found.Shape[0], clip(g.File))
		}
		joined, ok := join(t.Shape, found.Shape[1:])
		if !ok {
			return t, "graphs give it different shapes"
		}
		t.Shape = joined
	}
	if given, ok := p.options.Shapes[out.Name]; ok {
		joined, fits := join(t.Shape, given)
		if !fits {
			return t, fmt.Sprintf("the shape %v does not fit the graphs', which is %v", given, t.Shape)
		}
		t.Shape = joined
	}
	if slices.Contains(t.Shape, 0) {
		return t, fmt.Sprintf("it has shape %v, and a size of 0", t.Shape)
	}
	if n, err := boundedShape(t.Shape).Elements(); err != nil || n > elementsMax {
		return t, fmt.Sprintf("its shape %v is too large", t.Shape)
	}
	return t, ""
}

// boundedShape is a shape with 1 for sizes that vary.
func boundedShape(s []int64) tensor.Shape {
	full := slices.Clone(tensor.Shape(s))
	for i, d := range full {
		if d < 0 {
			full[i] = 1
		}
	}
	return full
}

// first moves an output to the front.
func (p *Proposal) first(at int) {
	out := p.Outputs[at]
	p.Outputs = slices.Insert(slices.Delete(p.Outputs, at, at+1), 0, out)
}

// openSizes counts the open sizes. An unknown shape counts as 2, which is one more
// than a package allows.
func openSizes(t Tensor) int {
	if t.Shape == nil {
		return 2
	}
	n := 0
	for _, d := range t.Shape {
		if d < 0 {
			n++
		}
	}
	return n
}

// dropOpen leaves out outputs whose shape is not known. For the first output it adds
// a decision.
func (p *Proposal) dropOpen() {
	kept := p.Outputs[:0:0]
	for i, out := range p.Outputs {
		switch {
		case openSizes(out) < 2:
			kept = append(kept, out)
		case i == 0:
			p.decideShape(out)
			return
		default:
			p.LeftOut = append(p.LeftOut, LeftOut{out.Name, fmt.Sprintf("the graphs leave its shape open; --shape %s=SIZES gives it", clip(out.Name))})
		}
	}
	p.Outputs = kept
}

func (p *Proposal) decideShape(out Tensor) {
	shape := "unknown"
	if out.Shape != nil {
		shape = tensor.Shape(out.Shape).String()
	}
	p.decide(out.Name, "the graphs leave the shape of this output open: "+shape,
		fmt.Sprintf("give the shape without the batch: --shape %s=10", clip(out.Name)), "or export the graphs with a fixed size")
}
