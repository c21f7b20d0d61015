// Package models is the example model package inside the program, so that mosel
// has something to serve where there is no clone of its repository. It stands here
// because Go embeds only files below the package that embeds them.
package models

import (
	"embed"
	"io/fs"
)

// ExampleName is the name of the example's model and of its package directory.
const ExampleName = "digits"

// The whole package is embedded, the evaluation sets (24 of 34 MB) included: what
// is served, checked, profiled and demonstrated is then the same package with and
// without a clone, under the same digest. Linked-in bytes take disk, and memory
// only while they are read.
//
//go:embed digits
var files embed.FS

// Example is the files of the example package, mosel.yaml at their root.
func Example() fs.FS {
	example, err := fs.Sub(files, ExampleName)
	if err != nil {
		panic(err) // the name is a valid path
	}
	return example
}
