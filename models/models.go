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

// Without eval/profile.npz, which takes two thirds of the package's space: serving and
// the demonstration do not read it, and the package's digest does not cover it.
//
//go:embed digits/README.md digits/mosel.yaml digits/onnx digits/profiles digits/samples digits/eval/heldout.npz
var files embed.FS

// Example returns the files of the example package, with mosel.yaml at the root.
func Example() fs.FS {
	example, err := fs.Sub(files, ExampleName)
	if err != nil {
		panic(err) // the name is a valid path
	}
	return example
}
