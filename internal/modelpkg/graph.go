package modelpkg

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
)

// opsetMin is the lowest version of the standard operators that ONNX Runtime promises
// to run. The highest depends on the installed runtime.
const opsetMin = 7

// checkGraphs compares every ONNX file with the declaration, and adds all files that it
// reads to the manifest.
func (r *report) checkGraphs(m *Model, s *spec, files *manifest) {
	for i, v := range m.Variants {
		if v.Remote != nil { // what that server has is seen when it is loaded
			r.checkRemote(v.Remote, "variant "+v.Name, s.variants[i].remote, files)
			continue
		}
		if v.Steps != nil {
			continue
		}
		if g := r.checkGraph(m, "variant "+v.Name, v.Path, s.variants[i].path.Place, files); g != nil {
			r.checkInputs(m, s, i, g)
			r.checkOutputs(m, s, i, v.Path, g)
			r.checkGateOutput(m, s, i, g)
		}
	}
	r.checkStages(m, s, files)
}

// checkGraph reads a graph and checks what applies to every graph; nil if it cannot be
// read. of names its variant or stage for messages.
func (r *report) checkGraph(m *Model, of, file string, at place, files *manifest) *graph {
	g, err := files.graph(file)
	if err != nil {
		r.unread(at, err, "%s: %s", of, file)
		return nil
	}
	if g.opset < opsetMin {
		r.At(at, "%s: %s has opset %d; at least %d is needed, 17 is advised", of, file, g.opset, opsetMin)
	}
	r.checkExternal(of, file, at, g, files)
	r.checkDivisions(m, of, file, at, g)
	return g
}

// checkExternal checks the files that hold a graph's weights.
func (r *report) checkExternal(of, file string, at place, g *graph, files *manifest) {
	for _, location := range slices.Sorted(maps.Keys(g.external)) {
		if why := escapes(location); why != "" {
			r.At(at, "%s: %s keeps weights in %q, which %s", of, file, strictyaml.Clip(location, 120), why)
			continue
		}
		size, err := files.file(path.Join(path.Dir(file), location))
		switch {
		case err != nil:
			r.unread(at, err, "%s: %s keeps weights in %s", of, file, location)
		case size < g.external[location]:
			r.At(at, "%s: %s needs %d bytes of %s, which has only %d", of, file, g.external[location], location, size)
		}
	}
}

func (r *report) checkInputs(m *Model, s *spec, variant int, g *graph) {
	v, at := m.Variants[variant], s.variants[variant].path.Place
	for _, i := range v.Inputs {
		found := slices.IndexFunc(g.inputs, func(in graphValue) bool { return in.Name == m.Inputs[i].Name })
		if found < 0 {
			r.At(at, "variant %s: %s has no input %q; it has %s", v.Name, v.Path, m.Inputs[i].Name, specNames(g.inputs))
			continue
		}
		r.compareInput(m, s, variant, i, g.inputs[found])
	}
	for _, in := range g.inputs {
		i := slices.IndexFunc(m.Inputs, func(d Input) bool { return d.Name == in.Name })
		switch {
		case i < 0:
			r.At(at, "variant %s: %s needs an input %q that no modality declares", v.Name, v.Path, in.Name)
		case !slices.Contains(v.Inputs, i):
			r.At(at, "variant %s: %s needs the input %q of modality %s, which the variant does not name",
				v.Name, v.Path, in.Name, m.Modalities[m.Inputs[i].Modality].Name)
		}
	}
}

// compareInput compares a graph's tensor with the declaration of an input.
func (r *report) compareInput(m *Model, s *spec, variant, input int, found graphValue) {
	declared := s.input(input)
	if m.Inputs[input].Unbatched {
		r.compareUnbatched(m, variant, m.Inputs[input].Spec, found, declared)
		return
	}
	if found.Shape != nil && len(found.Shape) == 0 {
		r.inVariant(m.Variants[variant], declared.shaped, "%s must have the batch as its first dimension (or batched: false, if one value holds for a whole batch), but has no dimensions", m.Inputs[input].Name)
		return
	}
	r.compare(m, variant, m.Inputs[input].Spec, found, declared)
}

// checkOutputs compares the graph that gives the variant's outputs with the
// declaration.
func (r *report) checkOutputs(m *Model, s *spec, variant int, file string, g *graph) {
	v := m.Variants[variant]
	for i, out := range m.Outputs {
		found := slices.IndexFunc(g.outputs, func(o graphValue) bool { return o.Name == out.Name })
		if found < 0 {
			at := s.variants[variant].path.Place
			if v.Steps != nil {
				at = s.variants[variant].Place
			}
			r.At(at, "variant %s: %s has no output %q; it has %s", v.Name, file, out.Name, specNames(g.outputs))
			continue
		}
		r.compare(m, variant, out, g.outputs[found], s.outputs[i])
	}
}

// compare compares a tensor of a graph with its declaration, which has no batch
// dimension.
func (r *report) compare(m *Model, variant int, declared Spec, found graphValue, at tensorSpec) {
	v := m.Variants[variant]
	if found.DType != declared.DType {
		r.inVariant(v, at.dtype.Place, "%s is declared %v, but is %s", declared.Name, declared.DType, graphType(found))
	}
	if found.Shape == nil {
		return // the graph does not fix the shape
	}
	if len(found.Shape) == 0 {
		r.inVariant(v, at.shaped, "%s must have the batch as its first dimension, but has no dimensions", declared.Name)
		return
	}
	if batch := found.Shape[0]; batch != -1 && (batch != 1 || m.Limits.BatchItemsMax != 1) {
		r.inVariant(v, at.shaped, "the batch dimension of %s must be dynamic (or 1 with limits.max_batch: 1), but is %d", declared.Name, batch)
	}
	rest := found.Shape[1:]
	if !fits(declared.Shape, rest) {
		r.inVariant(v, at.shaped, "%s is declared %v, but is %v after the batch dimension", declared.Name, declared.Shape, rest)
	}
}

// compareUnbatched compares a tensor without a batch dimension with its declaration.
func (r *report) compareUnbatched(m *Model, variant int, declared Spec, found graphValue, at tensorSpec) {
	v := m.Variants[variant]
	if found.DType != declared.DType {
		r.inVariant(v, at.dtype.Place, "%s is declared %v, but is %s", declared.Name, declared.DType, graphType(found))
	}
	if found.Shape != nil && !fits(declared.Shape, found.Shape) {
		r.inVariant(v, at.shaped, "%s is declared %v without a batch (batched: false), but is %v", declared.Name, declared.Shape, found.Shape)
	}
}

// fits reports whether the graph accepts every tensor that the declaration allows.
func fits(declared, found tensor.Shape) bool {
	if len(declared) != len(found) {
		return false
	}
	for i := range found {
		if found[i] != -1 && declared[i] != found[i] {
			return false
		}
	}
	return true
}

// graphType returns the type of a graph's tensor in mosel.yaml's words, or in ONNX's if
// mosel has no name for it. For a common mistake it adds what to do.
func graphType(v graphValue) string {
	switch {
	case v.DType != tensor.Invalid:
		return v.DType.String()
	case strings.Contains(v.kind, "map("): // converters add these to classifiers
		return "of ONNX type " + strictyaml.Clip(v.kind, 120) + ", which is no tensor (export with zipmap=False)"
	}
	return "of ONNX type " + strictyaml.Clip(v.kind, 120) + ", which mosel does not serve"
}

func specNames(specs []graphValue) string {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = strictyaml.Clip(s.Name, 80)
	}
	return strictyaml.Clip(strings.Join(names, ", "), 400)
}

// input returns the declaration of Model.Inputs[i].
func (s *spec) input(i int) tensorSpec {
	for _, m := range s.modalities {
		if i < len(m.inputs) {
			return m.inputs[i]
		}
		i -= len(m.inputs)
	}
	return tensorSpec{}
}
