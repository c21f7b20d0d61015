package modelpkg

import (
	"fmt"
	"strings"

	"github.com/mosel-serve/mosel/internal/strictyaml"
)

// Problem is one mistake in a package, and its place. File is a path that a person can
// open, including the package's directory.
type Problem = strictyaml.Problem

// Problems is all mistakes in a package, as one error.
type Problems = strictyaml.Problems

// The elements of mosel.yaml.
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

// warn records what is valid but may be a mistake.
func (r *report) warn(p place, format string, args ...any) {
	if len(r.warnings) < strictyaml.ProblemsMax {
		r.warnings = append(r.warnings, fmt.Sprintf("%s:%d: %s", FileName, p.Line, fmt.Sprintf(format, args...)))
	}
}

// unread records a file that could not be read: a problem of the package, unless it is
// a fault of the system.
func (r *report) unread(p place, err error, format string, args ...any) {
	if IsSystemFault(err) {
		if r.system == nil {
			r.system = err
		}
		return
	}
	r.At(p, "%s: %s", fmt.Sprintf(format, args...), reason(err))
}

// sharers are the variants with the same problem, which is reported once.
type sharers struct {
	problem int // index into Problems
	names   []string
}

// newReport returns an empty report on a file.
func newReport(file string) *report { return &report{Report: strictyaml.Report{File: file}} }

// inVariant records a problem that several variants, with a graph each, may have. They
// share one line.
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
