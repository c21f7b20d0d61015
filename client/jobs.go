package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mosel-serve/mosel/oip"
)

// headerKey names a submission, so that a repeated one is the same job.
const headerKey = "Idempotency-Key"

// lineBytesMax bounds the result of one item of a job.
const lineBytesMax = 64 << 20

// SubmitJob submits a request as a durable job: the server answers when it has stored it,
// and runs it even if this program or the server ends meanwhile. If an answer is lost,
// the same call with the same key, which may not be empty then, finds the job that was
// accepted. Jobs work over REST only, and the error is ErrUnsupported if the server
// keeps none.
func (c *Client) SubmitJob(ctx context.Context, r Request, key string) (job oip.Job, err error) {
	_, err = ask(ctx, c, func() (struct{}, error) {
		t, err := c.reports()
		if err != nil {
			return struct{}{}, err
		}
		p, n, err := encode(&r, r.Deadline) // the job's deadline is not that of ctx
		if err != nil {
			return struct{}{}, err
		}
		defer p.release()
		u := t.url(append(modelPath(r.Model, r.Version), "jobs")...)
		header := t.header.Clone()
		if header.Set("Content-Type", "application/json"); n != oip.AllJSON {
			header.Set(oip.HeaderLength, strconv.Itoa(n))
			header.Set("Content-Type", "application/octet-stream")
		}
		if key != "" {
			header.Set(headerKey, key)
		}
		req := &http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Header: header, Body: p.reader(), GetBody: p.again, ContentLength: int64(len(p.bytes))}
		return struct{}{}, t.exchange(ctx, req, &job)
	})
	return job, err
}

// Job returns the state of a job.
func (c *Client) Job(ctx context.Context, model, id string) (job oip.Job, err error) {
	return job, c.onJob(ctx, http.MethodGet, &job, model, "jobs", id)
}

// Jobs lists the jobs of this client, see Options.ClientKey, that the server knows, the
// newest first.
func (c *Client) Jobs(ctx context.Context, model string) ([]oip.Job, error) {
	var list oip.JobList
	err := c.onJob(ctx, http.MethodGet, &list, model, "jobs")
	return list.Jobs, err
}

// CancelJob ends a job. What it has computed can still be read.
func (c *Client) CancelJob(ctx context.Context, model, id string) (job oip.Job, err error) {
	return job, c.onJob(ctx, http.MethodDelete, &job, model, "jobs", id)
}

// onJob asks for a resource of jobs.
func (c *Client) onJob(ctx context.Context, method string, answer any, model string, path ...string) error {
	_, err := ask(ctx, c, func() (struct{}, error) {
		t, err := c.reports()
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.call(ctx, method, t.url(append(modelPath(model, ""), path...)...), answer)
	})
	return err
}

// JobResult is the result of one item of a job.
type JobResult struct {
	Item     int
	Response *Response // nil: the item failed
	Err      error     // why it failed
	Line     []byte    // as the server sent it; only until the callback returns
}

// JobResults calls each with the results of a job, in the order of the items and from item
// from on, as soon as the server has stored them. It returns the state of the job when it
// has ended; after another error, the call can be repeated from the item after the last one.
func (c *Client) JobResults(ctx context.Context, model, id string, from int, each func(JobResult) error) (oip.Job, error) {
	return ask(ctx, c, func() (oip.Job, error) {
		t, err := c.reports()
		if err != nil {
			return oip.Job{}, err
		}
		u := t.url(append(modelPath(model, ""), "jobs", id, "results")...)
		u.RawQuery = url.Values{"from": {strconv.Itoa(from)}}.Encode()
		req := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: t.header.Clone()}).WithContext(ctx)
		answer, err := t.http.RoundTrip(req)
		if err != nil {
			return oip.Job{}, ended(ctx, err)
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(io.LimitReader(answer.Body, errorBytesMax)) // a part of the message is better than none
			return oip.Job{}, newError(answer, body)
		}
		return readResults(ctx, answer.Body, each)
	})
}

// resultLine is a line of results.
type resultLine struct {
	Parameters struct {
		Item int `json:"item"`
	} `json:"parameters"`
	Error string   `json:"error"`
	End   *oip.Job `json:"end"`
}

// readResults reads lines until that of the end.
func readResults(ctx context.Context, body io.Reader, each func(JobResult) error) (oip.Job, error) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		var line resultLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return oip.Job{}, fmt.Errorf("%w: a result of a job: %w", ErrAnswer, err)
		}
		if line.End != nil {
			return *line.End, nil
		}
		result := JobResult{Item: line.Parameters.Item, Line: lines.Bytes()}
		if line.Error != "" {
			result.Err = errors.New(line.Error)
		} else {
			var err error
			if result.Response, err = decode(http.Header{}, bytes.Clone(lines.Bytes())); err != nil {
				return oip.Job{}, fmt.Errorf("%w: a result of a job: %w", ErrAnswer, err)
			}
		}
		if err := each(result); err != nil {
			return oip.Job{}, err
		}
	}
	if err := ended(ctx, lines.Err()); err != nil {
		return oip.Job{}, err
	}
	return oip.Job{}, fmt.Errorf("%w: the results of the job end too early", ErrAnswer)
}

// WaitJob asks for the state of a job, at first often and then each second, until it has
// ended. progress, if not nil, gets every state.
func (c *Client) WaitJob(ctx context.Context, model, id string, progress func(oip.Job)) (oip.Job, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		job, err := c.Job(ctx, model, id)
		if err != nil {
			return job, err
		}
		if progress != nil {
			progress(job)
		}
		if job.Over() {
			return job, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return job, ctx.Err()
		}
	}
}
