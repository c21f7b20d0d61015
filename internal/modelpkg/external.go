package modelpkg

import (
	"fmt"
	"path"
	"path/filepath"

	"github.com/mosel-serve/mosel/internal/slo"
)

// scoresDir is the directory in a package with the scores for the metric external.
const scoresDir = "scores"

// scoresPath returns the path of a variant's scores in the package.
func scoresPath(variant string) string { return path.Join(scoresDir, variant+npySuffix) }

// ExternalScores reads the scores of every variant for all samples of the set, which
// the user's own script wrote: scores/<variant>.npy, with one number in [0, 1] per
// sample. Its error has kind invalid and lists the problems of all files.
func (m *Model) ExternalScores(samples int) ([][]float64, error) {
	op := "read the scores of " + m.Name
	h, err := openHome(m.models, m.Dir)
	if err != nil {
		return nil, fileError(op, err)
	}
	defer h.close()
	all := make([][]float64, len(m.Variants))
	var faults []error
	for i, v := range m.Variants {
		scores, err := readScores(h, v.Declared(), samples)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", scoresPath(v.Declared()), err))
		}
		all[i] = scores
	}
	if len(faults) > 0 {
		return nil, &slo.Error{Op: op, Kind: slo.KindInvalid, Err: oneLine(faults)}
	}
	return all, nil
}

// readScores reads and checks the scores of one variant.
func readScores(h *home, variant string, samples int) ([]float64, error) {
	file, err := h.read(scoresPath(variant), setFileBytesMax)
	if err != nil {
		return nil, fmt.Errorf("%s; with the metric external, write one score in [0, 1] for each sample of the profile set there", reason(err))
	}
	array, err := ReadNPY(file, variant)
	if err != nil {
		return nil, err
	}
	if len(array.Shape) != 1 || array.Rows() != samples {
		return nil, fmt.Errorf("it has shape %v; the profile set has %d samples, so it must be [%d]", array.Shape, samples, samples)
	}
	scores, err := numbersOf(array)
	if err != nil {
		return nil, err
	}
	for i, s := range scores.Values {
		if !(s >= 0 && s <= 1) {
			return nil, fmt.Errorf("the score of sample %d is %v; it must be between 0 and 1", i, s)
		}
	}
	return scores.Values, nil
}

// checkScores checks the files of scores, as far as the set is valid.
func checkScores(m *Model, s *spec, r *report, set *Set) {
	if !m.Scoring.External() || set == nil {
		return
	}
	h, err := openHome(m.models, m.Dir)
	if err != nil {
		r.At(s.metric.place, "%s", reason(err))
		return
	}
	defer h.close()
	last := ""
	for _, v := range m.Variants {
		if v.Declared() == last {
			continue
		}
		last = v.Declared()
		if _, err := readScores(h, v.Declared(), set.Len()); err != nil {
			r.At(s.variants[v.Of].Place, "variant %s: %s: %s", v.Declared(), filepath.ToSlash(scoresPath(v.Declared())), err)
		}
	}
}
