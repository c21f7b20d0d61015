package modelpkg

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// problemsMax bounds the list for one package: nobody reads further, and a
// hostile file must not make the report larger than itself.
const problemsMax = 100

// Problem is one thing that is wrong with a package, and where.
type Problem struct {
	File    string // path as a person would open it, the package's directory included
	Line    int    // from 1; 0: the file as a whole
	Column  int    // from 1, in characters
	Message string
}

// String prints "file:line:column: message", which editors can follow.
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Problems is everything that is wrong with a package, as one error.
type Problems []Problem

// Error prints one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// place is where something stands in mosel.yaml.
type place struct{ line, column int }

// report collects the problems of one file.
type report struct {
	file     string
	problems Problems
	told     map[string]*sharers // by place and text
}

// sharers are the variants that share one problem, which is told once.
type sharers struct {
	problem int // index in problems
	names   []string
}

// at notes a problem at a place.
func (r *report) at(p place, format string, args ...any) {
	if len(r.problems) < problemsMax {
		r.problems = append(r.problems, Problem{File: r.file, Line: p.line, Column: p.column, Message: fmt.Sprintf(format, args...)})
	}
}

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
		r.problems[other.problem].Message = text + " in variants " + strings.Join(other.names, ", ")
		return
	}
	if len(r.problems) < problemsMax {
		r.told[key] = &sharers{len(r.problems), []string{v.Name}}
		r.at(p, "%s in variant %s (%s)", text, v.Name, v.Path)
	}
}

// sorted returns the problems in the order of their places.
func (r *report) sorted() Problems {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.problems
}
