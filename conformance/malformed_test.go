package conformance_test

import (
	"net/http"
	"strings"
	"testing"
)

// mistake is a request that a server must refuse.
type mistake struct {
	name   string
	strict bool // JSON or the protocol does not settle it
	text   func(m *model) string
}

// change replaces the first match in the valid request's text.
func change(old, with string) func(*model) string {
	return func(m *model) string {
		text := m.ask(1).text()
		if !strings.Contains(text, old) {
			panic("conformance: " + old + " is not in the request") // a mistake in the suite
		}
		return strings.Replace(text, old, with, 1)
	}
}

// fixed returns the same text for every model.
func fixed(text string) func(*model) string { return func(*model) string { return text } }

// notRequests are not JSON, or not an object with inputs.
var notRequests = []mistake{
	{"nothing", false, fixed("")},
	{"white space", false, fixed(" \r\n ")},
	{"not JSON", false, fixed("hello")},
	{"bytes", false, fixed("\x00\x01\x02\xff")},
	{"a byte order mark", true, func(m *model) string { return "\ufeff" + m.ask(1).text() }},
	{"an array", false, func(m *model) string { return "[" + m.ask(1).text() + "]" }},
	{"a string", false, func(m *model) string { return quote(m.ask(1).text()) }},
	{"null", false, fixed("null")},
	{"a number", false, fixed("1")},
	{"an object without inputs", false, fixed("{}")},
	{"no inputs", false, fixed(`{"inputs":[]}`)},
	{"inputs that are null", false, fixed(`{"inputs":null}`)},
	{"inputs that are an object", false, fixed(`{"inputs":{}}`)},
	{"inputs that are numbers", false, fixed(`{"inputs":[1,2]}`)},
	{"inputs that are empty objects", false, fixed(`{"inputs":[{}]}`)},
	{"half a request", false, func(m *model) string { text := m.ask(1).text(); return text[:len(text)/2] }},
	{"all bytes except the last", false, func(m *model) string { text := m.ask(1).text(); return text[:len(text)-1] }},
	{"two requests", false, func(m *model) string { return m.ask(1).text() + m.ask(1).text() }},
	{"bytes after the request", false, func(m *model) string { return m.ask(1).text() + "x" }},
	{"a comma after the last field", false, func(m *model) string { return strings.TrimSuffix(m.ask(1).text(), "}") + ",}" }},
	{"a comment", false, change(`"inputs"`, `/* */ "inputs"`)},
	{"single quotes", false, change(`"inputs"`, `'inputs'`)},
	{"a field without quotes", false, change(`"inputs"`, `inputs`)},
	{"a field without a colon", false, change(`"inputs":`, `"inputs"`)},
	{"a string with a line break", true, change(`"inputs"`, "\"x\":\"\n\",\"inputs\"")},
	{"a string that is not UTF-8", true, change(`{`, "{\"id\":\"\xff\xfe\",")},
	{"half of a surrogate pair", true, change(`{`, `{"id":"\ud800",`)},
	{"an invalid escape", false, change(`{`, `{"x":"\q",`)},
}

// badFields are valid JSON, but not valid in the protocol.
var badFields = []mistake{
	{"a tensor without a name", false, change(`{"name":`, `{"nam":`)},
	{"a tensor without a shape", false, change(`"shape":`, `"shap":`)},
	{"a tensor without a datatype", false, change(`"datatype":`, `"datatyp":`)},
	{"a tensor without data", false, change(`"data":`, `"dat":`)},
	{"a name that is a number", false, change(`{"name":`, `{"name":1,"x":`)},
	{"an empty name", false, change(`{"name":`, `{"name":"","x":`)},
	{"a datatype that is not there", false, change(`"datatype":"`, `"datatype":"X`)},
	{"a datatype in small letters", true, change(`"datatype":"`, `"datatype":"fp32","x":"`)},
	{"a datatype that is a number", false, change(`"datatype":"`, `"datatype":1,"x":"`)},
	{"a tensor that says binary_data_size, and nothing is binary", false, change(`"data":`, `"parameters":{"binary_data_size":4},"x":`)},
	{"a tensor with data and binary_data_size", true, change(`"data":`, `"parameters":{"binary_data_size":4},"data":`)},
	{"an input that the model does not have", false, func(m *model) string {
		in := m.Inputs[0]
		return m.askWith(in.Name, fill(tensorSpec{"no_such_input", in.Datatype, in.Shape}, 1).object(fill(in, 1).flat())).text()
	}},
	{"an input given twice", true, func(m *model) string {
		a := m.ask(1)
		a.inputs = append(a.inputs, a.inputs[0])
		return a.text()
	}},
	{"an input of another datatype", false, func(m *model) string {
		in := m.Inputs[0]
		other := map[bool]string{true: "FP64", false: "FP32"}[in.Datatype == "FP32"]
		return m.askWith(in.Name, fill(tensorSpec{in.Name, other, in.Shape}, 1).object(fill(tensorSpec{in.Name, other, in.Shape}, 1).flat())).text()
	}},
	{"a fixed dimension of another size", false, func(m *model) string {
		in := m.Inputs[0]
		shape := append([]int64{}, fill(in, 1).Shape...)
		for i := range shape {
			if in.Shape[i] > 0 {
				shape[i]++
				break
			}
			if i == len(shape)-1 { // all are dynamic
				shape = append(shape, 1)
			}
		}
		v := fill(tensorSpec{in.Name, in.Datatype, shape}, 1)
		return m.askWith(in.Name, v.object(v.flat())).text()
	}},
	{"an output that the model does not have", false, func(m *model) string { return m.ask(1).want(named("no_such_output")).text() }},
	{"an output requested twice", true, func(m *model) string {
		out := named(m.jsonOutputs()[0])
		return m.ask(1).want(out, out).text()
	}},
	{"an output without a name", false, func(m *model) string { return m.ask(1).want(`{}`).text() }},
	{"an output that is a string", false, func(m *model) string { return m.ask(1).want(quote(m.Outputs[0].Name)).text() }},
	{"outputs that are an object", false, func(m *model) string { return `{"outputs":{},` + m.ask(1).want().text()[1:] }},
	{"an id that is a number", true, change(`{`, `{"id":42,`)},
	{"an id that is an object", true, change(`{`, `{"id":{},`)},
	{"parameters that are an array", false, change(`{`, `{"parameters":[],`)},
	{"parameters that are text", false, change(`{`, `{"parameters":"a",`)},
	{"a parameter that is an object", true, change(`{`, `{"parameters":{"x":{}},`)},
	{"a parameter that is an array", true, change(`{`, `{"parameters":{"x":[1]},`)},
	{"a parameter given twice", true, change(`{`, `{"parameters":{"x":1,"x":2},`)},
	{"binary_data_output that is text", true, change(`{`, `{"parameters":{"binary_data_output":"true"},`)},
	{"an id given twice", true, change(`{`, `{"id":"a","id":"a",`)},
	{"parameters given twice", true, change(`{`, `{"parameters":{},"parameters":{},`)},
	{"inputs given twice", true, func(m *model) string {
		text := m.ask(1).text()
		return text[:len(text)-1] + "," + text[1:]
	}},
	{"a name given twice", true, change(`{"name":`, `{"name":"x","name":`)},
	{"a shape given twice", true, change(`"shape":`, `"shape":[1],"shape":`)},
	{"a datatype given twice", true, change(`"datatype":`, `"datatype":"FP32","datatype":`)},
	{"data given twice", true, change(`"data":`, `"data":[],"data":`)},
}

func TestInferRefusesWhatIsNoRequest(t *testing.T) { refuse(t, notRequests) }

func TestInferRefusesFieldsThatMakeNoSense(t *testing.T) { refuse(t, badFields) }

func refuse(t *testing.T, mistakes []mistake) {
	t.Helper()
	eachModel(t, func(t *testing.T, m *model) {
		m.needsJSON(t)
		for _, tc := range mistakes {
			t.Run(tc.name, func(t *testing.T) {
				if tc.strict {
					m.server.needsStrict(t)
				}
				m.inferText(t, tc.text(m)).refused(t, http.StatusBadRequest)
				m.server.ready(t)
			})
		}
		m.result(t, m.infer(t, m.ask(1)))
	})
}

func TestInferSurvivesDeepNesting(t *testing.T) {
	m := subject.models[0]
	const depth = 100_000
	for name, open := range map[string]string{"arrays": "[", "objects": `{"a":`} {
		for _, where := range []string{`{"x":`, `{"id":`, `{"parameters":{"x":`, `{"inputs":`, `{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":`} {
			t.Run(name+" in "+where, func(t *testing.T) {
				a := m.inferText(t, where+strings.Repeat(open, depth))
				if a.status < 400 {
					t.Errorf("%v, it is cut off", a)
				}
				m.server.ready(t)
			})
		}
	}
	t.Run("an ignored field nested extremely deep", func(t *testing.T) {
		m.server.needsStrict(t)
		text := `{"x":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + "," + m.ask(1).text()[1:]
		m.inferText(t, text).refused(t, http.StatusBadRequest, http.StatusRequestEntityTooLarge)
	})
}

// TestInferSaysWhatItDoesNotOffer uses extensions that the server does not list.
func TestInferSaysWhatItDoesNotOffer(t *testing.T) {
	m := subject.models[0]
	m.needsJSON(t)
	object := m.ask(1).inputs[0]
	input := object[:strings.Index(object, `"data":`)] + `"parameters":{"shared_memory_region":"r","shared_memory_byte_size":4}}`
	for name, tc := range map[string]struct {
		extension string
		ask       ask
	}{
		"shared memory for an input":   {"system_shared_memory", m.askWith(m.Inputs[0].Name, input)},
		"shared memory for an output":  {"system_shared_memory", m.ask(1).want(`{"name":` + quote(m.Outputs[0].Name) + `,"parameters":{"shared_memory_region":"r","shared_memory_byte_size":4}}`)},
		"the best classes of a result": {"classification", m.ask(1).want(`{"name":` + quote(m.Outputs[0].Name) + `,"parameters":{"classification":2}}`)},
	} {
		t.Run(name, func(t *testing.T) {
			if m.server.lists(tc.extension) {
				t.Skipf("the server's metadata lists %q", tc.extension)
			}
			m.server.needsStrict(t)
			m.infer(t, tc.ask).refused(t, http.StatusNotImplemented)
		})
	}
}
