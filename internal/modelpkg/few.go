package modelpkg

import (
	"archive/zip"
	"bufio"
	"fmt"
	"io"
	"slices"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
)

// fewBytesMax bounds how much FirstSamples reads of one array.
const fewBytesMax = 256 << 20

// FirstSamples reads the first samples, at most n, of the set that the package is
// profiled on, filled up to their buckets. If its file does not exist, they are of the
// held-out set. It reads
// neither the rest nor the labels, so it takes milliseconds for a set of any size.
// Without a set it returns none. Errors are those of OpenSet.
func (m *Model) FirstSamples(n int) ([]Fitted, error) {
	if m.Evaluation.Profile == "" {
		return nil, nil
	}
	samples, err := m.firstOf(m.Evaluation.Profile, n)
	if slo.KindOf(err) == slo.KindNotFound && m.Evaluation.HeldOut != "" {
		return m.firstOf(m.Evaluation.HeldOut, n)
	}
	return samples, err
}

// firstOf is FirstSamples of one set.
func (m *Model) firstOf(name string, n int) ([]Fitted, error) {
	op := "open " + m.File(name)
	h, err := openHome(m.models, m.Dir)
	if err != nil {
		return nil, fileError(op, err)
	}
	defer h.close()
	f, info, err := h.open(name)
	if err != nil {
		return nil, fileError(op, err)
	}
	defer f.Close()
	samples, err := m.firstSamples(f, info.Size(), n)
	if err != nil {
		return nil, fileError(op, err)
	}
	return samples, nil
}

func (m *Model) firstSamples(r io.ReaderAt, size int64, n int) ([]Fitted, error) {
	archive, err := openNPZ(r, size)
	if err != nil {
		return nil, err
	}
	rows, stored := make([]func(int) []byte, len(m.Inputs)), make([]tensor.Shape, len(m.Inputs))
	for i, in := range m.Inputs {
		if m.IsBeside(i) && !slices.ContainsFunc(archive.File, func(f *zip.File) bool { return f.Name == in.Name+npySuffix }) {
			rows[i] = func(int) []byte { return nil }
			continue
		}
		array, err := firstRows(archive, in, n)
		if err != nil {
			return nil, err
		}
		if !in.Unbatched {
			n = min(n, array.Rows())
		}
		if rows[i], err = bindInput(in, array, 0); err != nil {
			return nil, err
		}
		stored[i] = array.Shape[min(1, len(array.Shape)):]
	}
	samples := make([]Fitted, n)
	for i := range samples {
		var item [][]byte
		for k, row := range rows {
			item = append(item, row(i))
			if err := m.Inputs[k].CheckRange(row(i)); err != nil {
				return nil, err
			}
		}
		if samples[i], err = m.fitSample(item, stored); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// firstRows reads the first rows, at most n, of an input's array. It reads the whole
// array if that holds a single value.
func firstRows(archive *zip.Reader, in Input, n int) (tensor.Tensor, error) {
	at := slices.IndexFunc(archive.File, func(f *zip.File) bool { return f.Name == in.Name+npySuffix })
	if at < 0 {
		return tensor.Tensor{}, fmt.Errorf("it has no array %q", in.Name)
	}
	body, err := archive.File[at].Open()
	if err != nil {
		return tensor.Tensor{}, err
	}
	defer body.Close()
	r := bufio.NewReader(body)
	header, err := readHeaderNPY(r)
	if err != nil {
		return tensor.Tensor{}, fmt.Errorf("array %q: %w", in.Name, err)
	}
	if in.DType == tensor.Bytes {
		return firstTexts(r, header, in, n)
	}
	dtype, shape, err := parseHeaderNPY(header)
	if err != nil {
		return tensor.Tensor{}, fmt.Errorf("array %q: %w", in.Name, err)
	}
	if len(shape) > len(in.Shape) {
		shape[0] = min(shape[0], int64(n))
	}
	elements, err := shape.Elements()
	if err != nil {
		return tensor.Tensor{}, fmt.Errorf("array %q: %w", in.Name, err)
	}
	if elements > fewBytesMax/dtype.Size() {
		return tensor.Tensor{}, fmt.Errorf("array %q: %v of %v is more than %d bytes", in.Name, shape, dtype, fewBytesMax)
	}
	data := make([]byte, elements*dtype.Size())
	if _, err := io.ReadFull(r, data); err != nil {
		return tensor.Tensor{}, fmt.Errorf("array %q: the data end early: %w", in.Name, err)
	}
	return tensor.New(in.Name, dtype, shape, data)
}

// firstTexts is firstRows of an array of texts.
func firstTexts(r io.Reader, header string, in Input, n int) (tensor.Tensor, error) {
	a := textArray{name: in.Name}
	code, shape, err := headerPartsNPY(header)
	if err != nil {
		return tensor.Tensor{}, fmt.Errorf("array %q: %w", in.Name, err)
	}
	if len(shape) > len(in.Shape) {
		shape[0] = min(shape[0], int64(n))
	}
	isText, err := a.readBody(r, code, shape, fewBytesMax)
	if err == nil && !isText {
		err = fmt.Errorf("the type is %s; the input is BYTES: save texts as numpy.array(texts, dtype=str)", strictyaml.Clip(code, 40))
	}
	if err != nil {
		return tensor.Tensor{}, fmt.Errorf("array %q: %w", in.Name, err)
	}
	return a.tensor(), nil
}
