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
	told     map[string]*sharers // by place and text
	warnings []string
	system   error // the first fault of the system
}

// warn notes what is sound and worth a look.
func (r *report) warn(p place, format string, args ...any) {
	if len(r.warnings) < strictyaml.ProblemsMax {
		r.warnings = append(r.warnings, fmt.Sprintf("%s:%d: %s", FileName, p.Line, fmt.Sprintf(format, args...)))
	}
}

// unread notes a file that could not be read: a problem of the package, unless
// it is the system's fault.
func (r *report) unread(p place, err error, format string, args ...any) {
	if IsSystemFault(err) {
		if r.system == nil {
			r.system = err
		}
		return
	}
	r.At(p, "%s: %s", fmt.Sprintf(format, args...), reason(err))
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
		file := ""
		if v.Path != "" {
			file = " (" + v.Path + ")"
		}
		r.At(p, "%s in variant %s%s", text, v.Name, file)
	}
}
