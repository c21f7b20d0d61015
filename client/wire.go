package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/mosel-serve/mosel/oip"
)

// Wire is a transport other than REST, see Options.GRPC. It carries requests and answers
// of the protocol and does not interpret them.
//
// Its errors are an *Error for an answer that is not a success, the context's error if
// the context has ended, and others for what could not be sent or read. Many goroutines
// call it at a time.
type Wire interface {
	// Infer sends a request to a model; with version "" the server chooses one. It must
	// not keep the request. It sends the deadline of ctx along.
	Infer(ctx context.Context, model, version string, q *oip.Request) (*oip.Response, error)
	// Stream opens a stream, which ends with ctx.
	Stream(ctx context.Context) (WireStream, error)
	Ready(ctx context.Context) (bool, error)
	Server(ctx context.Context) (oip.ServerMetadata, error)
	Models(ctx context.Context) ([]oip.RepositoryEntry, error)
	// Metadata describes a version of a model; "" is whichever is served.
	Metadata(ctx context.Context, model, version string) (oip.ModelMetadata, error)
	Load(ctx context.Context, model string) error
	Unload(ctx context.Context, model string) error
	// Feedback gives labels to a version of a model; "" is whichever is served.
	Feedback(ctx context.Context, model, version string, records []oip.Feedback) (oip.FeedbackResult, error)
	// Close is called once, when nothing is under way any more.
	Close()
}

// WireStream sends requests and receives their answers, one for each, in their
// order. One goroutine sends while another receives.
type WireStream interface {
	// Send sends a request and does not keep it. An error says that the request cannot
	// be encoded and that nothing was sent. Only Recv reports the end of the stream.
	Send(model, version string, q *oip.Request) error
	// CloseSend tells the server that there are no more requests.
	CloseSend()
	// Recv waits for the next answer. An error says why the stream has ended;
	// io.EOF: the server ended it, and gave no other reason.
	Recv() (WireAnswer, error)
}

// WireAnswer is what a stream answers to one request.
type WireAnswer struct {
	ID       string        // of the request; "" if it had none or the server does not repeat it
	Response *oip.Response // if Err is nil
	Err      error         // of this request only: an *Error, or the answer cannot be read
}

// wired is the transport over a Wire.
type wired struct{ Wire }

// wires are requests of the protocol, for reuse.
var wires = sync.Pool{New: func() any { return new(oip.Request) }}

// discard puts a request back for reuse, without references to the caller's data.
func discard(wire *oip.Request) {
	clear(wire.Inputs)
	clear(wire.Parameters)
	clear(wire.Outputs)
	wires.Put(wire)
}

func (t wired) infer(ctx context.Context, r *Request) (*Response, error) {
	wire := wires.Get().(*oip.Request)
	defer discard(wire)
	if err := r.message(wire, r.Deadline); err != nil {
		return nil, err
	}
	answer, err := t.Infer(ctx, r.Model, r.Version, wire)
	if err != nil {
		return nil, err
	}
	return read(answer)
}

// read reads an answer of the protocol.
func read(answer *oip.Response) (*Response, error) {
	r, err := newResponse(answer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return r, nil
}

// wirePipe is a stream of a Wire. The sender puts each request into a queue and on
// the stream. The reader, a goroutine that ends with the stream, gives each answer to the
// request at the front. It reads also while nobody calls Recv, so that a caller that
// first sends everything and then receives does not block the server and itself.
type wirePipe struct {
	ctx    context.Context
	wire   WireStream
	reader chan struct{} // closed when the reader has ended

	mu   sync.Mutex
	due  []due // the requests without answer, in their order; bounded by the stream's window
	over error // why the stream has ended; nil: it has not
}

// due is a request that was sent and is not answered.
type due struct {
	call      *Call
	model, id string
}

// stream opens a stream. The reader calls cancel, which ends ctx, if the server ends the
// stream.
func (t wired) stream(ctx context.Context, cancel context.CancelFunc) (pipe, error) {
	wire, err := t.Stream(ctx)
	if err != nil {
		return nil, err
	}
	p := &wirePipe{ctx: ctx, wire: wire, reader: make(chan struct{})}
	go func() {
		defer close(p.reader)
		p.read()
		cancel()
	}()
	return p, nil
}

func (p *wirePipe) start(r Request) (*Call, error) {
	call := newCall()
	wire := wires.Get().(*oip.Request)
	defer discard(wire)
	if err := r.message(wire, r.Deadline); err != nil {
		return call.finish(nil, fmt.Errorf("infer %s: %w", r.Model, err)), nil
	}
	p.mu.Lock()
	if p.over != nil {
		p.mu.Unlock()
		return nil, p.over
	}
	p.due = append(p.due, due{call, r.Model, r.ID})
	p.mu.Unlock()
	if err := p.wire.Send(r.Model, r.Version, wire); err != nil && p.withdraw(call) {
		call.finish(nil, fmt.Errorf("infer %s: %w", r.Model, err))
	}
	return call, nil
}

// withdraw removes the request that start added last, unless the reader has finished it
// because the stream has ended.
func (p *wirePipe) withdraw(call *Call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.due) - 1
	if last < 0 || p.due[last].call != call {
		return false
	}
	p.due = p.due[:last]
	return true
}

func (p *wirePipe) end() { p.wire.CloseSend() }

func (p *wirePipe) ended() { <-p.reader }

func (p *wirePipe) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over != nil {
		return p.over
	}
	return p.ctx.Err()
}

// read finishes the calls with their answers until the stream ends, and the remaining
// ones with the reason why it has ended.
func (p *wirePipe) read() {
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

// answers finishes calls with their answers, and returns why the stream has ended.
func (p *wirePipe) answers() error {
	for {
		got, err := p.wire.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the server has ended the stream")
		}
		if err != nil {
			return err
		}
		p.mu.Lock()
		if len(p.due) == 0 {
			p.mu.Unlock()
			return errors.New("the server has answered more requests than were sent")
		}
		d := p.due[0]
		if d.id != "" && got.ID != "" && d.id != got.ID {
			p.mu.Unlock()
			return fmt.Errorf("the server has answered request %q before %q: the stream is out of order", got.ID, d.id)
		}
		p.due[0], p.due = due{}, p.due[1:]
		p.mu.Unlock()
		var answer *Response
		if err = got.Err; err == nil {
			answer, err = read(got.Response)
		}
		if err != nil {
			err = fmt.Errorf("infer %s: %w", d.model, err)
		}
		d.call.finish(answer, err)
	}
}
