package client

import (
	"context"
	"net/http"

	"github.com/mosel-serve/mosel/status"
)

// Status is what a mosel server says of itself: its models, queues, instances,
// latencies and latest decisions. It is told over REST only; servers with tokens
// keep it to administrators.
func (c *Client) Status(ctx context.Context) (answer status.Status, err error) {
	err = c.report(ctx, &answer, "status")
	return answer, err
}

// Explain says of one job what was done and why. The id is the server's (see
// Error.Job and Response.Job) or the one that the request was given; of several
// of one name it is the newest. A server remembers jobs for a while: the error is
// ErrNotFound after that. Like Status it is told over REST only.
func (c *Client) Explain(ctx context.Context, id string) (answer status.Explanation, err error) {
	err = c.report(ctx, &answer, "explain", id)
	return answer, err
}

// report reads a resource below /v1, mosel's own.
func (c *Client) report(ctx context.Context, answer any, segments ...string) error {
	_, err := ask(ctx, c, func() (struct{}, error) {
		t, ok := c.transport.(*rest)
		if !ok {
			return struct{}{}, &Error{Status: http.StatusNotImplemented, Message: "a server tells of itself over REST: use its http or https address"}
		}
		return struct{}{}, t.call(ctx, http.MethodGet, t.below("v1", segments...), answer)
	})
	return err
}
