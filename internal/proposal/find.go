package proposal

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// found are the files of a directory that matter, by their paths inside.
type found struct {
	graphs, sets, tokenizers []string
}

// foldersDeep is how many folders inside each other are looked into.
const foldersDeep = 4

// ignored are folders of a package that hold what was measured.
var ignored = []string{"profiles", "scores"}

// find looks for graphs and labelled samples.
func find(dir string) (found, error) {
	var f found
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			hidden := name != "." && strings.HasPrefix(base, ".")
			if hidden || slices.Contains(ignored, name) || strings.Count(name, "/") >= foldersDeep {
				return fs.SkipDir
			}
			return nil
		}
		if kind := entry.Type(); !kind.IsRegular() && kind&fs.ModeSymlink == 0 { // a pipe would never end
			return nil
		}
		switch strings.ToLower(path.Ext(base)) {
		case ".onnx":
			f.graphs = append(f.graphs, name)
		case ".npz":
			f.sets = append(f.sets, name)
		case ".json":
			if base == "tokenizer.json" {
				f.tokenizers = append(f.tokenizers, name)
			}
		}
		return nil
	})
	return f, err
}
