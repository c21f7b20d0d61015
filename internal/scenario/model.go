package scenario

import (
	"path/filepath"
	"slices"
	"strconv"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"go.yaml.in/yaml/v3"
)

// modelSpec is a model as written. Its numbers are inline, in a file of the same form,
// or in the profile of a model package.
type modelSpec struct {
	name       strictyaml.Word
	place      strictyaml.Place
	modalities []string
	batch      int
	variants   []plan.Variant
	routes     []routeSpec
}

// batchDefault is the largest batch if a model gives none.
const batchDefault = 32

func (r *reader) model(n *yaml.Node) modelSpec {
	m := modelSpec{place: strictyaml.PlaceOf(n), batch: batchDefault}
	var file, pkg, device, cascades strictyaml.Word
	var inline *yaml.Node
	r.Mapping(n, "a model", append(m.fields(r, &inline),
		strictyaml.Required("name", r.Into(&m.name, "a model's name")),
		strictyaml.Optional("file", r.Into(&file, "file")),
		strictyaml.Optional("package", r.Into(&pkg, "package")),
		strictyaml.Optional("device", r.Into(&device, "device")),
		strictyaml.Optional("cascades", func(n *yaml.Node) {
			cascades = r.Text(n, "cascades")
			r.OneOf(cascades, "cascades", "find", "off")
		}),
	))
	given := 0
	for _, g := range []bool{file.Given(), pkg.Given(), inline != nil} {
		if g {
			given++
		}
	}
	switch {
	case given != 1:
		r.At(m.place, "a model must have either variants, a file or a package")
	case file.Given():
		r.modelFile(file, &m)
	case pkg.Given():
		r.modelPackage(pkg, device, &m, cascades.Text == "off")
	default:
		m.read(r, inline)
	}
	return m
}

// fields reads a model's own numbers, except the variants: these depend on other
// fields, and YAML may have the fields in any order.
func (m *modelSpec) fields(r *reader, variants **yaml.Node) []strictyaml.Field {
	return []strictyaml.Field{
		strictyaml.Optional("modalities", func(n *yaml.Node) {
			r.List(n, "modalities", slo.ModalitiesMax, func(n *yaml.Node) {
				m.modalities = append(m.modalities, r.Text(n, "a modality").Text)
			})
		}),
		strictyaml.Optional("max_batch", func(n *yaml.Node) { m.batch = int(r.Whole(n, "max_batch", 1, batchMax).Value) }),
		strictyaml.Optional("variants", func(n *yaml.Node) { *variants = n }),
		strictyaml.Optional("routes", func(n *yaml.Node) {
			r.List(n, "routes", plan.RoutesMax, func(n *yaml.Node) { m.routes = append(m.routes, r.route(n)) })
		}),
	}
}

func (m *modelSpec) read(r *reader, variants *yaml.Node) {
	if len(m.modalities) == 0 {
		r.At(m.place, "a model with variants must name its modalities")
		return
	}
	r.List(variants, "variants", variantsMax, func(n *yaml.Node) { m.variants = append(m.variants, r.variant(n, m)) })
}

// modelFile reads a model's numbers from a file in the scenario's directory.
func (r *reader) modelFile(file strictyaml.Word, m *modelSpec) {
	name := filepath.Join(r.dir, filepath.FromSlash(file.Text))
	text, err := readFile(name)
	if err != nil {
		r.At(file.Place, "model file %s: %s", file.Text, reason(err))
		return
	}
	inner := &reader{Report: strictyaml.Report{File: name}, dir: filepath.Dir(name)}
	if root := inner.Document(text); root != nil {
		var about strictyaml.Word
		var variants *yaml.Node
		inner.Mapping(root, "the model", append(m.fields(inner, &variants),
			strictyaml.Required("format", func(n *yaml.Node) { inner.Whole(n, "format", Format, Format) }),
			strictyaml.Required("description", inner.Into(&about, "description")),
		))
		if variants == nil {
			inner.At(strictyaml.PlaceOf(root), "the model has no variants")
		} else {
			m.read(inner, variants)
		}
	}
	r.Problems = append(r.Problems, inner.Problems...)
}

// modelPackage reads a model's numbers from a profile in its package.
func (r *reader) modelPackage(pkg, device strictyaml.Word, m *modelSpec, without bool) {
	loaded, err := modelpkg.Load(filepath.Join(r.dir, filepath.FromSlash(pkg.Text)))
	if err != nil {
		r.At(pkg.Place, "package %s: %v", pkg.Text, err)
		return
	}
	profile, err := modelpkg.FindProfile(loaded, device.Text)
	if err != nil {
		r.At(pkg.Place, "package %s: %v", pkg.Text, err)
		return
	}
	planner, err := plan.FromProfile(loaded, profile)
	if err != nil {
		r.At(pkg.Place, "package %s: %v", pkg.Text, err)
		return
	}
	m.modalities, m.batch, m.variants = loaded.ModalityNames(), loaded.Limits.BatchItemsMax, planner.Variants()
	routes := planner.Routes()
	if without {
		m.variants, routes = m.variants[:len(loaded.Variants)], nil
	}
	for _, route := range routes[min(len(routes), len(m.variants)):] {
		s := routeSpec{RouteSpec: plan.RouteSpec{Name: route.Name, Accuracy: route.Accuracy, Low: route.Low, Next: slices.Clone(route.Next), Inner: route.Inner},
			runs: strictyaml.Word{Text: routes[route.Variant].Name, Place: pkg.Place}}
		for _, b := range route.Next {
			s.next = append(s.next, strictyaml.Word{Text: routes[b.Route].Name, Place: pkg.Place})
		}
		m.routes = append(m.routes, s)
	}
}

func (r *reader) variant(n *yaml.Node, m *modelSpec) plan.Variant {
	var name, precision strictyaml.Word
	var overhead, item float64
	var points []plan.Point
	v := plan.Variant{}
	affine := false
	r.Mapping(n, "a variant", []strictyaml.Field{
		strictyaml.Required("name", r.Into(&name, "a variant's name")),
		strictyaml.Optional("precision", r.Into(&precision, "precision")),
		strictyaml.Required("modalities", func(n *yaml.Node) {
			r.List(n, "a variant's modalities", slo.ModalitiesMax, func(n *yaml.Node) {
				w := r.OneOf(r.Text(n, "a modality"), "modality", m.modalities...)
				if i := slices.Index(m.modalities, w); i >= 0 {
					v.Modalities |= 1 << i
				}
			})
		}),
		strictyaml.Required("accuracy", func(n *yaml.Node) { v.Accuracy = r.accuracy(n, "accuracy") }),
		strictyaml.Optional("overhead_ms", func(n *yaml.Node) { overhead = r.Real(n, "overhead_ms", 0, msMax) }),
		strictyaml.Optional("item_ms", func(n *yaml.Node) { item, affine = r.Real(n, "item_ms", msMin, msMax), true }),
		strictyaml.Optional("latency_ms", func(n *yaml.Node) { points = r.points(n, m.batch) }),
	})
	switch {
	case affine == (points != nil):
		r.At(strictyaml.PlaceOf(n), "a variant must have either item_ms (and overhead_ms) or latency_ms")
		return v
	case affine:
		for b := 1; b <= m.batch; b++ {
			points = append(points, plan.Point{Items: b, Time: stats.FromMilliseconds(overhead + item*float64(b))})
		}
	}
	v.Name, v.Precision = name.Text, precision.Or(precisionDefault).Text
	var err error
	if v.Curve, err = plan.NewCurve(points); err != nil {
		r.At(strictyaml.PlaceOf(n), "variant %s: %v", v.Name, err)
	}
	return v
}

const (
	precisionDefault = "fp32"
	msMin, msMax     = 1e-3, 3.6e6
)

// points reads {1: 2.5, 8: 11.0}: milliseconds by batch size.
func (r *reader) points(n *yaml.Node, batch int) []plan.Point {
	points := []plan.Point{}
	r.Entries(n, "latency_ms", batchMax, func(key strictyaml.Word, n *yaml.Node) {
		items, err := strconv.Atoi(key.Text)
		if err != nil || items < 1 || items > batch {
			r.At(key.Place, "a batch size of %q is not between 1 and max_batch (%d)", strictyaml.Clip(key.Text, 40), batch)
			return
		}
		points = append(points, plan.Point{Items: items, Time: stats.FromMilliseconds(r.Real(n, "milliseconds", msMin, msMax))})
	})
	return points
}
