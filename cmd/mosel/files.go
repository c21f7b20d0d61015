package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mosel-serve/mosel/internal/example"
)

// modelsDir is the directory in which packages are looked up by name.
const modelsDir = "models"

// modelDir returns the package directory that a command-line argument names: the
// argument itself, the package of that name in ./models, or the built-in example.
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

// servedDir returns the directory that `mosel serve` serves without --models. It is
// ./models, or the directory of the built-in example in two cases: ./models does not
// exist, or the example alone is asked for and ./models lacks it.
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

// exists reports whether a file exists. It is true if the file cannot be examined:
// opening it then fails with an error that says why.
func exists(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}
