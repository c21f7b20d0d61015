package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/tensor"
)

// must ends the program if something failed.
func must(what string, err error) {
	if err != nil {
		slog.Error(what, "err", err)
		os.Exit(1)
	}
}

// photo is a request for one picture, by the digits model that comes with mosel.
func photo(pixels []byte) client.Request {
	image, err := tensor.Of("image", tensor.Shape{1, 28, 28}, pixels)
	must("make a tensor", err)
	return client.Request{Model: "digits", Inputs: []tensor.Tensor{image}}
}

// A request with a floor and a deadline; the server decides which of the
// modalities sent are worth running.
func Example() {
	c, err := client.New("localhost:8000", client.Options{})
	must("make a client", err)
	defer c.Close()

	request := photo(make([]byte, 28*28))
	request.MinAccuracy = 0.8
	request.Deadline = 50 * time.Millisecond
	answer, err := c.Infer(context.Background(), request)
	must("infer", err)
	fmt.Println(answer.Variant, answer.ExpectedAccuracy, answer.Queue+answer.Compute)
}

// The same over gRPC, with TLS of an authority of our own, a token, and a key by
// which the server tells this client from others.
func ExampleNew() {
	authority, err := os.ReadFile("authority.pem")
	must("read a certificate", err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)

	c, err := client.New("grpcs://inference.example.com:8001", client.Options{
		GRPC:      clientgrpc.Dial,
		Token:     os.Getenv("MOSEL_TOKEN"),
		ClientKey: "team-a",
		TLS:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
	})
	must("make a client", err)
	defer c.Close()

	ready, err := c.Ready(context.Background())
	must("ask", err)
	fmt.Println(ready)
}

// What to do about an answer that is not a success.
func ExampleError() {
	c, err := client.New("localhost:8000", client.Options{})
	must("make a client", err)
	defer c.Close()

	request := photo(make([]byte, 28*28))
	request.MinAccuracy = 0.999
	_, err = c.Infer(context.Background(), request)
	var failure *client.Error
	switch {
	case err == nil:
		fmt.Println("served")
	case !errors.As(err, &failure):
		fmt.Println("not sent, or not answered:", err)
	case errors.Is(err, client.ErrInfeasible):
		fmt.Println("ask for at most", failure.BestAccuracy)
	case failure.Retryable():
		fmt.Println("try again after", failure.RetryAfter)
	default:
		fmt.Println("do not try again:", failure.Message, failure.Job)
	}
}

// Two requests under way at a time, collected when both are needed.
func ExampleClient_Go() {
	c, err := client.New("grpc://localhost:8001", client.Options{GRPC: clientgrpc.Dial})
	must("make a client", err)
	defer c.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	left := c.Go(ctx, photo(make([]byte, 28*28)))
	right := c.Go(ctx, photo(make([]byte, 28*28)))

	for _, call := range []*client.Call{left, right} {
		answer, err := call.Result()
		must("infer", err)
		fmt.Println(answer.Variant)
	}
}

// Pictures from somewhere, one after the other: one goroutine sends, another
// receives, and neither waits for the other but when the window is full.
func ExampleClient_Stream() {
	c, err := client.New("grpc://localhost:8001", client.Options{GRPC: clientgrpc.Dial})
	must("make a client", err)
	defer c.Close()

	s, err := c.Stream(context.Background(), client.StreamOptions{Window: 32})
	must("open a stream", err)
	defer s.Close()

	go func() {
		defer s.CloseSend()
		for range 1000 {
			if err := s.Send(photo(make([]byte, 28*28))); err != nil {
				slog.Error("the stream has ended", "err", err)
				return
			}
		}
	}()
	for {
		answer, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			slog.Warn("one request failed, the stream goes on", "err", err)
			continue
		}
		fmt.Println(answer.Variant)
	}
}
