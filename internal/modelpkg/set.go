package modelpkg

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Bounds of an evaluation set, which is held in memory while it is used.
const (
	setFileBytesMax = 1 << 30
	setBytesMax     = 4 << 30
)

// The arrays of an evaluation set that are no inputs: the right answers, and the
// embeddings among which retrieval finds the nearest.
const (
	labelArray        = "label"
	galleryArray      = "gallery"
	galleryLabelArray = "gallery_label"
)

// Set is a labelled evaluation set in memory.
type Set struct {
	Path   string
	Digest string       // "sha256:..." of the file
	Labels score.Labels // the right answers; none if scores are external
	sorted []string     // class names in sorted order, if mosel.yaml gives no order
	judge  *score.Judge
	items  [][][]byte
	sizes  []slo.Sizes // by sample; nil: no input has buckets
}

// Len returns the number of samples.
func (s *Set) Len() int { return len(s.items) }

// Judge returns the judge that scores answers to the samples.
func (s *Set) Judge() *score.Judge { return s.judge }

// Score scores the answer to a sample: an item of a batch of the first output.
func (s *Set) Score(output tensor.Tensor, item, sample int) (score.Result, error) {
	return scoreItem(s.judge, output, item, sample)
}

// Sizes returns the buckets of the inputs of sample i.
func (s *Set) Sizes(i int) slo.Sizes {
	if s.sizes == nil {
		return 0
	}
	return s.sizes[i]
}

// Item returns sample i as the bytes of each of the model's inputs, indexed as
// Model.Inputs: a runtime.Item. Inputs with buckets are filled up. The bytes are views
// and must not be changed.
func (s *Set) Item(i int) [][]byte { return s.items[i] }

// OpenSet reads a labelled set for the model: an .npz with one array [N, ...] for each
// of the model's inputs, and "label" as the metric needs it. Other arrays are ignored.
// The path is an ordinary one; Model.File returns that of a package's own set. Errors
// have kind not found or invalid.
func OpenSet(path string, m *Model) (*Set, error) {
	op := "open " + path
	file, err := readFile(path, setFileBytesMax)
	if err != nil {
		return nil, fileError(op, err)
	}
	s, err := newSet(path, file, m)
	if err != nil {
		return nil, &slo.Error{Op: op, Kind: slo.KindInvalid, Err: err}
	}
	return s, nil
}

// newSet makes a set from a file's content.
func newSet(path string, file []byte, m *Model) (*Set, error) {
	sum := sha256.Sum256(file)
	s := &Set{Path: path, Digest: "sha256:" + hex.EncodeToString(sum[:])}
	names := wanted(m)
	mayBeTexts := textInputs(m)
	if m.Scoring.WholeLabels() {
		mayBeTexts = append(mayBeTexts, labelArray, galleryLabelArray)
	}
	texts, err := readTexts(file, mayBeTexts)
	if err != nil {
		return nil, err
	}
	for _, t := range texts {
		names = slices.DeleteFunc(names, func(n string) bool { return n == t.name })
	}
	var arrays []tensor.Tensor
	if len(names) > 0 { // no names are all arrays
		if arrays, err = ReadNPZ(bytes.NewReader(file), int64(len(file)), setBytesMax, names...); err != nil {
			return nil, err
		}
	}
	for _, t := range texts {
		if slices.Contains(textInputs(m), t.name) {
			arrays = append(arrays, t.tensor())
		}
	}
	if err := s.bind(m, arrays, texts); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(texts, func(t textArray) bool { return t.name == labelArray }); i >= 0 && len(m.Labels) == 0 && !m.Scoring.Gallery() {
		s.sorted = distinct(texts[i].texts)
	}
	return s, nil
}

// textBytesMax bounds an array of a set that is of texts.
const textBytesMax = 256 << 20

// readTexts reads the arrays of these names that hold texts.
func readTexts(file []byte, names []string) ([]textArray, error) {
	if len(names) == 0 {
		return nil, nil
	}
	return readTextsNPZ(bytes.NewReader(file), int64(len(file)), textBytesMax, names...)
}

// bind ties arrays to the model's inputs, telling all that does not fit.
func (s *Set) bind(m *Model, arrays []tensor.Tensor, texts []textArray) error {
	var faults []error
	var err error
	if s.judge, err = judgeOf(m, arrays, texts); err != nil {
		faults = append(faults, err)
	}
	labels := s.judge.Labels.Len()
	rows := make([]func(int) []byte, len(m.Inputs))
	stored := make([]tensor.Shape, len(m.Inputs)) // of a sample
	for i, in := range m.Inputs {
		array, ok := arrayNamed(arrays, in.Name)
		switch {
		case !ok && m.IsBeside(i):
			rows[i] = func(int) []byte { return nil }
			continue
		case !ok:
			faults = append(faults, fmt.Errorf("it has no array %q", in.Name))
			continue
		}
		if len(array.Shape) > 0 {
			stored[i] = array.Shape[1:]
		}
		row, err := bindInput(in, array, labels)
		if err != nil && s.judge.External() && labels > 0 && array.Rows() != labels {
			err = fmt.Errorf("array %q has %d samples; the arrays of other inputs have %d", in.Name, array.Rows(), labels)
		}
		if err != nil {
			faults = append(faults, err)
		}
		rows[i] = row
		if s.judge.External() && labels == 0 && !in.Unbatched && err == nil {
			labels = array.Rows()
		}
	}
	if len(faults) > 0 {
		return oneLine(faults)
	}
	s.Labels = s.judge.Labels
	s.items = make([][][]byte, labels)
	views := make([][]byte, labels*len(rows))
	for i := range s.items {
		s.items[i], views = views[:len(rows):len(rows)], views[len(rows):]
		for k, row := range rows {
			s.items[i][k] = row(i)
		}
	}
	if err := s.fit(m, stored); err != nil {
		return err
	}
	if faults := s.checkRanges(m); len(faults) > 0 {
		return oneLine(faults)
	}
	return nil
}

// fit fills the samples up to their buckets.
func (s *Set) fit(m *Model, stored []tensor.Shape) error {
	if !m.Sized() {
		return nil
	}
	s.sizes = make([]slo.Sizes, len(s.items))
	for i, item := range s.items {
		f, err := m.fitSample(item, stored)
		if err != nil {
			return fmt.Errorf("sample %d: %s", i, reason(err)) // without its kind, which is that of a request's
		}
		s.items[i], s.sizes[i] = f.Item, f.Sizes
	}
	return nil
}

// oneLine joins errors on one line; errors.Join would give each a line.
func oneLine(faults []error) error {
	texts := make([]string, len(faults))
	for i, f := range faults {
		texts[i] = f.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}

func arrayNamed(arrays []tensor.Tensor, name string) (tensor.Tensor, bool) {
	i := slices.IndexFunc(arrays, func(a tensor.Tensor) bool { return a.Name == name })
	if i < 0 {
		return tensor.Tensor{}, false
	}
	return arrays[i], true
}

// sameType accepts UINT16 for BF16, which numpy does not have.
func sameType(array, input tensor.DType) bool {
	return array == input || input == tensor.BF16 && array == tensor.Uint16
}

// integers widens an array of any integer type, or of booleans. A value above the int64
// range wraps to a negative one, which no caller accepts.
func integers(array tensor.Tensor) ([]int, error) {
	values := make([]int, array.Rows())
	for i := range values {
		b := array.Row(i)
		switch array.DType {
		case tensor.Uint8, tensor.Bool:
			values[i] = int(b[0])
		case tensor.Int8:
			values[i] = int(int8(b[0]))
		case tensor.Uint16:
			values[i] = int(binary.LittleEndian.Uint16(b))
		case tensor.Int16:
			values[i] = int(int16(binary.LittleEndian.Uint16(b)))
		case tensor.Uint32:
			values[i] = int(binary.LittleEndian.Uint32(b))
		case tensor.Int32:
			values[i] = int(int32(binary.LittleEndian.Uint32(b)))
		case tensor.Uint64, tensor.Int64:
			values[i] = int(binary.LittleEndian.Uint64(b))
		default:
			return nil, fmt.Errorf("array %q is %v; it must be whole numbers", array.Name, array.DType)
		}
	}
	return values, nil
}

// readFile reads an ordinary file of at most this many bytes.
func readFile(path string, most int64) ([]byte, error) {
	f, _, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, most)
}

// fileError gives a file error its kind.
func fileError(op string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return slo.E(op, slo.KindNotFound, "%s", reason(err))
	case IsSystemFault(err):
		return &slo.Error{Op: op, Kind: slo.KindUnavailable, Err: err}
	}
	return slo.E(op, slo.KindInvalid, "%s", reason(err))
}
