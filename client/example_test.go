package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/tensor"
)

// A request with a floor and a deadline; the server decides which of the
// modalities sent are worth running.
func Example() {
	c, err := client.New("localhost:8000", client.Options{})
	if err != nil {
		slog.Error("make a client", "err", err)
		os.Exit(1)
	}
	defer c.Close()

	image, err := tensor.New("image", tensor.Uint8, tensor.Shape{1, 28, 28}, make([]byte, 28*28))
	if err != nil {
		slog.Error("make a tensor", "err", err)
		os.Exit(1)
	}
	answer, err := c.Infer(context.Background(), client.Request{
		Model:       "digits",
		Inputs:      []tensor.Tensor{image},
		MinAccuracy: 0.8,
		Deadline:    50 * time.Millisecond,
	})
	if err != nil {
		slog.Error("infer", "err", err)
		os.Exit(1)
	}
	fmt.Println(answer.Variant, answer.ExpectedAccuracy, answer.Queue+answer.Compute)
}

// What to do about an answer that is not a success.
func ExampleError() {
	c, err := client.New("localhost:8000", client.Options{})
	if err != nil {
		slog.Error("make a client", "err", err)
		os.Exit(1)
	}
	_, err = c.Infer(context.Background(), client.Request{Model: "digits", MinAccuracy: 0.999})
	var failure *client.Error
	switch {
	case err == nil:
		fmt.Println("served")
	case !errors.As(err, &failure):
		fmt.Println("not sent, or not answered:", err)
	case failure.Retryable():
		fmt.Println("try again after", failure.RetryAfter)
	case failure.BestAccuracy > 0:
		fmt.Println("ask for at most", failure.BestAccuracy)
	default:
		fmt.Println("do not try again:", failure.Message)
	}
}
