package api

import (
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// recovery returns the parameters of an answer that say which modalities were recovered,
// and which of these the answers use; nil if no variant that recovers any has run. An item
// without an answer has none.
func recovery(m *modelpkg.Model, r engine.Response) (p oip.Parameters) {
	at := m.Trusted()
	if at < 0 || !slices.ContainsFunc(r.Variants, func(v int) bool { return m.Variants[v].Recovers != 0 }) {
		return nil
	}
	recovered, trusted := make([]slo.Modalities, len(r.Variants)), make([]slo.Modalities, len(r.Variants))
	for item, v := range r.Variants {
		recovered[item] = m.Variants[v].Recovers
		trusted[item] = recovered[item] & m.TrustedIn(r.Outputs[at].Row(item))
	}
	for _, failed := range r.Failed {
		recovered[failed.Item], trusted[failed.Item] = 0, 0
	}
	add := func(name string, sets []slo.Modalities) {
		if text := itemsByModality(m, sets); text != "" {
			p = append(p, oip.Parameter{Name: name, Value: oip.String(text)})
		}
	}
	add("recovered", recovered)
	add("trusted", trusted)
	return p
}

// primary returns the parameter of an answer that says which modality decided, by the
// weights that the model gives; nil if it gives none.
func primary(m *modelpkg.Model, r engine.Response) oip.Parameters {
	at := m.Weights()
	if at < 0 {
		return nil
	}
	list := make([]int, len(r.Variants))
	for item := range list {
		list[item] = modelpkg.Primary(r.Outputs[at], item)
	}
	for _, failed := range r.Failed {
		list[failed.Item] = -1
	}
	if text := itemsByModality(m, modelpkg.PrimarySets(list)); text != "" {
		return oip.Parameters{{Name: "primary_modality", Value: oip.String(text)}}
	}
	return nil
}

// itemsByModality writes sets of modalities by item: "audio" for all items, "audio:0-3;text:5"
// for some.
func itemsByModality(m *modelpkg.Model, sets []slo.Modalities) string {
	var parts []string
	for i, name := range m.ModalityNames() {
		var list []int
		for item, set := range sets {
			if set.Has(1 << i) {
				list = append(list, item)
			}
		}
		switch len(list) {
		case 0:
		case len(sets):
			parts = append(parts, name)
		default:
			parts = append(parts, name+":"+oip.FormatItems(list))
		}
	}
	return strings.Join(parts, ";")
}
