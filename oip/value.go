package oip

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Value is the value of a parameter: a string, a number, a boolean, or null.
// Numbers keep the text they were written as, so that 1 and 1.0 stay apart and
// 64-bit integers keep all their digits. Values can be compared with ==. The zero
// Value is none of these and cannot be encoded.
type Value struct {
	kind valueKind
	text string
}

type valueKind uint8

const (
	kindNone valueKind = iota
	kindString
	kindNumber
	kindBool
	kindNull
)

// String makes a string value.
func String(s string) Value { return Value{kindString, s} }

// Int makes a number from an integer.
func Int(i int64) Value { return Value{kindNumber, strconv.FormatInt(i, 10)} }

// Uint makes a number from an integer that may be larger than Int can take.
func Uint(u uint64) Value { return Value{kindNumber, strconv.FormatUint(u, 10)} }

// Float makes a number from a float; the zero Value from NaN and infinities,
// which are not numbers in JSON. A whole float is written with ".0", so that it
// is not taken for an integer.
func Float(f float64) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}
	}
	var room [32]byte
	text := appendFloat(room[:0], f, 64)
	if f == math.Trunc(f) && math.Abs(f) < 1e21 {
		text = append(text, ".0"...)
	}
	return Value{kindNumber, string(text)}
}

// Bool makes a boolean value.
func Bool(b bool) Value { return Value{kindBool, strconv.FormatBool(b)} }

// Null makes the value of a parameter that was named and given none: null in JSON,
// a message without a choice over gRPC.
func Null() Value { return Value{kind: kindNull} }

// IsNull reports whether the value is null.
func (v Value) IsNull() bool { return v.kind == kindNull }

// IsString reports whether the value is a string.
func (v Value) IsString() bool { return v.kind == kindString }

// IsNumber reports whether the value is a number.
func (v Value) IsNumber() bool { return v.kind == kindNumber }

// Text is the value in words: a string's content, a number as it was written,
// "true" or "false", "" for null.
func (v Value) Text() string { return v.text }

// Bool returns a boolean's value and fails for any other.
func (v Value) Bool() (bool, error) {
	if v.kind != kindBool {
		return false, fmt.Errorf("%s is not a boolean", v)
	}
	return v.text == "true", nil
}

// Int64 returns the whole number that a number or the text of a string stands
// for. It fails for fractions, exponents and what does not fit.
func (v Value) Int64() (int64, error) {
	if v.kind != kindNumber && v.kind != kindString {
		return 0, fmt.Errorf("%s is not a number", v)
	}
	i, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is not a whole number that fits 64 bits", v)
	}
	return i, nil
}

// Float64 returns the finite number that a number or the text of a string
// stands for. It is written in decimal: hexadecimal floats and digits with
// underscores, as Go's source has them, are no numbers here.
func (v Value) Float64() (float64, error) {
	if v.kind != kindNumber && v.kind != kindString {
		return 0, fmt.Errorf("%s is not a number", v)
	}
	f, err := strconv.ParseFloat(v.text, 64)
	if err != nil || strings.ContainsAny(v.text, "_xXnN") { // n: nan and inf
		return 0, fmt.Errorf("%s is not a number", v)
	}
	return f, nil
}

// String prints the value as it stands in JSON; long texts are cut.
func (v Value) String() string {
	text := v.text
	if len(text) > shownMax {
		text = text[:shownMax] + "..."
	}
	switch v.kind {
	case kindString:
		return strconv.Quote(text)
	case kindNumber, kindBool:
		return text
	case kindNull:
		return "null"
	default:
		return "nothing"
	}
}

// Parameter is a named value.
type Parameter struct {
	Name  string
	Value Value
}

// Parameters are the parameters of a message in their order; names are unique.
type Parameters []Parameter

// Get returns the value of the parameter with that name.
func (p Parameters) Get(name string) (Value, bool) {
	for i := range p {
		if p[i].Name == name {
			return p[i].Value, true
		}
	}
	return Value{}, false
}
