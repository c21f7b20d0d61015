package modelpkg

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// operator is a node of a test's graph; to is the type of a Cast.
type operator struct {
	op      string
	inputs  string // separated by spaces
	outputs string
	to      uint64
}

func (o operator) encode() []byte {
	var n []byte
	for name := range strings.FieldsSeq(o.inputs) {
		n = append(n, field1(1, []byte(name))...)
	}
	for name := range strings.FieldsSeq(o.outputs) {
		n = append(n, field1(2, []byte(name))...)
	}
	n = append(n, field1(4, []byte(o.op))...)
	if o.to > 0 {
		n = append(n, field1(5, join(field1(1, []byte("to")), varint1(3, o.to), varint1(20, 2)))...)
	}
	return n
}

// calculating makes a graph of operators on i (INT32), f (FP32) and the weight w
// (INT64).
func calculating(operators ...operator) []byte {
	var g []byte
	for _, o := range operators {
		g = append(g, field1(1, o.encode())...)
	}
	g = join(g, field1(5, weight{name: "w"}.encode()), field1(11, value{"i", 6, []int64{-1, 2}}.encode()),
		field1(11, value{"f", 1, []int64{-1, 2}}.encode()), field1(12, scores.encode()))
	return join(varint1(1, 8), field1(7, g), field1(8, varint1(2, 17)))
}

// TestDivisions checks which graphs let a client divide integers.
func TestDivisions(t *testing.T) {
	for _, c := range []struct {
		name      string
		operators []operator
		want      []string
	}{
		{"by an input", []operator{{"Div", "i i", "q", 0}}, []string{"Div"}},
		{"by something made of an input", []operator{{"Add", "i w", "d", 0}, {"Mod", "w d", "q", 0}}, []string{"Mod"}},
		{"by what was cast to whole numbers", []operator{{"Cast", "f", "d", 7}, {"Div", "w d", "q", 0}}, []string{"Div"}},
		{"by a weight", []operator{{"Div", "i w", "q", 0}}, nil},
		{"floating-point numbers", []operator{{"Div", "f f", "q", 0}}, nil},
		{"what was cast to floating-point numbers", []operator{{"Cast", "i", "d", 1}, {"Div", "d d", "q", 0}}, nil},
		{"by a size", []operator{{"Shape", "i", "d", 0}, {"Div", "i d", "q", 0}}, nil},
		{"by a guarded number", []operator{{"Max", "i w", "d", 0}, {"Div", "i d", "q", 0}}, nil},
		{"by a comparison's choice", []operator{{"Equal", "i w", "e", 0}, {"Where", "e i i", "d", 0}, {"Div", "i d", "q", 0}}, []string{"Div"}},
	} {
		file := calculating(c.operators...)
		g, err := readGraph(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if got := g.divisions(func(string) bool { return false }); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if got := g.divisions(func(string) bool { return true }); got != nil {
			t.Errorf("%s, with ranges: %v", c.name, got)
		}
	}
}

// TestDivisionsAreWarnedOf checks the text of the warning.
func TestDivisionsAreWarnedOf(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, FileName, []byte(`format: 1
name: parts
modalities: [{name: a, inputs: [{name: i, datatype: INT32, shape: [2]}, {name: f, datatype: FP32, shape: [2]}]}]
outputs: [{name: scores, datatype: FP32, shape: [2]}]
variants:
  - {name: v, modalities: [a], path: m.onnx}
`))
	write(t, dir, "m.onnx", calculating(operator{"Div", "i i", "q", 0}))
	m, err := Load(dir)
	want := "mosel.yaml:6: variant v: m.onnx divides whole numbers by what a client sends (Div): on amd64 under systems other than Linux, the least number divided by -1 ends the process of the server; " +
		"give the input a range, guard the divisor with Max, compute with floating-point numbers, or run the graphs in a separate process (isolation: process)"
	if err != nil || !slices.Equal(m.Warnings, []string{want}) {
		t.Errorf("%v, %+v", err, m)
	}
}

// TestIsolation reads how graphs are isolated. Those in a process of their own may
// divide as they like.
func TestIsolation(t *testing.T) {
	dir := t.TempDir()
	yaml := `format: 1
name: parts
modalities: [{name: a, inputs: [{name: i, datatype: INT32, shape: [2]}, {name: f, datatype: FP32, shape: [2]}]}]
outputs: [{name: scores, datatype: FP32, shape: [2]}]
variants:
  - {name: v, modalities: [a], path: m.onnx}
isolation: `
	write(t, dir, "m.onnx", calculating(operator{"Div", "i i", "q", 0}))
	for word, want := range map[string]Isolation{"process": IsolationProcess, "none": IsolationNone} {
		write(t, dir, FileName, []byte(yaml+word))
		if m, err := Load(dir); err != nil || m.Isolation != want || (len(m.Warnings) == 0) != (want == IsolationProcess) {
			t.Errorf("%s: %v, %+v", word, err, m)
		}
	}
	for text, want := range map[string]string{
		yaml + "container": `7:12: the isolation "container" is not supported; known: none, process`,
		strings.Replace(yaml, "path: m.onnx", "remote: grpc://gpu/m", 1) + "process": `7:12: isolation: process is for graphs of the package; all variants run on other servers`,
	} {
		write(t, dir, FileName, []byte(text))
		if got := lines(dir, Check(dir)); !slices.Equal(got, []string{want}) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestLargeGraphsAreNotSearched checks that the search holds no more names than it
// may, and that a name beyond all measure is no fault of the graph.
func TestLargeGraphsAreNotSearched(t *testing.T) {
	long := strings.Repeat("n", onnxNameMax+1)
	file := calculating(operator{"Div", "i i", "q", 0}, operator{"Relu", long, long, 0}, operator{"Div", "i i", "q", 0})
	g, err := readGraph(bytes.NewReader(file), int64(len(file)))
	if err != nil || g.nodes != nil || g.divisions(func(string) bool { return false }) != nil {
		t.Errorf("%v, %d nodes", err, len(g.nodes))
	}
	var many []byte
	for range nodeNamesMax/nodeCost + 1 {
		many = protowire.AppendBytes(protowire.AppendTag(many, 1, protowire.BytesType), nil)
	}
	file = join(varint1(1, 8), field1(7, many), field1(8, varint1(2, 17)))
	if g, err = readGraph(bytes.NewReader(file), int64(len(file))); err != nil || g.nodes != nil {
		t.Errorf("%v, %d nodes", err, len(g.nodes))
	}
}
