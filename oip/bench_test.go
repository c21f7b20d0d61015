package oip

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

// image is a JSON request with one 28x28 picture, as a client writes it.
func image(dtype tensor.DType, number func(rnd *rand.Rand) string) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	body := []byte(`{"id":"1","parameters":{"min_accuracy":0.97},"inputs":[{"name":"image","shape":[1,784],"datatype":"` + dtype.String() + `","data":[`)
	for i := range 784 {
		if i > 0 {
			body = append(body, ", "...)
		}
		body = append(body, number(rnd)...)
	}
	return append(body, "]}]}"...)
}

func pixel(rnd *rand.Rand) string    { return strconv.Itoa(rnd.IntN(256)) }
func decimal6(rnd *rand.Rand) string { return strconv.FormatFloat(rnd.Float64(), 'f', 6, 64) }

// python is how Python prints a float32: as the float64 it becomes, 17 digits.
func python(rnd *rand.Rand) string {
	return strconv.FormatFloat(float64(rnd.Float32()), 'g', 17, 64)
}

var images = []struct {
	name string
	body []byte
}{
	{"UINT8", image(tensor.Uint8, pixel)},
	{"FP32-6-digits", image(tensor.FP32, decimal6)},
	{"FP32-17-digits", image(tensor.FP32, python)},
}

// BenchmarkDecodeJSON is one pass over the text straight into the tensor.
func BenchmarkDecodeJSON(b *testing.B) {
	for _, im := range images {
		b.Run(im.name, func(b *testing.B) {
			b.SetBytes(int64(len(im.body)))
			b.ReportAllocs()
			var q Request
			for b.Loop() {
				if err := q.Decode(im.body, AllJSON, DefaultLimits()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// envelope is what a request looks like to encoding/json.
type envelope[D any] struct {
	ID         string         `json:"id"`
	Parameters map[string]any `json:"parameters"`
	Inputs     []struct {
		Name     string  `json:"name"`
		Shape    []int64 `json:"shape"`
		Datatype string  `json:"datatype"`
		Data     D       `json:"data"`
	} `json:"inputs"`
}

// BenchmarkAlternativeRawMessage reads the envelope with encoding/json, leaving
// the data for our own scanner.
func BenchmarkAlternativeRawMessage(b *testing.B) {
	for _, im := range images {
		b.Run(im.name, func(b *testing.B) {
			b.SetBytes(int64(len(im.body)))
			b.ReportAllocs()
			for b.Loop() {
				var e envelope[json.RawMessage]
				if err := json.Unmarshal(im.body, &e); err != nil {
					b.Fatal(err)
				}
				t := tensor.Tensor{Name: e.Inputs[0].Name, DType: tensor.FP32, Shape: e.Inputs[0].Shape}
				r := reader{buf: e.Inputs[0].Data, lim: DefaultLimits()}
				if err := r.data(&t); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAlternativeFloats leaves all to encoding/json.
func BenchmarkAlternativeFloats(b *testing.B) {
	for _, im := range images {
		b.Run(im.name, func(b *testing.B) {
			b.SetBytes(int64(len(im.body)))
			b.ReportAllocs()
			for b.Loop() {
				var e envelope[[]float32]
				if err := json.Unmarshal(im.body, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// digits is a request as the Go client sends it: image, audio and text in
// binary form.
func digits(b *testing.B) (body []byte, jsonBytes int) {
	q := Request{OutputForm: Binary, Parameters: Parameters{{"min_accuracy", Float(0.97)}, {"deadline_ms", Float(50)}}, Inputs: []tensor.Tensor{
		{Name: "image", DType: tensor.Uint8, Shape: tensor.Shape{1, 28, 28}, Data: make([]byte, 784)},
		{Name: "audio", DType: tensor.Int16, Shape: tensor.Shape{1, 8000}, Data: make([]byte, 16000)},
		{Name: "text", DType: tensor.Uint8, Shape: tensor.Shape{1, 12}, Data: make([]byte, 12)},
	}}
	body, jsonBytes, err := q.Append(nil, Binary)
	if err != nil {
		b.Fatal(err)
	}
	return body, jsonBytes
}

func BenchmarkDecodeBinary(b *testing.B) {
	body, n := digits(b)
	b.ReportAllocs()
	var q Request
	for b.Loop() {
		if err := q.Decode(body, n, DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendBinary(b *testing.B) {
	body, n := digits(b)
	var q Request
	if err := q.Decode(body, n, DefaultLimits()); err != nil {
		b.Fatal(err)
	}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, _, err = q.Append(out[:0], Binary); err != nil {
			b.Fatal(err)
		}
	}
}
