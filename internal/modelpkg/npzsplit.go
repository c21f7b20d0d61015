package modelpkg

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
)

// ArrayNPZ is what the header of an array says.
type ArrayNPZ struct {
	Name  string
	DType tensor.DType // Invalid for texts, and for what mosel does not read
	Texts bool
	Shape tensor.Shape
	Code  string // the type in numpy's words, such as "<f4"
}

// ArraysNPZ lists an archive's arrays, in the file's order. Entries that are no
// arrays are left out.
func ArraysNPZ(r io.ReaderAt, size int64) ([]ArrayNPZ, error) {
	archive, err := openNPZ(r, size)
	if err != nil {
		return nil, err
	}
	var arrays []ArrayNPZ
	for _, f := range archive.File {
		name, isArray := strings.CutSuffix(f.Name, npySuffix)
		if !isArray {
			continue
		}
		a, body, err := openArray(f)
		if err != nil {
			continue
		}
		_ = body.Close() // it was only read
		a.Name = name
		arrays = append(arrays, a)
	}
	return arrays, nil
}

// openArray reads an array's header; its data follow in body.
func openArray(f *zip.File) (a ArrayNPZ, body io.ReadCloser, err error) {
	file, err := f.Open()
	if err != nil {
		return a, nil, err
	}
	in := bufio.NewReader(file)
	header, err := readHeaderNPY(in)
	if err == nil {
		a.Code, a.Shape, err = headerPartsNPY(header)
	}
	if err != nil {
		return a, nil, errors.Join(err, file.Close())
	}
	if d, _, err := parseHeaderNPY(header); err == nil {
		a.DType = d
	} else if width, _, err := textWidth(a.Code); err == nil && width > 0 {
		a.Texts = true
	}
	return a, struct {
		io.Reader
		io.Closer
	}{in, file}, nil
}

// TextsNPZ reads an array of texts.
func TextsNPZ(r io.ReaderAt, size int64, name string) ([]string, error) {
	arrays, err := readTextsNPZ(r, size, textBytesMax, name)
	if err != nil {
		return nil, err
	}
	if len(arrays) != 1 {
		return nil, fmt.Errorf("it has no array %q of texts", name)
	}
	return arrays[0].texts, nil
}

// Subset are some of the samples of an archive.
type Subset struct {
	Samples int      // of the archive: the first dimension of arrays that have one row for each
	Rows    []int    // those to keep, in the order in which they are written
	Whole   []string // arrays that are kept as they are, whatever their first dimension is
}

// SubsetNPZ writes an archive with some of the samples of another one. Arrays whose
// first dimension is not that of samples are written as they are. Arrays that mosel
// does not read, such as of Python objects, are left out.
func SubsetNPZ(w io.Writer, r io.ReaderAt, size int64, keep Subset) error {
	archive, err := openNPZ(r, size)
	if err != nil {
		return err
	}
	out := zip.NewWriter(w)
	for _, f := range archive.File {
		name, isArray := strings.CutSuffix(f.Name, npySuffix)
		if !isArray {
			continue
		}
		if err := subsetArray(out, f, size, keep, !slices.Contains(keep.Whole, name)); err != nil {
			return fmt.Errorf("array %s: %w", strictyaml.Clip(name, 80), err)
		}
	}
	return out.Close()
}

// subsetArray copies the rows of one array, or all of it.
func subsetArray(out *zip.Writer, f *zip.File, fileSize int64, keep Subset, some bool) error {
	a, body, err := openArray(f)
	if err != nil || a.DType == tensor.Invalid && !a.Texts {
		return nil // such arrays may be anything, and nobody reads them
	}
	defer body.Close()
	width := a.DType.Size()
	if a.Texts {
		width = charBytes(a.Code)
	}
	n, err := a.Shape.Elements()
	if err != nil {
		return err
	}
	possible := min(f.CompressedSize64, uint64(fileSize))
	if f.Method != zip.Store {
		possible *= deflateGain
	}
	if uint64(n)*uint64(width) > min(possible, setBytesMax) {
		return fmt.Errorf("%v of type %s is more than the file can hold or may have", a.Shape, a.Code)
	}
	data := make([]byte, n*width)
	if _, err := io.ReadFull(body, data); err != nil {
		return fmt.Errorf("the data end before %v is full: %w", a.Shape, err)
	}
	if some && len(a.Shape) > 0 && a.Shape[0] == int64(keep.Samples) && keep.Samples > 0 {
		each := len(data) / keep.Samples
		picked := make([]byte, 0, each*len(keep.Rows))
		for _, i := range keep.Rows {
			picked = append(picked, data[i*each:(i+1)*each]...)
		}
		data, a.Shape = picked, append(tensor.Shape{int64(len(keep.Rows))}, a.Shape[1:]...)
	}
	entry, err := out.Create(f.Name)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(entry, headerNPY(a.Code, a.Shape)); err != nil {
		return err
	}
	_, err = entry.Write(data)
	return err
}

// charBytes is the size of one text of numpy's type, which textWidth has accepted. An
// array of empty texts has no data.
func charBytes(code string) int {
	n, _ := strconv.Atoi(code[2:]) // textWidth has read it
	if code[1] == 'U' {
		return 4 * n
	}
	return n
}
