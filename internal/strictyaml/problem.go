package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ProblemsMax bounds the list for one file: nobody reads further, and a hostile
// file must not make the report larger than itself.
const ProblemsMax = 100

// Problem is one thing that is wrong with a file, and where.
type Problem struct {
	File    string // path as a person would open it
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

// Problems is everything that is wrong, as one error.
type Problems []Problem

// Error prints one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Place is where something stands in the file.
type Place struct{ Line, Column int }

// Given reports whether the file has it at all.
func (p Place) Given() bool { return p.Line > 0 }

// Report collects the problems of one file.
type Report struct {
	File     string
	Problems Problems
}

// Full reports whether no further problem is noted.
func (r *Report) Full() bool { return len(r.Problems) >= ProblemsMax }

// At notes a problem at a place.
func (r *Report) At(p Place, format string, args ...any) {
	if !r.Full() {
		r.Problems = append(r.Problems, Problem{File: r.File, Line: p.Line, Column: p.Column, Message: fmt.Sprintf(format, args...)})
	}
}

// Sorted returns the problems in the order of their places.
func (r *Report) Sorted() Problems {
	slices.SortStableFunc(r.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.Problems
}
