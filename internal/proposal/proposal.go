// Package proposal makes a first mosel.yaml for a directory of ONNX graphs. It reads
// the inputs and outputs of the graphs and the labelled samples beside them, and
// proposes modalities, variants, outputs and a metric, each with its reason. Where
// the files do not give an answer, it lists a Decision for a person to make.
package proposal

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// Options are the answers that a person has given.
type Options struct {
	Name    string                  // of the model; "" is the directory's
	Metric  string                  // as mosel.yaml has it; "" is proposed
	Scored  string                  // the output that the metric scores; "" is proposed
	Max     map[string]int64        // by input: the largest size of the dimension that is -1
	Shapes  map[string]tensor.Shape // by input or output, without the batch
	Profile string                  // labelled samples inside the directory; "" is what is found
	HeldOut string
}

// Proposal is what was found in a directory, and what follows from it.
type Proposal struct {
	Name       string     `json:"name"`
	Graphs     []Graph    `json:"graphs"`
	Samples    []Samples  `json:"samples"`
	Modalities []Modality `json:"modalities"`
	Outputs    []Tensor   `json:"outputs"` // the first is what the metric scores
	LeftOut    []LeftOut  `json:"left_out"`
	Stages     []Stage    `json:"stages,omitempty"`
	Variants   []Variant  `json:"variants"`
	Metric     Metric     `json:"metric"`
	Classes    []string   `json:"classes,omitempty"`
	MaxBatch   int        `json:"max_batch,omitempty"` // 0: the default
	Profile    string     `json:"profile,omitempty"`
	HeldOut    string     `json:"heldout,omitempty"`
	Decisions  []Decision `json:"decisions"` // what a person must decide before a mosel.yaml can be written
	Notes      []string   `json:"notes"`     // what is worth knowing
	options    Options
	chosen     *Samples
}

// Graph is an ONNX file and how it is called, the batch included. Stages of a variant are
// one graph here: the last one, with the inputs of all.
type Graph struct {
	File    string   `json:"file"`
	Inputs  []Value  `json:"inputs"`
	Outputs []Value  `json:"outputs"`
	stages  []string // of the chain that it is the last of; nil: it stands alone
}

// Value is an input or output of a graph. Shape is null where the graph gives none.
type Value struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"` // ONNX's words where mosel has none
	Shape    []int64 `json:"shape"`
	dtype    tensor.DType
}

// Modality is a proposed group of inputs.
type Modality struct {
	Name   string   `json:"name"`
	Why    string   `json:"why"`
	Inputs []Tensor `json:"inputs"`
}

// Tensor is a proposed declaration, without the batch.
type Tensor struct {
	Name      string    `json:"name"`
	Datatype  string    `json:"datatype"`
	Shape     []int64   `json:"shape"`
	Max       int64     `json:"max,omitempty"`
	Range     *[2]int64 `json:"range,omitempty"`
	Media     string    `json:"media,omitempty"`
	Buckets   []int64   `json:"buckets,omitempty"`   // of the dimension that is -1
	Tokenizer string    `json:"tokenizer,omitempty"` // a file of the directory
	Mask      string    `json:"mask,omitempty"`      // the names of inputs that are filled beside this one
	Types     string    `json:"types,omitempty"`
	Unbatched bool      `json:"unbatched,omitempty"`
	Comments  []string  `json:"comments,omitempty"`
	dtype     tensor.DType
}

// LeftOut is an output that the package does not have.
type LeftOut struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Variant is one graph as a way to run the model, or stages.
type Variant struct {
	Name       string   `json:"name"`
	Modalities []string `json:"modalities"`
	Path       string   `json:"path,omitempty"`
	Stages     []string `json:"stages,omitempty"`    // in place of Path
	Precision  string   `json:"precision,omitempty"` // "" is fp32
}

// Decision is a question that the files do not answer.
type Decision struct {
	About   string   `json:"about"` // a file or a tensor
	Why     string   `json:"why"`
	Answers []string `json:"answers"` // what a person can do
}

// For proposes a package for the graphs in a directory. It returns an error where the
// directory cannot be read or has no graphs; everything else is in the proposal.
func For(dir string, o Options) (*Proposal, error) {
	files, err := find(dir)
	if err != nil {
		return nil, err
	}
	if len(files.graphs) == 0 {
		return nil, fmt.Errorf("%s has no .onnx file: export one graph for each subset of the modalities that is worth running", dir)
	}
	p := &Proposal{Name: o.Name, options: o, Decisions: []Decision{}, Notes: []string{}, LeftOut: []LeftOut{}, Samples: []Samples{},
		Graphs: []Graph{}, Modalities: []Modality{}, Outputs: []Tensor{}, Variants: []Variant{}}
	if p.Name == "" {
		p.Name = modelName(dir)
	}
	p.readGraphs(dir, files.graphs)
	p.connect()
	p.readSamples(dir, files.sets)
	if len(p.Decisions) > 0 { // the rest needs all files
		return p, nil
	}
	inputs := p.mergeInputs()
	p.chooseSets(dir, inputs)
	p.settle(inputs)
	p.settleLengths(dir, files.tokenizers, inputs)
	p.group(inputs)
	sound := len(p.Decisions) == 0
	p.proposeVariants()
	if sound {
		p.proposeOutputs()
	}
	p.checkBounds()
	return p, nil
}

// decide adds a decision.
func (p *Proposal) decide(about, why string, answers ...string) {
	p.Decisions = append(p.Decisions, Decision{About: clip(about), Why: why, Answers: answers})
}

func (p *Proposal) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// modelName is the directory's name as a model may be called.
func modelName(dir string) string {
	base := "model"
	if abs, err := filepath.Abs(dir); err == nil {
		base = filepath.Base(abs)
	}
	name := cleaned(base, 64, func(c rune) bool { return isLetter(c) || isDigit(c) || c == '.' || c == '-' || c == '_' }, "._-")
	if name == "" || name == "stats" { // the path of the statistics of all models
		return "model"
	}
	return name
}

// readGraphs reads how every graph is called.
func (p *Proposal) readGraphs(dir string, names []string) {
	for _, name := range names {
		s, err := modelpkg.ReadSignature(dir, name)
		if err != nil {
			p.decide(name, err.Error(), "export it again, or take it out of the directory")
			continue
		}
		g := Graph{File: name, Inputs: valuesOf(s.Inputs), Outputs: valuesOf(s.Outputs)}
		if len(g.Inputs) == 0 {
			p.decide(name, "the graph has no inputs", "export it again, or take it out of the directory")
			continue
		}
		for _, values := range [][]Value{g.Inputs, g.Outputs} {
			if twice := duplicate(values); twice != "" {
				p.decide(name, fmt.Sprintf("the graph has the tensor %q twice", twice), "export it again with a name for each")
			}
		}
		p.Graphs = append(p.Graphs, g)
	}
}

func valuesOf(found []modelpkg.Value) []Value {
	values := make([]Value, len(found))
	for i, f := range found {
		values[i] = Value{Name: f.Name, Datatype: f.DType.String(), Shape: f.Shape, dtype: f.DType}
		if f.DType == tensor.Invalid {
			values[i].Datatype = f.Kind
		}
	}
	return values
}

func duplicate(values []Value) string {
	for i, v := range values {
		if slices.ContainsFunc(values[:i], func(o Value) bool { return o.Name == v.Name }) {
			return v.Name
		}
	}
	return ""
}

// valueNamed finds an input or output; nil: the graph has none of that name.
func valueNamed(values []Value, name string) *Value {
	for i := range values {
		if values[i].Name == name {
			return &values[i]
		}
	}
	return nil
}

// Limits of a package, as modelpkg checks them.
const (
	modalitiesMax = 16
	inputsMax     = 64 // of one modality
	variantsMax   = 64
	outputsMax    = 64
)

// checkBounds adds a decision where the proposal is beyond a limit of packages.
func (p *Proposal) checkBounds() {
	if n := len(p.Variants); n > variantsMax {
		p.decide("variants", fmt.Sprintf("there are %d graphs; a package has at most %d", n, variantsMax), "keep the graphs that are worth running")
	}
	if n := len(p.Modalities); n > modalitiesMax {
		p.decide("modalities", fmt.Sprintf("the inputs are of %d modalities; a package has at most %d", n, modalitiesMax),
			"give inputs that belong together names that begin alike, such as sensor_temperature and sensor_pressure")
	}
	for _, m := range p.Modalities {
		if n := len(m.Inputs); n > inputsMax {
			p.decide(m.Name, fmt.Sprintf("the modality has %d inputs; at most %d are allowed", n, inputsMax), "export a graph that takes them as one tensor")
		}
	}
	if n := len(p.Outputs); n > outputsMax {
		for _, out := range p.Outputs[outputsMax:] {
			p.LeftOut = append(p.LeftOut, LeftOut{out.Name, fmt.Sprintf("a package has at most %d outputs", outputsMax)})
		}
		p.Outputs = p.Outputs[:outputsMax]
	}
}
