package modelpkg

import (
	"archive/zip"
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
)

// textArray is an array of texts, as numpy saves a list of names.
type textArray struct {
	name  string
	shape tensor.Shape
	texts []string
}

// readTextsNPZ reads those of the named arrays that hold texts, and skips the others.
func readTextsNPZ(r io.ReaderAt, size, bytesMax int64, names ...string) ([]textArray, error) {
	entries, err := entriesNPZ(r, size, names)
	if err != nil {
		return nil, err
	}
	var found []textArray
	for _, f := range entries {
		a := textArray{name: strings.TrimSuffix(f.Name, npySuffix)}
		isText, err := a.read(f, size, bytesMax)
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", a.name, err)
		}
		if isText {
			found = append(found, a)
		}
	}
	return found, nil
}

// read reads the array if it is of texts.
func (a *textArray) read(f *zip.File, fileSize, bytesMax int64) (isText bool, err error) {
	body, possible, err := openEntryNPY(f, fileSize, bytesMax)
	if err != nil {
		return false, err
	}
	defer body.Close()
	in := bufio.NewReader(body)
	header, err := readHeaderNPY(in)
	if err != nil {
		return false, nil // the reader of the array will report it
	}
	code, shape, err := headerPartsNPY(header)
	if err != nil {
		return false, nil // the same
	}
	return a.readBody(in, code, shape, possible)
}

// readBody reads what follows a header, if that says that it is texts.
func (a *textArray) readBody(in io.Reader, code string, shape tensor.Shape, possible int64) (isText bool, err error) {
	width, wide, err := textWidth(code)
	if err != nil || width == 0 {
		return false, err
	}
	n, err := shape.Elements()
	if err != nil {
		return false, err
	}
	if int64(n) > possible/int64(width) {
		return false, fmt.Errorf("%v texts of %d bytes are more than the file can hold or may have", shape, width)
	}
	data := make([]byte, n*width)
	if _, err := io.ReadFull(in, data); err != nil {
		return false, fmt.Errorf("the data end before %v texts are full: %w", shape, err)
	}
	a.shape, a.texts = shape, make([]string, n)
	for i := range a.texts {
		a.texts[i] = textOf(data[i*width:(i+1)*width], wide)
	}
	return true, nil
}

// textWidth returns the bytes of one text of a numpy type; 0 if it is not a text type.
// A wide text has 4 bytes per character.
func textWidth(code string) (width int, wide bool, err error) {
	switch {
	case code == "|O":
		return 0, false, errors.New("it holds Python objects; save numbers, or texts as numpy.array(labels, dtype=str)")
	case strings.HasPrefix(code, "<U"), strings.HasPrefix(code, "|S"):
		n, err := strconv.Atoi(code[2:])
		if err != nil || n < 0 || n > textCharsMax {
			return 0, false, fmt.Errorf("texts of type %q are too long; at most %d characters are read", strictyaml.Clip(code, 40), textCharsMax)
		}
		if code[1] == 'U' {
			return max(4*n, 1), true, nil
		}
		return max(n, 1), false, nil
	}
	return 0, false, nil
}

// textCharsMax bounds a text: the name of a class, or an element of an input.
const textCharsMax = 64 << 10

// textOf returns a text without its padding of zeros.
func textOf(data []byte, wide bool) string {
	if !wide {
		return strings.TrimRight(string(data), "\x00")
	}
	var b strings.Builder
	for ; len(data) >= 4; data = data[4:] {
		b.WriteRune(rune(binary.LittleEndian.Uint32(data)))
	}
	return strings.TrimRight(b.String(), "\x00")
}

// numbered returns the texts as numbers: their indices in names or, without names, in
// the sorted list of all texts. An empty text is the metric's padding. There must be as
// many distinct texts as classes, if the number of classes is known.
func (a *textArray) numbered(metric score.Metric, names []string, classes int) ([]float64, error) {
	if len(names) == 0 {
		names = distinct(a.texts)
		if classes > 0 && len(names) != classes {
			return nil, fmt.Errorf("array %q has %d different texts and the model has %d classes: list the names in mosel.yaml as classes, in the order of the output",
				a.name, len(names), classes)
		}
	}
	numbers := make(map[string]float64, len(names))
	for i, name := range names {
		numbers[name] = float64(i)
	}
	padding, padded := metric.Padding()
	each := len(a.texts) / max(1, int(a.shape[0])) // per sample
	values := make([]float64, len(a.texts))
	for i, text := range a.texts {
		v, known := numbers[text]
		switch {
		case !known && text == "" && padded:
			v = float64(padding)
		case !known:
			of := fmt.Sprintf(" of sample %d", i/max(1, each))
			if a.name == "" { // of an item that was answered
				of = ""
			}
			return nil, fmt.Errorf("the label%s is %q, which is none of the classes%s", of, strictyaml.Clip(text, 80),
				strictyaml.Suggest(text, names[:min(len(names), suggestedNames)]))
		}
		values[i] = v
	}
	return values, nil
}

// suggestedNames bounds the names that an error lists.
const suggestedNames = 20

// distinct returns the distinct texts in sorted order, without the empty one.
func distinct(texts []string) []string {
	all := slices.Compact(slices.Sorted(slices.Values(texts)))
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}
