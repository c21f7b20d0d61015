package api

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"regexp"
	"strings"
)

// Clients see internal errors without file paths, of this machine or of the one that
// built the runtime, and without the text of panics. The log has the whole error, with
// the same job or incident id.

// sourcePath matches a path to a file of a program, a library or a model, with a line
// number if there is one. Names in graphs, such as "/encoder/MatMul", have no such
// ending and are kept.
var sourcePath = regexp.MustCompile(`(?:[A-Za-z]:)?[\w.+@~-]*(?:[/\\]+[\w.+@~-]+)+\.(?:cc|cpp|cxx|c|cu|cuh|h|hpp|go|py|rs|so(?:\.\d+)*|dll|dylib|onnx|data|bin|yaml|json|npz)\b(?::\d+)?`)

// panicText matches the text of a panic, to its end.
var panicText = regexp.MustCompile(`(?s)panicked: .*`)

// publicText returns the text of an internal error for clients.
func publicText(err error) string {
	text := err.Error()
	if file, ok := errors.AsType[*fs.PathError](err); ok && file.Path != "" {
		text = strings.ReplaceAll(text, file.Path, lastOf(file.Path))
	}
	text = panicText.ReplaceAllString(text, "panicked; the server's log has the details")
	return sourcePath.ReplaceAllStringFunc(text, lastOf)
}

// lastOf returns the last element of a path of any system.
func lastOf(path string) string { return path[strings.LastIndexAny(path, `/\`)+1:] }

// incident returns a new id that connects an answer with the log.
func incident() string { return "e-" + strings.ToLower(rand.Text()) }
