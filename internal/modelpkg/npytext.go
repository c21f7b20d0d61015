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

// readTextsNPZ reads the arrays of these names that hold texts, and leaves out those
// that hold anything else.
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
		return false, nil // whoever reads the array tells it
	}
	code, shape, err := headerPartsNPY(header)
	if err != nil {
		return false, nil // likewise
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

// textWidth is the bytes of one text of numpy's type; 0: it is no type of texts. A
// wide one has 4 bytes a character.
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

// textOf is a text without the zeros that fill it up.
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

// numbered are the numbers of the texts: their places among the names, or among all
// texts in sorted order where there are no names. An empty text is the metric's
// padding. There must be as many as classes, if there are any.
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
	each := len(a.texts) / max(1, int(a.shape[0])) // a sample's
	values := make([]float64, len(a.texts))
	for i, text := range a.texts {
		v, known := numbers[text]
		switch {
		case !known && text == "" && padded:
			v = float64(padding)
		case !known:
			return nil, fmt.Errorf("the label of sample %d is %q, which is none of the classes%s", i/max(1, each), strictyaml.Clip(text, 80),
				strictyaml.Suggest(text, names[:min(len(names), suggestedNames)]))
		}
		values[i] = v
	}
	return values, nil
}

// suggestedNames bounds the names that an error lists.
const suggestedNames = 20

// distinct are the different texts in sorted order, the empty one left out.
func distinct(texts []string) []string {
	all := slices.Compact(slices.Sorted(slices.Values(texts)))
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}
