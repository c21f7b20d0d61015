// Package modelpkgtest writes model packages for tests and benchmarks of servers on the
// fake runtime, which need models of any shape on disk but no computation. The packages
// are valid, have a profile, and load as any other does; only their graphs have no
// operators.
package modelpkgtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/mosel-serve/mosel/tensor"
)

// Measured is the profile of one variant.
type Measured struct {
	Accuracy float64       // mean of 1000 samples, 0 to 1
	Item     time.Duration // above 0; the time per item of a batch
	Batch    time.Duration // the time per batch, which makes larger batches worthwhile
}

// device is the device of the written profile, the only one, so FindProfile finds it.
const device = "made-up"

// Write makes a package of the model in a new directory below dir, with the model's
// name, and returns the loaded model. measured[i] is for m.Variants[i]. The variants'
// inputs follow from their modalities.
func Write(dir string, m *modelpkg.Model, measured []Measured) (*modelpkg.Model, error) {
	return WriteGraphs(dir, m, measured, func(v modelpkg.Variant) []byte { return graph(m, v) })
}

// WriteGraphs is Write with the variants' ONNX files made by graphOf.
func WriteGraphs(dir string, m *modelpkg.Model, measured []Measured, graphOf func(modelpkg.Variant) []byte) (*modelpkg.Model, error) {
	dir = filepath.Join(dir, m.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(declaration(m), "", "  ") // JSON is valid YAML
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, modelpkg.FileName), text, 0o644); err != nil {
		return nil, err
	}
	for _, v := range m.Variants {
		if v.Remote != nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, v.Name+".onnx"), graphOf(v), 0o644); err != nil {
			return nil, err
		}
	}
	loaded, err := modelpkg.Load(dir)
	if err != nil {
		return nil, err
	}
	return loaded, WriteProfile(loaded, measured)
}

// WriteProfile writes an invented profile into a model's package.
func WriteProfile(m *modelpkg.Model, measured []Measured) error {
	return profile(m, measured).Save(m.ProfilePath(device))
}

type (
	object = map[string]any
	list   = []any
)

// declaration returns the model as in mosel.yaml.
func declaration(m *modelpkg.Model) object {
	var modalities, outputs, variants list
	for _, modality := range m.Modalities {
		var inputs list
		for _, i := range modality.Inputs {
			o := input(m, i)
			if tokens := m.Inputs[i].Tokens; tokens != nil {
				o["tokenizer"] = tokens.Path
				if tokens.Mask >= 0 {
					o["mask"] = m.Inputs[tokens.Mask].Name
				}
				if tokens.Types >= 0 {
					o["types"] = m.Inputs[tokens.Types].Name
				}
			}
			inputs = append(inputs, o)
		}
		modalities = append(modalities, object{"name": modality.Name, "inputs": inputs})
	}
	for _, out := range m.Outputs {
		outputs = append(outputs, declared(out))
	}
	for i, v := range m.Variants {
		if i > 0 && v.Declared() == m.Variants[i-1].Declared() {
			continue // of other sizes
		}
		v.Name = v.Declared()
		o := object{"name": v.Name, "modalities": v.Modalities.Names(m.ModalityNames())}
		if r := v.Remote; r != nil {
			o["remote"], o["slots"], o["timeout"] = r.Server+"/"+r.Model, max(1, r.Slots), max(time.Second, r.Timeout).String()
		} else {
			o["path"] = v.Name + ".onnx"
		}
		variants = append(variants, o)
	}
	isolation := string(m.Isolation)
	if isolation == "" {
		isolation = "none"
	}
	return object{"format": 1, "isolation": isolation, "name": m.Name, "version": m.Version, "task": "classification", "metric": "accuracy",
		"modalities": modalities, "outputs": outputs, "variants": variants, "limits": object{"max_batch": m.Limits.BatchItemsMax}}
}

// maxDefault is the largest size of an input's dimension that is -1 if the test's model
// gives none: a package must have one.
const maxDefault = 1024

// declared returns a tensor as in mosel.yaml.
func declared(s modelpkg.Spec) object {
	o := object{"name": s.Name, "datatype": s.DType.String(), "shape": append([]int64{}, s.Shape...)}
	if s.Max > 0 {
		o["max"] = s.Max
	}
	if s.Follows != "" {
		o["follows"] = s.Follows
	}
	return o
}

// input returns an input as in mosel.yaml.
func input(m *modelpkg.Model, i int) object {
	in := m.Inputs[i]
	if in.Max == 0 && slices.Contains(in.Shape, -1) && !m.IsBeside(i) {
		in.Max = maxDefault
	}
	o := declared(in.Spec)
	if in.Media != modelpkg.MediaNone {
		o["media"] = string(in.Media)
	}
	if in.SampleRate > 0 {
		o["sample_rate"] = in.SampleRate
	}
	if in.Absent.Kind != modelpkg.AbsentNever {
		o["absent"] = string(in.Absent.Kind)
	}
	if in.Absent.Kind == modelpkg.AbsentSilence && in.Absent.Below > 0 {
		o["silence_below"] = in.Absent.Below
	}
	if in.Range != nil {
		o["range"] = []float64{in.Range.Low, in.Range.High}
	}
	if b := in.Buckets; b != nil {
		o["buckets"] = bucketSizes(in)
		delete(o, "max")
		if b.Cut {
			o["longer"] = "cut"
		}
		for key, other := range map[string]int{"mask": b.Mask, "length": b.Length} {
			if other >= 0 {
				o[key] = m.Inputs[other].Name
			}
		}
	}
	if in.Unbatched {
		o["batched"] = false
	}
	return o
}

// bucketSizes are the sizes of an input's buckets as in mosel.yaml.
func bucketSizes(in modelpkg.Input) (sizes list) {
	for _, shape := range in.Buckets.Shapes {
		var one []int64
		for i, d := range in.Shape {
			if d == -1 {
				one = append(one, shape[i])
			}
		}
		sizes = append(sizes, one)
	}
	return sizes
}

// elements are the numbers of the element types in ONNX files.
var elements = map[tensor.DType]uint64{
	tensor.FP32: 1, tensor.Uint8: 2, tensor.Int8: 3, tensor.Uint16: 4, tensor.Int16: 5, tensor.Int32: 6, tensor.Int64: 7, tensor.Bytes: 8,
	tensor.Bool: 9, tensor.FP16: 10, tensor.FP64: 11, tensor.Uint32: 12, tensor.Uint64: 13, tensor.BF16: 16,
}

// graph returns a variant's ONNX file: its inputs and outputs, with open shapes. The
// numbers are those of onnx.proto3.
func graph(m *modelpkg.Model, v modelpkg.Variant) []byte {
	value := func(s modelpkg.Spec) []byte {
		return slices.Concat(message(1, []byte(s.Name)), message(2, message(1, number(1, elements[s.DType]))))
	}
	var g []byte
	for _, in := range m.Inputs {
		if v.Modalities.Has(1 << in.Modality) {
			g = append(g, message(11, value(in.Spec))...)
		}
	}
	for _, out := range m.Outputs {
		g = append(g, message(12, value(out))...)
	}
	const irVersion, opset = 8, 17
	return slices.Concat(number(1, irVersion), message(7, g), message(8, number(2, opset)))
}

func message(field protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), body)
}

func number(field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), v)
}

// profile returns an invented profile of the model.
func profile(m *modelpkg.Model, measured []Measured) *modelpkg.Profile {
	const samples = 1000
	p := &modelpkg.Profile{Format: modelpkg.ProfileFormat, Model: m.Name, ModelVersion: m.Version, ModelDigest: m.Digest,
		Device: device, Threads: 1, Runtime: "fake", RuntimeVersion: "1", Samples: samples}
	for i, v := range m.Variants {
		vp := modelpkg.VariantProfile{Name: v.Name, Modalities: v.Modalities.Names(m.ModalityNames()), Precision: v.Precision,
			Accuracy: modelpkg.MeasuredAccuracy(int(measured[i].Accuracy*samples+0.5), samples)}
		for _, items := range slices.Compact([]int{1, m.Limits.BatchItemsMax}) {
			ms := stats.Milliseconds(measured[i].Batch + time.Duration(items)*measured[i].Item)
			vp.Batches = append(vp.Batches, modelpkg.BatchProfile{Items: items, P50MS: ms, P95MS: ms, Runs: 1})
		}
		p.Variants = append(p.Variants, vp)
	}
	return p
}

// Model returns a model whose modalities have one input each, with the same name. A
// variant's name is its modalities joined by "_": "image_text". It panics for an
// unknown modality.
func Model(name string, inputs []modelpkg.Spec, output modelpkg.Spec, variants ...string) *modelpkg.Model {
	m := &modelpkg.Model{Name: name, Version: "1", Outputs: []modelpkg.Spec{output}, Limits: modelpkg.Limits{BatchItemsMax: 32}}
	for i, in := range inputs {
		m.Inputs = append(m.Inputs, modelpkg.Input{Spec: in, Modality: i})
		m.Modalities = append(m.Modalities, modelpkg.Modality{Name: in.Name, Inputs: []int{i}})
	}
	for _, v := range variants {
		set, err := m.ModalitySet(strings.Split(v, "_"))
		if err != nil {
			panic(err)
		}
		m.Variants = append(m.Variants, modelpkg.Variant{Name: v, Modalities: set})
	}
	return m
}
