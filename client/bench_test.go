package client_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// The benchmarks send one request of 17 KB after the other to a server that decodes
// it and answers with a small tensor.
func benchmark(b *testing.B, start func(t testing.TB, f *fake) string, run func(c *client.Client, r client.Request)) {
	c, err := client.New(start(b, &fake{t: b, infer: func(call) (oip.Response, *client.Error) {
		return oip.Response{ModelName: "m", Outputs: []tensor.Tensor{pixels(1)}}, nil
	}}), client.Options{GRPC: clientgrpc.Dial})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	run(c, client.Request{Model: "m", MinAccuracy: 0.97, Deadline: 50 * time.Millisecond,
		Inputs: []tensor.Tensor{pixels(400), {Name: "audio", DType: tensor.Int16, Shape: tensor.Shape{1, 8000}, Data: make([]byte, 16000)}}})
}

func BenchmarkInfer(b *testing.B) {
	for _, way := range transports {
		b.Run(way.name, func(b *testing.B) {
			benchmark(b, way.start, func(c *client.Client, r client.Request) {
				for b.Loop() {
					if _, err := c.Infer(b.Context(), r); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkStream keeps the window full.
func BenchmarkStream(b *testing.B) {
	for _, way := range transports {
		b.Run(way.name, func(b *testing.B) {
			benchmark(b, way.start, func(c *client.Client, r client.Request) {
				s, err := c.Stream(b.Context(), client.StreamOptions{Window: 16})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				ahead := 0
				for b.Loop() {
					for ahead < 16 {
						if err := s.Send(r); err != nil {
							b.Fatal(err)
						}
						ahead++
					}
					if _, err := s.Recv(); err != nil {
						b.Fatal(err)
					}
					ahead--
				}
			})
		})
	}
}
