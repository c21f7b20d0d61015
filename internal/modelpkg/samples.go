package modelpkg

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Samples is the answer of every variant to every sample of the labelled set. Planning
// mixes, cascades and confidence needs more than means: on which samples two variants
// are both wrong.
type Samples struct {
	Origin
	Labels   score.Labels
	Variants map[string]VariantSamples // by name; a profile's samples have all of the model's
	// Estimates are those of each gate, by its variant's name: of each sample, one for
	// each of its choices.
	Estimates map[string][]float64
	// Primaries are, by variant, the primary modality of each answer, -1 if it has none; of
	// a model with weights of the modalities.
	Primaries map[string][]int
}

// Origin is what answers depend on: the model, the labelled set and the runtime.
type Origin struct {
	ModelDigest    string
	DatasetDigest  string
	Runtime        string
	RuntimeVersion string
	Providers      []Provider
}

// Origin returns the origin of the profile's per-sample results.
func (p *Profile) Origin() Origin {
	return Origin{p.ModelDigest, p.DatasetDigest, p.Runtime, p.RuntimeVersion, p.Providers}
}

// sum returns a hash of the origin, to be stored in a file.
func (o Origin) sum() []byte {
	parts := []string{o.ModelDigest, o.DatasetDigest, o.Runtime, o.RuntimeVersion}
	if o.Providers != nil {
		parts = append(parts, ProviderNames(o.Providers))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, " ")))
	return sum[:]
}

// VariantSamples is one variant's answers, in the order of the labels.
type VariantSamples = score.Answers

// Scores returns the scores of a variant's answers.
func (s *Samples) Scores(variant string) []float64 { return s.Variants[variant].ScoresOf(s.Labels) }

// samplesBytesMax bounds the arrays of a samples file: 64 variants of 10 million
// samples would be 4 GB. The size of the file bounds what is really read.
const samplesBytesMax = 4 << 30

// Save writes the samples as an .npz: "label", "origin" (the SHA-256 of their origin)
// and, for each variant, "<variant>.label", "<variant>.confidence", "<variant>.value"
// and "<variant>.score", as far as its metric has them, "<variant>.estimate" if it is a
// gate and "<variant>.primary" if the model has weights of the modalities.
func (s *Samples) Save(m *Model, path string) error {
	arrays := []tensor.Tensor{{Name: "origin", DType: tensor.Uint8, Shape: tensor.Shape{sha256.Size}, Data: s.sum()}}
	if m.Scoring.WholeLabels() {
		arrays = append(arrays, int32Array(labelArray, s.Labels.Values, s.Labels.Width))
	} else {
		arrays = append(arrays, float64Array(labelArray, s.Labels.Values, s.Labels.Width))
	}
	for _, name := range m.Bases() {
		got := s.Variants[name]
		if got.Predicted != nil {
			arrays = append(arrays, int32Array(name+".label", got.Predicted, 1), float32Array(name+".confidence", got.Confidence))
		}
		if got.Values != nil {
			arrays = append(arrays, float64Array(name+".value", got.Values, s.Labels.Width))
		}
		if got.Scores != nil {
			arrays = append(arrays, float64Array(name+".score", got.Scores, 1))
		}
	}
	for _, g := range m.Gates {
		if name := m.Variants[g.Variant].Declared(); s.Estimates[name] != nil {
			arrays = append(arrays, float64Array(name+estimatesArray, s.Estimates[name], len(g.Choices)))
		}
	}
	for _, name := range m.Bases() {
		if s.Primaries[name] != nil {
			arrays = append(arrays, int32Array(name+primaryArray, s.Primaries[name], 1))
		}
	}
	var file bytes.Buffer
	if err := WriteNPZ(&file, arrays); err != nil {
		return slo.E("write "+path, slo.KindInternal, "%w", err)
	}
	return replaceFile(path, file.Bytes())
}

// LoadSamples reads per-sample results and refuses those of another origin; for a
// profile's results that is its Origin. The result has only the variants in the file:
// an interrupted profile has only some.
func LoadSamples(m *Model, origin Origin, path string) (*Samples, error) {
	op := "load " + path
	file, err := readFile(path, setFileBytesMax)
	if err != nil {
		return nil, fileError(op, err)
	}
	arrays, err := ReadNPZ(bytes.NewReader(file), int64(len(file)), samplesBytesMax)
	if err != nil {
		return nil, &slo.Error{Op: op, Kind: slo.KindInvalid, Err: err}
	}
	s := &Samples{Origin: origin, Variants: map[string]VariantSamples{}}
	if of, _ := arrayNamed(arrays, "origin"); !bytes.Equal(of.Data, origin.sum()) {
		return nil, slo.E(op, slo.KindInvalid, "these are the results of another model, another labelled set or another runtime")
	}
	array, err := labelsNamed(m, labelArray, arrays, nil, nil)
	if err == nil {
		s.Labels, err = m.Scoring.ReadLabels(array, m.Outputs[0].Shape)
	}
	if err != nil {
		return nil, &slo.Error{Op: op, Kind: slo.KindInvalid, Err: err}
	}
	for _, name := range m.Bases() {
		got, found, err := variantSamples(arrays, name)
		if !found {
			continue
		}
		if err = errors.Join(err, got.Fits(m.Scoring, s.Labels)); err != nil {
			return nil, slo.E(op, slo.KindInvalid, "variant %s: %w", name, err)
		}
		s.Variants[name] = got
	}
	if err := errors.Join(s.readEstimates(m, arrays), s.readPrimaries(m, arrays)); err != nil {
		return nil, slo.E(op, slo.KindInvalid, "%w", err)
	}
	return s, nil
}

// primaryArray is what the name of an array with primary modalities ends with.
const primaryArray = ".primary"

// readPrimaries collects the primary modalities of the variants that have answered.
func (s *Samples) readPrimaries(m *Model, arrays []tensor.Tensor) (err error) {
	s.Primaries = map[string][]int{}
	for name := range s.Variants {
		array, ok := arrayNamed(arrays, name+primaryArray)
		if m.Weights() < 0 {
			continue
		}
		if !ok || array.DType != tensor.Int32 || array.Rows() != s.Labels.Len() {
			return fmt.Errorf("variant %s: it needs the primary modality of every sample", name)
		}
		if s.Primaries[name], err = integers(array); err != nil {
			return err
		}
	}
	return nil
}

// estimatesArray is what the name of an array with a gate's estimates ends with.
const estimatesArray = ".estimate"

// readEstimates collects the estimates of the gates that have answered.
func (s *Samples) readEstimates(m *Model, arrays []tensor.Tensor) error {
	s.Estimates = map[string][]float64{}
	for _, g := range m.Gates {
		name := m.Variants[g.Variant].Declared()
		array, ok := arrayNamed(arrays, name+estimatesArray)
		if _, answered := s.Variants[name]; !answered {
			continue
		}
		values := make([]float64, len(array.Data)/8)
		if !ok || array.DType != tensor.FP64 || len(values) != s.Labels.Len()*len(g.Choices) {
			return fmt.Errorf("gate %s: it needs %d estimates for every sample", name, len(g.Choices))
		}
		for i := range values {
			values[i] = floatAt(array.DType, array.Data[8*i:])
		}
		s.Estimates[name] = values
	}
	return nil
}

// variantSamples collects the arrays of one variant. Their lengths are not checked.
func variantSamples(arrays []tensor.Tensor, variant string) (v VariantSamples, found bool, err error) {
	floats := func(name string) []float64 {
		array, ok := arrayNamed(arrays, variant+name)
		if !ok || array.DType != tensor.FP64 {
			return nil
		}
		found = true
		values := make([]float64, len(array.Data)/8)
		for i := range values {
			values[i] = floatAt(array.DType, array.Data[8*i:])
		}
		return values
	}
	v.Values, v.Scores = floats(".value"), floats(".score")
	predicted, ok := arrayNamed(arrays, variant+".label")
	if !ok {
		return v, found, nil
	}
	confidence, _ := arrayNamed(arrays, variant+".confidence")
	if predicted.DType != tensor.Int32 || confidence.DType != tensor.FP32 || len(predicted.Shape) != 1 || !predicted.Shape.Equal(confidence.Shape) {
		return v, true, errors.New("it must have an int32 label and a float32 confidence for every sample")
	}
	v.Confidence = make([]float32, confidence.Rows())
	for i := range v.Confidence {
		v.Confidence[i] = math.Float32frombits(binary.LittleEndian.Uint32(confidence.Row(i)))
	}
	v.Predicted, err = integers(predicted)
	return v, true, err
}

// rows returns the shape of an array with width numbers per sample.
func rows(numbers, width int) tensor.Shape {
	if width == 1 {
		return tensor.Shape{int64(numbers)}
	}
	return tensor.Shape{int64(numbers / max(1, width)), int64(width)}
}

func int32Array[T int | float64](name string, values []T, width int) tensor.Tensor {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(int32(v)))
	}
	return tensor.Tensor{Name: name, DType: tensor.Int32, Shape: rows(len(values), width), Data: data}
}

func float64Array(name string, values []float64, width int) tensor.Tensor {
	data := make([]byte, 0, 8*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(v))
	}
	return tensor.Tensor{Name: name, DType: tensor.FP64, Shape: rows(len(values), width), Data: data}
}

func float32Array(name string, values []float32) tensor.Tensor {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return tensor.Tensor{Name: name, DType: tensor.FP32, Shape: tensor.Shape{int64(len(values))}, Data: data}
}
