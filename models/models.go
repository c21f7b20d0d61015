// Package models embeds the example model package in the program, so that mosel can
// serve it without a clone of the repository. The package is in this directory
// because Go embeds only files below the embedding package. The other packages here
// are not embedded.
package models

import (
	"embed"
	"io/fs"
)

// ExampleName is the name of the example's model and of its package directory.
const ExampleName = "digits"

// The whole package is embedded, with the evaluation sets (24 of 34 MB), so that
// the package has the same content and digest with and without a clone. The bytes
// use disk space, and memory only while they are read.
//
//go:embed digits
var files embed.FS

// Example returns the files of the example package, with mosel.yaml at the root.
func Example() fs.FS {
	example, err := fs.Sub(files, ExampleName)
	if err != nil {
		panic(err) // the name is a valid path
	}
	return example
}
