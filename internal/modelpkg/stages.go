package modelpkg

import (
	"slices"

	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
	"go.yaml.in/yaml/v3"
)

// Stage is a graph that several variants may share, or a model on another server. A graph
// is loaded once, even if several variants run it.
type Stage struct {
	Name    string
	Path    string  // of the ONNX file, inside Dir; "" with Remote
	Remote  *Remote // the model that runs it; nil: its graph here
	Outputs []Spec  // with Remote: what it gives, without the batch dimension
}

// Step is one run of a stage in a variant.
type Step struct {
	Stage   int      // index into Model.Stages
	Unit    int      // the same in all variants in which the stage has the same sources
	Inputs  []Source // the tensors that the graph reads, in any order
	Outputs []string // the tensors that later steps read; for the last step the model's outputs
}

// Source is the source of a tensor that a step reads: an input of the model, or an
// output of an earlier step of the variant.
type Source struct {
	Name   string // of the tensor, in the graphs
	Input  int    // index into Model.Inputs; -1: an output of a step
	Step   int    // index into Variant.Steps
	Output int    // index into the step's Outputs
}

// stagesMax bounds the stages of a package, and the steps of a variant.
const stagesMax = 64

type stageSpec struct {
	strictyaml.Place
	name    word
	path    word
	remote  remoteSpec
	inputs  []word       // with remote, as are
	outputs []tensorSpec // outputs
	places  int          // how many of path and remote it has
}

func (r *report) stage(n *yaml.Node) stageSpec {
	s := stageSpec{Place: strictyaml.PlaceOf(n)}
	var tensors []place // of inputs and outputs
	r.Mapping(n, "a stage", append([]field{
		strictyaml.Required("name", r.Into(&s.name, "a stage's name")),
		strictyaml.Optional("path", func(n *yaml.Node) { s.places++; s.path = r.Text(n, "a stage's path") }),
		strictyaml.Optional("inputs", func(n *yaml.Node) {
			tensors = append(tensors, strictyaml.PlaceOf(n))
			r.List(n, "a stage's inputs", inputsMax, func(n *yaml.Node) { s.inputs = append(s.inputs, r.Text(n, "a stage's input")) })
		}),
		strictyaml.Optional("outputs", func(n *yaml.Node) {
			tensors = append(tensors, strictyaml.PlaceOf(n))
			r.List(n, "a stage's outputs", outputsMax, func(n *yaml.Node) { s.outputs = append(s.outputs, r.tensor(n, "a stage's output")) })
		}),
	}, r.remoteFields(&s.remote, "a stage's remote", &s.places)...))
	switch {
	case n.Kind != yaml.MappingNode:
	case s.places != 1:
		r.At(s.Place, "a stage needs one of path (of its graph) and remote")
	case s.remote.address.Given() && len(tensors) < 2:
		r.At(s.Place, "a stage with remote needs inputs (the names of the tensors that it reads) and outputs (name, datatype and shape of the tensors that it gives)")
	case !s.remote.address.Given():
		for _, at := range tensors {
			r.At(at, "inputs and outputs are for a stage with remote; those of a graph are in its file")
		}
	}
	return s
}

// buildStages checks the stages' declarations.
func (r *report) buildStages(m *Model, s *spec) {
	var names []word
	for _, st := range s.stages {
		names = append(names, st.name)
		stage := Stage{Name: r.name(st.name, nameForm, nameWant), Path: r.inside(st.path), Remote: r.buildRemote(st.remote, "stage")}
		for _, ts := range st.outputs {
			stage.Outputs = append(stage.Outputs, r.tensorOf(ts))
		}
		r.stageTensors(st)
		m.Stages = append(m.Stages, stage)
	}
	r.Unique(names, "stage")
}

// stageTensors checks the names of the tensors of a stage on another server.
func (r *report) stageTensors(st stageSpec) {
	var outputs []word
	for _, ts := range st.outputs {
		outputs = append(outputs, ts.name)
		if ts.follows.Given() {
			r.At(ts.follows.Place, "follows is for outputs of the model")
		}
	}
	for _, in := range st.inputs {
		r.name(in, tensorForm, tensorWant)
	}
	r.Unique(st.inputs, "input")
	r.Unique(outputs, "output")
}

// buildSteps returns the stages that a variant names. Their graphs determine what they
// read from each other, see connect.
func (r *report) buildSteps(m *Model, vs variantSpec) (steps []Step) {
	r.Unique(vs.stages, "stage")
	for _, w := range vs.stages {
		i := slices.IndexFunc(m.Stages, func(s Stage) bool { return s.Name == w.Text })
		if i < 0 {
			if w.Given() {
				var names []string
				for _, s := range m.Stages {
					names = append(names, s.Name)
				}
				r.At(w.Place, "the model has no stage %q%s", strictyaml.Clip(w.Text, 40), strictyaml.Suggest(w.Text, names))
			}
			continue
		}
		steps = append(steps, Step{Stage: i})
	}
	return steps
}

// checkStages reads the stages' graphs and connects the steps of each variant.
func (r *report) checkStages(m *Model, s *spec, files *manifest) {
	graphs := make([]*graph, len(m.Stages))
	for i, stage := range m.Stages {
		if stage.Remote != nil {
			r.checkRemote(stage.Remote, "stage "+stage.Name, s.stages[i].remote, files)
			graphs[i] = s.stages[i].declared(stage)
			continue
		}
		graphs[i] = r.checkGraph(m, "stage "+stage.Name, stage.Path, s.stages[i].path.Place, files)
	}
	used := make([]bool, len(m.Stages))
	for i := range m.Variants {
		v := &m.Variants[i]
		readable := true
		for _, step := range v.Steps {
			used[step.Stage] = true
			readable = readable && graphs[step.Stage] != nil
		}
		if len(v.Steps) > 0 && readable {
			r.connect(m, s, i, graphs)
		}
	}
	m.numberUnits()
	for i, stage := range m.Stages {
		if !used[i] {
			r.At(s.stages[i].Place, "no variant runs stage %s", stage.Name)
		}
	}
}

// declared is what the package says of the model of a stage on another server. Of its
// inputs, only the names are known: what the server takes is seen when it is loaded.
func (s *stageSpec) declared(stage Stage) *graph {
	g := &graph{}
	for _, in := range s.inputs {
		g.inputs = append(g.inputs, graphValue{Spec: Spec{Name: in.Text}})
	}
	for _, out := range stage.Outputs {
		out.Shape = append(tensor.Shape{-1}, out.Shape...)
		g.outputs = append(g.outputs, graphValue{Spec: out})
	}
	return g
}

// connect determines the sources of the tensors that a variant's steps read, and
// compares the graphs with the declarations and with each other. graphs are by stage,
// nil if one could not be read.
func (r *report) connect(m *Model, s *spec, variant int, graphs []*graph) {
	v := &m.Variants[variant]
	at := s.variants[variant].Place
	read := make([]bool, len(m.Inputs))
	for k := range v.Steps {
		step := &v.Steps[k]
		name, there := m.Stages[step.Stage].Name, m.Stages[step.Stage].Remote != nil
		for _, in := range graphs[step.Stage].inputs {
			source, found := sourceOf(m, v, k, in, graphs)
			switch {
			case !found:
				r.At(at, "variant %s: stage %s reads %q, %s", v.Name, name, in.Name, m.nowhere(v, k, in, graphs))
				continue
			case source.Input < 0 && !there:
				r.handOver(v, at, name, in, handed(v, source, graphs))
			case source.Input >= 0:
				read[source.Input] = true
				if !there {
					r.compareInput(m, s, variant, source.Input, in)
				}
			}
			step.Inputs = append(step.Inputs, source)
		}
	}
	for _, i := range v.Inputs {
		if !read[i] {
			r.At(at, "variant %s: no stage of it reads the input %q of modality %s", v.Name, m.Inputs[i].Name, m.Modalities[m.Inputs[i].Modality].Name)
		}
	}
	last := &v.Steps[len(v.Steps)-1]
	stage := m.Stages[last.Stage]
	file := stage.Path
	if stage.Remote != nil {
		file = "stage " + stage.Name
	}
	r.checkOutputs(m, s, variant, file, graphs[last.Stage])
	for k := range v.Steps[:len(v.Steps)-1] {
		if len(v.Steps[k].Outputs) == 0 {
			r.At(at, "variant %s: nothing reads the outputs of stage %s", v.Name, m.Stages[v.Steps[k].Stage].Name)
		}
	}
	for _, out := range m.Outputs {
		last.Outputs = append(last.Outputs, out.Name)
	}
}

// sourceOf finds a tensor that a step reads: the output of the nearest step before it
// that has one of the name, else the model's input.
func sourceOf(m *Model, v *Variant, step int, in graphValue, graphs []*graph) (Source, bool) {
	for k := step - 1; k >= 0; k-- {
		before := &v.Steps[k]
		if !slices.ContainsFunc(graphs[before.Stage].outputs, func(out graphValue) bool { return out.Name == in.Name }) {
			continue
		}
		output := slices.Index(before.Outputs, in.Name)
		if output < 0 {
			output = len(before.Outputs)
			before.Outputs = append(before.Outputs, in.Name)
		}
		return Source{Name: in.Name, Input: -1, Step: k, Output: output}, true
	}
	i := slices.IndexFunc(m.Inputs, func(d Input) bool { return d.Name == in.Name })
	return Source{Name: in.Name, Input: i}, i >= 0 && slices.Contains(v.Inputs, i)
}

// nowhere says why a tensor that a step reads has no source.
func (m *Model) nowhere(v *Variant, step int, in graphValue, graphs []*graph) string {
	for k := step; k < len(v.Steps); k++ {
		gives := func(out graphValue) bool { return out.Name == in.Name }
		if !slices.ContainsFunc(graphs[v.Steps[k].Stage].outputs, gives) {
			continue
		}
		after := m.Stages[v.Steps[k].Stage].Name
		switch {
		case k == step:
			return "its own output"
		case needs(v, k, step, graphs):
			return "an output of stage " + after + ", which needs outputs of this one: the stages are a cycle"
		}
		return "an output of stage " + after + ", which runs after it: stages run in the order of the list"
	}
	return "which is neither an input of the variant's modalities nor an output of a stage before it"
}

// needs reports whether a step reads an output of another one, or of a step that does.
func needs(v *Variant, step, other int, graphs []*graph) bool {
	reached := []int{step} // it and what it needs
	for i := 0; i < len(reached); i++ {
		for k := range v.Steps {
			reads := func(in graphValue) bool {
				return slices.ContainsFunc(graphs[v.Steps[k].Stage].outputs, func(out graphValue) bool { return out.Name == in.Name })
			}
			if !slices.Contains(reached, k) && slices.ContainsFunc(graphs[v.Steps[reached[i]].Stage].inputs, reads) {
				reached = append(reached, k)
			}
		}
	}
	return slices.Contains(reached, other)
}

// handed is the output that a source names.
func handed(v *Variant, s Source, graphs []*graph) graphValue {
	outputs := graphs[v.Steps[s.Step].Stage].outputs
	return outputs[slices.IndexFunc(outputs, func(out graphValue) bool { return out.Name == s.Name })]
}

// handOver checks that a stage accepts an output of another stage.
func (r *report) handOver(v *Variant, at place, stage string, in, out graphValue) {
	if in.DType != out.DType {
		r.At(at, "variant %s: stage %s reads %s as %s, but gets %s", v.Name, stage, in.Name, graphType(in), graphType(out))
	}
	if in.Shape == nil || out.Shape == nil {
		return // the graphs do not fix the shape
	}
	agree := len(in.Shape) == len(out.Shape)
	for i := 0; agree && i < len(in.Shape); i++ {
		agree = in.Shape[i] == -1 || out.Shape[i] == -1 || in.Shape[i] == out.Shape[i]
	}
	if !agree {
		r.At(at, "variant %s: stage %s reads %s with shape %v, but gets %v", v.Name, stage, in.Name, in.Shape, out.Shape)
	}
}

// GraphFile returns the file of the graph that gives a variant's outputs, inside Dir; "" if
// another server gives them.
func (m *Model) GraphFile(variant int) string {
	_, paths := m.StepsOf(variant)
	return paths[len(paths)-1]
}

// StepsOf returns the steps of a variant, or one step for its graph if it has no
// stages, and the paths of the steps' files, "" for what runs on other servers.
func (m *Model) StepsOf(variant int) (steps []Step, paths []string) {
	v := m.Variants[variant]
	if v.Steps == nil {
		var only Step
		for _, i := range v.Inputs {
			only.Inputs = append(only.Inputs, Source{Name: m.Inputs[i].Name, Input: i})
		}
		for _, out := range m.OutputsOf(variant) {
			only.Outputs = append(only.Outputs, out.Name)
		}
		return []Step{only}, []string{v.Path}
	}
	for _, step := range v.Steps {
		paths = append(paths, m.Stages[step.Stage].Path)
	}
	return v.Steps, paths
}
