package api

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// facts returns the parameters of an answer: what ran and its expected accuracy.
func facts(m *modelpkg.Model, r engine.Response) oip.Parameters {
	p := append(make(oip.Parameters, 0, factsUsual),
		oip.Parameter{Name: "job", Value: oip.String(r.Job)},
		oip.Parameter{Name: "variant", Value: oip.String(taken(m, r))},
		oip.Parameter{Name: "modalities", Value: oip.String(strings.Join(r.Modalities.Names(m.ModalityNames()), ","))},
		oip.Parameter{Name: "expected_accuracy", Value: oip.Float(r.ExpectedAccuracy.Float())},
		oip.Parameter{Name: "queue_us", Value: oip.Int(r.Queue.Microseconds())},
		oip.Parameter{Name: "compute_us", Value: oip.Int(r.Compute.Microseconds())})
	if r.AccuracyLow > 0 {
		p = append(p, oip.Parameter{Name: "accuracy_low", Value: oip.Float(r.AccuracyLow.Float())})
	}
	if r.Routes != nil {
		p = append(p, oip.Parameter{Name: "answered_by", Value: oip.String(mix(m, r.Variants))})
		if confidence := r.Routes[0].Confidence; len(r.Routes) == 1 && !math.IsNaN(confidence) && !math.IsInf(confidence, 0) {
			p = append(p, oip.Parameter{Name: "confidence", Value: oip.Float(confidence)})
		}
	}
	if r.Outcome == slo.Late {
		p = append(p, oip.Parameter{Name: "late", Value: oip.Bool(true)})
	}
	if len(r.Failed) > 0 {
		list := make([]int, len(r.Failed))
		for i, f := range r.Failed {
			list[i] = f.Item
		}
		p = append(p, oip.Parameter{Name: "failed_items", Value: oip.String(oip.FormatItems(list))},
			oip.Parameter{Name: "failed_reason", Value: oip.String(fmt.Sprintf("item %d: %s", r.Failed[0].Item, publicText(r.Failed[0].Err)))})
	}
	return p
}

// taken returns the route that the items took, or a list such as
// "image:24,image>all<0.9:8" if they took several.
func taken(m *modelpkg.Model, r engine.Response) string {
	if r.Routes == nil {
		return mix(m, r.Variants)
	}
	var names []string
	count := map[string]int{}
	for _, route := range r.Routes {
		if count[route.Name]++; count[route.Name] == 1 {
			names = append(names, route.Name)
		}
	}
	slices.Sort(names)
	return counted(names, func(i int) int { return count[names[i]] })
}

// mix returns the variant that answered, or a list such as "image:24,all:8" if several
// did.
func mix(m *modelpkg.Model, variants []int) string {
	count := make([]int, len(m.Variants))
	for _, v := range variants {
		count[v]++
	}
	if first := variants[0]; count[first] == len(variants) {
		return m.Variants[first].Name
	}
	var names []string
	var items []int
	for v, n := range count {
		if n > 0 {
			names, items = append(names, m.Variants[v].Name), append(items, n)
		}
	}
	return counted(names, func(i int) int { return items[i] })
}

// counted returns a name, or a list of several names with their numbers of items.
func counted(names []string, items func(i int) int) string {
	if len(names) == 1 {
		return names[0]
	}
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = name + ":" + strconv.Itoa(items(i))
	}
	return strings.Join(parts, ",")
}
