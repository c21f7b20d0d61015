package conformance_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// exactly has elements in JSON that must arrive as exactly the bytes of their values:
// the limits of each datatype, and numbers that are difficult to round.
var exactly = map[string][]string{
	"BOOL":   {"true", "false"},
	"UINT8":  {"0", "255", "-0"},
	"UINT16": {"65535"},
	"UINT32": {"4294967295"},
	"UINT64": {"18446744073709551615", "9007199254740993"},
	"INT8":   {"-128", "127", "-1"},
	"INT16":  {"-32768", "32767"},
	"INT32":  {"-2147483648", "2147483647"},
	"INT64":  {"-9223372036854775808", "9223372036854775807", "9007199254740993"},
	"FP32": {"1e2", "1E+2", "-1.5e-3", "0.1", "-0.0", "16777217", "3.4028235e38", "3.4028234663852886e+38", "-3.4028235e+38", "1.17549435e-38", "1e-45", "1e-400",
		"1.00000017881393432617187499", "1.00000017881393432617187500", "1.00000017881393432617187501", "123456789012345678901234567890", "7"},
	"FP64": {"1e2", "1e23", "8.41e21", "-2.2250738585072011e-308", "5e-324", "1.7976931348623157e308", "9007199254740993", "0.1", "1e-400", "7",
		"1.00000000000000011102230246251565404236316680908203125", "1.00000000000000011102230246251565404236316680908203126"},
	"BYTES": {`""`, `"a"`, `"\u00e9"`, `"é"`, `"\ud83d\ude00"`, `"\"\\\/\b\f\n\r\t"`, `"\u0000"`},
}

// TestInferReadsEveryElementExactly sends the same elements in JSON and in binary form.
func TestInferReadsEveryElementExactly(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		m.server.needs(t, "binary_tensor_data")
		m.server.needsStrict(t) // other servers' models may read such numbers as indices out of range
		for _, in := range m.Inputs {
			for _, text := range exactly[in.Datatype] {
				t.Run(in.Name+" "+text, func(t *testing.T) {
					v := fill(in, 1)
					raw := exactBytes(t, in.Datatype, text)
					for i := range v.text {
						v.text[i], v.raw[i] = text, raw
					}
					binary := m.ask(1)
					at := slices.IndexFunc(m.Inputs, func(other tensorSpec) bool { return other.Name == in.Name })
					binary.inputs[at], binary.tail = v.binary(), nil
					for _, other := range m.values(1) {
						if other.Name == in.Name {
							binary.tail = append(binary.tail, v.bytes()...)
						} else if kind(other.Datatype) == "half" {
							binary.tail = append(binary.tail, other.bytes()...)
						}
					}
					agree(t, func() result { return m.result(t, m.infer(t, m.askWith(in.Name, v.object(v.flat())))) },
						func() result { return m.result(t, m.infer(t, binary)) })
				})
			}
		}
	})
}

// exactBytes returns the element in binary form; for integers "-0" is just 0.
func exactBytes(t *testing.T, datatype, text string) []byte {
	t.Helper()
	if k := kind(datatype); text == "-0" && (k == "signed" || k == "unsigned") {
		text = "0"
	}
	return elementFromJSON(t, datatype, text)
}

// badElement is an element that is invalid for a kind of datatype.
type badElement struct {
	text   string
	strict bool // JSON or the protocol does not settle it
}

// notNumbers are not numbers, or not in JSON's grammar.
var notNumbers = []badElement{{"NaN", false}, {"Infinity", false}, {"-Infinity", false}, {"01", false}, {"+1", false}, {".5", false}, {"1.", false}, {"0x10", false},
	{"1e", false}, {"1e+", false}, {"--1", false}, {"-", false}, {"1_0", false}, {"1 2", false}, {"", false}, {`"1"`, true}, {"true", true}, {"null", false}, {"{}", false}}

// badElements are listed by kind of datatype; integers out of range are added later.
var badElements = map[string][]badElement{
	"BOOL":     {{"1", true}, {"0", true}, {`"true"`, true}, {"True", false}, {"TRUE", false}, {"tru", false}, {"null", false}, {"{}", false}},
	"signed":   append([]badElement{{"1.5", false}, {"1.0", true}, {"1e0", true}, {"99999999999999999999", false}, {"-99999999999999999999", false}}, notNumbers...),
	"unsigned": append([]badElement{{"1.5", false}, {"1.0", true}, {"1e0", true}, {"99999999999999999999", false}, {"-1", false}}, notNumbers...),
	"float":    append([]badElement{{"1e999", true}, {"-1e999", true}}, notNumbers...),
	"BYTES":    {{"1", true}, {"true", true}, {"null", false}, {"{}", false}, {`"`, false}, {`"\x"`, false}, {`"\u12"`, false}, {`"\ud800"`, true}, {"\"\xff\"", true}, {"\"\n\"", true}},
}

// beyond returns the first integers out of range.
func beyond(datatype string) []badElement {
	bits := 8 * sizes[datatype]
	switch kind(datatype) {
	case "unsigned":
		if bits < 64 {
			return []badElement{{strconv.FormatUint(1<<bits, 10), false}}
		}
		return []badElement{{"18446744073709551616", false}}
	case "signed":
		if bits < 64 {
			return []badElement{{strconv.FormatInt(1<<(bits-1), 10), false}, {strconv.FormatInt(-1<<(bits-1)-1, 10), false}}
		}
		return []badElement{{"9223372036854775808", false}, {"-9223372036854775809", false}}
	}
	if datatype == "FP32" {
		return []badElement{{"3.5e38", true}, {"-3.5e38", true}}
	}
	return nil
}

func TestInferRefusesElementsThatTheDatatypeDoesNotHave(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		m.needsJSON(t)
		seen := map[string]bool{}
		for _, in := range m.Inputs {
			if seen[in.Datatype] {
				continue
			}
			seen[in.Datatype] = true
			v := fill(in, 1)
			for _, bad := range append(beyond(in.Datatype), badElements[kind(in.Datatype)]...) {
				t.Run(in.Datatype+" "+bad.text, func(t *testing.T) {
					if bad.strict {
						m.server.needsStrict(t)
					}
					last := v.with(len(v.text)-1, bad.text)
					m.infer(t, m.askWith(in.Name, last.object(last.flat()))).refused(t, http.StatusBadRequest)
					m.server.ready(t)
				})
			}
		}
	})
}

func TestInferRefusesDataThatDoesNotFitTheShape(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		m.needsJSON(t)
		for _, in := range m.Inputs {
			v := fill(in, 1)
			n, text := len(v.text), strings.Join(v.text, ",")
			first, rest, _ := strings.Cut(text, ",")
			cases := map[string]string{
				"one element less":         "[" + strings.Join(v.text[1:], ",") + "]",
				"one element more":         "[" + text + "," + v.text[0] + "]",
				"many elements more":       "[" + strings.Repeat(text+",", 100) + v.text[0] + "]",
				"none":                     "[]",
				"a comma at the end":       "[" + text + ",]",
				"two commas":               "[," + text + "]",
				"no comma":                 "[" + strings.Join(v.text, " ") + " " + v.text[0] + "]",
				"a string of all elements": quote(text),
				"a single element":         v.text[0],
				"an object":                `{"0":` + v.text[0] + "}",
				"null":                     "null",
				"not closed":               "[" + text,
			}
			if n > 1 {
				cases["an array among elements"] = "[[" + first + "]," + rest + "]"
				cases["elements among arrays"] = "[" + first + ",[" + rest + "]]"
			}
			if n > 3 && len(v.Shape) > 1 {
				cases["arrays of unequal length"] = "[[" + first + "],[" + rest + "]]"
			}
			for name, data := range cases {
				t.Run(in.Name+" "+name, func(t *testing.T) {
					m.infer(t, m.askWith(in.Name, v.object(data))).refused(t, http.StatusBadRequest)
					m.server.ready(t)
				})
			}
		}
	})
}

func TestInferRefusesShapesThatMakeNoSense(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		m.needsJSON(t)
		in := m.Inputs[len(m.Inputs)-1]
		v := fill(in, 1)
		sound := dims(v.Shape)
		cases := map[string]string{
			"negative":                      "[-1" + strings.TrimPrefix(sound, "["+strconv.FormatInt(v.Shape[0], 10)),
			"two negatives":                 "[-1,-" + strconv.Itoa(len(v.text)) + "]",
			"one dimension more":            sound[:len(sound)-1] + ",1]",
			"no dimension":                  "[]",
			"of which the product is 2^64":  "[4294967296,4294967296]",
			"of which the product is 2^128": "[9223372036854775807,9223372036854775807,4]",
			"beyond 64 bits":                "[18446744073709551617]",
			"of no items":                   "[0" + strings.TrimPrefix(sound, "["+strconv.FormatInt(v.Shape[0], 10)),
			"with a fraction":               "[1.5]",
			"of text":                       `["` + strconv.Itoa(len(v.text)) + `"]`,
			"of booleans":                   "[true]",
			"of null":                       "[null]",
			"nested":                        "[" + sound + "]",
			"a number":                      strconv.Itoa(len(v.text)),
			"text":                          quote(sound),
			"null":                          "null",
			"with too many rows":            "[1000000000" + strings.TrimPrefix(sound, "["+strconv.FormatInt(v.Shape[0], 10)),
		}
		for name, shape := range cases {
			t.Run(name, func(t *testing.T) {
				object := strings.Replace(v.object(v.flat()), sound, shape, 1)
				m.infer(t, m.askWith(in.Name, object)).refused(t, http.StatusBadRequest, http.StatusRequestEntityTooLarge)
				m.server.ready(t)
			})
		}
	})
}
