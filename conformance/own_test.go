package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/server"
	"google.golang.org/protobuf/encoding/protowire"
)

// The suite's own server serves the shipped model and these small ones. Together they
// have every datatype, dynamic dimensions, modalities with several inputs, and a
// modality that cannot run alone. Nothing is computed: the runtime is a fake.
var packages = []modelSpec{
	{name: "types", modalities: []modalitySpec{{"values", []tensorSpec{{"bool", "BOOL", []int64{3}}, {"uint8", "UINT8", []int64{2, 3}},
		{"uint16", "UINT16", []int64{2}}, {"uint32", "UINT32", []int64{2}}, {"uint64", "UINT64", []int64{2}}, {"int8", "INT8", []int64{2}},
		{"int16", "INT16", []int64{2}}, {"int32", "INT32", []int64{2}}, {"int64", "INT64", []int64{2}}, {"fp32", "FP32", []int64{2, 2, 2}},
		{"fp64", "FP64", []int64{}}}}},
		outputs: []tensorSpec{{"scores", "FP32", []int64{300}}, {"o_bool", "BOOL", []int64{3}}, {"o_uint8", "UINT8", []int64{2, 2}},
			{"o_uint16", "UINT16", []int64{2}}, {"o_uint32", "UINT32", []int64{2}}, {"o_uint64", "UINT64", []int64{2}}, {"o_int8", "INT8", []int64{2}},
			{"o_int16", "INT16", []int64{2}}, {"o_int32", "INT32", []int64{2}}, {"o_int64", "INT64", []int64{}}, {"o_fp64", "FP64", []int64{2}}},
		variants: []variantSpec{{"all", "values", 0.9}}},
	{name: "halves", modalities: []modalitySpec{{"values", []tensorSpec{{"fp16", "FP16", []int64{2}}, {"bf16", "BF16", []int64{3}}}}},
		outputs:  []tensorSpec{{"scores", "FP32", []int64{2}}, {"o_fp16", "FP16", []int64{2}}, {"o_bf16", "BF16", []int64{3}}},
		variants: []variantSpec{{"all", "values", 0.9}}},
	{name: "single", modalities: []modalitySpec{{"x", []tensorSpec{{"x", "INT16", []int64{2}}}}},
		outputs: []tensorSpec{{"y", "FP32", []int64{2}}}, variants: []variantSpec{{"all", "x", 0.9}}},
	{name: "series", modalities: []modalitySpec{{"wave", []tensorSpec{{"wave", "FP32", []int64{-1, 2}}}}},
		outputs: []tensorSpec{{"y", "FP32", []int64{2}}}, variants: []variantSpec{{"all", "wave", 0.9}}},
	{name: "pairs", modalities: []modalitySpec{{"left", []tensorSpec{{"a", "FP32", []int64{2}}, {"b", "UINT8", []int64{2}}}},
		{"right", []tensorSpec{{"c", "INT64", []int64{2}}}}},
		outputs:  []tensorSpec{{"y", "FP32", []int64{2}}, {"z", "INT32", []int64{1}}},
		variants: []variantSpec{{"left", "left", 0.75}, {"both", "left, right", 0.9}}},
}

// modelSpec is a model package to be written.
type modelSpec struct {
	name       string
	modalities []modalitySpec
	outputs    []tensorSpec
	variants   []variantSpec
	itemMS     float64 // profiled time per item; 0 means the constant itemMS
}

type modalitySpec struct {
	name   string
	inputs []tensorSpec // without the batch dimension
}

type variantSpec struct {
	name       string
	modalities string // comma separated
	accuracy   float64
}

// onnxTypes are the numbers of the datatypes in ONNX.
var onnxTypes = map[string]uint64{"FP32": 1, "UINT8": 2, "INT8": 3, "UINT16": 4, "INT16": 5, "INT32": 6, "INT64": 7, "BOOL": 9, "FP16": 10,
	"FP64": 11, "UINT32": 12, "UINT64": 13, "BF16": 16}

// write writes the package into a directory below dir.
func (spec modelSpec) write(dir string) error {
	dir = filepath.Join(dir, spec.name)
	var text strings.Builder
	fmt.Fprintf(&text, "format: 1\nname: %s\nversion: \"1\"\nmodalities:\n", spec.name)
	list := func(specs []tensorSpec, indent string) {
		for _, s := range specs {
			most := ""
			if slices.Contains(s.Shape, -1) {
				most = ", max: 1024"
			}
			fmt.Fprintf(&text, "%s- {name: %s, datatype: %s, shape: %s%s}\n", indent, s.Name, s.Datatype, dims(s.Shape), most)
		}
	}
	for _, m := range spec.modalities {
		fmt.Fprintf(&text, "  - name: %s\n    inputs:\n", m.name)
		list(m.inputs, "      ")
	}
	text.WriteString("outputs:\n")
	list(spec.outputs, "  ")
	text.WriteString("variants:\n")
	for _, v := range spec.variants {
		fmt.Fprintf(&text, "  - {name: %s, modalities: [%s], path: %s.onnx}\n", v.name, v.modalities, v.name)
	}
	text.WriteString("limits:\n  max_batch: 8\n")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "mosel.yaml"), []byte(text.String()), 0o644); err != nil {
		return err
	}
	for _, v := range spec.variants {
		if err := os.WriteFile(filepath.Join(dir, v.name+".onnx"), spec.graph(v), 0o644); err != nil {
			return err
		}
	}
	return spec.profile(dir)
}

// graph returns an ONNX file with the parts that a server reads without running it: the
// names and types of inputs and outputs.
func (spec modelSpec) graph(v variantSpec) []byte {
	var graph []byte
	for _, m := range spec.modalities {
		for _, in := range m.inputs {
			if strings.Contains(v.modalities, m.name) {
				graph = append(graph, message(11, onnxValue(in))...)
			}
		}
	}
	for _, out := range spec.outputs {
		graph = append(graph, message(12, onnxValue(out))...)
	}
	const opset = 17
	return append(append(varint(1, 8), message(7, graph)...), message(8, varint(2, opset))...)
}

// onnxValue returns a value of a graph with its type and an open shape.
func onnxValue(spec tensorSpec) []byte {
	return append(message(1, []byte(spec.Name)), message(2, message(1, varint(1, onnxTypes[spec.Datatype])))...)
}

func message(field protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), body)
}

func varint(field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), v)
}

// itemMS is the profiled time per item by default. No run takes that long, but promises
// to clients follow from it.
const itemMS = 0.5

// profile writes an invented profile of the package.
func (spec modelSpec) profile(dir string) error {
	m, err := modelpkg.Load(dir)
	if err != nil {
		return err
	}
	p := modelpkg.Profile{Format: modelpkg.ProfileFormat, Model: m.Name, ModelVersion: m.Version, ModelDigest: m.Digest, Device: "cpu", Threads: 1}
	const samples = 1000
	ms := max(spec.itemMS, itemMS)
	for i, v := range spec.variants {
		p.Variants = append(p.Variants, modelpkg.VariantProfile{Name: v.name, Modalities: m.Variants[i].Modalities.Names(m.ModalityNames()), Precision: "fp32",
			Accuracy: modelpkg.MeasuredAccuracy(int(v.accuracy*samples), samples),
			Batches:  []modelpkg.BatchProfile{{Items: 1, P50MS: ms, P95MS: ms, Runs: 1}, {Items: 8, P50MS: 8 * ms, P95MS: 8 * ms, Runs: 1}}})
	}
	return p.Save(m.ProfilePath(p.Device))
}

// ownServer is mosel, serving in this process.
type ownServer struct {
	*server.Server
	address address
	dir     string // of the models; "" if the suite must not remove it
}

// ownBodyMax is the bound on bodies of the suite's own server: small, so that tests can
// exceed it cheaply.
const ownBodyMax = 8 << 20

// ownConfig serves a directory of models on free ports of localhost, on a runtime that
// takes no time.
func ownConfig(models string) server.Config {
	cfg := server.Default(2)
	cfg.ModelsDir, cfg.WatchEvery = models, 0
	cfg.Addr, cfg.GRPCAddr, cfg.MetricsAddr = "127.0.0.1:0", "127.0.0.1:0", ""
	cfg.API.BodyBytesMax, cfg.Feedback.On = ownBodyMax, true
	cfg.Runtime = fake.New(fake.Config{Instant: true})
	return cfg
}

// startOwn serves digits and the small models.
func startOwn() (*ownServer, error) {
	dir, err := os.MkdirTemp("", "mosel-conformance-")
	if err != nil {
		return nil, err
	}
	names := []string{"digits"}
	err = os.CopyFS(filepath.Join(dir, "digits"), os.DirFS("../models/digits"))
	for _, spec := range packages {
		names = append(names, spec.name)
		err = errors.Join(err, spec.write(dir))
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	own, err := start(ownConfig(dir))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	own.dir, own.address.models = dir, names
	if err := own.Warm(context.Background()); err != nil {
		own.stop()
		return nil, err
	}
	return own, nil
}

// start starts a server, which becomes ready when it is warm.
func start(cfg server.Config) (*ownServer, error) {
	s, err := server.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.Start(); err != nil {
		return nil, err
	}
	return &ownServer{Server: s, address: address{rest: "http://" + s.Addr().String(), grpc: s.GRPCAddr().String(), admin: true, bodyMax: cfg.API.BodyBytesMax}}, nil
}

// stopTimeout is how long a server may take to finish its admitted requests.
const stopTimeout = 10 * time.Second

func (o *ownServer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := o.Shutdown(ctx)
	if o.dir != "" {
		err = errors.Join(err, os.RemoveAll(o.dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance: stopping our own server:", err)
	}
}
