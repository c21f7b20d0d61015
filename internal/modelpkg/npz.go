package modelpkg

import (
	"archive/zip"
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
)

// Bounds of an .npz file. The size in a header is accepted only if the compressed bytes
// can hold it: deflate expands by at most a factor of 1032.
const (
	npzArraysMax  = 1024
	npyHeaderMax  = 64 << 10
	deflateGain   = 1032
	npzNameMax    = 1024
	npyMagic      = "\x93NUMPY"
	npyDataOffset = 64 // numpy aligns data to this
)

// npyForm is the header as all writers write it: with the keys in this order.
var npyForm = regexp.MustCompile(`^\{\s*'descr'\s*:\s*'([^']*)'\s*,\s*'fortran_order'\s*:\s*(True|False)\s*,\s*'shape'\s*:\s*\(([0-9, ]*)\)\s*,?\s*\}\s*$`)

// npyCodes are numpy's names of the element types that it shares with the protocol.
var npyCodes = map[tensor.DType]string{
	tensor.Bool: "|b1", tensor.Uint8: "|u1", tensor.Int8: "|i1",
	tensor.Uint16: "<u2", tensor.Uint32: "<u4", tensor.Uint64: "<u8",
	tensor.Int16: "<i2", tensor.Int32: "<i4", tensor.Int64: "<i8",
	tensor.FP16: "<f2", tensor.FP32: "<f4", tensor.FP64: "<f8",
}

// ReadNPZ reads arrays of numpy's zip archive, in the file's order. It accepts
// little-endian arrays in C order, with element types that the protocol has and
// together at most bytesMax bytes. With names it reads only these arrays and ignores
// all else in the archive, such as arrays of texts or objects.
func ReadNPZ(r io.ReaderAt, size, bytesMax int64, names ...string) ([]tensor.Tensor, error) {
	entries, err := entriesNPZ(r, size, names)
	if err != nil {
		return nil, err
	}
	arrays := make([]tensor.Tensor, 0, len(entries))
	for _, f := range entries {
		name := strings.TrimSuffix(f.Name, npySuffix)
		array, err := readEntryNPY(f, name, size, bytesMax)
		if err != nil {
			return nil, fmt.Errorf("array %s: %w", strictyaml.Clip(name, 80), err)
		}
		bytesMax -= int64(len(array.Data))
		arrays = append(arrays, array)
	}
	return arrays, nil
}

// ShapesNPZ reads the shapes of an archive's arrays by name, not their data. Arrays
// that are neither numbers nor texts are left out.
func ShapesNPZ(r io.ReaderAt, size int64) (map[string]tensor.Shape, error) {
	archive, err := openNPZ(r, size)
	if err != nil {
		return nil, err
	}
	shapes := make(map[string]tensor.Shape, len(archive.File))
	for _, f := range archive.File {
		name, isArray := strings.CutSuffix(f.Name, npySuffix)
		body, err := f.Open()
		if !isArray || err != nil {
			continue
		}
		if header, err := readHeaderNPY(bufio.NewReader(body)); err == nil {
			if shape, err := shapeOfNPY(header); err == nil {
				shapes[name] = shape
			}
		}
		_ = body.Close() // it was only read
	}
	return shapes, nil
}

// shapeOfNPY is the shape of an array of numbers or of texts.
func shapeOfNPY(header string) (tensor.Shape, error) {
	if code, shape, err := headerPartsNPY(header); err == nil {
		if width, _, err := textWidth(code); err == nil && width > 0 {
			return shape, nil
		}
	}
	_, shape, err := parseHeaderNPY(header)
	return shape, err
}

const npySuffix = ".npy"

func openNPZ(r io.ReaderAt, size int64) (*zip.Reader, error) {
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("not an .npz file: %w", err)
	}
	if len(archive.File) > npzArraysMax {
		return nil, fmt.Errorf("the file has %d arrays; at most %d are read", len(archive.File), npzArraysMax)
	}
	return archive, nil
}

// entriesNPZ returns the arrays with these names, or all without names, and refuses two
// with the same name.
func entriesNPZ(r io.ReaderAt, size int64, names []string) ([]*zip.File, error) {
	archive, err := openNPZ(r, size)
	if err != nil {
		return nil, err
	}
	var entries []*zip.File
	seen := make(map[string]bool, len(archive.File))
	for _, f := range archive.File {
		name, isArray := strings.CutSuffix(f.Name, npySuffix)
		if len(names) > 0 && (!isArray || !slices.Contains(names, name)) {
			continue
		}
		if !isArray || len(name) > npzNameMax || seen[name] {
			return nil, fmt.Errorf("the entry %q is not an array, or is there twice", strictyaml.Clip(f.Name, 80))
		}
		seen[name] = true
		entries = append(entries, f)
	}
	return entries, nil
}

func readEntryNPY(f *zip.File, name string, fileSize, bytesMax int64) (tensor.Tensor, error) {
	body, possible, err := openEntryNPY(f, fileSize, bytesMax)
	if err != nil {
		return tensor.Tensor{}, err
	}
	defer body.Close()
	return readNPY(bufio.NewReader(body), name, possible)
}

// openEntryNPY opens an array and returns the largest size that it can have, in bytes.
func openEntryNPY(f *zip.File, fileSize, bytesMax int64) (body io.ReadCloser, possible int64, err error) {
	body, err = f.Open()
	most := min(f.CompressedSize64, uint64(fileSize))
	if f.Method != zip.Store {
		most *= deflateGain
	}
	return body, int64(min(most, uint64(bytesMax))), err
}

// readNPY reads one array of at most bytesMax bytes. Nothing may follow it.
func readNPY(r io.Reader, name string, bytesMax int64) (tensor.Tensor, error) {
	header, err := readHeaderNPY(r)
	if err != nil {
		return tensor.Tensor{}, err
	}
	dtype, shape, err := parseHeaderNPY(header)
	if err != nil {
		return tensor.Tensor{}, err
	}
	n, err := shape.Elements()
	if err != nil {
		return tensor.Tensor{}, err
	}
	if int64(n) > bytesMax/int64(dtype.Size()) {
		return tensor.Tensor{}, fmt.Errorf("%v of %v is more than the file can hold or may have", shape, dtype)
	}
	data := make([]byte, n*dtype.Size())
	if _, err := io.ReadFull(r, data); err != nil {
		return tensor.Tensor{}, fmt.Errorf("the data end before %v of %v is full: %w", shape, dtype, err)
	}
	var more [1]byte
	if _, err := io.ReadFull(r, more[:]); !errors.Is(err, io.EOF) { // also verifies the checksum
		if err == nil {
			err = errors.New("there are more data than its shape says")
		}
		return tensor.Tensor{}, err
	}
	return tensor.New(name, dtype, shape, data)
}

// readHeaderNPY reads magic, version and header text. Versions differ in the width of
// the header's length.
func readHeaderNPY(r io.Reader) (string, error) {
	start := make([]byte, len(npyMagic)+2)
	if _, err := io.ReadFull(r, start); err != nil || string(start[:len(npyMagic)]) != npyMagic {
		return "", errors.New("not an .npy array")
	}
	width := 4
	switch major := start[len(npyMagic)]; major {
	case 1:
		width = 2
	case 2, 3:
	default:
		return "", fmt.Errorf(".npy version %d is not known", major)
	}
	var length [4]byte
	if _, err := io.ReadFull(r, length[:width]); err != nil {
		return "", errors.New("the header is cut off")
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n > npyHeaderMax {
		return "", fmt.Errorf("a header of %d bytes", n)
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(r, header); err != nil {
		return "", errors.New("the header is cut off")
	}
	return string(header), nil
}

func parseHeaderNPY(header string) (tensor.DType, tensor.Shape, error) {
	code, shape, err := headerPartsNPY(header)
	if err != nil {
		return tensor.Invalid, nil, err
	}
	for d, known := range npyCodes {
		if known == code || d.Size() == 1 && known[1:] == strings.TrimLeft(code, "<>=") {
			return d, shape, nil
		}
	}
	if strings.HasPrefix(code, ">") {
		return tensor.Invalid, nil, fmt.Errorf("the type %q is big-endian; save it little-endian", code)
	}
	return tensor.Invalid, nil, fmt.Errorf("the type %q is not supported; save numbers", strictyaml.Clip(code, 40))
}

// headerPartsNPY returns the type, in numpy's code, and the shape of an array in C
// order.
func headerPartsNPY(header string) (code string, shape tensor.Shape, err error) {
	m := npyForm.FindStringSubmatch(header)
	if m == nil {
		return "", nil, fmt.Errorf("the header %q is not understood", strictyaml.Clip(header, 120))
	}
	shape = tensor.Shape{}
	for part := range strings.SplitSeq(m[3], ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		d, err := strconv.ParseInt(part, 10, 64)
		if err != nil || len(shape) > dimensionsMax {
			return "", nil, fmt.Errorf("the shape (%s) is not understood", strictyaml.Clip(m[3], 80))
		}
		shape = append(shape, d)
	}
	if m[2] == "True" && len(shape) > 1 {
		return "", nil, errors.New("the array is in Fortran order; save numpy.ascontiguousarray of it")
	}
	return m[1], shape, nil
}

// WriteNPZ writes arrays as numpy.savez_compressed does. Equal arrays give equal bytes.
func WriteNPZ(w io.Writer, arrays []tensor.Tensor) error {
	archive := zip.NewWriter(w)
	for _, a := range arrays {
		code, ok := npyCodes[a.DType]
		if !ok {
			return fmt.Errorf("array %s: numpy has no type %v", a.Name, a.DType)
		}
		entry, err := archive.Create(a.Name + ".npy")
		if err != nil {
			return err
		}
		if _, err := io.WriteString(entry, headerNPY(code, a.Shape)); err != nil {
			return err
		}
		if _, err := entry.Write(a.Data); err != nil {
			return err
		}
	}
	return archive.Close()
}

// headerNPY returns the header of version 1, padded to align the data.
func headerNPY(code string, shape tensor.Shape) string {
	dims := make([]string, len(shape))
	for i, d := range shape {
		dims[i] = strconv.FormatInt(d, 10)
	}
	list := strings.Join(dims, ", ")
	if len(dims) == 1 {
		list += ","
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", code, list)
	const fixed = len(npyMagic) + 2 + 2
	pad := npyDataOffset - (fixed+len(text)+1)%npyDataOffset
	text += strings.Repeat(" ", pad%npyDataOffset) + "\n"
	length := binary.LittleEndian.AppendUint16(nil, uint16(len(text)))
	return npyMagic + "\x01\x00" + string(length) + text
}
