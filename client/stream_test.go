package client_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

func numbered(i int) client.Request {
	return client.Request{Model: "m", ID: strconv.Itoa(i), Inputs: []tensor.Tensor{pixels(1)}}
}

// TestStream sends from one goroutine and receives in another, with errors in
// between; there is one result for each request, in their order.
func TestStream(t *testing.T) {
	const n = 300
	failing := func(i int) bool { return i%7 == 3 }
	f := &fake{infer: func(c call) (oip.Response, *client.Error) {
		if i, err := strconv.Atoi(c.q.ID); err == nil && failing(i) {
			return oip.Response{}, &failures[i%len(failures)].err
		}
		return echo(c)
	}}
	over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
		s, err := c.Stream(t.Context(), client.StreamOptions{Window: 10})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		go func() {
			defer s.CloseSend()
			for i := range n {
				if err := s.Send(numbered(i)); err != nil {
					t.Errorf("send %d: %v", i, err)
				}
			}
		}()
		for i := range n {
			answer, err := s.Recv()
			if failing(i) {
				checkFailure(t, i%len(failures), err)
				continue
			}
			if err != nil || answer.ID != strconv.Itoa(i) || answer.Outputs[0].Rows() != 1 {
				t.Fatalf("%d: got %+v, %v", i, answer, err)
			}
		}
		for range 2 {
			if answer, err := s.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("after the last: %+v, %v", answer, err)
			}
		}
	})
}

// TestStreamOfOneGoroutine: as many as the window may be sent before the first is
// received, whatever their size.
func TestStreamOfOneGoroutine(t *testing.T) {
	over(t, &fake{infer: echo}, client.Options{}, func(t *testing.T, c *client.Client) {
		s, err := c.Stream(t.Context(), client.StreamOptions{Window: 8})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for round := range 3 {
			for i := range 8 {
				r := numbered(8*round + i)
				r.Inputs = []tensor.Tensor{pixels(200_000)}
				if err := s.Send(r); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 8 {
				if answer, err := s.Recv(); err != nil || answer.ID != strconv.Itoa(8*round+i) {
					t.Fatalf("%d: %+v, %v", i, answer, err)
				}
			}
		}
		s.CloseSend()
		s.CloseSend() // does nothing
		if err := s.Send(numbered(0)); err == nil || !strings.Contains(err.Error(), "after CloseSend") {
			t.Errorf("Send after CloseSend: %v", err)
		}
	})
}

func TestStreamRefusesWhatInferRefuses(t *testing.T) {
	over(t, &fake{infer: echo}, client.Options{}, func(t *testing.T, c *client.Client) {
		s, err := c.Stream(t.Context(), client.StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		unsound := client.Request{Model: "m", Inputs: []tensor.Tensor{{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{2}}}}
		for _, r := range []client.Request{{}, {Model: "m", Deadline: -1}, unsound, numbered(1)} {
			if err := s.Send(r); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Recv(); err == nil || !strings.Contains(err.Error(), "names no model") {
			t.Errorf("no model: %v", err)
		}
		if _, err := s.Recv(); err == nil || !strings.Contains(err.Error(), "it must be above 0") {
			t.Errorf("a negative deadline: %v", err)
		}
		if _, err := s.Recv(); err == nil || !strings.Contains(err.Error(), "needs 2 elements") {
			t.Errorf("an unsound tensor: %v", err)
		}
		if answer, err := s.Recv(); err != nil || answer.ID != "1" {
			t.Errorf("a good request behind bad ones: %+v, %v", answer, err)
		}
	})
}

// TestStreamWindow: Send waits while the window is full, and the time counts
// against the deadline.
func TestStreamWindow(t *testing.T) {
	f, arrived, let := held()
	over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s, err := c.Stream(ctx, client.StreamOptions{Window: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for i := range 2 {
			if err := s.Send(numbered(i)); err != nil {
				t.Fatal(err)
			}
		}
		third := make(chan error)
		go func() {
			r := numbered(2)
			r.Deadline = time.Hour
			third <- s.Send(r)
		}()
		let <- struct{}{}
		let <- struct{}{}
		if _, err := s.Recv(); err != nil { // makes room
			t.Error(err)
		}
		if err := <-third; err != nil {
			t.Error(err)
		}
		go func() { third <- s.Send(numbered(3)) }()
		if _, err := s.Recv(); err != nil {
			t.Error(err)
		}
		if err := <-third; err != nil {
			t.Error(err)
		}
		go func() { third <- s.Send(numbered(4)) }()
		cancel()
		if err := <-third; !errors.Is(err, context.Canceled) {
			t.Errorf("a Send that waited when the context ended: %v", err)
		}
		for range 2 {
			if _, err := s.Recv(); !errors.Is(err, context.Canceled) {
				t.Errorf("a request under way when the context ended: %v", err)
			}
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("after the context ended: %v", err)
		}
		for len(arrived) > 0 {
			<-arrived
		}
	})
}

func TestStreamClose(t *testing.T) {
	f, arrived, _ := held()
	over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
		s, err := c.Stream(t.Context(), client.StreamOptions{Window: 4})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(numbered(0)); err != nil {
			t.Fatal(err)
		}
		at := <-arrived
		received := make(chan error)
		go func() {
			_, err := s.Recv()
			received <- err
		}()
		s.Close()
		s.Close() // does nothing
		if err := <-received; err == nil {
			t.Error("a request that was given up has an answer")
		}
		<-at.ctx.Done() // the server heard of it
		if err := s.Send(numbered(1)); err == nil {
			t.Error("Send after Close")
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("Recv after Close: %v", err)
		}
	})
}

func TestStreamOfClosedClient(t *testing.T) {
	over(t, &fake{infer: echo}, client.Options{}, func(t *testing.T, c *client.Client) {
		c.Close()
		s, err := c.Stream(t.Context(), client.StreamOptions{})
		if err == nil {
			defer s.Close()
			if err = s.Send(numbered(0)); err == nil {
				_, err = s.Recv()
			}
		}
		if !errors.Is(err, client.ErrClosed) {
			t.Error(err)
		}
	})
}
