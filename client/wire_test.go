package client_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip"
)

// oddWire is a way to a server whose streams break while a request is written that
// cannot be.
type oddWire struct{ client.Wire }

type oddStream struct {
	ctx     context.Context
	sending chan struct{}
}

func (oddWire) Stream(ctx context.Context) (client.WireStream, error) {
	return oddStream{ctx, make(chan struct{})}, nil
}

func (oddWire) Close() {}

func (s oddStream) Send(string, string, *oip.Request) error {
	close(s.sending)
	<-s.ctx.Done() // the client has heard of the end
	return errors.New("cannot be written")
}

func (oddStream) CloseSend() {}

func (s oddStream) Recv() (client.WireAnswer, error) {
	<-s.sending
	return client.WireAnswer{}, io.EOF
}

// TestStreamEndsWhileARequestIsRefused: the request has one result, the end's.
func TestStreamEndsWhileARequestIsRefused(t *testing.T) {
	c, err := client.New("grpc://host", client.Options{GRPC: func(string, client.Options) (client.Wire, error) { return oddWire{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.Stream(t.Context(), client.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(numbered(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err == nil || !strings.Contains(err.Error(), "the server has ended the stream") {
		t.Errorf("the request: %v", err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}
