package modelpkg

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Samples is what every variant answered to every sample of the labelled set.
// Means are not enough to plan mixes, cascades and confidence: those need to
// know on which samples two variants err together.
type Samples struct {
	Origin
	Labels   []int
	Variants map[string]VariantSamples // by name; a profile's has all of the model's
}

// Origin is what answers depend on: the model, the labelled set and what ran.
type Origin struct {
	ModelDigest    string
	DatasetDigest  string
	Runtime        string
	RuntimeVersion string
}

// Origin is that of the profile's per-sample results.
func (p *Profile) Origin() Origin {
	return Origin{p.ModelDigest, p.DatasetDigest, p.Runtime, p.RuntimeVersion}
}

// sum ties a file to its origin.
func (o Origin) sum() []byte {
	sum := sha256.Sum256([]byte(strings.Join([]string{o.ModelDigest, o.DatasetDigest, o.Runtime, o.RuntimeVersion}, " ")))
	return sum[:]
}

// VariantSamples is one variant's answers, in the order of the labels.
type VariantSamples struct {
	Predicted  []int     // the class
	Confidence []float32 // its score: the first output's largest element
}

// Correct counts the right answers of a variant.
func (s *Samples) Correct(variant string) int {
	correct := 0
	for i, p := range s.Variants[variant].Predicted {
		if p == s.Labels[i] {
			correct++
		}
	}
	return correct
}

// samplesBytesMax bounds the arrays of a samples file: 64 variants of 10
// million samples would be 4 GB; what is really there is bounded by the file.
const samplesBytesMax = 4 << 30

// Save writes the samples as an .npz: "label", "<variant>.label",
// "<variant>.confidence", and "origin", the SHA-256 of what they belong to.
func (s *Samples) Save(m *Model, path string) error {
	arrays := []tensor.Tensor{
		{Name: "origin", DType: tensor.Uint8, Shape: tensor.Shape{sha256.Size}, Data: s.sum()},
		int32Array(labelArray, s.Labels),
	}
	for _, v := range m.Variants {
		if got, ok := s.Variants[v.Name]; ok {
			arrays = append(arrays, int32Array(v.Name+".label", got.Predicted), float32Array(v.Name+".confidence", got.Confidence))
		}
	}
	var file bytes.Buffer
	if err := WriteNPZ(&file, arrays); err != nil {
		return slo.E("write "+path, slo.KindInternal, "%w", err)
	}
	return replaceFile(path, file.Bytes())
}

// LoadSamples reads per-sample results and refuses those of another origin:
// that of a profile is its Origin. Variants that are not in the file are not in the
// result: a profile that was interrupted has only some.
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
	labels, faults := labelsOf(arrays, m.Classes())
	if len(faults) > 0 {
		return nil, &slo.Error{Op: op, Kind: slo.KindInvalid, Err: oneLine(faults)}
	}
	s.Labels = labels
	for _, v := range m.Variants {
		predicted, ok := arrayNamed(arrays, v.Name+".label")
		if !ok {
			continue
		}
		confidence, _ := arrayNamed(arrays, v.Name+".confidence")
		got, err := variantSamples(predicted, confidence, len(labels))
		if err != nil {
			return nil, slo.E(op, slo.KindInvalid, "variant %s: %w", v.Name, err)
		}
		s.Variants[v.Name] = got
	}
	return s, nil
}

func variantSamples(predicted, confidence tensor.Tensor, n int) (VariantSamples, error) {
	want := tensor.Shape{int64(n)}
	if predicted.DType != tensor.Int32 || confidence.DType != tensor.FP32 || !predicted.Shape.Equal(want) || !confidence.Shape.Equal(want) {
		return VariantSamples{}, errors.New("it must have an int32 label and a float32 confidence for every sample")
	}
	v := VariantSamples{Confidence: make([]float32, n)}
	for i := range v.Confidence {
		v.Confidence[i] = math.Float32frombits(binary.LittleEndian.Uint32(confidence.Row(i)))
	}
	var err error
	v.Predicted, err = integers(predicted)
	return v, err
}

func int32Array(name string, values []int) tensor.Tensor {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(int32(v)))
	}
	return tensor.Tensor{Name: name, DType: tensor.Int32, Shape: tensor.Shape{int64(len(values))}, Data: data}
}

func float32Array(name string, values []float32) tensor.Tensor {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return tensor.Tensor{Name: name, DType: tensor.FP32, Shape: tensor.Shape{int64(len(values))}, Data: data}
}
