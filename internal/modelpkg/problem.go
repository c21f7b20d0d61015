package modelpkg

import (
	"fmt"
	"strings"

	"github.com/mosel-serve/mosel/internal/strictyaml"
)

// Problem is one thing that is wrong with a package, and where. Its File is a
// path as a person would open it, the package's directory included.
type Problem = strictyaml.Problem

// Problems is everything that is wrong with a package, as one error.
type Problems = strictyaml.Problems

// The words of mosel.yaml.
type (
	place  = strictyaml.Place
	word   = strictyaml.Word
	number = strictyaml.Number
	field  = strictyaml.Field
)

// report collects the problems of a package.
type report struct {
	strictyaml.Report
	told map[string]*sharers // by place and text
}

// sharers are the variants that share one problem, which is told once.
type sharers struct {
	problem int // index in Problems
	names   []string
}

// newReport is a report on a file.
func newReport(file string) *report { return &report{Report: strictyaml.Report{File: file}} }

// inVariant notes a problem that several variants may have, each with a graph
// of its own: one line for all of them.
func (r *report) inVariant(v Variant, p place, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	key := fmt.Sprint(p, text)
	if r.told == nil {
		r.told = map[string]*sharers{}
	}
	if other, ok := r.told[key]; ok {
		other.names = append(other.names, v.Name)
		r.Problems[other.problem].Message = text + " in variants " + strings.Join(other.names, ", ")
		return
	}
	if !r.Full() {
		r.told[key] = &sharers{len(r.Problems), []string{v.Name}}
		r.At(p, "%s in variant %s (%s)", text, v.Name, v.Path)
	}
}
