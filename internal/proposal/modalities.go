package proposal

import (
	"fmt"
	"slices"
	"strings"
)

// kinds are the modalities that are recognised by name: by names that exporters use,
// and by words in a name.
var kinds = []struct {
	name         string
	names, words []string
}{
	{"video", []string{"pixel_values_videos"}, []string{"video", "videos", "frames"}},
	{"image", []string{"pixel_values", "pixel_mask"}, []string{"image", "images", "img", "picture", "photo", "pixel", "pixels"}},
	{"audio", []string{"input_values", "input_features"}, []string{"audio", "sound", "speech", "voice", "wave", "waveform", "wav", "spectrogram", "mel"}},
	{"text", []string{"input_ids", "token_type_ids"}, []string{"text", "texts", "sentence", "caption", "question", "word", "words", "token", "tokens"}},
	{"tabular", nil, []string{"tabular", "table"}},
}

// companions belong to the modality of another input of the same graphs.
var companions = []string{"attention_mask", "position_ids"}

// kindOf is the kind of an input by its name; "" if the name is not known.
func kindOf(name string) string {
	for _, k := range kinds {
		if slices.Contains(k.names, strings.ToLower(name)) {
			return k.name
		}
	}
	for _, k := range kinds {
		if slices.ContainsFunc(words(name), func(w string) bool { return slices.Contains(k.words, w) }) {
			return k.name
		}
	}
	return ""
}

// bundle is the inputs of one modality.
type bundle struct {
	kind   string // by their names, or ""
	inputs []*merged
}

// group makes modalities of the inputs. Two inputs of which some graph has only one
// are in different modalities. Inputs that are always together are in one modality,
// unless their names are known to mean different kinds. With a single graph, all
// inputs are together, and only names separate them.
func (p *Proposal) group(inputs []*merged) {
	var together [][]*merged
	for _, in := range inputs {
		i := slices.IndexFunc(together, func(t []*merged) bool { return slices.Equal(t[0].graphs, in.graphs) })
		if i < 0 {
			together = append(together, []*merged{in})
			continue
		}
		together[i] = append(together[i], in)
	}
	var bundles []bundle
	for _, t := range together {
		bundles = append(bundles, p.split(t)...)
	}
	var taken []string
	for _, b := range bundles {
		name := unique(b.called(bundles), modalityNameMax, taken)
		taken = append(taken, name)
		m := Modality{Name: name, Why: p.why(b)}
		for _, in := range b.inputs {
			m.Inputs = append(m.Inputs, in.Tensor)
		}
		p.Modalities = append(p.Modalities, m)
	}
}

// split divides inputs that are always together into modalities.
func (p *Proposal) split(together []*merged) []bundle {
	var bundles []bundle
	put := func(kind string, in *merged, same func(b bundle) bool) {
		if i := slices.IndexFunc(bundles, same); i >= 0 {
			bundles[i].inputs = append(bundles[i].inputs, in)
			return
		}
		bundles = append(bundles, bundle{kind, []*merged{in}})
	}
	var rest []*merged
	for _, in := range together {
		kind := kindOf(in.name)
		if kind == "" {
			rest = append(rest, in)
			continue
		}
		put(kind, in, func(b bundle) bool { return b.kind == kind })
	}
	for _, in := range rest {
		var host int
		switch {
		case slices.Contains(companions, strings.ToLower(in.name)) && len(bundles) > 0:
			host = max(0, slices.IndexFunc(bundles, func(b bundle) bool { return b.kind == "text" }))
		case in.Unbatched && len(bundles) > 0: // a setting is no modality
			host = len(bundles) - 1
		case len(p.Graphs) > 1 && len(bundles) == 1:
			host = 0
		case len(p.Graphs) > 1:
			host = slices.IndexFunc(bundles, func(b bundle) bool { return b.kind == "" })
		default:
			host = slices.IndexFunc(bundles, func(b bundle) bool {
				return b.kind == "" && prefix(in.name) != "" && prefix(b.inputs[0].name) == prefix(in.name)
			})
		}
		if host >= 0 {
			bundles[host].inputs = append(bundles[host].inputs, in)
			continue
		}
		bundles = append(bundles, bundle{"", []*merged{in}})
	}
	return withBatch(bundles)
}

// withBatch moves the inputs of bundles without a batch into a bundle that has one.
func withBatch(bundles []bundle) []bundle {
	batched := func(b bundle) bool {
		return slices.ContainsFunc(b.inputs, func(in *merged) bool { return !in.Unbatched })
	}
	host := slices.IndexFunc(bundles, batched)
	if host < 0 {
		return bundles
	}
	var kept []bundle
	var settings []*merged
	at := 0
	for i, b := range bundles {
		if !batched(b) {
			settings = append(settings, b.inputs...)
			continue
		}
		if i == host {
			at = len(kept)
		}
		kept = append(kept, b)
	}
	kept[at].inputs = append(kept[at].inputs, settings...)
	return kept
}

// called is the modality's name: its kind, if no other bundle has the same kind, else
// the common part of its inputs' names.
func (b bundle) called(all []bundle) string {
	same := 0
	for _, other := range all {
		if b.kind != "" && other.kind == b.kind {
			same++
		}
	}
	if same == 1 {
		return b.kind
	}
	first := b.inputs[0].name
	if common := prefix(first); common != "" && len(b.inputs) > 1 &&
		!slices.ContainsFunc(b.inputs, func(in *merged) bool { return prefix(in.name) != common }) {
		return modalityName(common)
	}
	return modalityName(first)
}

// why gives the reason for the group.
func (p *Proposal) why(b bundle) string {
	where := fmt.Sprintf("in %d of %d graphs", len(b.inputs[0].graphs), len(p.Graphs))
	switch {
	case len(p.Graphs) == 1:
		where = "by name"
	case len(b.inputs[0].graphs) == len(p.Graphs):
		where = "in all graphs"
	}
	if len(b.inputs) > 1 {
		return where + ", always together"
	}
	return where
}
