package api

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"regexp"
	"strings"
)

// What went wrong inside the server is told to clients without what is nobody's
// business outside: where files lie on this machine or on the one that built the
// runtime, and what a panic says. The log has the whole text, with the same job or
// the same id.

// sourcePath is a path to a file of a program, a library or a model, with the line
// if there is one. Names in graphs look like paths too ("/encoder/MatMul") and stay:
// they have no such ending.
var sourcePath = regexp.MustCompile(`(?:[A-Za-z]:)?[\w.+@~-]*(?:[/\\]+[\w.+@~-]+)+\.(?:cc|cpp|cxx|c|cu|cuh|h|hpp|go|py|rs|so(?:\.\d+)*|dll|dylib|onnx|data|bin|yaml|json|npz)\b(?::\d+)?`)

// panicText is what a panic said, to the end.
var panicText = regexp.MustCompile(`(?s)panicked: .*`)

// publicText is an error of the server's own doing in words for its clients.
func publicText(err error) string {
	text := err.Error()
	if file, ok := errors.AsType[*fs.PathError](err); ok && file.Path != "" {
		text = strings.ReplaceAll(text, file.Path, lastOf(file.Path))
	}
	text = panicText.ReplaceAllString(text, "panicked; the server's log says more")
	return sourcePath.ReplaceAllStringFunc(text, lastOf)
}

// lastOf is the last element of a path of any system.
func lastOf(path string) string { return path[strings.LastIndexAny(path, `/\`)+1:] }

// incident is an id by which a client and the log speak of the same defect.
func incident() string { return "e-" + strings.ToLower(rand.Text()) }
