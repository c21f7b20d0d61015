package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// grpcPipe is a stream of ModelStreamInfer. The sender puts each request into a
// queue and on the stream; the reader, a goroutine that ends with the stream, gives
// every answer to the request at the front. It reads whether or not anyone receives,
// so that a sender that receives later does not block the server, and with it itself.
type grpcPipe struct {
	t      *overGRPC
	ctx    context.Context
	wire   inference.GRPCInferenceService_ModelStreamInferClient
	reader chan struct{} // closed when the reader has ended

	mu   sync.Mutex
	due  []due // without answer, in their order; bounded by the stream's window
	over error // why the stream has ended; nil: it has not
}

// due is a request that was sent.
type due struct {
	call      *Call
	model, id string
}

// errServerEnded is the end of a stream that the server ended without an error.
var errServerEnded = errors.New("the server has ended the stream")

func (t *overGRPC) stream(ctx context.Context, cancel context.CancelFunc) (pipe, error) {
	wire, err := t.calls.ModelStreamInfer(ctx)
	if err != nil {
		return nil, t.failure(ctx, err, heard{})
	}
	p := &grpcPipe{t: t, ctx: ctx, wire: wire, reader: make(chan struct{})}
	go func() {
		defer close(p.reader)
		p.read()
		cancel()
	}()
	return p, nil
}

func (p *grpcPipe) start(r Request) (*Call, error) {
	call := newCall()
	m, err := newMessage(&r)
	if err != nil {
		return call.finish(nil, fmt.Errorf("infer %s: %w", r.Model, err)), nil
	}
	defer discardMessage(m)
	p.mu.Lock()
	if p.over != nil {
		p.mu.Unlock()
		return nil, p.over
	}
	p.due = append(p.due, due{call, r.Model, r.ID})
	p.mu.Unlock()
	// An error ends the stream, and the reader hears of it and says so to the calls.
	_ = p.wire.Send(m)
	return call, nil
}

func (p *grpcPipe) end() { _ = p.wire.CloseSend() } // gRPC-Go: always nil

func (p *grpcPipe) ended() { <-p.reader }

func (p *grpcPipe) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over != nil {
		return p.over
	}
	return p.ctx.Err()
}

// read gives the answers to those they are for until the stream ends, and then the
// reason to the others.
func (p *grpcPipe) read() {
	reason := p.answers()
	p.mu.Lock()
	p.over = reason
	left := p.due
	p.due = nil
	p.mu.Unlock()
	for _, d := range left {
		d.call.finish(nil, fmt.Errorf("infer %s: %w", d.model, reason))
	}
}

// answers returns why the stream has ended.
func (p *grpcPipe) answers() error {
	for {
		m, err := p.wire.Recv()
		if errors.Is(err, io.EOF) {
			return errServerEnded
		}
		if err != nil {
			header, _ := p.wire.Header() // the error is known
			return p.t.failure(p.ctx, err, heard{header, p.wire.Trailer()})
		}
		p.mu.Lock()
		if len(p.due) == 0 {
			p.mu.Unlock()
			return errors.New("the server has answered more requests than were sent")
		}
		d := p.due[0]
		id := m.GetInferResponse().GetId()
		if d.id != "" && id != "" && d.id != id {
			p.mu.Unlock()
			return fmt.Errorf("the server has answered request %q before %q: the stream is out of order", id, d.id)
		}
		p.due[0], p.due = due{}, p.due[1:]
		p.mu.Unlock()
		answer, err := readStreamed(m)
		if err != nil {
			err = fmt.Errorf("infer %s: %w", d.model, err)
		}
		d.call.finish(answer, err)
	}
}

// readStreamed reads an answer. An error has its facts in the parameters, where the
// server is one that tells them.
func readStreamed(m *inference.ModelStreamInferResponse) (*Response, error) {
	if m.GetErrorMessage() == "" {
		return readMessage(m.GetInferResponse())
	}
	e := &Error{Status: http.StatusInternalServerError, Message: m.GetErrorMessage()}
	var wire oip.Response
	if err := inference.DecodeResponse(&wire, m.GetInferResponse(), oip.DefaultLimits()); err != nil {
		return nil, e // which counts; its facts are a gift
	}
	for _, p := range wire.Parameters {
		switch p.Name {
		case "status":
			if status, err := p.Value.Int64(); err == nil && status >= http.StatusBadRequest && status < 600 {
				e.Status = int(status)
			}
		case "retry_after_ms":
			e.retryAfter(p.Value)
		case "best_accuracy":
			e.bestAccuracy(p.Value)
		case "job":
			e.Job = p.Value.Text()
		}
	}
	return nil, e
}
