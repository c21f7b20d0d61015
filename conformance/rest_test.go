package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// headerLength is the header of the binary extension: the bytes of the JSON part.
const headerLength = "Inference-Header-Content-Length"

// answer is an answer over REST.
type answer struct {
	asked  string // method and path, for messages
	strict bool   // the server's errors are checked strictly
	status int
	header http.Header
	body   []byte
}

// send sends a request. Headers are "Name: value" and are sent in that spelling.
func (s *target) send(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	a, err := s.do(t.Context(), resource{method, path}, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// do is send for requests that may fail, or are sent in another goroutine.
func (s *target) do(ctx context.Context, what resource, body string, headers ...string) (answer, error) {
	content := io.Reader(http.NoBody)
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, what.method, s.rest+what.path, content)
	if err != nil {
		return answer{}, err
	}
	r.Header["Idempotency-Key"] = nil // not sent; it lets the client retry if the server had closed the connection
	for _, line := range headers {
		name, text, _ := strings.Cut(line, ": ")
		r.Header[name] = append(r.Header[name], text)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	return s.read(what.method+" "+what.path, resp)
}

// read reads an answer to its end.
func (s *target) read(asked string, resp *http.Response) (answer, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%s: status %d, and then: %w", asked, resp.StatusCode, err)
	}
	return answer{asked: asked, strict: s.strict, status: resp.StatusCode, header: resp.Header, body: body}, nil
}

func (s *target) get(t *testing.T, path string) answer {
	t.Helper()
	return s.send(t, http.MethodGet, path, "")
}

// post sends JSON, or what the headers say.
func (s *target) post(t *testing.T, path, body string, headers ...string) answer {
	t.Helper()
	if !slices.ContainsFunc(headers, func(line string) bool { return strings.HasPrefix(strings.ToLower(line), "content-type:") }) {
		headers = append(slices.Clone(headers), "Content-Type: application/json")
	}
	return s.send(t, http.MethodPost, path, body, headers...)
}

// ready checks that the server still accepts requests: no request may change that.
func (s *target) ready(t *testing.T) {
	t.Helper()
	if a := s.get(t, "/v2/health/ready"); a.status != http.StatusOK {
		t.Errorf("afterwards the server is not ready: %v", a)
	}
}

// String returns an answer as text for errors.
func (a answer) String() string {
	return fmt.Sprintf("%s: status %d: %.300q", a.asked, a.status, a.body)
}

// ok ends the test unless the request succeeded.
func (a answer) ok(t *testing.T) answer {
	t.Helper()
	if a.status != http.StatusOK { // the only status that tritonclient accepts as success
		t.Fatalf("%v, want status 200", a)
	}
	return a
}

// refused checks that the answer is an error that blames the client, not the server. If
// the server is checked strictly, the error must have one of the statuses and the form
// that clients read; for other servers only TestErrors checks that.
func (a answer) refused(t *testing.T, statuses ...int) {
	t.Helper()
	if a.strict {
		a.error(t, statuses...)
	} else if a.status < 400 || a.status >= 500 && !slices.Contains(statuses, a.status) {
		t.Errorf("%v, want an error of the client, 400 to 499", a)
	}
}

// error checks that the answer is an error with one of the statuses, in the form that
// clients read: JSON with the key "error".
func (a answer) error(t *testing.T, statuses ...int) {
	t.Helper()
	if !slices.Contains(statuses, a.status) {
		t.Errorf("%v, want status %v", a, statuses)
		return
	}
	var body struct{ Error *string }
	if err := json.Unmarshal(a.body, &body); err != nil || body.Error == nil || *body.Error == "" {
		t.Errorf("%v, want JSON with the key \"error\" that says what is wrong", a)
	}
	a.isJSON(t)
}

// isJSON checks that the answer says it is JSON.
func (a answer) isJSON(t *testing.T) {
	t.Helper()
	if kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type")); err != nil || kind != "application/json" {
		t.Errorf("%v has Content-Type %q, want application/json", a, a.header.Get("Content-Type"))
	}
}

// into reads the JSON of a successful answer.
func (a answer) into(t *testing.T, v any) {
	t.Helper()
	a.ok(t).isJSON(t)
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v: %v", a, err)
	}
}

// ask is an inference request under construction. Its parts are JSON, so that a test
// can break any of them.
type ask struct {
	id         string   // the value
	parameters []string // members
	inputs     []string // objects
	outputs    []string // objects; nil: there is no such member
	more       []string // further members
	tail       []byte   // follows the JSON
}

// text returns the JSON of the request.
func (a ask) text() string {
	var members []string
	if a.id != "" {
		members = append(members, `"id":`+a.id)
	}
	if a.parameters != nil {
		members = append(members, `"parameters":{`+strings.Join(a.parameters, ",")+`}`)
	}
	members = append(members, `"inputs":[`+strings.Join(a.inputs, ",")+`]`)
	if a.outputs != nil {
		members = append(members, `"outputs":[`+strings.Join(a.outputs, ",")+`]`)
	}
	return "{" + strings.Join(append(members, a.more...), ",") + "}"
}

// body returns the JSON and what follows it.
func (a ask) body() string { return a.text() + string(a.tail) }

// length returns the header that says where the JSON of the request ends.
func (a ask) length() string { return headerLength + ": " + strconv.Itoa(len(a.text())) }

// param adds parameters to a copy of the request.
func (a ask) param(members ...string) ask {
	a.parameters = append(append([]string{}, a.parameters...), members...)
	return a
}

// want names the outputs in a copy of the request.
func (a ask) want(outputs ...string) ask {
	a.outputs = outputs
	return a
}

// named returns an output of a request.
func named(name string) string { return `{"name":` + quote(name) + `}` }

// ask returns a valid request for all outputs of the model, in JSON. If an output has
// no JSON form, it names the others.
func (m *model) ask(items int64) ask {
	var a ask
	for _, v := range m.values(items) {
		if kind(v.Datatype) == "half" {
			a.inputs, a.tail = append(a.inputs, v.binary()), append(a.tail, v.bytes()...)
		} else {
			a.inputs = append(a.inputs, v.object(v.flat()))
		}
	}
	if m.halves(m.Outputs) {
		for _, name := range m.jsonOutputs() {
			a.outputs = append(a.outputs, named(name))
		}
	}
	return a
}

// askBinary is the same with all inputs and outputs in binary form.
func (m *model) askBinary(items int64) ask {
	a := ask{parameters: []string{`"binary_data_output":true`}}
	for _, v := range m.values(items) {
		a.inputs, a.tail = append(a.inputs, v.binary()), append(a.tail, v.bytes()...)
	}
	return a
}

// infer sends an inference request, with the header of the binary extension if
// something follows the JSON.
func (m *model) infer(t *testing.T, a ask, headers ...string) answer {
	t.Helper()
	return m.inferAt(t, m.path("/infer"), a, headers...)
}

func (m *model) inferAt(t *testing.T, path string, a ask, headers ...string) answer {
	t.Helper()
	if a.tail != nil {
		headers = append(slices.Clone(headers), a.length(), "Content-Type: application/octet-stream")
	}
	return m.server.post(t, path, a.body(), headers...)
}

// result is a successful inference.
type result struct {
	ModelName    string         `json:"model_name"`
	ModelVersion string         `json:"model_version"`
	ID           string         `json:"id"`
	Parameters   map[string]any `json:"parameters"`
	Outputs      []output       `json:"outputs"`
	header       http.Header
}

type output struct {
	tensorSpec
	Parameters struct {
		Size *int `json:"binary_data_size"`
	} `json:"parameters"`
	Data json.RawMessage `json:"data"`
	raw  []byte          // in binary form, whatever form it had
}

// result reads the answer to a request and checks it against the model's metadata.
func (m *model) result(t *testing.T, a answer) result {
	t.Helper()
	a.ok(t)
	text, part := a.body, []byte(nil)
	length := a.header.Get(headerLength)
	if length != "" {
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 || n > len(a.body) {
			t.Fatalf("%v has %s %q, the body has %d bytes", a, headerLength, length, len(a.body))
		}
		text, part = a.body[:n], a.body[n:]
	}
	r := result{header: a.header}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%v: %v", a, err)
	}
	if r.ModelName != m.Name {
		t.Errorf("%v: model_name is %q, want %q", a, r.ModelName, m.Name)
	}
	for i := range r.Outputs {
		part = m.output(t, &r.Outputs[i], part)
	}
	if len(part) > 0 {
		t.Errorf("%v: %d bytes follow the outputs' binary_data_size", a, len(part))
	}
	return r
}

// output checks one output and cuts its bytes off the binary part.
func (m *model) output(t *testing.T, out *output, part []byte) (rest []byte) {
	t.Helper()
	at := slices.IndexFunc(m.Outputs, func(spec tensorSpec) bool { return spec.Name == out.Name })
	if at < 0 || m.Outputs[at].Datatype != out.Datatype || !fits(out.Shape, m.Outputs[at].Shape) {
		t.Fatalf("output %s %s %v is not in the metadata: %v", out.Name, out.Datatype, out.Shape, m.Outputs)
	}
	switch size := out.Parameters.Size; {
	case size != nil && out.Data != nil:
		t.Fatalf("output %s has data and binary_data_size", out.Name)
	case size != nil && (*size < 0 || *size > len(part)):
		t.Fatalf("output %s has binary_data_size %d, of the binary part %d bytes are left", out.Name, *size, len(part))
	case size != nil:
		out.raw, part = part[:*size], part[*size:]
	case out.Data != nil:
		out.raw = fromJSON(t, out.Datatype, out.Data)
	default:
		t.Fatalf("output %s has neither data nor binary_data_size", out.Name)
	}
	checkElements(t, out.Name, out.Datatype, out.Shape, out.raw)
	return part
}

// checkElements checks that there are as many elements as the shape asks for.
func checkElements(t *testing.T, name, datatype string, shape []int64, raw []byte) {
	t.Helper()
	n := count(shape)
	if size := sizes[datatype]; size > 0 {
		if int64(len(raw)) != n*int64(size) {
			t.Errorf("%s: %d bytes for shape %v of %s", name, len(raw), shape, datatype)
		}
		return
	}
	if found := len(words(t, raw)); int64(found) != n {
		t.Errorf("%s: %d elements for shape %v", name, found, shape)
	}
}

// words splits BYTES data.
func words(t *testing.T, raw []byte) []string {
	t.Helper()
	var list []string
	for len(raw) > 0 {
		if len(raw) < 4 {
			t.Fatalf("BYTES data ends in a length: % x", raw)
		}
		n := int(raw[0]) | int(raw[1])<<8 | int(raw[2])<<16 | int(raw[3])<<24
		if n > len(raw)-4 {
			t.Fatalf("BYTES data ends in an element of %d bytes: %d are left", n, len(raw)-4)
		}
		list, raw = append(list, string(raw[4:4+n])), raw[4+n:]
	}
	return list
}

// outputNames returns the outputs in the order of the answer.
func (r result) outputNames() []string {
	var names []string
	for _, out := range r.Outputs {
		names = append(names, out.Name)
	}
	return names
}

// agree checks that two equal requests get equal answers: the outputs of b are those of
// a, as far as both have them. If a server may choose what runs, it is asked again, in
// turns, until an answer to each ran the same: what it chooses may depend on what it got
// just before.
func agree(t *testing.T, a, b func() result) {
	t.Helper()
	const attempts = 20
	var x, y result
	found := false
	of, seen := [2]func() result{a, b}, [2]map[string]result{{}, {}}
	for k := 0; k < 2*attempts && !found; k++ {
		which := (k + k/2) % 2 // a, b, b, a, a, b, ...
		r := of[which]()
		variant := fmt.Sprint(r.Parameters["variant"])
		seen[which][variant] = r
		if _, found = seen[1-which][variant]; found {
			x, y = seen[0][variant], seen[1][variant]
		}
	}
	if !found {
		t.Fatalf("in %d attempts the server ran variants %v for one request and %v for the other", attempts, slices.Collect(maps.Keys(seen[0])), slices.Collect(maps.Keys(seen[1])))
	}
	both := 0
	for _, p := range x.Outputs {
		for _, q := range y.Outputs {
			if p.Name == q.Name {
				both++
				sameElements(t, p, q)
			}
		}
	}
	if both == 0 {
		t.Errorf("the answers have no output in common: %v and %v", x.outputNames(), y.outputNames())
	}
}

// tolerance is how far floats of two runs may differ: an accelerator may add in any
// order.
const tolerance = 1e-3

// sameElements compares two outputs with the same name.
func sameElements(t *testing.T, p, q output) {
	t.Helper()
	if p.Datatype != q.Datatype || !slices.Equal(p.Shape, q.Shape) {
		t.Errorf("output %s is %s %v and %s %v", p.Name, p.Datatype, p.Shape, q.Datatype, q.Shape)
		return
	}
	if k := kind(p.Datatype); k != "float" && k != "half" {
		if !bytes.Equal(p.raw, q.raw) {
			t.Errorf("output %s has other elements: % x and % x", p.Name, p.raw, q.raw)
		}
		return
	}
	a, b := numbers(t, p.Datatype, p.raw), numbers(t, q.Datatype, q.raw)
	for i := range a {
		if math.Abs(a[i]-b[i]) > tolerance*(1+math.Abs(a[i])) {
			t.Errorf("output %s, element %d: %v and %v", p.Name, i, a[i], b[i])
			return
		}
	}
}
