package modelpkg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mosel-serve/mosel/internal/slo"
)

// FileName is the name of the file that describes a model package.
const FileName = "mosel.yaml"

// Load reads the package in a directory and checks all of it against its graphs, except
// evaluation sets and profiles, which a server does not need. Weights are hashed, not
// kept in memory. Errors have kind not found (no such package), invalid (these wrap
// Problems) or unavailable: the system could not read it now, see IsSystemFault. The
// model's Warnings list what is valid but may be a mistake.
func Load(dir string) (*Model, error) { return LoadIn("", dir) }

// LoadIn is Load for a package in a directory of models: links in the package may lead
// to any file inside models. If models is "", or the package is not inside it, they may
// lead to files of the package only.
func LoadIn(models, dir string) (*Model, error) {
	m, _, err := load(models, dir)
	if err == nil {
		return m, nil
	}
	kind := slo.KindInvalid
	switch _, broken := errors.AsType[Problems](err); {
	case !broken:
		kind = slo.KindUnavailable
	case isMissing(dir):
		kind = slo.KindNotFound
	}
	return nil, &slo.Error{Op: "load " + dir, Kind: kind, Err: err}
}

func isMissing(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, FileName))
	return errors.Is(err, fs.ErrNotExist)
}

// Findings is the result of checking a package.
type Findings struct {
	Model    *Model   // nil if mosel.yaml itself is not valid
	Problems Problems // in the order of the file; none: the package is valid
	Warnings []string // what is valid but may be a mistake
}

// Check validates everything in the package, including evaluation sets and profiles,
// and returns all problems, in the order of the file.
func Check(dir string) []Problem { return CheckIn("", dir).Problems }

// CheckIn is Check for a package whose links may lead anywhere inside models, as in
// LoadIn. It returns warnings too.
func CheckIn(models, dir string) Findings {
	m, s, err := load(models, dir)
	return findings(dir, m, s, err)
}

// CheckText is Check for a package whose mosel.yaml is not written yet: text is what
// it would be. A runtime that loads the model reads the graphs where they are.
func CheckText(dir string, text []byte) Findings {
	h, err := openHome("", dir)
	if err != nil {
		return findings(dir, nil, nil, err)
	}
	defer h.close()
	m, s, err := h.parse("", dir, text)
	f := findings(dir, m, s, err)
	if m != nil {
		m.Files = nil // mosel.yaml is not there to be copied
	}
	return f
}

// findings completes what loading has shown with what a check looks at besides.
func findings(dir string, m *Model, s *spec, err error) Findings {
	f := Findings{Model: m}
	if err != nil {
		problems, broken := errors.AsType[Problems](err)
		if !broken {
			problems = Problems{{File: dir, Message: "it cannot be read now: " + err.Error()}}
		}
		f.Problems = problems
	}
	if m == nil {
		return f
	}
	problems, warnings := checkEvaluation(m, s)
	f.Problems = append(f.Problems, problems...)
	f.Warnings = append(append(f.Warnings, m.Warnings...), warnings...)
	if len(f.Problems) == 0 { // for a broken package, every profile would look like that of another model
		problems, warnings = checkProfiles(m)
		f.Problems, f.Warnings = problems, append(f.Warnings, warnings...)
	}
	return f
}

// load returns the model with the spec that it was built from. Its error is Problems,
// in the order of the file, or a fault of the system. The model is nil if mosel.yaml
// itself is not valid.
func load(models, dir string) (*Model, *spec, error) {
	h, err := openHome(models, dir)
	if err != nil {
		if IsSystemFault(err) {
			return nil, nil, err
		}
		return nil, nil, Problems{{File: dir, Message: "no such model package: " + reason(err)}}
	}
	defer h.close()
	text, err := h.read(FileName, yamlBytesMax)
	if err != nil {
		if IsSystemFault(err) {
			return nil, nil, err
		}
		return nil, nil, Problems{{File: filepath.Join(dir, FileName), Message: reason(err)}}
	}
	return h.parse(models, dir, text)
}

// parse reads the text of a mosel.yaml and checks it against the package's files.
func (h *home) parse(models, dir string, text []byte) (*Model, *spec, error) {
	r := newReport(filepath.Join(dir, FileName))
	s := r.readSpec(text)
	m := r.build(&s)
	if len(r.Problems) > 0 {
		return nil, nil, r.Sorted()
	}
	m.Dir, m.models = dir, models
	files := newManifest(h)
	files.add(FileName, text)
	r.checkGraphs(m, &s, files)
	r.checkLengths(m, &s, h)
	r.readTokenizers(m, &s, files)
	r.checkPadding(m, &s)
	if r.expand(m, &s); len(r.Problems) == 0 {
		m.renumberGates()
	}
	m.Digest, m.Files = files.digest(), files.sums
	m.Warnings = r.warnings
	switch {
	case r.system != nil:
		return nil, nil, r.system
	case len(r.Problems) > 0:
		return m, &s, r.Sorted()
	}
	return m, &s, nil
}

// read reads a whole file of the package.
func (h *home) read(name string, most int64) ([]byte, error) {
	f, _, err := h.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, most)
}

func errTooLarge(most int64) error { return fmt.Errorf("is larger than %d bytes", most) }

// File returns the path of a file of the package, given its path inside.
func (m *Model) File(path string) string { return filepath.Join(m.Dir, filepath.FromSlash(path)) }
