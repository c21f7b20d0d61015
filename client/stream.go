package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// StreamOptions configure a Stream. The zero value of each field stands for its
// default.
type StreamOptions struct {
	// Window bounds the requests that were sent and whose answers were not received
	// yet; Send waits while there are so many. So it bounds the stream's memory in the
	// client and in the server. Default 64.
	Window int
}

const windowDefault = 64

// Stream sends requests without waiting for each answer, and receives the answers
// in the order of the requests. Over gRPC it is one call of the protocol,
// ModelStreamInfer, which costs less than a call for each request; over REST each
// request is a call of its own, and several are under way at a time.
//
// For every Send that returns nil, Recv returns one result: an answer, or the error of
// that request. The stream goes on after such an error.
//
// One goroutine may call Send and CloseSend while another calls Recv. Close must be
// called in the end, from any goroutine.
type Stream struct {
	pipe    pipe
	ctx     context.Context
	cancel  context.CancelFunc
	slots   chan struct{} // one is taken for each request sent and not received
	pending chan *Call    // those requests in their order: has room for all of them
	sealed  bool          // CloseSend was called; only the sending goroutine uses it
}

// pipe carries the requests of a stream. One goroutine calls start and end.
type pipe interface {
	// start sends a request. An error says why the stream has ended; an error of this
	// request only is the result of the call.
	start(r Request) (*Call, error)
	// end tells the server that there are no more requests.
	end()
	// ended waits, after all calls are done, until the stream has ended at the server.
	ended()
	// failure says why the stream has ended.
	failure() error
}

// Stream opens a stream, which ends with ctx at the latest. The deadline of ctx holds for
// all requests of the stream.
func (c *Client) Stream(ctx context.Context, opts StreamOptions) (*Stream, error) {
	if opts.Window <= 0 {
		opts.Window = windowDefault
	}
	s := &Stream{slots: make(chan struct{}, opts.Window), pending: make(chan *Call, opts.Window)}
	own, ok := c.transport.(wired)
	if !ok {
		s.ctx, s.cancel = context.WithCancel(ctx)
		s.pipe = calls{c, s.ctx}
		return s, nil
	}
	if err := c.enter(ctx, 0); err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	context.AfterFunc(s.ctx, c.leave)
	var err error
	if s.pipe, err = own.stream(s.ctx, s.cancel); err != nil {
		s.cancel()
		return nil, fmt.Errorf("stream: %w", err)
	}
	return s, nil
}

// Send sends a request. It waits while Window requests have no received answer. An error
// says why the stream has ended. The tensors of the request must not change until its
// answer was received.
func (s *Stream) Send(r Request) error {
	if s.sealed {
		return errors.New("stream: Send after CloseSend")
	}
	if s.ctx.Err() != nil {
		return fmt.Errorf("stream: %w", s.pipe.failure())
	}
	arrived := time.Now()
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return fmt.Errorf("stream: %w", s.pipe.failure())
	}
	if r.Deadline > 0 {
		r.Deadline = max(r.Deadline-time.Since(arrived), time.Nanosecond)
	}
	call, err := s.pipe.start(r)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	s.pending <- call
	return nil
}

// CloseSend tells the server that there are no more requests. Recv returns the remaining
// answers, and then io.EOF.
func (s *Stream) CloseSend() {
	if !s.sealed {
		s.sealed = true
		s.pipe.end()
		close(s.pending)
	}
}

// Recv waits for the answer to the next request, in the order in which they were sent,
// and returns it as Infer does. It returns io.EOF if there is no further answer: after
// CloseSend when all are received, or because the stream has ended; then Send says why.
func (s *Stream) Recv() (*Response, error) {
	call := s.next()
	if call == nil {
		s.pipe.ended()
		s.cancel()
		return nil, io.EOF
	}
	answer, err := call.Result()
	<-s.slots
	return answer, err
}

// next waits for a request whose answer is not received yet; nil if there is none.
func (s *Stream) next() *Call {
	select {
	case call := <-s.pending:
		return call
	default:
	}
	select {
	case call := <-s.pending:
		return call
	case <-s.ctx.Done():
	}
	select {
	case call := <-s.pending: // sent just before
		return call
	default:
		return nil
	}
}

// Close ends the stream and cancels the requests that were not answered. When it
// returns, no request of the stream is under way.
func (s *Stream) Close() {
	s.cancel()
	for call := s.next(); call != nil; call = s.next() {
		<-call.Done()
	}
	s.pipe.ended()
}

// calls is the pipe of a transport without streams: each request is a call of its
// own.
type calls struct {
	c   *Client
	ctx context.Context
}

func (p calls) start(r Request) (*Call, error) { return p.c.Go(p.ctx, r), nil }

func (p calls) end() {}

func (p calls) ended() {}

func (p calls) failure() error { return p.ctx.Err() }
