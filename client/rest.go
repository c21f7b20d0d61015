package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mosel-serve/mosel/oip"
)

// rest is the transport over HTTP/1.1, in JSON and in the protocol's binary form.
type rest struct {
	base     url.URL
	http     http.RoundTripper
	header   http.Header // of every request
	bytesMax int64
}

// What the client's own HTTP transport does.
const (
	idleTimeout      = 90 * time.Second
	writeBufferBytes = 32 << 10 // a request of a few tensors is written in one system call
	errorBytesMax    = 64 << 10 // of the body of an error
)

func newREST(at address, opts Options) *rest {
	t := &rest{base: at.URL, http: opts.Transport, header: http.Header{}, bytesMax: opts.ResponseBytesMax}
	if opts.Token != "" {
		t.header.Set("Authorization", "Bearer "+opts.Token)
	}
	if opts.ClientKey != "" {
		t.header.Set(oip.HeaderClient, opts.ClientKey)
	}
	if t.http == nil {
		t.http = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSClientConfig:     opts.TLS.Clone(),
			TLSHandshakeTimeout: connectTimeout,
			MaxIdleConns:        opts.ConnectionsMax,
			MaxIdleConnsPerHost: opts.ConnectionsMax,
			MaxConnsPerHost:     opts.ConnectionsMax,
			IdleConnTimeout:     idleTimeout,
			WriteBufferSize:     writeBufferBytes,
			DisableCompression:  true, // tensors compress badly, and it takes processor time
		}
	}
	return t
}

// Close closes the connections.
func (t *rest) Close() {
	if idle, ok := t.http.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
}

// Ready looks at the status only: servers differ in the body.
func (t *rest) Ready(ctx context.Context) (bool, error) {
	err := t.call(ctx, http.MethodGet, t.url("health", "ready"), nil)
	return err == nil, err
}

// Server says which server this is.
func (t *rest) Server(ctx context.Context) (answer oip.ServerMetadata, err error) {
	err = t.call(ctx, http.MethodGet, t.url(), &answer)
	return answer, err
}

// Models lists the models.
func (t *rest) Models(ctx context.Context) (answer []oip.RepositoryEntry, err error) {
	err = t.call(ctx, http.MethodPost, t.url("repository", "index"), &answer)
	return answer, err
}

// Metadata describes a model.
func (t *rest) Metadata(ctx context.Context, model, version string) (answer oip.ModelMetadata, err error) {
	err = t.call(ctx, http.MethodGet, t.url(modelPath(model, version)...), &answer)
	return answer, err
}

// Load loads a model, or loads it again.
func (t *rest) Load(ctx context.Context, model string) error {
	return t.call(ctx, http.MethodPost, t.url("repository", "models", model, "load"), nil)
}

// Unload unloads a model.
func (t *rest) Unload(ctx context.Context, model string) error {
	return t.call(ctx, http.MethodPost, t.url("repository", "models", model, "unload"), nil)
}

// Feedback gives labels.
func (t *rest) Feedback(ctx context.Context, model, version string, records []oip.Feedback) (answer oip.FeedbackResult, err error) {
	body, err := json.Marshal(oip.FeedbackRequest{Feedback: records})
	if err != nil {
		return answer, fmt.Errorf("encode labels: %w", err)
	}
	err = t.post(ctx, t.url(append(modelPath(model, version), "feedback")...), body, &answer)
	return answer, err
}

// infer sends a request. If ctx ends before the request's deadline,
// that is the deadline that it sends.
func (t *rest) infer(ctx context.Context, r *Request) (*Response, error) {
	deadline, err := earlier(ctx, r.Deadline)
	if err != nil {
		return nil, err
	}
	p, n, err := encode(r, deadline)
	if err != nil {
		return nil, err
	}
	defer p.release()
	u := t.url(append(modelPath(r.Model, r.Version), "infer")...)
	header := make(http.Header, len(t.header)+2)
	maps.Copy(header, t.header)
	if header["Content-Type"] = []string{"application/json"}; n != oip.AllJSON {
		header[oip.HeaderLength] = []string{strconv.Itoa(n)}
		header["Content-Type"] = []string{"application/octet-stream"}
	}
	req := (&http.Request{
		Method:        http.MethodPost,
		URL:           u,
		Host:          u.Host,
		Header:        header,
		Body:          p.reader(),
		GetBody:       p.again,
		ContentLength: int64(len(p.bytes)),
	}).WithContext(ctx)
	got, body, err := t.send(req)
	if err != nil {
		return nil, err
	}
	answer, err := decode(got, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return answer, nil
}

// modelPath is where a version of a model is; "" is whichever is served.
func modelPath(model, version string) []string {
	if version == "" {
		return []string{"models", model}
	}
	return []string{"models", model, "versions", version}
}

// earlier is the time until the earlier one of a request's deadline and that of ctx, 0 if
// there is neither.
func earlier(ctx context.Context, own time.Duration) (time.Duration, error) {
	end, ok := ctx.Deadline()
	if !ok {
		return own, nil
	}
	left := time.Until(end)
	switch {
	case left <= 0:
		return 0, context.DeadlineExceeded
	case own != 0 && own < left:
		return own, nil
	}
	return left, nil
}

// encode writes a request in the protocol's binary form, or in JSON.
func encode(r *Request, deadline time.Duration) (p *payload, jsonBytes int, err error) {
	wire := wires.Get().(*oip.Request)
	defer discard(wire)
	if err := r.message(wire, deadline); err != nil {
		return nil, 0, err
	}
	p = newPayload()
	if p.bytes, jsonBytes, err = wire.Append(p.bytes, r.form()); err != nil {
		p.release()
		return nil, 0, err
	}
	return p, jsonBytes, nil
}

// decode reads an answer; its outputs are views of body.
func decode(header http.Header, body []byte) (*Response, error) {
	n := oip.AllJSON
	if length := header.Get(oip.HeaderLength); length != "" {
		var err error
		if n, err = strconv.Atoi(length); err != nil || n < 0 {
			return nil, fmt.Errorf("%s is %q", oip.HeaderLength, length)
		}
	}
	var wire oip.Response
	if err := wire.Decode(body, n, oip.DefaultLimits()); err != nil {
		return nil, err
	}
	return newResponse(&wire)
}

// url is the address of a resource of the protocol.
func (t *rest) url(segments ...string) *url.URL { return t.below("v2", segments...) }

// below is the address of a resource below /v1, mosel's own, or /v2.
func (t *rest) below(version string, segments ...string) *url.URL {
	u := t.base
	path, escaped := u.Path+"/"+version, u.EscapedPath()+"/"+version
	for _, s := range segments {
		path += "/" + s
		escaped += "/" + url.PathEscape(s)
	}
	if u.Path = path; escaped != path {
		u.RawPath = escaped
	}
	return &u
}

// call sends a request without a body and decodes the JSON of the answer, unless answer
// is nil.
func (t *rest) call(ctx context.Context, method string, u *url.URL, answer any) error {
	return t.exchange(ctx, &http.Request{Method: method, URL: u, Host: u.Host, Header: t.header.Clone()}, answer)
}

// post sends JSON and decodes that of the answer.
func (t *rest) post(ctx context.Context, u *url.URL, question []byte, answer any) error {
	again := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(question)), nil }
	body, _ := again()
	header := t.header.Clone()
	header.Set("Content-Type", "application/json")
	return t.exchange(ctx, &http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Header: header, Body: body, GetBody: again, ContentLength: int64(len(question))}, answer)
}

// exchange sends a request and decodes the JSON of the answer, unless answer is nil.
func (t *rest) exchange(ctx context.Context, req *http.Request, answer any) error {
	method, u := req.Method, req.URL
	_, body, err := t.send(req.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, u.Path, err)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("%s %s: %w: %w", method, u.Path, ErrAnswer, err)
	}
	return nil
}

// send sends a request and reads the whole answer, so that the connection can
// be used again. An answer that is not a success is an *Error.
func (t *rest) send(req *http.Request) (http.Header, []byte, error) {
	answer, err := t.http.RoundTrip(req)
	if err != nil {
		return nil, nil, ended(req.Context(), err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusAccepted {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, errorBytesMax)) // a part of the message is better than none
		return nil, nil, newError(answer, body)
	}
	body, err := t.read(answer)
	return answer.Header, body, ended(req.Context(), err)
}

// ended is the context's error if the context has ended, else err.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// read reads the body of an answer into memory of its own.
func (t *rest) read(answer *http.Response) ([]byte, error) {
	if answer.ContentLength > t.bytesMax {
		return nil, fmt.Errorf("%w: it has %d bytes, more than Options.ResponseBytesMax, which is %d", ErrAnswer, answer.ContentLength, t.bytesMax)
	}
	if answer.ContentLength >= 0 {
		body := make([]byte, answer.ContentLength)
		_, err := io.ReadFull(answer.Body, body)
		return body, err
	}
	var body bytes.Buffer
	n, err := body.ReadFrom(io.LimitReader(answer.Body, t.bytesMax+1))
	if err == nil && n > t.bytesMax {
		err = fmt.Errorf("%w: it has more than Options.ResponseBytesMax, which is %d bytes", ErrAnswer, t.bytesMax)
	}
	return body.Bytes(), err
}
