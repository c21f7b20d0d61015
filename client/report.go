package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/mosel-serve/mosel/status"
)

// Status returns the state of a mosel server: its models, queues, instances, latencies
// and latest decisions. It works over REST only, and servers with tokens allow it to
// administrators only.
func (c *Client) Status(ctx context.Context) (answer status.Status, err error) {
	err = c.report(ctx, &answer, "status")
	return answer, err
}

// Explain returns what one job asked for, what it ran on, and why. The id is the
// server's, see Error.Job and Response.Job; Requests finds the ids of the requests to
// which a client gave an id. A server remembers a bounded number of jobs: for older ones
// the error is ErrNotFound. Like Status it works over REST only.
func (c *Client) Explain(ctx context.Context, id string) (answer status.Explanation, err error) {
	err = c.report(ctx, &answer, "explain", id)
	return answer, err
}

// Requests lists the requests to which clients gave an id, see Request.ID, with the
// server's ids of them. The error is ErrNotFound if there is none. Like Status it works
// over REST only.
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

// FeedbackReport returns what labels have said of a version of a model, with what a new
// profile needs; "" is whichever version is served. The error is ErrUnsupported if the server does not keep its answers. Like Status it works
// over REST only, and needs an administrator.
func (c *Client) FeedbackReport(ctx context.Context, model, version string) (answer status.Feedback, err error) {
	_, err = ask(ctx, c, func() (struct{}, error) {
		t, err := c.reports()
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.call(ctx, http.MethodGet, t.url(append(modelPath(model, version), "feedback")...), &answer)
	})
	return answer, err
}

// reports is the transport for Status, Explain, Requests and FeedbackReport.
func (c *Client) reports() (*rest, error) {
	if t, ok := c.transport.(*rest); ok {
		return t, nil
	}
	return nil, &Error{Status: http.StatusNotImplemented, Message: "Status, Explain, Requests and FeedbackReport work over REST only: use the http or https address of the server"}
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
