package inference

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/oip"
)

// bounds are the limits of a message that is being read.
type bounds oip.Limits

// name checks the length of a name or an id.
func (b bounds) name(what, name string) error {
	if len(name) > b.NameBytes {
		return fmt.Errorf("%s has %d bytes, the bound is %d: %w", what, len(name), b.NameBytes, oip.ErrTooLarge)
	}
	return nil
}

// count checks the number of parameters of a message or of a part of one.
func (b bounds) count(n int) error {
	if n > b.Parameters {
		return fmt.Errorf("%d parameters, the bound is %d: %w", n, b.Parameters, oip.ErrTooLarge)
	}
	return nil
}

// parameters appends the parameters of a message to list, sorted by name. A parameter
// without a value becomes oip.Null.
func (b bounds) parameters(list oip.Parameters, messages map[string]*InferParameter) (oip.Parameters, error) {
	if err := b.count(len(messages)); err != nil {
		return list, err
	}
	for name, m := range messages {
		if err := b.name("the name of a parameter", name); err != nil {
			return list, err
		}
		value, err := b.value(m)
		if err != nil {
			return list, fmt.Errorf("parameter %q: %w", name, err)
		}
		if name != "binary_data_output" {
			list = append(list, oip.Parameter{Name: name, Value: value})
		}
	}
	slices.SortFunc(list, func(p, q oip.Parameter) int { return cmp.Compare(p.Name, q.Name) })
	return list, nil
}

// value reads a value.
func (b bounds) value(m *InferParameter) (oip.Value, error) {
	switch choice := m.GetParameterChoice().(type) {
	case *InferParameter_BoolParam:
		return oip.Bool(choice.BoolParam), nil
	case *InferParameter_Int64Param:
		return oip.Int(choice.Int64Param), nil
	case *InferParameter_Uint64Param:
		return oip.Uint(choice.Uint64Param), nil
	case *InferParameter_StringParam:
		if len(choice.StringParam) > b.ValueBytes {
			return oip.Value{}, fmt.Errorf("the value has %d bytes, the bound is %d: %w", len(choice.StringParam), b.ValueBytes, oip.ErrTooLarge)
		}
		return oip.String(choice.StringParam), nil
	case *InferParameter_DoubleParam:
		value := oip.Float(choice.DoubleParam)
		if value == (oip.Value{}) {
			return value, fmt.Errorf("%v is not a finite number", choice.DoubleParam)
		}
		return value, nil
	default:
		return oip.Null(), nil
	}
}

// encodeParameters writes the parameters into a used map.
func encodeParameters(messages map[string]*InferParameter, list oip.Parameters) (map[string]*InferParameter, error) {
	clear(messages)
	if messages == nil && len(list) > 0 {
		messages = make(map[string]*InferParameter, len(list))
	}
	room := make([]InferParameter, len(list))
	for i, p := range list {
		if err := text("the name of a parameter", p.Name); err != nil {
			return messages, err
		}
		choice, err := encodeParameter(p.Value)
		if err != nil {
			return messages, fmt.Errorf("parameter %q %w", p.Name, err)
		}
		room[i].ParameterChoice = choice
		messages[p.Name] = &room[i]
	}
	return messages, nil
}

// encodeParameter writes a value: a number as an integer if it is written as one
// and fits.
func encodeParameter(v oip.Value) (isInferParameter_ParameterChoice, error) {
	switch {
	case v == oip.Value{}:
		return nil, errors.New("has no value")
	case v.IsNull():
		return nil, nil
	case v.IsString():
		if !utf8.ValidString(v.Text()) {
			return nil, errors.New("is not UTF-8")
		}
		return &InferParameter_StringParam{StringParam: v.Text()}, nil
	case !v.IsNumber():
		return &InferParameter_BoolParam{BoolParam: v.Text() == "true"}, nil
	}
	if !strings.ContainsAny(v.Text(), ".eE") {
		if i, err := strconv.ParseInt(v.Text(), 10, 64); err == nil {
			return &InferParameter_Int64Param{Int64Param: i}, nil
		}
		if u, err := strconv.ParseUint(v.Text(), 10, 64); err == nil {
			return &InferParameter_Uint64Param{Uint64Param: u}, nil
		}
	}
	f, err := strconv.ParseFloat(v.Text(), 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, fmt.Errorf("is %v, which does not fit into 64 bits", v)
	}
	return &InferParameter_DoubleParam{DoubleParam: f}, nil
}

// text checks that a string can travel: protobuf's are UTF-8.
func text(what, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s %.40q is not UTF-8", what, s)
	}
	return nil
}
