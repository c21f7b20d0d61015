package conformance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// binaryModels runs a test of the binary extension for every model.
func binaryModels(t *testing.T, test func(t *testing.T, m *model)) {
	t.Helper()
	subject.needs(t, "binary_tensor_data")
	eachModel(t, test)
}

// binaryOutput returns an output of a request with its form.
func binaryOutput(name string, binary bool) string {
	return fmt.Sprintf(`{"name":%s,"parameters":{"binary_data":%t}}`, quote(name), binary)
}

// plain returns the answer to the simplest request, for comparison.
func (m *model) plain(t *testing.T) func() result {
	return func() result { return m.result(t, m.infer(t, m.ask(1))) }
}

func TestBinaryIsAnotherFormOfTheSame(t *testing.T) {
	binaryModels(t, func(t *testing.T, m *model) {
		t.Run("inputs and outputs", func(t *testing.T) {
			get := func() result { return m.result(t, m.infer(t, m.askBinary(1))) }
			r := get()
			if len(r.Outputs) != len(m.Outputs) {
				t.Errorf("the outputs are %v, none were named, so all are wanted", r.outputNames())
			}
			for _, out := range r.Outputs {
				if out.Parameters.Size == nil {
					t.Errorf("output %s is in JSON, with binary_data_output", out.Name)
				}
			}
			agree(t, m.plain(t), get)
		})
		t.Run("inputs only", func(t *testing.T) {
			a := m.askBinary(1)
			a.parameters, a.outputs = nil, m.ask(1).outputs
			get := func() result { return m.result(t, m.infer(t, a)) }
			for _, out := range get().Outputs {
				if out.Parameters.Size != nil {
					t.Errorf("output %s is binary, but was not requested so", out.Name)
				}
			}
			agree(t, m.plain(t), get)
		})
		t.Run("outputs only", func(t *testing.T) {
			a := m.ask(1).param(`"binary_data_output":true`)
			a.outputs = nil
			agree(t, m.plain(t), func() result { return m.result(t, m.infer(t, a)) })
		})
		t.Run("the first input only", func(t *testing.T) {
			m.needsJSON(t)
			v := fill(m.Inputs[0], 1)
			a := m.askWith(v.Name, v.binary())
			a.tail = v.bytes()
			agree(t, m.plain(t), func() result { return m.result(t, m.infer(t, a)) })
		})
		t.Run("the last input only", func(t *testing.T) {
			m.needsJSON(t)
			v := fill(m.Inputs[len(m.Inputs)-1], 1)
			a := m.askWith(v.Name, v.binary())
			a.tail = v.bytes()
			agree(t, m.plain(t), func() result { return m.result(t, m.infer(t, a)) })
		})
		t.Run("a header where all is JSON", func(t *testing.T) {
			m.needsJSON(t)
			agree(t, m.plain(t), func() result { return m.result(t, m.infer(t, m.ask(1), m.ask(1).length())) })
		})
		t.Run("several items", func(t *testing.T) {
			m.needsBatches(t)
			for _, out := range m.result(t, m.infer(t, m.askBinary(3))).Outputs {
				if out.Shape[0] != 3 {
					t.Errorf("output %s of 3 items has shape %v", out.Name, out.Shape)
				}
			}
		})
	})
}

func TestBinaryIsChosenForEachOutput(t *testing.T) {
	binaryModels(t, func(t *testing.T, m *model) {
		names := m.jsonOutputs()
		if len(names) == 0 {
			t.Skipf("the metadata of model %s gives no output that has a form in JSON: %v", m.Name, m.Outputs)
		}
		first, last := names[0], names[len(names)-1]
		cases := map[string]struct {
			param   string
			outputs []string
			binary  []bool
		}{
			"one binary":                                      {"", []string{binaryOutput(first, true)}, []bool{true}},
			"one in JSON":                                     {"", []string{binaryOutput(first, false)}, []bool{false}},
			"in JSON against binary_data_output":              {`"binary_data_output":true`, []string{binaryOutput(first, false)}, []bool{false}},
			"binary against binary_data_output":               {`"binary_data_output":false`, []string{binaryOutput(first, true)}, []bool{true}},
			"named without a form, and binary_data_output":    {`"binary_data_output":true`, []string{named(first)}, []bool{true}},
			"named without a form, and no binary_data_output": {`"binary_data_output":false`, []string{named(first)}, []bool{false}},
		}
		if first != last {
			cases["the first binary, the last in JSON"] = struct {
				param   string
				outputs []string
				binary  []bool
			}{"", []string{binaryOutput(first, true), binaryOutput(last, false)}, []bool{true, false}}
			cases["the last in JSON, the first binary"] = struct {
				param   string
				outputs []string
				binary  []bool
			}{"", []string{binaryOutput(last, false), binaryOutput(first, true)}, []bool{false, true}}
		}
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				if strings.HasPrefix(name, "named without") {
					m.server.needsStrict(t) // the extension defines binary_data_output only for requests that name no outputs
				}
				a := m.ask(1).want(tc.outputs...)
				if tc.param != "" {
					a = a.param(tc.param)
				}
				get := func() result { return m.result(t, m.infer(t, a)) }
				r := get()
				if len(r.Outputs) != len(tc.outputs) {
					t.Fatalf("the outputs are %v, %v were named", r.outputNames(), tc.outputs)
				}
				for i, out := range r.Outputs {
					if got := out.Parameters.Size != nil; got != tc.binary[i] {
						t.Errorf("output %s is binary: %t, want %t", out.Name, got, tc.binary[i])
					}
				}
				agree(t, m.plain(t), get)
			})
		}
	})
}

func TestBinaryAnswersSayWhereTheJSONEnds(t *testing.T) {
	binaryModels(t, func(t *testing.T, m *model) {
		a := m.infer(t, m.askBinary(1)).ok(t)
		n, err := strconv.Atoi(a.header.Get(headerLength))
		if err != nil || n <= 0 || n > len(a.body) {
			t.Fatalf("%s is %q, the body has %d bytes", headerLength, a.header.Get(headerLength), len(a.body))
		}
		if !json.Valid(a.body[:n]) {
			t.Errorf("the first %d bytes are not JSON: %q", n, a.body[:n])
		}
		m.server.needsStrict(t)
		if kind := a.header.Get("Content-Type"); kind != "application/octet-stream" {
			t.Errorf("Content-Type is %q, it is not JSON as a whole", kind)
		}
		if got := a.header.Get("Content-Length"); got != strconv.Itoa(len(a.body)) {
			t.Errorf("Content-Length is %q, the body has %d bytes", got, len(a.body))
		}
	})
}

// TestBinaryRaw sends bodies that are the data of a model's only input.
func TestBinaryRaw(t *testing.T) {
	binaryModels(t, func(t *testing.T, m *model) {
		v := fill(m.Inputs[0], 1)
		raw := func(t *testing.T, body []byte) answer {
			t.Helper()
			return m.server.post(t, m.path("/infer"), string(body), headerLength+": 0")
		}
		if len(m.Inputs) > 1 {
			t.Run("is refused for a model of several inputs", func(t *testing.T) {
				m.server.needsStrict(t)
				raw(t, v.bytes()).refused(t, http.StatusBadRequest)
			})
			return
		}
		t.Run("is the data of the only input", func(t *testing.T) {
			get := func() result { return m.result(t, raw(t, v.bytes())) }
			for _, out := range get().Outputs {
				if out.Parameters.Size == nil {
					t.Errorf("output %s is in JSON, a raw request wants all in binary form", out.Name)
				}
			}
			agree(t, m.plain(t), get)
		})
		for name, body := range map[string][]byte{"one byte less": v.bytes()[1:], "one byte more": append(v.bytes(), 0), "nothing": nil} {
			t.Run("is refused with "+name, func(t *testing.T) {
				m.server.needsStrict(t)
				raw(t, body).refused(t, http.StatusBadRequest)
			})
		}
	})
}

func TestBinaryRefusesLengthsThatAreNone(t *testing.T) {
	binaryModels(t, func(t *testing.T, m *model) {
		a := m.askBinary(1)
		n, all := len(a.text()), len(a.body())
		for _, length := range []string{"-1", "x", "1.5", "1e2", "0x10", strconv.Itoa(all + 1), "18446744073709551616", "99999999999999999999999999",
			strconv.Itoa(n - 1), strconv.Itoa(n + 1), "1"} {
			t.Run(length, func(t *testing.T) {
				m.server.post(t, m.path("/infer"), a.body(), headerLength+": "+length).refused(t, http.StatusBadRequest)
				m.server.ready(t)
			})
		}
		t.Run("none at all", func(t *testing.T) { m.server.post(t, m.path("/infer"), a.body()).refused(t, http.StatusBadRequest) })
		m.server.ready(t)
	})
}

func TestBinaryRefusesSizesThatDoNotAddUp(t *testing.T) {
	binaryModels(t, func(t *testing.T, m *model) {
		sound := m.askBinary(1)
		first := len(fill(m.Inputs[0], 1).bytes())
		size := func(text string) ask {
			a := sound
			a.inputs = append([]string{}, a.inputs...)
			a.inputs[0] = strings.Replace(a.inputs[0], `"binary_data_size":`+strconv.Itoa(first), `"binary_data_size":`+text, 1)
			return a
		}
		tail := func(tail []byte) ask {
			a := sound
			a.tail = tail
			return a
		}
		for name, a := range map[string]ask{
			"a byte is missing":          tail(sound.tail[:len(sound.tail)-1]),
			"all bytes are missing":      tail([]byte{}),
			"a byte too many":            tail(append(bytes.Clone(sound.tail), 0)),
			"twice the bytes":            tail(append(bytes.Clone(sound.tail), sound.tail...)),
			"one size is too small":      size(strconv.Itoa(first - 1)),
			"one size is too large":      size(strconv.Itoa(first + 1)),
			"one size is 0":              size("0"),
			"one size is negative":       size("-1"),
			"one size is a fraction":     size("1.5"),
			"one size is text":           size(quote(strconv.Itoa(first))),
			"one size is an array":       size("[1]"),
			"one size is null":           size("null"),
			"one size is 2^31":           size("2147483648"),
			"one size is 2^63":           size("9223372036854775808"),
			"one size is 2^64 and some":  size(strconv.FormatUint(uint64(first), 10) + "00000000000000000000"),
			"sizes wrap around together": size(strconv.FormatInt(int64(first)-(1<<62), 10)),
		} {
			t.Run(name, func(t *testing.T) {
				if name == "one size is text" {
					m.server.needsStrict(t)
				}
				m.infer(t, a).refused(t, http.StatusBadRequest)
				m.server.ready(t)
			})
		}
		t.Run("the shape has another size than the bytes", func(t *testing.T) {
			m.needsBatches(t)
			a := sound
			a.inputs = append([]string{}, a.inputs...)
			a.inputs[0] = strings.Replace(a.inputs[0], `"shape":[1`, `"shape":[2`, 1)
			m.infer(t, a).refused(t, http.StatusBadRequest)
		})
		m.server.ready(t)
		m.result(t, m.infer(t, sound))
	})
}

// TestBinaryRefusesBytesThatAreNoElements tests the two datatypes for which not every
// sequence of bytes is valid.
func TestBinaryRefusesBytesThatAreNoElements(t *testing.T) {
	binaryModels(t, func(t *testing.T, m *model) {
		t.Run("BOOL", func(t *testing.T) {
			m.server.needsStrict(t)
			v := fill(m.needsKind(t, "BOOL"), 1)
			v.raw[0] = []byte{2}
			m.infer(t, m.askTail(v)).refused(t, http.StatusBadRequest)
		})
		for name, raw := range map[string]string{"longer than the bytes left": "\xff\x00\x00\x00w", "of 4 GiB": "\xff\xff\xff\xff", "cut off": "\x01\x00"} {
			t.Run("BYTES with a length "+name, func(t *testing.T) {
				v := fill(m.needsKind(t, "BYTES"), 1)
				v.raw[len(v.raw)-1] = []byte(raw)
				m.infer(t, m.askTail(v)).refused(t, http.StatusBadRequest)
			})
		}
		m.server.ready(t)
	})
}

// askTail returns a request in binary form with one input replaced.
func (m *model) askTail(v value) ask {
	a := m.askBinary(1)
	a.tail = nil
	for i, other := range m.values(1) {
		if other.Name == v.Name {
			a.inputs[i], other = v.binary(), v
		}
		a.tail = append(a.tail, other.bytes()...)
	}
	return a
}
