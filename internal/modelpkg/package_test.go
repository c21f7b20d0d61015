package modelpkg

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
	"google.golang.org/protobuf/encoding/protowire"
)

// goodYAML is a valid package of two modalities; the tests break it.
const goodYAML = `format: 1
name: pair
version: 1.10
description: two inputs, two classes
task: classification
metric: accuracy
modalities:
  - name: image
    inputs:
      - {name: image, datatype: UINT8, shape: [2, 2], media: image}
  - name: sound
    inputs:
      - {name: wave, datatype: INT16, shape: [-1], media: audio, sample_rate: 8000, max: 16000}
      - {name: gain, datatype: FP32, shape: []}
outputs:
  - {name: scores, datatype: FP32, shape: [2]}
variants:
  - {name: image, modalities: [image], path: onnx/image.onnx}
  - {name: all, modalities: [sound, image], path: onnx/all.onnx, precision: int8}
labels: [no, yes]
limits:
  max_batch: 8
  memory: 512MiB
evaluation:
  profile: eval/profile.npz
  heldout: eval/heldout.npz
`

// graphSpec describes an ONNX file, as far as mosel reads it.
type graphSpec struct {
	opset    int64
	inputs   []value
	outputs  []value
	weights  []weight
	subgraph []weight // inside a node's attribute
}

type value struct {
	name  string
	elem  uint64
	shape []int64 // -1: named, -2: neither named nor sized
}

type weight struct {
	name     string
	location string // "" = inside
	offset   string
	length   string
}

func field1(number protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), body)
}

func varint1(number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), v)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func (v value) encode() []byte {
	var dims []byte
	for _, d := range v.shape {
		switch d {
		case -1:
			dims = append(dims, field1(1, field1(2, []byte("batch")))...)
		case -2:
			dims = append(dims, field1(1, nil)...)
		default:
			dims = append(dims, field1(1, varint1(1, uint64(d)))...)
		}
	}
	inner := varint1(1, v.elem)
	if v.shape != nil {
		inner = append(inner, field1(2, dims)...)
	}
	return join(field1(1, []byte(v.name)), field1(2, field1(1, inner)))
}

func (w weight) encode() []byte {
	if w.location == "" {
		return join(varint1(1, 2), varint1(2, 1), field1(8, []byte(w.name)), field1(9, make([]byte, 8)))
	}
	entry := func(k, v string) []byte { return field1(13, join(field1(1, []byte(k)), field1(2, []byte(v)))) }
	return join(field1(8, []byte(w.name)), entry("location", w.location), entry("offset", w.offset),
		entry("length", w.length), varint1(14, 1))
}

func (g graphSpec) encode() []byte {
	node := field1(4, []byte("Identity"))
	if len(g.subgraph) > 0 {
		var body []byte
		for _, w := range g.subgraph {
			body = append(body, field1(5, w.encode())...)
		}
		node = append(node, field1(5, field1(6, body))...)
	}
	graph := field1(1, node)
	for _, w := range g.weights {
		graph = append(graph, field1(5, w.encode())...)
	}
	for _, v := range g.inputs {
		graph = append(graph, field1(11, v.encode())...)
	}
	for _, v := range g.outputs {
		graph = append(graph, field1(12, v.encode())...)
	}
	return join(varint1(1, 8), field1(2, []byte("test")), field1(7, graph),
		field1(8, join(field1(1, []byte("com.example")), varint1(2, 3))), field1(8, varint1(2, uint64(g.opset))))
}

var (
	imageIn  = value{"image", 2, []int64{-1, 2, 2}}
	waveIn   = value{"wave", 5, []int64{-1, -2}}
	gainIn   = value{"gain", 1, []int64{-1}}
	scores   = value{"scores", 1, []int64{-1, 2}}
	inside   = weight{name: "w0"}
	outside  = weight{"w1", "weights.bin", "4096", "400"}
	imageOne = graphSpec{17, []value{imageIn}, []value{scores}, []weight{inside, outside}, nil}
	allOne   = graphSpec{17, []value{imageIn, waveIn, gainIn}, []value{scores}, []weight{outside}, []weight{{"w2", "loop.bin", "0", "16"}}}
)

// writePackage makes a valid package with labelled sets of 4 and 3 samples.
func writePackage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, FileName, []byte(goodYAML))
	write(t, dir, "onnx/image.onnx", imageOne.encode())
	write(t, dir, "onnx/all.onnx", allOne.encode())
	write(t, dir, "onnx/weights.bin", make([]byte, 4496))
	write(t, dir, "onnx/loop.bin", make([]byte, 16))
	write(t, dir, "eval/profile.npz", npz(t, setArrays(4)))
	write(t, dir, "eval/heldout.npz", npz(t, setArrays(3)))
	return dir
}

func write(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// setArrays makes a labelled set of n samples with distinct bytes.
func setArrays(n int) []tensor.Tensor {
	rows := func(size int) []byte {
		data := make([]byte, n*size)
		for i := range data {
			data[i] = byte(i / size)
		}
		return data
	}
	var labels []byte
	for i := range n {
		labels = binary.LittleEndian.AppendUint64(labels, uint64(i%2))
	}
	count := int64(n)
	return []tensor.Tensor{
		{Name: "image", DType: tensor.Uint8, Shape: tensor.Shape{count, 2, 2}, Data: rows(4)},
		{Name: "wave", DType: tensor.Int16, Shape: tensor.Shape{count, 5}, Data: rows(10)},
		{Name: "gain", DType: tensor.FP32, Shape: tensor.Shape{count}, Data: rows(4)},
		{Name: "label", DType: tensor.Int64, Shape: tensor.Shape{count}, Data: labels},
	}
}

func npz(t testing.TB, arrays []tensor.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteNPZ(&b, arrays); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// loadGood loads the good package.
func loadGood(t *testing.T) *Model {
	t.Helper()
	m, err := Load(writePackage(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// lines strips the directory from problems and drops the file where it is
// mosel.yaml.
func lines(dir string, problems []Problem) []string {
	var out []string
	for _, p := range problems {
		if p.File == filepath.Join(dir, FileName) {
			out = append(out, strconv.Itoa(p.Line)+":"+strconv.Itoa(p.Column)+": "+p.Message)
			continue
		}
		if rel, err := filepath.Rel(dir, p.File); err == nil {
			p.File = filepath.ToSlash(rel)
		}
		out = append(out, p.String())
	}
	return out
}
