package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/oip"
)

// Options configure a Client. The zero value of each field stands for its
// default.
type Options struct {
	// ConnectionsMax bounds the connections open at a time, and so the requests
	// under way; further requests wait. Default 1024.
	ConnectionsMax int
	// ResponseBytesMax bounds the body of an answer. Default 64 MiB.
	ResponseBytesMax int64
	// Transport sends the requests, in place of the client's own; for tests and
	// for other ways to a server.
	Transport http.RoundTripper
}

// Client sends requests to one server. It is safe for concurrent use.
type Client struct {
	base      url.URL
	transport http.RoundTripper
	bytesMax  int64
}

// The defaults of Options, and what the client's own transport does.
const (
	connectionsMax   = 1024
	responseBytesMax = 64 << 20
	idleTimeout      = 90 * time.Second
	connectTimeout   = 10 * time.Second
	writeBufferBytes = 32 << 10 // a request of a few tensors leaves in one system call
	errorBytesMax    = 64 << 10 // of the body of an error
)

// New makes a client of the server at addr: "host:port", or a URL with a scheme
// and, if the server stands behind a proxy, a path. It does not connect yet.
func New(addr string, opts Options) (*Client, error) {
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	base, err := url.Parse(addr)
	if err != nil {
		return nil, fmt.Errorf("server address: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("server address %q is neither host:port nor an http or https URL", addr)
	}
	c := &Client{
		base: url.URL{Scheme: base.Scheme, User: base.User, Host: base.Host,
			Path: strings.TrimRight(base.Path, "/"), RawPath: strings.TrimRight(base.RawPath, "/")},
		transport: opts.Transport,
		bytesMax:  opts.ResponseBytesMax,
	}
	if c.bytesMax <= 0 {
		c.bytesMax = responseBytesMax
	}
	if c.transport == nil {
		c.transport = newTransport(opts.ConnectionsMax)
	}
	return c, nil
}

func newTransport(connections int) *http.Transport {
	if connections <= 0 {
		connections = connectionsMax
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout: connectTimeout,
		MaxIdleConns:        connections,
		MaxIdleConnsPerHost: connections,
		MaxConnsPerHost:     connections,
		IdleConnTimeout:     idleTimeout,
		WriteBufferSize:     writeBufferBytes,
		DisableCompression:  true, // tensors compress badly, and inference has better use for the processor
	}
}

// Close closes the connections that are idle. Requests under way go on.
func (c *Client) Close() {
	if idle, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
}

// Ready reports whether the server takes requests. An error says that it could
// not be asked.
func (c *Client) Ready(ctx context.Context) (bool, error) {
	var answer oip.ServerReady
	err := c.call(ctx, http.MethodGet, c.url("health", "ready"), &answer)
	if failure := (*Error)(nil); errors.As(err, &failure) && failure.Status == http.StatusServiceUnavailable {
		return false, nil
	}
	return err == nil, err
}

// Server says which server this is.
func (c *Client) Server(ctx context.Context) (oip.ServerMetadata, error) {
	var answer oip.ServerMetadata
	err := c.call(ctx, http.MethodGet, c.url(), &answer)
	return answer, err
}

// Models lists the models and whether they are ready.
func (c *Client) Models(ctx context.Context) ([]oip.RepositoryEntry, error) {
	var answer []oip.RepositoryEntry
	err := c.call(ctx, http.MethodPost, c.url("repository", "index"), &answer)
	return answer, err
}

// Metadata describes a model: its inputs, its outputs and what is known of its
// modalities and accuracy.
func (c *Client) Metadata(ctx context.Context, model string) (oip.ModelMetadata, error) {
	var answer oip.ModelMetadata
	err := c.call(ctx, http.MethodGet, c.url("models", model), &answer)
	return answer, err
}

// url is the address of a resource below /v2.
func (c *Client) url(segments ...string) *url.URL {
	u := c.base
	path, escaped := u.Path+"/v2", u.EscapedPath()+"/v2"
	for _, s := range segments {
		path += "/" + s
		escaped += "/" + url.PathEscape(s)
	}
	if u.Path = path; escaped != path {
		u.RawPath = escaped
	}
	return &u
}

// call sends a request without a body and decodes the JSON that answers it.
func (c *Client) call(ctx context.Context, method string, u *url.URL, answer any) error {
	req := (&http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}}).WithContext(ctx)
	_, body, err := c.send(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, u.Path, err)
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("%s %s: the answer is not what the protocol says: %w", method, u.Path, err)
	}
	return nil
}

// send sends a request and reads the whole answer, so that the connection can
// be used again. An answer that is not a success is an *Error.
func (c *Client) send(req *http.Request) (http.Header, []byte, error) {
	answer, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, errorBytesMax)) // a part of the words is better than none
		return nil, nil, newError(answer, body)
	}
	body, err := c.read(answer)
	return answer.Header, body, err
}

// read reads the body of an answer into memory of its own.
func (c *Client) read(answer *http.Response) ([]byte, error) {
	if answer.ContentLength > c.bytesMax {
		return nil, fmt.Errorf("the answer has %d bytes, the bound is %d", answer.ContentLength, c.bytesMax)
	}
	if answer.ContentLength >= 0 {
		body := make([]byte, answer.ContentLength)
		_, err := io.ReadFull(answer.Body, body)
		return body, err
	}
	var body bytes.Buffer
	n, err := body.ReadFrom(io.LimitReader(answer.Body, c.bytesMax+1))
	if err == nil && n > c.bytesMax {
		err = fmt.Errorf("the answer has more than the bound of %d bytes", c.bytesMax)
	}
	return body.Bytes(), err
}
