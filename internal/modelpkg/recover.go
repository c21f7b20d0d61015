package modelpkg

import (
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
	"go.yaml.in/yaml/v3"
)

// TrustedOutput is the name of the output that says, for each modality, whether an answer
// uses what a variant recovered of it.
const TrustedOutput = "trusted"

// recoverSpec is a variant's recover as written: true, or a list of modalities.
type recoverSpec struct {
	place
	all   bool
	names []word
}

// Trusted returns the index of the output that says which recovered modalities an answer
// uses; -1: no variant recovers any.
func (m *Model) Trusted() int {
	if !slices.ContainsFunc(m.Variants, func(v Variant) bool { return v.Recovers != 0 }) {
		return -1
	}
	return slices.IndexFunc(m.Outputs, func(out Spec) bool { return out.Name == TrustedOutput })
}

// TrustedIn returns the modalities that a row of the output trusted names.
func (m *Model) TrustedIn(row []byte) (set slo.Modalities) {
	for i, used := range row {
		if used != 0 {
			set |= 1 << i
		}
	}
	return set & m.AllModalities()
}

// readRecover reads which modalities a variant recovers.
func (r *report) readRecover(n *yaml.Node, v *variantSpec) {
	s := recoverSpec{place: strictyaml.PlaceOf(n)}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		s.all = r.Bool(n, "recover").Value
		if !s.all {
			return
		}
	} else if n.Kind != yaml.SequenceNode {
		r.At(s.place, "recover must be true, for all modalities that the variant does not take, or a list of modalities")
		return
	} else {
		r.List(n, "recover", slo.ModalitiesMax, func(n *yaml.Node) { s.names = append(s.names, r.Text(n, "a modality")) })
	}
	v.recovers = s
}

// buildRecovers returns the modalities that a variant recovers.
func (r *report) buildRecovers(m *Model, v Variant, s recoverSpec) (set slo.Modalities) {
	if !s.Given() {
		return 0
	}
	if s.all {
		if set = m.AllModalities() &^ v.Modalities; set == 0 {
			r.At(s.place, "variant %s takes all modalities: there is nothing to recover", v.Name)
		}
		return set
	}
	r.Unique(s.names, "modality")
	modalities := m.ModalityNames()
	for _, w := range s.names {
		i := slices.Index(modalities, w.Text)
		switch {
		case i >= 0 && v.Modalities.Has(1<<i):
			r.At(w.Place, "variant %s recovers %s, which it takes as input", v.Name, w.Text)
		case i >= 0:
			set |= 1 << i
		case w.Given():
			r.At(w.Place, "the model has no modality %q%s", strictyaml.Clip(w.Text, 40), strictyaml.Suggest(w.Text, modalities))
		}
	}
	return set
}

// checkTrusted checks the output that a package needs if a variant recovers modalities.
func (r *report) checkTrusted(m *Model, s *spec) {
	first := slices.IndexFunc(m.Variants, func(v Variant) bool { return v.Recovers != 0 })
	if first < 0 {
		return
	}
	of := strings.Join(m.ModalityNames(), ", ")
	at := m.Trusted()
	if at < 0 {
		r.At(s.variants[first].recovers.place, "variant %s recovers modalities: the package needs an output {name: %s, datatype: BOOL, shape: [%d]} that says of each of %s whether the answer uses what was recovered",
			m.Variants[first].Name, TrustedOutput, len(m.Modalities), of)
		return
	}
	out, declared := m.Outputs[at], s.outputs[at]
	switch {
	case at == 0:
		r.At(declared.Place, "the output %s cannot be the first, which the metric scores", TrustedOutput)
	case out.DType != tensor.Invalid && out.DType != tensor.Bool && out.DType != tensor.Uint8:
		r.At(declared.dtype.Place, "the output %s must be BOOL or UINT8, not %v", TrustedOutput, out.DType)
	}
	if !out.Shape.Equal(tensor.Shape{int64(len(m.Modalities))}) {
		r.At(declared.shaped, "the output %s must have the shape [%d]: one element for each of %s, not %v", TrustedOutput, len(m.Modalities), of, out.Shape)
	}
}
