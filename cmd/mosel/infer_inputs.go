package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/media"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// readInput makes an input from a file name, a text, a list of numbers, or @ and a
// file name. The file has the input's media type (image, recording or text); for an
// input without one it is raw bytes. Every input takes an .npy file.
func readInput(in modelpkg.Input, value string) (tensor.Tensor, error) {
	file, isFile := strings.CutPrefix(value, "@")
	if in.Media == modelpkg.MediaText && !isFile {
		return media.Encode(in, []byte(value))
	}
	if in.Media == modelpkg.MediaNone && !isFile && in.DType == tensor.Bytes {
		return textsInput(in, value)
	}
	if in.Media == modelpkg.MediaNone && !isFile && strings.HasPrefix(value, "[") {
		return numbersInput(in, value)
	}
	content, err := readBounded(file)
	if err != nil {
		return tensor.Tensor{}, fmt.Errorf("input %s: %w", in.Name, err)
	}
	var t tensor.Tensor
	switch {
	case in.Media == modelpkg.MediaNone && in.DType == tensor.Bytes:
		return textsInput(in, string(content))
	case modelpkg.IsNPY(content):
		t, err = arrayInput(in, content)
	case in.Media == modelpkg.MediaNone:
		t, err = rawInput(in, content)
	default: // its error names the input
		if t, err = media.Encode(in, content); err != nil {
			return t, fmt.Errorf("%s: %w", file, err)
		}
	}
	if err != nil {
		return t, fmt.Errorf("input %s: %s: %w", in.Name, file, err)
	}
	return t, nil
}

// numbersInput takes numbers from the command line as one item.
func numbersInput(in modelpkg.Input, list string) (t tensor.Tensor, err error) {
	data, err := parseNumbers(in.DType, list)
	if err == nil {
		t, err = rawInput(in, data)
	}
	if err != nil {
		return t, usageError{fmt.Errorf("input %s: %w", in.Name, err)}
	}
	return t, nil
}

// arrayInput takes the array of an .npy file: one item, or several items if it has
// one more dimension.
func arrayInput(in modelpkg.Input, content []byte) (tensor.Tensor, error) {
	array, err := modelpkg.ReadNPY(content, in.Name)
	if err != nil {
		return array, err
	}
	if array.DType != in.DType {
		return array, fmt.Errorf("the array is %v, the input takes %v: convert it with .astype(numpy.%s)", array.DType, in.DType, numpyName(in.DType))
	}
	several := append(tensor.Shape{-1}, in.Shape...)
	switch {
	case array.Shape.Fits(in.Shape):
		if !in.Unbatched {
			array.Shape = append(tensor.Shape{1}, array.Shape...)
		}
	case in.Unbatched:
		return array, fmt.Errorf("the array is %v, the input takes %v", array.Shape, in.Shape)
	case !array.Shape.Fits(several):
		return array, fmt.Errorf("the array is %v, the input takes %v, or %v for several items", array.Shape, in.Shape, several)
	}
	if slices.Contains(array.Shape, 0) {
		return array, fmt.Errorf("the array %v is empty", array.Shape)
	}
	return array, nil
}

// numpyName returns numpy's name of an element type.
func numpyName(d tensor.DType) string {
	name := strings.ToLower(d.String())
	if bits, isFloat := strings.CutPrefix(name, "fp"); isFloat {
		return "float" + bits
	}
	return name
}

// rawInput takes the bytes of a file as one item. If one dimension is dynamic, the
// number of bytes determines its size.
func rawInput(in modelpkg.Input, content []byte) (tensor.Tensor, error) {
	shape := slices.Clone(in.Shape)
	step, dynamic := in.DType.Size(), -1
	for i, d := range shape {
		if d >= 0 {
			if d > 0 && step > media.FileBytesMax/int(min(d, media.FileBytesMax)) {
				return tensor.Tensor{}, fmt.Errorf("the input takes %v %v, which is larger than the largest file allowed", in.DType, in.Shape)
			}
			step *= int(d)
			continue
		}
		if dynamic >= 0 {
			return tensor.Tensor{}, fmt.Errorf("the input takes %v %v, which has several dynamic dimensions, and raw bytes do not say their sizes: give an .npy file", in.DType, in.Shape)
		}
		dynamic = i
	}
	if dynamic >= 0 {
		switch {
		case step == 0:
			return tensor.Tensor{}, fmt.Errorf("the input takes %v %v, which raw bytes cannot fill", in.DType, in.Shape)
		case len(content) == 0:
			return tensor.Tensor{}, errors.New("it has no values")
		case len(content)%step != 0:
			return tensor.Tensor{}, fmt.Errorf("the input takes %v %v, which needs a multiple of %d bytes; there are %d", in.DType, in.Shape, step, len(content))
		}
		shape[dynamic] = int64(len(content) / step)
	}
	if !in.Unbatched {
		shape = append(tensor.Shape{1}, shape...)
	}
	return tensor.New(in.Name, in.DType, shape, content)
}

// sameItems returns an error if the inputs have different numbers of items.
func sameItems(declared []modelpkg.Input, inputs []tensor.Tensor) error {
	var first *tensor.Tensor
	for i, t := range inputs {
		at := slices.IndexFunc(declared, func(in modelpkg.Input) bool { return in.Name == t.Name })
		switch {
		case declared[at].Unbatched:
		case first == nil:
			first = &inputs[i]
		case t.Rows() != first.Rows():
			return usageError{fmt.Errorf("input %s has %d items and input %s has %d: give all inputs the same number", first.Name, first.Rows(), t.Name, t.Rows())}
		}
	}
	return nil
}
