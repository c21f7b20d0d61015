package modelpkg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
)

// FewSamples is the number of samples below which a person is warned that an accuracy
// is uncertain: with fewer, a share near 0.97 is known to a point at best.
const FewSamples = 1000

// bindInput assigns an array to an input, or returns what does not fit.
func bindInput(in Input, array tensor.Tensor, samples int) (func(sample int) []byte, error) {
	shared := in.Unbatched && (array.Shape.Equal(in.Shape) || samples != 1 && array.Shape.Equal(append(tensor.Shape{1}, in.Shape...)))
	switch {
	case array.DType != in.DType && in.DType == tensor.Bytes:
		return nil, fmt.Errorf("array %q is %v; the input is BYTES: save texts as numpy.array(texts, dtype=str)", in.Name, array.DType)
	case !sameType(array.DType, in.DType):
		return nil, fmt.Errorf("array %q is %v; the input is %v", in.Name, array.DType, in.DType)
	case shared:
		return func(int) []byte { return array.Data }, nil
	case len(array.Shape) == 0 || !array.Shape[1:].Fits(in.Shape):
		return nil, fmt.Errorf("array %q has shape %v; it must be the number of samples, then %v", in.Name, array.Shape, in.Shape)
	case samples > 0 && array.Rows() != samples:
		return nil, fmt.Errorf("array %q has %d samples; there are %d labels", in.Name, array.Rows(), samples)
	case array.Rows() == 0:
		return nil, fmt.Errorf("array %q has no samples", in.Name)
	case len(array.Data) == 0:
		return nil, fmt.Errorf("array %q has shape %v; its samples are empty", in.Name, array.Shape)
	}
	if axis := dynamicAxis(in.Shape); axis >= 0 && in.Max > 0 && in.Buckets == nil && array.Shape[1+axis] > in.Max {
		return nil, fmt.Errorf("the samples of array %q have a size of %d where the input has -1; its max is %d", in.Name, array.Shape[1+axis], in.Max)
	}
	rows := array.Split()
	for i, row := range rows {
		if err := in.CheckTexts(row); err != nil {
			return nil, fmt.Errorf("sample %d of array %q: %w", i, in.Name, err)
		}
	}
	return func(sample int) []byte { return rows[sample] }, nil
}

// checkRanges checks every sample against the declared ranges, and names the first
// sample of each array that breaks one.
func (s *Set) checkRanges(m *Model) []error {
	var faults []error
	for k, in := range m.Inputs {
		if in.Range == nil {
			continue
		}
		for i, item := range s.items {
			if err := in.CheckRange(item[k]); err != nil {
				faults = append(faults, fmt.Errorf("sample %d of array %q: %w", i, in.Name, err))
				break
			}
		}
	}
	return faults
}

// look examines the samples as only `mosel check` does. Problems are what makes any
// measurement on them wrong.
func (s *Set) look(m *Model) (problems, warnings []string) {
	if len(s.sorted) > 0 {
		warnings = append(warnings, fmt.Sprintf("array %q has texts, and mosel.yaml gives no order: they are taken as classes in sorted order, %s; write classes: [...] in the order of the output",
			labelArray, namesText(s.sorted)))
	}
	for k, in := range m.Inputs {
		absent, first := 0, -1
		for i, item := range s.items {
			if at := notFinite(in.DType, item[k]); at >= 0 {
				problems = append(problems, fmt.Sprintf("array %q: element %d of sample %d is %s; save finite numbers",
					in.Name, at, i, elementText(in.DType, item[k][at*in.DType.Size():])))
				break
			}
			if in.IsAbsent(item[k]) {
				if absent++; first < 0 {
					first = i
				}
			}
		}
		switch {
		case absent == s.Len():
			problems = append(problems, fmt.Sprintf("array %q: every sample looks absent, as absent: %s says; nothing can be measured on them", in.Name, in.Absent.Kind))
		case absent > 0:
			warnings = append(warnings, fmt.Sprintf("array %q: %d of %d samples look absent (absent: %s), sample %d first; a server will not run the modality on them",
				in.Name, absent, s.Len(), in.Absent.Kind, first))
		}
	}
	return problems, warnings
}

// namesShown bounds the names that a warning lists.
const namesShown = 5

func namesText(names []string) string {
	var parts []string
	for i, name := range names[:min(len(names), namesShown)] {
		parts = append(parts, fmt.Sprintf("%d is %q", i, strictyaml.Clip(name, 40)))
	}
	if len(names) > namesShown {
		parts = append(parts, "...")
	}
	return strings.Join(parts, ", ")
}

// checkEvaluation reads and examines both evaluation sets.
func checkEvaluation(m *Model, s *spec) (Problems, []string) {
	r := newReport(filepath.Join(m.Dir, FileName))
	digests := map[string]string{}
	for _, w := range []word{s.profile, s.heldOut} {
		if !w.Given() {
			continue
		}
		set, err := openInside(m, w.Text)
		if err != nil && w == s.profile && m.withoutSet() {
			r.warn(w.Place, "evaluation set %s does not exist: the package can be served with its profiles, but not profiled", w.Text)
			continue
		}
		if err != nil {
			r.At(w.Place, "evaluation set %s: %s", w.Text, err.Error())
			continue
		}
		if other := digests[set.Digest]; other != "" {
			r.At(w.Place, "evaluation set %s is the same as %s; held-out samples must be different", w.Text, other)
		}
		digests[set.Digest] = w.Text
		problems, warnings := set.look(m)
		for _, p := range problems {
			r.At(w.Place, "evaluation set %s: %s", w.Text, p)
		}
		for _, p := range warnings {
			r.warn(w.Place, "evaluation set %s: %s", w.Text, p)
		}
		if w != s.profile {
			continue
		}
		checkScores(m, s, r, set)
		checkBuckets(m, s, r, set)
		for k, in := range m.Inputs {
			if n := set.LongestSample(in, k); n > 0 && n < in.Max {
				r.warn(w.Place, "evaluation set %s: the samples of %q have size %d, and up to %d (max) is served: the profile's times hold for %d",
					w.Text, in.Name, n, in.Max, n)
			}
		}
		if set.Len() < FewSamples {
			r.warn(w.Place, "evaluation set %s has %d samples, which leave accuracies uncertain: one near 0.9 is known to %s; 1,000 or more are advised",
				w.Text, set.Len(), plusMinus(MeasuredAccuracy(set.Len()*9/10, set.Len())))
		}
	}
	return r.Sorted(), r.warnings
}

// withoutSet reports whether the package has profiles, and not the set they are of: it
// was left out, because only `mosel profile` needs it.
func (m *Model) withoutSet() bool {
	_, err := os.Lstat(m.File(m.Evaluation.Profile))
	names, _ := profileNames(m)
	return errors.Is(err, fs.ErrNotExist) && len(names) > 0
}

// openInside opens a set of the package, which links must not leave.
func openInside(m *Model, path string) (*Set, error) {
	h, err := openHome(m.models, m.Dir)
	if err != nil {
		return nil, errors.New(reason(err))
	}
	defer h.close()
	file, err := h.read(path, setFileBytesMax)
	if err != nil {
		return nil, errors.New(reason(err))
	}
	set, err := newSet(m.File(path), file, m)
	if e, ok := errors.AsType[*slo.Error](err); ok {
		return nil, e.Err
	}
	return set, err
}

// checkBuckets warns of buckets that no sample belongs to.
func checkBuckets(m *Model, s *spec, r *report, set *Set) {
	for i, in := range m.Inputs {
		if !in.Buckets.leads(i) {
			continue
		}
		count := make([]int, len(in.Buckets.Shapes))
		for k := range set.Len() {
			count[set.Sizes(k).Bucket(in.Buckets.Number)]++
		}
		var empty []string
		for k, shape := range in.Buckets.Shapes {
			if count[k] == 0 {
				empty = append(empty, sizesText(in.Shape, shape))
			}
		}
		if len(empty) > 0 {
			r.warn(s.input(i).fill.Place, "no sample of %s belongs to the bucket %s of %s: whether such answers are right is not measured, and their times are measured on samples that are cut or filled up",
				m.Evaluation.Profile, strings.Join(empty, ", "), in.Name)
		}
	}
}
