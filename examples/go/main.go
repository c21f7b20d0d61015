// Command go sends requests with the Go SDK to a server that has the model digits, and
// prints what ran. Its argument is the server's address.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/tensor"
)

func main() {
	address := "localhost:8000"
	if len(os.Args) > 1 {
		address = cmp.Or(os.Args[1], address)
	}
	if err := run(context.Background(), address); err != nil {
		slog.Error("the example failed", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address string) error {
	c, err := client.New(address, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()

	// "sevne": twelve character codes, padded with zeros. The first dimension counts items.
	word := make([]byte, 12)
	copy(word, "sevne")
	text, err := tensor.Of("text", tensor.Shape{1, 12}, word)
	if err != nil {
		return err
	}
	request := client.Request{Model: "digits", Inputs: []tensor.Tensor{text}, MinAccuracy: 0.7, Deadline: time.Second}
	answer, err := c.Infer(ctx, request)
	if err != nil {
		return err
	}
	scores, _ := answer.Output("probabilities")
	values, err := tensor.Values[float32](scores)
	if err != nil {
		return err
	}
	best := 0
	for i, value := range values {
		if value > values[best] {
			best = i
		}
	}
	fmt.Printf("the digit is %d; ran %s, expected accuracy %.3f, took %v\n", best, answer.Variant, answer.ExpectedAccuracy, answer.Queue+answer.Compute)

	// The text alone cannot reach 0.99: such a request is refused before anything runs.
	request.MinAccuracy = 0.99
	if _, err = c.Infer(ctx, request); !errors.Is(err, client.ErrInfeasible) {
		return fmt.Errorf("a floor of 0.99 on text alone: %w", err)
	}
	fmt.Println("a floor of 0.99 on text alone is refused:", err)
	return nil
}
