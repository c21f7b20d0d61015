package modelpkg

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mosel-serve/mosel/internal/slo"
)

// FileName is the name of the file that makes a directory a model package.
const FileName = "mosel.yaml"

// Load reads the package in a directory and checks all of it against its
// graphs, except evaluation sets and profiles: a server may do without. Weights
// are hashed, not held. Errors have kind not found (no such package) or invalid;
// the latter wrap Problems.
func Load(dir string) (*Model, error) {
	m, _, problems := load(dir)
	if len(problems) == 0 {
		return m, nil
	}
	kind := slo.KindInvalid
	if _, err := os.Stat(filepath.Join(dir, FileName)); errors.Is(err, fs.ErrNotExist) {
		kind = slo.KindNotFound
	}
	return nil, &slo.Error{Op: "load " + dir, Kind: kind, Err: problems}
}

// Check validates everything in the package, evaluation sets and profiles
// included, and returns all that is wrong, in the order of the file.
func Check(dir string) []Problem {
	m, s, problems := load(dir)
	if m == nil {
		return problems
	}
	problems = append(problems, checkEvaluation(m, s)...)
	if len(problems) == 0 { // with a broken package every profile would be of another model
		problems = checkProfiles(m)
	}
	return problems
}

// load returns the model with the spec it was built from and the problems its
// graphs have; no model where mosel.yaml itself is not sound.
func load(dir string) (*Model, *spec, Problems) {
	r := newReport(filepath.Join(dir, FileName))
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, Problems{{File: dir, Message: "no such model package: " + reason(err)}}
	}
	defer root.Close()
	text, err := readBounded(root, FileName, yamlBytesMax)
	if err != nil {
		return nil, nil, Problems{{File: r.File, Message: reason(err)}}
	}
	s := r.readSpec(text)
	m := r.build(&s)
	if len(r.Problems) > 0 {
		return nil, nil, r.Sorted()
	}
	m.Dir = dir
	files := newManifest(root)
	files.add(FileName, text)
	r.checkGraphs(m, &s, files)
	m.Digest, m.Files = files.digest(), files.sums
	return m, &s, r.Sorted()
}

// File returns where a file of the package is, given its path inside.
func (m *Model) File(path string) string { return filepath.Join(m.Dir, filepath.FromSlash(path)) }

// reason is an error's cause without the operation and path around it, which
// the message's own beginning says.
func reason(err error) string {
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		return perr.Err.Error()
	}
	return err.Error()
}

// readBounded reads a whole file of at most so many bytes.
func readBounded(root *os.Root, name string, most int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("is larger than %d bytes", most)
	}
	return text, err
}
