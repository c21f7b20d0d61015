package modelpkg

import (
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
)

// Names appear in URLs, in lists separated by commas or "+", in file names and in
// metric labels, so they may have only characters that are safe in all of these. Tensor
// names are defined by the graphs and may have nearly any character.
var (
	nameForm     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)
	modalityForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	tensorForm   = regexp.MustCompile(`^[^\x00-\x1f\x7f-\x9f]{1,256}$`)
)

const (
	nameWant     = "letters, digits, '.', '_' and '-', at most 64, beginning and ending with a letter or digit"
	modalityWant = "a small letter, then small letters, digits and '_', at most 32"
	tensorWant   = "at most 256 characters, none of them a control character"
)

const (
	batchItemsDefault = 32
	precisionDefault  = "fp32"
	versionDefault    = "1"
)

// build makes a Model from a spec and reports what does not fit together. The model is
// valid only if nothing was reported.
func (r *report) build(s *spec) *Model {
	m := &Model{
		Name:        r.modelName(s.name),
		Version:     r.name(s.version.Or(versionDefault), nameForm, nameWant),
		Description: s.about.Text,
		Limits:      Limits{BatchItemsMax: batchItemsDefault, MemoryBytes: r.memory(s.memory)},
		Evaluation:  Evaluation{Profile: r.inside(s.profile), HeldOut: r.inside(s.heldOut)},
	}
	if s.batch.Given() {
		m.Limits.BatchItemsMax = int(s.batch.Value)
	}
	r.buildMetric(m, s)
	r.buildModalities(m, s)
	r.buildOutputs(m, s)
	r.buildStages(m, s)
	r.checkWeights(m, s)
	r.buildVariants(m, s)
	r.buildGates(m, s)
	m.Isolation = r.isolation(s.isolated, m)
	m.NoCascades = r.OneOf(s.cascades.Or("find"), "cascades", "find", "off") == "off"
	for _, l := range s.labels {
		m.Labels = append(m.Labels, l.Text)
	}
	r.Unique(s.labels, "class")
	r.scored(m, s)
	return m
}

// name checks the form of a name. A missing name was reported before.
func (r *report) name(w word, form *regexp.Regexp, want string) string {
	if w.Given() && !form.MatchString(w.Text) {
		r.At(w.Place, "the name %q must be %s", strictyaml.Clip(w.Text, 80), want)
	}
	return w.Text
}

// modelName checks the model's name, which is part of request paths.
func (r *report) modelName(w word) string {
	if w.Text == "stats" {
		r.At(w.Place, "a model cannot be named stats: requests to /v2/models/stats ask for the statistics of all models")
	}
	return r.name(w, nameForm, nameWant)
}

// inside checks that a path stays within the package. Links are checked when files are
// opened.
func (r *report) inside(w word) string {
	if !w.Given() {
		return ""
	}
	if why := escapes(w.Text); why != "" {
		r.At(w.Place, "the path %q %s", strictyaml.Clip(w.Text, 120), why)
		return ""
	}
	return path.Clean(w.Text)
}

// escapes returns what is wrong with a path that must name a file in the package, in
// a form that every system reads alike; "" if nothing is.
func escapes(p string) string {
	switch {
	case strings.ContainsFunc(p, func(c rune) bool { return c < ' ' || c == '\\' || c == 0x7f }):
		return `has a character that is not allowed; use "/" between folders`
	case path.IsAbs(p) || len(p) > 1 && p[1] == ':':
		return "is absolute; it must be relative to the package"
	case slices.Contains(strings.Split(p, "/"), ".."):
		return `has ".."; it must stay inside the package`
	case path.Clean(p) == ".":
		return "names a directory, not a file"
	}
	return ""
}

var memoryForm = regexp.MustCompile(`^([0-9]{1,9}) ?(B|KiB|MiB|GiB|TiB)$`)

// memory reads a size such as 512MiB.
func (r *report) memory(w word) int64 {
	if !w.Given() {
		return 0
	}
	match := memoryForm.FindStringSubmatch(w.Text)
	if match == nil {
		r.At(w.Place, "limits.memory must be a whole number with B, KiB, MiB, GiB or TiB, such as 512MiB, not %q", strictyaml.Clip(w.Text, 40))
		return 0
	}
	n, _ := strconv.ParseInt(match[1], 10, 64) // nine digits fit
	shift := map[string]int{"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[match[2]]
	if n == 0 || n > math.MaxInt64>>shift {
		r.At(w.Place, "limits.memory is out of range")
		return 0
	}
	return n << shift
}

func (r *report) buildModalities(m *Model, s *spec) {
	var names, inputs []word
	for _, ms := range s.modalities {
		names = append(names, ms.name)
		modality := Modality{Name: r.name(ms.name, modalityForm, modalityWant)}
		for _, ts := range ms.inputs {
			inputs = append(inputs, ts.name)
			modality.Inputs = append(modality.Inputs, len(m.Inputs))
			in := Input{Spec: r.tensorOf(ts), Modality: len(m.Modalities), SampleRate: int(ts.rate.Value)}
			in.Media = r.media(ts, in.Spec)
			r.declareInput(&in, ts)
			m.Inputs = append(m.Inputs, in)
		}
		m.Modalities = append(m.Modalities, modality)
	}
	r.Unique(names, "modality")
	r.Unique(inputs, "input")
	r.buildTokens(m, s)
	r.buildBuckets(m, s)
}

func (r *report) buildOutputs(m *Model, s *spec) {
	var names []word
	for _, ts := range s.outputs {
		names = append(names, ts.name)
		m.Outputs = append(m.Outputs, r.tensorOf(ts))
	}
	r.Unique(names, "output")
	r.checkFollows(m, s)
}

// tensorOf checks one declaration on its own.
func (r *report) tensorOf(ts tensorSpec) Spec {
	spec := Spec{Name: r.name(ts.name, tensorForm, tensorWant)}
	if ts.dtype.Given() {
		dtype, err := tensor.ParseDType(ts.dtype.Text)
		if err != nil {
			r.At(ts.dtype.Place, "the datatype %q is unknown%s", strictyaml.Clip(ts.dtype.Text, 40), strictyaml.Suggest(ts.dtype.Text, dtypeNames()))
		}
		spec.DType = dtype
	}
	dynamic := 0
	for _, d := range ts.shape {
		switch {
		case !d.Given(): // reported before
		case d.Value == 0:
			r.At(d.Place, "a dimension is 0; give its size, or -1 if it varies")
		case d.Value < 0:
			dynamic++
		}
		spec.Shape = append(spec.Shape, d.Value)
	}
	if ts.most.Given() {
		spec.Max = ts.most.Value
		switch {
		case dynamic == 0:
			r.At(ts.most.Place, "max is the largest size of a dimension that is -1; the shape %v has none", spec.Shape)
		case dynamic > 1:
			r.At(ts.most.Place, "max is for one dimension of -1; the shape %v has %d", spec.Shape, dynamic)
		}
	}
	r.elements(ts, spec)
	return spec
}

// tensorBytesMax bounds one sample of one tensor.
const tensorBytesMax = 1 << 31

func (r *report) elements(ts tensorSpec, spec Spec) {
	full := slices.Clone(spec.Shape)
	for i, d := range full {
		if d <= 0 { // the dimension that is -1, or one that was reported
			full[i] = max(1, spec.Max)
		}
	}
	n, err := full.Elements()
	switch {
	case err == nil && n <= tensorBytesMax/8:
	case ts.most.Given():
		r.At(ts.most.Place, "the shape %v with a max of %d is too large", spec.Shape, spec.Max)
	default:
		r.At(ts.shaped, "the shape %v is too large", spec.Shape)
	}
}

func dtypeNames() []string {
	var names []string
	for d := tensor.Bool; d.String() != "INVALID"; d++ {
		names = append(names, d.String())
	}
	return names
}

// media checks that an input's kind of file suits its tensor.
func (r *report) media(ts tensorSpec, spec Spec) Media {
	media := Media(r.OneOf(ts.media.Or(""), "media", string(MediaImage), string(MediaAudio), string(MediaText)))
	if ts.rate.Given() && media != MediaAudio {
		r.At(ts.rate.Place, "sample_rate is for an input with media: audio")
	}
	if spec.DType == tensor.Invalid || !ts.shaped.Given() {
		return media // reported before
	}
	refuse := func(want string) {
		r.At(ts.media.Place, "media %s needs %s, not %v %v", media, want, spec.DType, spec.Shape)
	}
	rank, sound := len(spec.Shape), spec.DType == tensor.Int16 || spec.DType == tensor.FP32
	if ts.tokenizer.Given() {
		return r.tokenMedia(media, ts, spec)
	}
	switch media {
	case MediaNone:
	case MediaImage:
		if spec.DType != tensor.Uint8 || rank < 2 || rank > 3 {
			refuse("UINT8 [height, width], [height, width, 3] or [3, height, width]")
		}
	case MediaAudio:
		if !ts.rate.Given() {
			r.At(ts.media.Place, "media audio needs a sample_rate")
		}
		if !sound || rank != 1 {
			refuse("INT16 or FP32 [samples]")
		}
	case MediaText:
		single := spec.DType == tensor.Bytes && (rank == 0 || rank == 1 && spec.Shape[0] == 1)
		if !single && (spec.DType != tensor.Uint8 || rank != 1) {
			refuse("UINT8 [length], or BYTES [] or [1]")
		}
	}
	return media
}

func (r *report) buildVariants(m *Model, s *spec) {
	var names, paths []word
	for _, st := range s.stages {
		if st.path.Given() {
			paths = append(paths, word{Text: st.path.Text, Place: st.path.Place})
		}
	}
	modalities := m.ModalityNames()
	for _, vs := range s.variants {
		names = append(names, vs.name)
		v := Variant{
			Name:      r.name(vs.name, nameForm, nameWant),
			Path:      r.inside(vs.path),
			Precision: r.name(vs.precision.Or(precisionDefault), modalityForm, modalityWant),
			Remote:    r.buildRemote(vs.remote, "variant"),
			Providers: r.buildProviders(vs),
		}
		v.Steps = r.buildSteps(m, vs)
		if v.Path != "" {
			paths = append(paths, word{Text: v.Path, Place: vs.path.Place})
		}
		r.Unique(vs.modalities, "modality")
		for _, w := range vs.modalities {
			if i := slices.Index(modalities, w.Text); i >= 0 {
				v.Modalities |= 1 << i
			} else if w.Given() && len(m.Modalities) > 0 {
				r.At(w.Place, "the model has no modality %q%s", strictyaml.Clip(w.Text, 40), strictyaml.Suggest(w.Text, modalities))
			}
		}
		v.Recovers = r.buildRecovers(m, v, vs.recovers)
		for i, in := range m.Inputs {
			if v.Modalities.Has(slo.Modalities(1 << in.Modality)) {
				v.Inputs = append(v.Inputs, i)
			}
		}
		if len(v.Inputs) > 0 && !slices.ContainsFunc(v.Inputs, func(i int) bool { return !m.Inputs[i].Unbatched }) {
			r.At(vs.Place, "variant %s has inputs with batched: false only; one of its inputs must have a batch", v.Name)
		}
		m.Variants = append(m.Variants, v)
	}
	r.checkTrusted(m, s)
	r.Unique(names, "variant")
	r.Unique(paths, "path")
}
