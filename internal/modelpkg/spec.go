package modelpkg

import (
	"github.com/mosel-serve/mosel/internal/slo"
	"go.yaml.in/yaml/v3"
)

// Bounds of a mosel.yaml: far above what a model needs, small enough that
// nothing a file says makes mosel allocate much.
const (
	yamlBytesMax  = 1 << 20
	variantsMax   = 64
	inputsMax     = 64 // of one modality
	outputsMax    = 64
	dimensionsMax = 8
	dimensionMax  = 1 << 31
	labelsMax     = 65536
	batchItemsMax = 512 // planning tables are of its square
	sampleRateMax = 768_000
)

// packageFormat is the version of mosel.yaml this code reads.
const packageFormat = 1

// spec is a mosel.yaml as it is written, every value with its place. What the
// values mean together is build's business.
type spec struct {
	root       place
	name       word
	version    word
	about      word
	task       word
	metric     word
	modalities []modalitySpec
	outputs    []tensorSpec
	variants   []variantSpec
	labels     []word
	batch      number
	memory     word
	profile    word
	heldOut    word
}

type modalitySpec struct {
	name   word
	inputs []tensorSpec
}

type tensorSpec struct {
	place
	name   word
	dtype  word
	shape  []number
	shaped place
	media  word
	rate   number
}

type variantSpec struct {
	place
	name       word
	modalities []word
	path       word
	precision  word
}

// readSpec reads the whole file, noting everything that is not of its form.
func (r *report) readSpec(text []byte) spec {
	var s spec
	root := r.document(text)
	if root == nil {
		return s
	}
	s.root = placeOf(root)
	r.mapping(root, "the package", []field{
		{"format", true, func(n *yaml.Node) { r.whole(n, "format", packageFormat, packageFormat) }},
		{"name", true, r.into(&s.name, "name")},
		{"version", false, r.into(&s.version, "version")},
		{"description", false, r.into(&s.about, "description")},
		{"task", false, r.into(&s.task, "task")},
		{"metric", false, r.into(&s.metric, "metric")},
		{"modalities", true, func(n *yaml.Node) {
			r.list(n, "modalities", slo.ModalitiesMax, func(n *yaml.Node) { s.modalities = append(s.modalities, r.modality(n)) })
		}},
		{"outputs", true, func(n *yaml.Node) {
			r.list(n, "outputs", outputsMax, func(n *yaml.Node) { s.outputs = append(s.outputs, r.tensor(n, "an output")) })
		}},
		{"variants", true, func(n *yaml.Node) {
			r.list(n, "variants", variantsMax, func(n *yaml.Node) { s.variants = append(s.variants, r.variant(n)) })
		}},
		{"labels", false, func(n *yaml.Node) {
			r.list(n, "labels", labelsMax, func(n *yaml.Node) { s.labels = append(s.labels, r.text(n, "a label")) })
		}},
		{"limits", false, func(n *yaml.Node) { r.limits(n, &s) }},
		{"evaluation", false, func(n *yaml.Node) {
			r.mapping(n, "evaluation", []field{
				{"profile", false, r.into(&s.profile, "evaluation.profile")},
				{"heldout", false, r.into(&s.heldOut, "evaluation.heldout")},
			})
		}},
	})
	return s
}

// into makes a field's reader that stores a text.
func (r *report) into(w *word, what string) func(*yaml.Node) {
	return func(n *yaml.Node) { *w = r.text(n, what) }
}

func (r *report) limits(n *yaml.Node, s *spec) {
	r.mapping(n, "limits", []field{
		{"max_batch", false, func(n *yaml.Node) { s.batch = r.whole(n, "limits.max_batch", 1, batchItemsMax) }},
		{"memory", false, r.into(&s.memory, "limits.memory")},
	})
}

func (r *report) modality(n *yaml.Node) modalitySpec {
	var m modalitySpec
	r.mapping(n, "a modality", []field{
		{"name", true, r.into(&m.name, "a modality's name")},
		{"inputs", true, func(n *yaml.Node) {
			r.list(n, "a modality's inputs", inputsMax, func(n *yaml.Node) { m.inputs = append(m.inputs, r.input(n)) })
		}},
	})
	return m
}

func (r *report) input(n *yaml.Node) tensorSpec {
	t := tensorSpec{place: placeOf(n)}
	r.mapping(n, "an input", append(r.tensorFields(&t, "an input"),
		field{"media", false, r.into(&t.media, "an input's media")},
		field{"sample_rate", false, func(n *yaml.Node) { t.rate = r.whole(n, "sample_rate", 1, sampleRateMax) }},
	))
	return t
}

func (r *report) tensor(n *yaml.Node, what string) tensorSpec {
	t := tensorSpec{place: placeOf(n)}
	r.mapping(n, what, r.tensorFields(&t, what))
	return t
}

func (r *report) tensorFields(t *tensorSpec, what string) []field {
	return []field{
		{"name", true, r.into(&t.name, what+"'s name")},
		{"datatype", true, r.into(&t.dtype, what+"'s datatype")},
		{"shape", true, func(n *yaml.Node) { t.shaped, t.shape = placeOf(n), r.shape(n) }},
	}
}

// shape reads dimensions; unlike other lists it may be empty: one number a sample.
func (r *report) shape(n *yaml.Node) []number {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		return nil
	}
	var dims []number
	r.list(n, "shape", dimensionsMax, func(n *yaml.Node) { dims = append(dims, r.whole(n, "a dimension", -1, dimensionMax)) })
	return dims
}

func (r *report) variant(n *yaml.Node) variantSpec {
	v := variantSpec{place: placeOf(n)}
	r.mapping(n, "a variant", []field{
		{"name", true, r.into(&v.name, "a variant's name")},
		{"modalities", true, func(n *yaml.Node) {
			r.list(n, "a variant's modalities", slo.ModalitiesMax, func(n *yaml.Node) {
				v.modalities = append(v.modalities, r.text(n, "a modality"))
			})
		}},
		{"path", true, r.into(&v.path, "a variant's path")},
		{"precision", false, r.into(&v.precision, "a variant's precision")},
	})
	return v
}
