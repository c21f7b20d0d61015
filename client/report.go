package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/mosel-serve/mosel/status"
)

// Status is what a mosel server says of itself: its models, queues, instances,
// latencies and latest decisions. It is told over REST only; servers with tokens
// keep it to administrators.
func (c *Client) Status(ctx context.Context) (answer status.Status, err error) {
	err = c.report(ctx, &answer, "status")
	return answer, err
}

// Explain says of one job what was done and why. The id is the server's, see
// Error.Job and Response.Job; for the ids of requests there is Requests. A server remembers jobs for a while: the error is
// ErrNotFound after that. Like Status it is told over REST only.
func (c *Client) Explain(ctx context.Context, id string) (answer status.Explanation, err error) {
	err = c.report(ctx, &answer, "explain", id)
	return answer, err
}

// Requests lists the requests that were given an id by their clients, see
// Request.ID, with the server's ids of them. It is told as Explain is; ErrNotFound
// where there is none.
func (c *Client) Requests(ctx context.Context, clientID string) (answer status.Requests, err error) {
	_, err = ask(ctx, c, func() (struct{}, error) {
		t, err := c.reports()
		if err != nil {
			return struct{}{}, err
		}
		u := t.below("v1", "explain")
		u.RawQuery = url.Values{"client_id": {clientID}}.Encode()
		return struct{}{}, t.call(ctx, http.MethodGet, u, &answer)
	})
	return answer, err
}

// reports is the transport over which a server tells of itself.
func (c *Client) reports() (*rest, error) {
	if t, ok := c.transport.(*rest); ok {
		return t, nil
	}
	return nil, &Error{Status: http.StatusNotImplemented, Message: "a server tells of itself over REST: use its http or https address"}
}

// report reads a resource below /v1, mosel's own.
func (c *Client) report(ctx context.Context, answer any, segments ...string) error {
	_, err := ask(ctx, c, func() (struct{}, error) {
		t, err := c.reports()
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.call(ctx, http.MethodGet, t.below("v1", segments...), answer)
	})
	return err
}
