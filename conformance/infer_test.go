package conformance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// spelling is another way to write a model's valid request.
type spelling struct {
	name   string
	strict bool // the protocol does not settle it
	text   func(t *testing.T, m *model) string
}

// spellings must all get the same answer as the request in its simplest form.
var spellings = []spelling{
	{"data nested along the shape", false, func(_ *testing.T, m *model) string {
		var a ask
		for _, v := range m.values(1) {
			a.inputs = append(a.inputs, v.object(v.nested(len(v.Shape))))
		}
		return m.likeAsk(a)
	}},
	{"data nested along some dimensions only", true, func(t *testing.T, m *model) string {
		deepest := slices.MaxFunc(m.Inputs, func(a, b tensorSpec) int { return len(a.Shape) - len(b.Shape) })
		if len(deepest.Shape) < 3 {
			t.Skipf("the metadata of model %s gives no input with three dimensions or more: %v", m.Name, m.Inputs)
		}
		v := fill(deepest, 1)
		return m.askWith(v.Name, v.object(v.nested(len(v.Shape)-1))).text()
	}},
	{"white space between all tokens", false, func(t *testing.T, m *model) string {
		var out bytes.Buffer
		if err := json.Indent(&out, []byte(m.ask(1).text()), "\r\n", "\t "); err != nil {
			t.Fatal(err)
		}
		return " \n" + out.String() + "\t\r\n "
	}},
	{"the fields of a tensor in another order", false, func(_ *testing.T, m *model) string {
		var a ask
		for _, v := range m.values(1) {
			a.inputs = append(a.inputs, fmt.Sprintf(`{"data":%s,"datatype":%q,"shape":%s,"name":%s}`, v.flat(), v.Datatype, dims(v.Shape), quote(v.Name)))
		}
		return m.likeAsk(a)
	}},
	{"the inputs in another order", false, func(_ *testing.T, m *model) string {
		a := m.ask(1)
		slices.Reverse(a.inputs)
		return a.text()
	}},
	{"unknown fields everywhere", false, func(_ *testing.T, m *model) string {
		const unknown = `"x_1":{"a":[1,-2.5e3,"\u00e9",{"b":null}],"c":true},"x_2":[[],{}],`
		a := m.ask(1)
		if a.outputs == nil {
			a.outputs = []string{named(m.Outputs[0].Name)}
		}
		text := strings.ReplaceAll(a.text(), `{"name"`, `{`+unknown+`"name"`)
		return `{` + unknown + text[1:]
	}},
	{"unknown fields given twice", true, func(_ *testing.T, m *model) string {
		return `{"x":1,"x":2,` + m.ask(1).text()[1:]
	}},
	{"unknown parameters", false, func(_ *testing.T, m *model) string {
		return m.ask(1).param(`"x_text":"a"`, `"x_number":1`, `"x_fraction":0.5`, `"x_boolean":true`, `"priority":1`).text()
	}},
	{"unknown parameters of a tensor", false, func(_ *testing.T, m *model) string {
		a := m.ask(1)
		for i := range a.inputs {
			a.inputs[i] = strings.TrimSuffix(a.inputs[i], "}") + `,"parameters":{"content_type":"np","x":1}}`
		}
		return a.text()
	}},
	{"null for whatever may be absent", true, func(_ *testing.T, m *model) string {
		text := strings.ReplaceAll(m.ask(1).text(), `,"shape"`, `,"parameters":null,"shape"`)
		if !strings.Contains(text, `"outputs"`) {
			text = `{"outputs":null,` + text[1:]
		}
		return `{"id":null,"parameters":null,` + text[1:]
	}},
	{"a list of outputs that is empty", true, func(t *testing.T, m *model) string {
		if m.halves(m.Outputs) {
			t.Skipf("the metadata of model %s gives an output of FP16 or BF16, so all of them cannot come in JSON: %v", m.Name, m.Outputs)
		}
		return m.ask(1).want([]string{}...).text()
	}},
	{"names with escapes", false, func(_ *testing.T, m *model) string {
		text := strings.ReplaceAll(m.ask(1).text(), `"inputs"`, `"\u0069n\u0070uts"`)
		for _, in := range m.Inputs {
			text = strings.Replace(text, quote(in.Name), fmt.Sprintf(`"\u%04x`, in.Name[0])+quote(in.Name[1:])[1:], 1)
		}
		return text
	}},
	{"floats with exponents and zeros", false, func(t *testing.T, m *model) string {
		v := fill(m.needsKind(t, "float"), 1)
		for i := range v.text {
			if v.text[i] == "0" {
				v.text[i] = []string{"0", "0.0", "0e5", "0E+0", "0.000e-12"}[i%5]
			} else {
				v.text[i] += []string{"e0", "E+0", "000e-0", "0000000000000000000000000000", "e00"}[i%5]
			}
		}
		return m.askWith(v.Name, v.object(v.flat())).text()
	}},
}

// likeAsk returns the text of a request with the outputs that ask names.
func (m *model) likeAsk(a ask) string {
	a.outputs = m.ask(1).outputs
	return a.text()
}

// askWith returns a valid request with one input's object replaced.
func (m *model) askWith(name, object string) ask {
	a := m.ask(1)
	a.inputs[slices.IndexFunc(m.Inputs, func(in tensorSpec) bool { return in.Name == name })] = object
	return a
}

// askOnly returns a valid request with some of the inputs.
func (m *model) askOnly(keep func(name string) bool) ask {
	a := ask{outputs: m.ask(1).outputs}
	for _, v := range m.values(1) {
		switch {
		case !keep(v.Name):
		case kind(v.Datatype) == "half":
			a.inputs, a.tail = append(a.inputs, v.binary()), append(a.tail, v.bytes()...)
		default:
			a.inputs = append(a.inputs, v.object(v.flat()))
		}
	}
	return a
}

// inferText sends a request in JSON.
func (m *model) inferText(t *testing.T, text string, headers ...string) answer {
	t.Helper()
	return m.server.post(t, m.path("/infer"), text, headers...)
}

func TestInferTakesEverySpellingOfARequest(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		m.needsJSON(t)
		for _, tc := range spellings {
			t.Run(tc.name, func(t *testing.T) {
				if tc.strict {
					m.server.needsStrict(t)
				}
				text := tc.text(t, m)
				agree(t, func() result { return m.result(t, m.infer(t, m.ask(1))) }, func() result { return m.result(t, m.inferText(t, text)) })
			})
		}
	})
}

// TestInferNeedsNoContentType exists because tritonclient sends none over HTTP.
func TestInferNeedsNoContentType(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		a := m.ask(1)
		length := []string(nil)
		if a.tail != nil {
			length = append(length, a.length())
		}
		t.Run("none", func(t *testing.T) {
			m.result(t, m.server.send(t, http.MethodPost, m.path("/infer"), a.body(), length...))
		})
		for _, header := range []string{"Content-Type: application/json; charset=utf-8", "Content-Type: application/octet-stream", "content-type: text/plain", "Content-Type: x"} {
			t.Run(header, func(t *testing.T) {
				m.server.needsStrict(t)
				m.result(t, m.server.send(t, http.MethodPost, m.path("/infer"), a.body(), append(length, header)...))
			})
		}
	})
}

func TestInferAnswersInJSON(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		m.needsJSON(t)
		a := m.infer(t, m.ask(1)).ok(t)
		a.isJSON(t)
		if a.header.Get(headerLength) != "" {
			t.Errorf("%v has %s, and nothing in it is binary", a, headerLength)
		}
		var typed struct { // decoding fails if the version is a number
			ModelVersion *string `json:"model_version"`
		}
		if err := json.Unmarshal(a.body, &typed); err != nil {
			t.Error(err)
		}
		r := m.result(t, a)
		if want := m.jsonOutputs(); !slices.Equal(r.outputNames(), want) {
			t.Errorf("the outputs are %v, want %v", r.outputNames(), want)
		}
		for _, out := range r.Outputs {
			if out.Parameters.Size != nil {
				t.Errorf("output %s is binary, but was not requested so", out.Name)
			}
		}
	})
}

func TestInferRefusesJSONForWhatHasNone(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		m.server.needsStrict(t)
		t.Run("an output of FP16 or BF16", func(t *testing.T) {
			if !m.halves(m.Outputs) {
				t.Skipf("the metadata of model %s gives no output of FP16 or BF16: %v", m.Name, m.Outputs)
			}
			a := m.ask(1)
			a.outputs = nil
			m.infer(t, a).refused(t, http.StatusBadRequest)
		})
		t.Run("an input of FP16 or BF16", func(t *testing.T) {
			v := fill(m.needsKind(t, "half"), 1)
			for i := range v.text {
				v.text[i] = "1"
			}
			a := m.askWith(v.Name, v.object(v.flat()))
			a.tail = a.tail[len(v.bytes()):] // so that the sizes are no reason to refuse it
			m.infer(t, a).refused(t, http.StatusBadRequest)
		})
	})
}

func TestInferEchoesTheID(t *testing.T) {
	m := subject.models[0]
	for _, id := range []string{"42", "a b/c?d", "é ☃ 😀", "tab\tquote\" backslash\\", strings.Repeat("i", 1000)} {
		t.Run(id[:2], func(t *testing.T) {
			a := m.ask(1)
			a.id = quote(id)
			if r := m.result(t, m.infer(t, a)); r.ID != id {
				t.Errorf("id is %q, want %q", r.ID, id)
			}
			if !m.server.lists("binary_tensor_data") {
				return
			}
			a = m.askBinary(1)
			a.id = quote(id)
			if r := m.result(t, m.infer(t, a)); r.ID != id {
				t.Errorf("in binary form: id is %q, want %q", r.ID, id)
			}
		})
	}
	t.Run("none where none was sent", func(t *testing.T) {
		m.server.needsStrict(t)
		if r := m.result(t, m.infer(t, m.ask(1))); r.ID != "" {
			t.Errorf("id is %q, none was sent", r.ID)
		}
	})
}

func TestInferAnswersTheOutputsThatAreNamed(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		m.needsJSON(t)
		all := m.jsonOutputs()
		selections := [][]string{{all[0]}, {all[len(all)-1]}, all}
		if len(all) > 1 {
			reversed := slices.Clone(all)
			slices.Reverse(reversed)
			selections = append(selections, reversed)
		}
		for _, names := range selections {
			t.Run(strings.Join(names, ","), func(t *testing.T) {
				a := m.ask(1)
				a.outputs = nil
				for _, name := range names {
					a.outputs = append(a.outputs, named(name))
				}
				get := func() result { return m.result(t, m.infer(t, a)) }
				if r := get(); !slices.Equal(r.outputNames(), names) {
					t.Errorf("the outputs are %v, in another order or others", r.outputNames())
				}
				agree(t, func() result { return m.result(t, m.infer(t, m.ask(1))) }, get)
			})
		}
	})
}

// TestInferKeepsTheItemsOfARequestApart sends two different items alone and together.
func TestInferKeepsTheItemsOfARequestApart(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		m.needsBatches(t)
		m.needsJSON(t)
		alone := [2]ask{}
		both := m.ask(1)
		both.inputs = nil
		for _, in := range m.Inputs {
			first, second := fill(in, 1), fill(in, 1)
			slices.Reverse(second.text)
			alone[0].inputs = append(alone[0].inputs, first.object(first.flat()))
			alone[1].inputs = append(alone[1].inputs, second.object(second.flat()))
			two := fill(in, 2)
			two.text = append(slices.Clone(first.text), second.text...)
			both.inputs = append(both.inputs, two.object(two.flat()))
		}
		for i, a := range alone {
			a.outputs = both.outputs
			agree(t, func() result { return m.result(t, m.infer(t, a)) }, func() result { return row(t, m.result(t, m.infer(t, both)), i) })
		}
	})
}

// row returns item i of a result with two items.
func row(t *testing.T, r result, i int) result {
	t.Helper()
	for k := range r.Outputs {
		out := &r.Outputs[k]
		if len(out.Shape) == 0 || out.Shape[0] != 2 {
			t.Fatalf("output %s of two items has shape %v", out.Name, out.Shape)
		}
		out.Shape[0] = 1
		if size := sizes[out.Datatype]; size > 0 {
			half := len(out.raw) / 2
			out.raw = out.raw[i*half : (i+1)*half]
			continue
		}
		list := words(t, out.raw)
		out.raw = nil
		for _, word := range list[i*len(list)/2 : (i+1)*len(list)/2] {
			out.raw = append(out.raw, elementFromJSON(t, "BYTES", quote(word))...)
		}
	}
	return r
}
