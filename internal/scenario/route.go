package scenario

import (
	"fmt"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"go.yaml.in/yaml/v3"
)

// routeSpec is a route of several steps as written. Names are resolved later, when the
// remaining variants are known.
type routeSpec struct {
	plan.RouteSpec
	runs strictyaml.Word
	next []strictyaml.Word // by branch
}

// branchesMax bounds the branches of a gate.
const branchesMax = 16

func (r *reader) route(n *yaml.Node) routeSpec {
	var s routeSpec
	var name strictyaml.Word
	r.Mapping(n, "a route", []strictyaml.Field{
		strictyaml.Required("name", r.Into(&name, "a route's name")),
		strictyaml.Required("runs", r.Into(&s.runs, "a variant's name")),
		strictyaml.Required("accuracy", func(n *yaml.Node) { s.Accuracy = r.accuracy(n, "accuracy") }),
		strictyaml.Required("next", func(n *yaml.Node) {
			r.List(n, "next", branchesMax, func(n *yaml.Node) {
				var to strictyaml.Word
				var b plan.Branch
				r.Mapping(n, "a way on", []strictyaml.Field{
					strictyaml.Required("route", r.Into(&to, "the name of a variant or route")),
					strictyaml.Required("share", func(n *yaml.Node) { b.Share = r.Real(n, "share", 0, 1) }),
					strictyaml.Optional("loss", func(n *yaml.Node) { b.Loss = r.accuracy(n, "loss") }),
				})
				s.Next, s.next = append(s.Next, b), append(s.next, to)
			})
		}),
		strictyaml.Optional("inner", func(n *yaml.Node) { s.Inner = r.OneOf(r.Text(n, "inner"), "inner", "true", "false") == "true" }),
		strictyaml.Optional("silent", func(n *yaml.Node) { s.Silent = r.OneOf(r.Text(n, "silent"), "silent", "true", "false") == "true" }),
	})
	s.Name = name.Text
	return s
}

func (r *reader) accuracy(n *yaml.Node, what string) slo.Accuracy {
	a, _ := slo.AccuracyOf(r.Real(n, what, 0, 1)) // Real has checked the bounds
	return a
}

// resolve makes the routes whose variants all remain.
func resolve(specs []routeSpec, variants, all []plan.Variant) (routes []plan.RouteSpec, err error) {
	index, left := map[string]int{}, map[string]bool{}
	for i, v := range variants {
		index[v.Name] = i
	}
	for _, v := range all {
		if _, ok := index[v.Name]; !ok {
			left[v.Name] = true // has another precision
		}
	}
	for _, s := range specs {
		ok := true
		find := func(w strictyaml.Word) (i int) {
			i, known := index[w.Text]
			if !known && !left[w.Text] && err == nil {
				err = fmt.Errorf("route %s: there is no variant or route %q before it", s.Name, strictyaml.Clip(w.Text, 40))
			}
			ok = ok && known
			return i
		}
		if s.Variant = find(s.runs); s.Variant >= len(variants) {
			return nil, fmt.Errorf("route %s runs %s, which is a route and not a variant", s.Name, s.runs.Text)
		}
		for i, to := range s.next {
			s.Next[i].Route = find(to)
		}
		if err != nil {
			return nil, err
		}
		if _, twice := index[s.Name]; twice {
			return nil, fmt.Errorf("the name %q occurs twice", s.Name)
		}
		if !ok {
			left[s.Name] = true
			continue
		}
		index[s.Name] = len(variants) + len(routes)
		routes = append(routes, s.RouteSpec)
	}
	return routes, nil
}
