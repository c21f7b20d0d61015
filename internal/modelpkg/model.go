// Package modelpkg reads model packages: directories with a mosel.yaml, one ONNX graph
// per variant, evaluation sets and profiles. It reads, checks and digests them, so that
// all other packages work on a valid Model. A Profile, the measurements of a model on a
// device, is part of the package too.
package modelpkg

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Model is a checked model package. Indices, not names, connect its parts:
// Variants[i].Inputs are indices into Inputs, and bit i of a slo.Modalities is
// Modalities[i].
type Model struct {
	Dir         string // where it was read from
	Name        string
	Version     string
	Description string
	Digest      string            // "sha256:...": over mosel.yaml and the graphs; profiles name it
	Files       map[string]string // what the digest covers: SHA-256 in hex by path inside Dir
	Task        string            // "classification"
	Metric      string            // the metric's name, "accuracy"
	Scoring     score.Metric      // the metric: how one answer is scored
	Modalities  []Modality
	Inputs      []Input // of all modalities, in order
	Outputs     []Spec
	Stages      []Stage // graphs that variants share; may be empty
	Variants    []Variant
	Gates       []Gate   // variants that choose who answers; may be empty
	Labels      []string // names of the classes, may be empty
	Limits      Limits
	Evaluation  Evaluation
	Isolation   Isolation
	NoCascades  bool     // profiling searches for no cascades
	Warnings    []string // what is sound and worth a look, one line each

	sized  int    // how many inputs declare buckets
	models string // links may lead anywhere inside, see LoadIn
}

// Modality is one kind of input. It has one or more named input tensors.
type Modality struct {
	Name   string
	Inputs []int // indices into Model.Inputs
}

// Spec is a tensor's declaration without its batch dimension.
type Spec struct {
	Name  string
	DType tensor.DType
	Shape tensor.Shape // -1: dynamic
	Max   int64        // largest size of the dimension that is -1; 0: none declared, or there are several
	// Follows is, of an output, the name of the input whose sizes its dimensions of -1
	// have; "" is none.
	Follows string
}

// Input is a declared input tensor.
type Input struct {
	Spec
	Modality   int   // index into Model.Modalities
	Media      Media // how a file becomes this tensor; MediaNone if it cannot
	SampleRate int   // Hz, MediaAudio only
	Absent     Absence
	Range      *Range   // of every element; nil: any value
	Tokens     *Tokens  // how a text becomes this tensor of ids; nil: it is no such tensor
	BytesMax   int      // longest element, BYTES only
	Buckets    *Buckets // the shapes that items are filled up to; nil: items come as they are
	Unbatched  bool     // the graph's tensor has no batch dimension: one value for the whole batch
}

// Absence defines which values of an input count as absent although a tensor was sent.
// With the zero value every value counts as present.
type Absence struct {
	Kind  AbsentKind
	Below float64 // AbsentSilence: root mean square as a share of full scale
}

// AbsentKind is a definition of absent values.
type AbsentKind string

// The kinds of absence.
const (
	AbsentNever   AbsentKind = ""
	AbsentZeros   AbsentKind = "zeros"   // every element is zero
	AbsentSilence AbsentKind = "silence" // quieter than Below; INT16 and FP32
	AbsentBlank   AbsentKind = "blank"   // text codes: only zeros and white space
)

// Range is the lowest and the highest value that an element may have.
type Range struct{ Low, High float64 }

// Media is the kind of file that a command-line user may give for an input: an image, a
// sound or a text.
type Media string

// The media kinds. With MediaNone, only raw values are possible.
const (
	MediaNone  Media = ""
	MediaImage Media = "image" // PNG, JPEG or WebP; scaled to the input's height and width
	MediaAudio Media = "audio" // WAV; resampled to SampleRate, cut or padded with zeros
	MediaText  Media = "text"  // UTF-8; bytes, cut or padded with zeros
)

// Variant is one way to run the model: a non-empty subset of its modalities
// and what runs it: a graph, or a model of another server.
type Variant struct {
	Name       string
	Base       string         // its name in mosel.yaml, where Name has sizes too; "": Name
	Of         int            // its index in mosel.yaml
	Sizes      slo.Sizes      // the buckets of its inputs
	Shapes     []tensor.Shape // by input of the model: the bucket's shape; nil: the declared one
	Modalities slo.Modalities
	// Recovers are modalities that the variant does not take and that its graph
	// reconstructs from those that it takes. They never count as present.
	Recovers  slo.Modalities
	Inputs    []int      // indices into Model.Inputs, in the model's order
	Path      string     // of the ONNX file, inside Dir; "" with Steps or Remote
	Steps     []Step     // the stages that it runs, one after the other; nil: the one graph at Path
	Precision string     // "fp32" unless declared
	Remote    *Remote    // where it runs; nil: here, on its graphs
	Providers []Provider // of ONNX Runtime, that it may use; nil: all
}

// Declared is the variant's name in mosel.yaml. Variants of one declaration differ in the
// sizes of their inputs alone.
func (v Variant) Declared() string { return cmp.Or(v.Base, v.Name) }

// Limits bound one batch.
type Limits struct {
	BatchItemsMax int   // largest batch, >= 1
	MemoryBytes   int64 // 0: no bound
}

// Evaluation names the labelled sets: one for profiling, and a held-out one that is
// used neither for training nor for profiling. Paths are relative to Dir; "" is none.
type Evaluation struct {
	Profile string
	HeldOut string
}

// ModalityNames returns the modalities' names in the order of their bits.
func (m *Model) ModalityNames() []string {
	names := make([]string, len(m.Modalities))
	for i, mod := range m.Modalities {
		names[i] = mod.Name
	}
	return names
}

// AllModalities returns the set of all the model's modalities.
func (m *Model) AllModalities() slo.Modalities {
	return slo.Modalities(1<<len(m.Modalities) - 1)
}

// ModalitySet returns the set of the named modalities; no names mean all of them.
func (m *Model) ModalitySet(names []string) (slo.Modalities, error) {
	if len(names) == 0 {
		return m.AllModalities(), nil
	}
	all := m.ModalityNames()
	var set slo.Modalities
	for _, name := range names {
		i := slices.Index(all, name)
		if i < 0 {
			return 0, fmt.Errorf("model %s has no modality %q, only %s", m.Name, name, strings.Join(all, ", "))
		}
		set |= 1 << i
	}
	return set, nil
}
