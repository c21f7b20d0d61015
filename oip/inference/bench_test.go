package inference

import (
	"testing"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// digits is a request of 17 KB as the Go client sends it: image, audio and text.
func digits(b *testing.B) (*oip.Request, *ModelInferRequest) {
	q := &oip.Request{Parameters: oip.Parameters{{Name: "min_accuracy", Value: oip.Float(0.97)}, {Name: "deadline_ms", Value: oip.Float(50)}},
		Inputs: []tensor.Tensor{
			{Name: "image", DType: tensor.Uint8, Shape: tensor.Shape{1, 28, 28}, Data: make([]byte, 784)},
			{Name: "audio", DType: tensor.Int16, Shape: tensor.Shape{1, 8000}, Data: make([]byte, 16000)},
			{Name: "text", DType: tensor.Uint8, Shape: tensor.Shape{1, 12}, Data: make([]byte, 12)},
		}}
	m := &ModelInferRequest{ModelName: "digits"}
	if err := EncodeRequest(m, q); err != nil {
		b.Fatal(err)
	}
	return q, m
}

func BenchmarkDecodeRequest(b *testing.B) {
	_, m := digits(b)
	var q oip.Request
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeRequest(&q, m, oip.DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeRequest(b *testing.B) {
	q, m := digits(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := EncodeRequest(m, q); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeTyped reads a 28x28 image whose pixels are sent as numbers.
func BenchmarkDecodeTyped(b *testing.B) {
	for name, m := range map[string]*ModelInferRequest{
		"UINT8": input("UINT8", []int64{1, 784}, &InferTensorContents{UintContents: make([]uint32, 784)}),
		"FP32":  input("FP32", []int64{1, 784}, &InferTensorContents{Fp32Contents: make([]float32, 784)}),
	} {
		b.Run(name, func(b *testing.B) {
			var q oip.Request
			b.ReportAllocs()
			for b.Loop() {
				if err := DecodeRequest(&q, m, oip.DefaultLimits()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEncodeResponse makes the message that answers it, new every time, as
// a server must.
func BenchmarkEncodeResponse(b *testing.B) {
	p := &oip.Response{ModelName: "digits", ModelVersion: "1", ID: "7",
		Parameters: oip.Parameters{{Name: "variant", Value: oip.String("image")}, {Name: "modalities", Value: oip.String("image")},
			{Name: "expected_accuracy", Value: oip.Float(0.97)}, {Name: "queue_us", Value: oip.Int(21)}, {Name: "compute_us", Value: oip.Int(1480)}},
		Outputs: []tensor.Tensor{{Name: "probabilities", DType: tensor.FP32, Shape: tensor.Shape{1, 10}, Data: make([]byte, 40)}}}
	b.ReportAllocs()
	for b.Loop() {
		if err := EncodeResponse(&ModelInferResponse{}, p); err != nil {
			b.Fatal(err)
		}
	}
}
