// Package web holds the pages that a server shows in a browser: the bundle in dist, which
// "npm run build" makes from src. It is committed, so that "go install" needs no Node.js.
package web

import (
	"embed"
	"io/fs"
)

//go:embed dist
var bundle embed.FS

// Bundle returns the files of the pages; index.html is the first one.
func Bundle() fs.FS {
	files, err := fs.Sub(bundle, "dist")
	if err != nil {
		panic(err) // the name is valid
	}
	return files
}
