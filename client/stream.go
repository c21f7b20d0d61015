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
	// Window bounds the requests sent whose answers were not received yet; further
	// ones wait in Send. So it bounds what the stream holds in memory, here and at
	// the server. Default 64.
	Window int
}

const windowDefault = 64

// Stream sends requests without waiting for each answer, and receives the answers
// in the order of the requests. Over gRPC it is one call of the protocol,
// ModelStreamInfer, which costs less than a call for each request; over REST the
// requests are calls of their own under way at a time.
//
// Every Send that returns nil brings one result of Recv: an answer, or the error of
// that one request, with which the stream goes on.
//
// One goroutine may send while another receives: Send and CloseSend belong to the
// one, Recv to the other. Close may be called from any, and must be.
type Stream struct {
	pipe    pipe
	ctx     context.Context
	cancel  context.CancelFunc
	slots   chan struct{} // one is taken for each request sent and not received
	pending chan *Call    // those requests in their order: has room for all of them
	sealed  bool          // CloseSend was called; the sender's
}

// pipe carries the requests of a stream, given by one goroutine.
type pipe interface {
	// start sends a request. An error says why the stream has ended; what is wrong
	// with the request alone is the call's.
	start(r Request) (*Call, error)
	// end says that no request follows.
	end()
	// ended waits, once all calls are done, until the server knows that too.
	ended()
	// failure says why the stream has ended.
	failure() error
}

// Stream opens a stream, which ends with ctx at the latest; its deadline is that of
// all the requests.
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

// Send sends a request, and waits while Window of them have no answer received. An
// error says that the stream has ended, and why. What the request refers to must
// not change until its answer was received.
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

// CloseSend says that no further request follows. Recv brings the answers that are
// due, and then io.EOF.
func (s *Stream) CloseSend() {
	if !s.sealed {
		s.sealed = true
		s.pipe.end()
		close(s.pending)
	}
}

// Recv waits for the answer to the next request, in the order in which they were
// sent, and returns what Infer would have. io.EOF says that there will be none: all
// are answered after CloseSend, or the stream has ended, in which case Send says why.
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

// next waits for a request that is not received yet, nil when none will come.
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

// Close ends the stream and gives up the requests that were not answered. When it
// returns, nothing of the stream is under way.
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
