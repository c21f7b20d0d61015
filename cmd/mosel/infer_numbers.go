package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/mosel-serve/mosel/tensor"
)

// parseNumbers reads a list such as [1,2,3] as the bytes of an element type.
func parseNumbers(d tensor.DType, list string) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader([]byte(list)))
	decoder.UseNumber()
	var numbers []json.Number
	if err := decoder.Decode(&numbers); err != nil {
		return nil, fmt.Errorf("%s is not a list of numbers such as [1,2,3]: %w", list, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s has text after the list of numbers; give only a list such as [1,2,3]", list)
	}
	var data []byte
	for _, n := range numbers {
		var err error
		if data, err = appendNumber(data, d, n.String()); err != nil {
			return nil, fmt.Errorf("%s is not a valid %v: %w", n, d, err)
		}
	}
	return data, nil
}

// appendNumber appends one number, little-endian.
func appendNumber(data []byte, d tensor.DType, text string) ([]byte, error) {
	bits := 8 * d.Size()
	var value uint64
	switch d {
	case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
		v, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			return nil, errors.Unwrap(err)
		}
		value = uint64(v)
	case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
		v, err := strconv.ParseUint(text, 10, bits)
		if err != nil {
			return nil, errors.Unwrap(err)
		}
		value = v
	case tensor.Bool:
		v, err := strconv.ParseUint(text, 10, 1)
		if err != nil {
			return nil, errors.New("it must be 0 or 1")
		}
		value = v
	case tensor.FP32, tensor.FP64:
		v, err := strconv.ParseFloat(text, bits)
		if err != nil {
			return nil, errors.Unwrap(err)
		}
		if value = math.Float64bits(v); d == tensor.FP32 {
			value = uint64(math.Float32bits(float32(v)))
		}
	default:
		return nil, errors.New("give an .npy file")
	}
	return append(data, binary.LittleEndian.AppendUint64(nil, value)[:d.Size()]...), nil
}
