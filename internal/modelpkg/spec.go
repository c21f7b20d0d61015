package modelpkg

import (
	"math"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"go.yaml.in/yaml/v3"
)

// Bounds of a mosel.yaml: far above what a model needs, but small enough that no file
// makes mosel allocate much memory.
const (
	yamlBytesMax  = 1 << 20
	variantsMax   = 64
	inputsMax     = 64 // of one modality
	outputsMax    = 64
	dimensionsMax = 8
	dimensionMax  = 1 << 31
	labelsMax     = 65536
	batchItemsMax = 512 // planning tables have its square as size
	sampleRateMax = 768_000

	silenceBelowMin = 1e-9 // of full scale: far below the resolution of 24 bits
)

// packageFormat is the version of mosel.yaml this code reads.
const packageFormat = 1

// spec is a mosel.yaml as written, every value with its place. build interprets the
// values together.
type spec struct {
	root       place
	name       word
	version    word
	about      word
	task       word
	metric     metricSpec
	modalities []modalitySpec
	outputs    []tensorSpec
	stages     []stageSpec
	variants   []variantSpec
	labels     []word
	batch      number
	memory     word
	profile    word
	heldOut    word
	isolated   word
	cascades   word
	gates      []gateSpec
}

type modalitySpec struct {
	name   word
	inputs []tensorSpec
}

type tensorSpec struct {
	strictyaml.Place
	name      word
	dtype     word
	shape     []number
	shaped    place
	most      number // max
	longest   number // max_bytes
	tokenizer word
	mask      word // the names of other inputs
	types     word
	media     word
	rate      number
	absent    word
	below     level // silence_below
	span      span  // range
	batch     strictyaml.Flag
	fill      bucketSpec
	follows   word // of an output: the name of an input
}

// level is a number, such as a share of full scale, and span is two bounds, each with its place.
type level struct {
	value float64
	place
}

type span struct {
	low, high float64
	place
}

type variantSpec struct {
	strictyaml.Place
	name       word
	modalities []word
	path       word
	stages     []word
	precision  word
	recovers   recoverSpec
	remote     remoteSpec
	providers  []word
	provided   place // of the list of providers
	places     int   // how many of path, stages and remote it has
}

// readSpec reads the whole file and reports every mistake of form.
func (r *report) readSpec(text []byte) spec {
	var s spec
	root := r.Document(text)
	if root == nil {
		return s
	}
	s.root = strictyaml.PlaceOf(root)
	r.Mapping(root, "the package", []field{
		strictyaml.Required("format", func(n *yaml.Node) { r.Whole(n, "format", packageFormat, packageFormat) }),
		strictyaml.Required("name", r.Into(&s.name, "name")),
		strictyaml.Optional("version", r.Into(&s.version, "version")),
		strictyaml.Optional("description", r.Into(&s.about, "description")),
		strictyaml.Optional("task", r.Into(&s.task, "task")),
		strictyaml.Optional("metric", func(n *yaml.Node) { s.metric = r.readMetric(n) }),
		strictyaml.Required("modalities", func(n *yaml.Node) {
			r.List(n, "modalities", slo.ModalitiesMax, func(n *yaml.Node) { s.modalities = append(s.modalities, r.modality(n)) })
		}),
		strictyaml.Required("outputs", func(n *yaml.Node) {
			r.List(n, "outputs", outputsMax, func(n *yaml.Node) { s.outputs = append(s.outputs, r.tensor(n, "an output")) })
		}),
		strictyaml.Optional("stages", func(n *yaml.Node) {
			r.List(n, "stages", stagesMax, func(n *yaml.Node) { s.stages = append(s.stages, r.stage(n)) })
		}),
		strictyaml.Required("variants", func(n *yaml.Node) {
			r.List(n, "variants", variantsMax, func(n *yaml.Node) { s.variants = append(s.variants, r.variant(n)) })
		}),
		strictyaml.Optional("classes", func(n *yaml.Node) { r.classNames(&s, n, "classes") }),
		strictyaml.Optional("labels", func(n *yaml.Node) { r.classNames(&s, n, "labels") }),
		strictyaml.Optional("limits", func(n *yaml.Node) { r.limits(n, &s) }),
		strictyaml.Optional("evaluation", func(n *yaml.Node) {
			r.Mapping(n, "evaluation", []field{
				strictyaml.Optional("profile", r.Into(&s.profile, "evaluation.profile")),
				strictyaml.Optional("heldout", r.Into(&s.heldOut, "evaluation.heldout")),
			})
		}),
		strictyaml.Optional("isolation", r.Into(&s.isolated, "isolation")),
		strictyaml.Optional("cascades", r.Into(&s.cascades, "cascades")),
		strictyaml.Optional("gates", func(n *yaml.Node) {
			r.List(n, "gates", variantsMax, func(n *yaml.Node) { s.gates = append(s.gates, r.gate(n)) })
		}),
	})
	return s
}

// classNames reads the names of the classes, under their key or its older name.
func (r *report) classNames(s *spec, n *yaml.Node, key string) {
	if len(s.labels) > 0 {
		r.At(strictyaml.PlaceOf(n), "labels is the older name of classes; give the names once")
		return
	}
	r.List(n, key, labelsMax, func(n *yaml.Node) { s.labels = append(s.labels, r.Text(n, "a name of a class")) })
}

func (r *report) limits(n *yaml.Node, s *spec) {
	r.Mapping(n, "limits", []field{
		strictyaml.Optional("max_batch", func(n *yaml.Node) { s.batch = r.Whole(n, "limits.max_batch", 1, batchItemsMax) }),
		strictyaml.Optional("memory", r.Into(&s.memory, "limits.memory")),
	})
}

func (r *report) modality(n *yaml.Node) modalitySpec {
	var m modalitySpec
	r.Mapping(n, "a modality", []field{
		strictyaml.Required("name", r.Into(&m.name, "a modality's name")),
		strictyaml.Required("inputs", func(n *yaml.Node) {
			r.List(n, "a modality's inputs", inputsMax, func(n *yaml.Node) { m.inputs = append(m.inputs, r.input(n)) })
		}),
	})
	return m
}

func (r *report) input(n *yaml.Node) tensorSpec {
	t := tensorSpec{Place: strictyaml.PlaceOf(n)}
	r.Mapping(n, "an input", append(r.tensorFields(&t, "an input"),
		strictyaml.Optional("media", r.Into(&t.media, "an input's media")),
		strictyaml.Optional("sample_rate", func(n *yaml.Node) { t.rate = r.Whole(n, "sample_rate", 1, sampleRateMax) }),
		strictyaml.Optional("absent", r.Into(&t.absent, "an input's absent")),
		strictyaml.Optional("silence_below", func(n *yaml.Node) {
			t.below = level{r.Real(n, "silence_below", silenceBelowMin, 1), strictyaml.PlaceOf(n)}
		}),
		strictyaml.Optional("range", func(n *yaml.Node) { t.span = r.span(n) }),
		strictyaml.Optional("max_bytes", func(n *yaml.Node) { t.longest = r.Whole(n, "max_bytes", 1, textLongest) }),
		strictyaml.Optional("tokenizer", r.Into(&t.tokenizer, "an input's tokenizer")),
		strictyaml.Optional("mask", r.Into(&t.mask, "an input's mask")),
		strictyaml.Optional("types", r.Into(&t.types, "an input's types")),
		strictyaml.Optional("batched", func(n *yaml.Node) { t.batch = r.Bool(n, "batched") }),
		strictyaml.Optional("buckets", func(n *yaml.Node) { t.fill.Place, t.fill.sizes = strictyaml.PlaceOf(n), r.buckets(n) }),
		strictyaml.Optional("pad", func(n *yaml.Node) {
			t.fill.pad = level{r.Real(n, "pad", -math.MaxFloat64, math.MaxFloat64), strictyaml.PlaceOf(n)}
		}),
		strictyaml.Optional("longer", r.Into(&t.fill.longer, "longer")),
		strictyaml.Optional("length", r.Into(&t.fill.length, "an input's length")),
	))
	return t
}

// span reads a list of two numbers.
func (r *report) span(n *yaml.Node) span {
	var ends []float64
	before := len(r.Problems)
	r.List(n, "range", 2, func(n *yaml.Node) {
		ends = append(ends, r.Real(n, "an end of range", -math.MaxFloat64, math.MaxFloat64))
	})
	if len(r.Problems) > before {
		return span{}
	}
	if len(ends) != 2 {
		r.At(strictyaml.PlaceOf(n), "range must be two numbers, the least and the greatest value: [low, high]")
		return span{}
	}
	return span{ends[0], ends[1], strictyaml.PlaceOf(n)}
}

func (r *report) tensor(n *yaml.Node, what string) tensorSpec {
	t := tensorSpec{Place: strictyaml.PlaceOf(n)}
	r.Mapping(n, what, append(r.tensorFields(&t, what), strictyaml.Optional("follows", r.Into(&t.follows, what+"'s follows"))))
	return t
}

func (r *report) tensorFields(t *tensorSpec, what string) []field {
	return []field{
		strictyaml.Required("name", r.Into(&t.name, what+"'s name")),
		strictyaml.Required("datatype", r.Into(&t.dtype, what+"'s datatype")),
		strictyaml.Required("shape", func(n *yaml.Node) { t.shaped, t.shape = strictyaml.PlaceOf(n), r.shape(n) }),
		strictyaml.Optional("max", func(n *yaml.Node) { t.most = r.Whole(n, "max", 1, dimensionMax) }),
	}
}

// shape reads dimensions. Unlike other lists it may be empty: one number per sample.
func (r *report) shape(n *yaml.Node) []number {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		return nil
	}
	var dims []number
	r.List(n, "shape", dimensionsMax, func(n *yaml.Node) { dims = append(dims, r.Whole(n, "a dimension", -1, dimensionMax)) })
	return dims
}

func (r *report) variant(n *yaml.Node) variantSpec {
	v := variantSpec{Place: strictyaml.PlaceOf(n)}
	r.Mapping(n, "a variant", append([]field{
		strictyaml.Required("name", r.Into(&v.name, "a variant's name")),
		strictyaml.Required("modalities", func(n *yaml.Node) {
			r.List(n, "a variant's modalities", slo.ModalitiesMax, func(n *yaml.Node) {
				v.modalities = append(v.modalities, r.Text(n, "a modality"))
			})
		}),
		strictyaml.Optional("path", func(n *yaml.Node) { v.places++; v.path = r.Text(n, "a variant's path") }),
		strictyaml.Optional("stages", func(n *yaml.Node) {
			v.places++
			r.List(n, "a variant's stages", stagesMax, func(n *yaml.Node) { v.stages = append(v.stages, r.Text(n, "a stage")) })
		}),
		strictyaml.Optional("precision", r.Into(&v.precision, "a variant's precision")),
		strictyaml.Optional("recover", func(n *yaml.Node) { r.readRecover(n, &v) }),
		strictyaml.Optional("providers", func(n *yaml.Node) { r.readProviders(n, &v) }),
	}, r.remoteFields(&v.remote, "a variant's remote", &v.places)...))
	if n.Kind == yaml.MappingNode && v.places != 1 {
		r.At(v.Place, "a variant needs one of path (of its graph), stages and remote")
	}
	return v
}
