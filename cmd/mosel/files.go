package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
)

// modelsDir is where packages are looked for by name.
const modelsDir = "models"

// modelDir is the package directory a command-line argument means: the argument
// itself, or the package of that name in ./models.
func modelDir(arg string) string {
	if _, err := os.Stat(arg); err == nil {
		return arg
	}
	if named := filepath.Join(modelsDir, arg); filepath.Base(arg) == arg {
		if _, err := os.Stat(named); err == nil {
			return named
		}
	}
	return arg
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
