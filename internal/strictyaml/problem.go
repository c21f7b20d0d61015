package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ProblemsMax bounds the number of problems of one file: nobody reads more, and a
// hostile file must not cause a huge report.
const ProblemsMax = 100

// Problem is an error in a file, with its position.
type Problem struct {
	File    string // path of the file
	Line    int    // from 1; 0: the file as a whole
	Column  int    // from 1, in characters
	Message string
}

// String returns "file:line:column: message", which editors understand.
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Problems is a list of problems as one error.
type Problems []Problem

// Error returns one problem per line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Place is a position in the file.
type Place struct{ Line, Column int }

// Given reports whether the file has the value.
func (p Place) Given() bool { return p.Line > 0 }

// Report collects the problems of one file.
type Report struct {
	File     string
	Problems Problems
}

// Full reports whether the list has reached ProblemsMax.
func (r *Report) Full() bool { return len(r.Problems) >= ProblemsMax }

// At records a problem at a place.
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
