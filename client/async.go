package client

import "context"

// Call is a request under way, see Client.Go.
type Call struct {
	done   chan struct{} // closed after the fields below are set
	answer *Response
	err    error
}

func newCall() *Call { return &Call{done: make(chan struct{})} }

// finish ends the call, once.
func (call *Call) finish(answer *Response, err error) *Call {
	call.answer, call.err = answer, err
	close(call.done)
	return call
}

// Go sends a request and does not wait for its answer. It waits only while
// ConnectionsMax calls are under way: until one of them is done, ctx ends or the
// request's own deadline passes. So a loop around Go runs as fast as the server and
// keeps no more than that many requests in memory.
//
// The tensors of the request must not change until the call is done. To cancel a call,
// end ctx. A call ends by itself even if nobody calls Result.
func (c *Client) Go(ctx context.Context, r Request) *Call {
	call := newCall()
	if err := c.begin(ctx, &r); err != nil {
		return call.finish(nil, err)
	}
	go func() {
		answer, err := c.infer(ctx, &r)
		c.leave()
		call.finish(answer, err)
	}()
	return call
}

// Done is closed when the call has ended, with an answer or an error.
func (call *Call) Done() <-chan struct{} { return call.done }

// Result waits until the call has ended and returns what Infer returns.
func (call *Call) Result() (*Response, error) {
	<-call.done
	return call.answer, call.err
}
