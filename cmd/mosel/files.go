package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mosel-serve/mosel/internal/example"
)

// modelsDir is where packages are looked for by name.
const modelsDir = "models"

// modelDir is the package directory a command-line argument means: the argument
// itself, the package of that name in ./models, or the built-in example.
func modelDir(arg string) (string, error) {
	if exists(arg) {
		return arg, nil
	}
	if named := filepath.Join(modelsDir, arg); filepath.Base(arg) == arg && exists(named) {
		return named, nil
	}
	if arg == example.Name {
		return example.Dir()
	}
	return arg, nil
}

// servedDir is the directory that `mosel serve` serves when its command line names
// none: ./models, or that of the built-in example where ./models, or the example in
// it, is not there and nothing else is asked for.
func servedDir(only []string) (dir string, builtIn bool, err error) {
	looked := modelsDir
	switch {
	case len(only) == 1 && only[0] == example.Name:
		looked = filepath.Join(modelsDir, example.Name)
	case len(only) > 0:
		return modelsDir, false, nil
	}
	if exists(looked) {
		return modelsDir, false, nil
	}
	if dir, err = example.Dir(); err != nil {
		return "", false, err
	}
	return filepath.Dir(dir), true, nil
}

// exists reports whether there is a file. One that cannot be looked at is there:
// the error of who opens it says why it cannot be read.
func exists(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// writeJSON writes a report to a file, or to w for "-".
func writeJSON(file string, w io.Writer, report any) error {
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if file == "-" {
		_, err = w.Write(data)
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
