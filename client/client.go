package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/mosel-serve/mosel/oip"
)

// Options configure a Client. The zero value of each field stands for its
// default.
type Options struct {
	// ConnectionsMax bounds the calls under way at a time, and so their memory and
	// connections; further calls wait until one is done. Over gRPC all calls share
	// one connection, and a stream counts as one call. Default 1024.
	ConnectionsMax int
	// ResponseBytesMax bounds an answer: its body, or its gRPC message. Default
	// 64 MiB.
	ResponseBytesMax int64
	// ClientKey names the client on whose behalf requests are made. A mosel server
	// shares its capacity fairly between keys, so a client that floods it does not
	// delay the others.
	ClientKey string
	// Token is sent with every request, as "Authorization: Bearer". For a host other
	// than this one TLS is needed, because whoever reads the token on the network can
	// use it; AllowInsecureToken lifts that.
	Token              string
	AllowInsecureToken bool
	// TLS configures connections to an https or grpcs address: authorities to trust,
	// certificates to present. Default: the system's authorities.
	TLS *tls.Config
	// Transport sends the requests over REST instead of the client's own transport,
	// for tests and for special networks.
	Transport http.RoundTripper
	// GRPC connects to a grpc or grpcs address. Set it to clientgrpc.Dial, which is in a
	// package of its own so that programs that use REST only do not contain gRPC. If it
	// is nil, New refuses such addresses.
	//
	// New calls it once, with host and port of the server and with the options, in
	// which all defaults are filled in. TLS is nil if and only if the address is
	// without TLS. It does not connect yet.
	GRPC func(target string, opts Options) (Wire, error)
}

// The defaults of Options, and the bound on connecting.
const (
	connectionsMax   = 1024
	responseBytesMax = 64 << 20
	connectTimeout   = 10 * time.Second
)

// transport sends calls to a server. Its errors are an *Error for an answer that is not
// a success, the context's error if the context has ended, and others for what could
// not be sent or read.
type transport interface {
	infer(ctx context.Context, r *Request) (*Response, error)
	Ready(ctx context.Context) (bool, error)
	Server(ctx context.Context) (oip.ServerMetadata, error)
	Models(ctx context.Context) ([]oip.RepositoryEntry, error)
	Metadata(ctx context.Context, model, version string) (oip.ModelMetadata, error)
	Load(ctx context.Context, model string) error
	Unload(ctx context.Context, model string) error
	Feedback(ctx context.Context, model, version string, records []oip.Feedback) (oip.FeedbackResult, error)
	// Close is called once, when nothing is under way any more.
	Close()
}

// Client sends requests to one server. It is safe for concurrent use.
type Client struct {
	transport transport
	slots     chan struct{} // one is taken for each call under way

	mu      sync.Mutex
	running int // calls that have a slot or wait for one
	closed  bool
}

// New makes a client of the server at addr:
//
//   - "host:port", or a URL http://... or https://... and, if the server stands
//     behind a proxy, a path: REST;
//   - grpc://host:port, or grpcs://host:port with TLS: gRPC, by default at port 8001,
//     which needs Options.GRPC.
//
// It does not connect yet.
func New(addr string, opts Options) (*Client, error) {
	at, err := parseAddress(addr)
	if err != nil {
		return nil, err
	}
	if err := opts.check(at); err != nil {
		return nil, fmt.Errorf("client of %s: %w", addr, err)
	}
	if opts.ConnectionsMax <= 0 {
		opts.ConnectionsMax = connectionsMax
	}
	if opts.ResponseBytesMax <= 0 {
		opts.ResponseBytesMax = responseBytesMax
	}
	c := &Client{slots: make(chan struct{}, opts.ConnectionsMax)}
	if !at.grpc() {
		c.transport = newREST(at, opts)
		return c, nil
	}
	if at.secure() && opts.TLS == nil {
		opts.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	wire, err := opts.GRPC(at.target(), opts)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", addr, err)
	}
	c.transport = wired{wire}
	return c, nil
}

// Close ends the client: further calls fail with ErrClosed. Those under way go on,
// and the connections close with the last of them.
func (c *Client) Close() {
	c.mu.Lock()
	last := !c.closed && c.running == 0
	c.closed = true
	c.mu.Unlock()
	if last {
		c.transport.Close()
	}
}

// enter waits until a call may be made, for at most waitMax if that is above 0. If it
// returns nil, the caller must call leave.
func (c *Client) enter(ctx context.Context, waitMax time.Duration) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.running++
	c.mu.Unlock()
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	var over <-chan time.Time
	if waitMax > 0 {
		timer := time.NewTimer(waitMax)
		defer timer.Stop()
		over = timer.C
	}
	var err error
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-over:
		err = fmt.Errorf("%w while %d other calls were under way, the most that Options.ConnectionsMax allows", ErrDeadline, cap(c.slots))
	}
	c.gone()
	return err
}

// leave ends a call.
func (c *Client) leave() {
	<-c.slots
	c.gone()
}

func (c *Client) gone() {
	c.mu.Lock()
	c.running--
	last := c.closed && c.running == 0
	c.mu.Unlock()
	if last {
		c.transport.Close()
	}
}

// Ready reports whether the server takes requests. It returns an error if the server
// could not be asked.
func (c *Client) Ready(ctx context.Context) (bool, error) {
	ready, err := ask(ctx, c, func() (bool, error) { return c.transport.Ready(ctx) })
	if errors.Is(err, ErrUnavailable) {
		return false, nil
	}
	return ready, err
}

// Server returns the name, version and extensions of the server.
func (c *Client) Server(ctx context.Context) (oip.ServerMetadata, error) {
	return ask(ctx, c, func() (oip.ServerMetadata, error) { return c.transport.Server(ctx) })
}

// Models lists the models and whether they are ready.
func (c *Client) Models(ctx context.Context) ([]oip.RepositoryEntry, error) {
	return ask(ctx, c, func() ([]oip.RepositoryEntry, error) { return c.transport.Models(ctx) })
}

// Metadata describes a model: its inputs, its outputs, and its modalities and accuracy
// if the server knows them.
func (c *Client) Metadata(ctx context.Context, model string) (oip.ModelMetadata, error) {
	return c.VersionMetadata(ctx, model, "")
}

// VersionMetadata is Metadata of one version of a model; "" is whichever is served.
func (c *Client) VersionMetadata(ctx context.Context, model, version string) (oip.ModelMetadata, error) {
	return ask(ctx, c, func() (oip.ModelMetadata, error) { return c.transport.Metadata(ctx, model, version) })
}

// Load asks the server to load a model, or to load it again if its package has
// changed, and returns when the model is served. Servers may allow this to
// administrators only.
func (c *Client) Load(ctx context.Context, model string) error {
	_, err := ask(ctx, c, func() (struct{}, error) { return struct{}{}, c.transport.Load(ctx, model) })
	return err
}

// Unload asks the server to stop serving a model. Servers may allow this to
// administrators only.
func (c *Client) Unload(ctx context.Context, model string) error {
	_, err := ask(ctx, c, func() (struct{}, error) { return struct{}{}, c.transport.Unload(ctx, model) })
	return err
}

// Feedback tells the server what is known, later, about its answers to requests: the right
// answers, or how right its answers were. Each record is about one request, named by its
// Request.ID or by the Response.Job of its answer. A server counts all records of a call or,
// with an error, none. The error is ErrUnsupported if the server does not keep its answers.
func (c *Client) Feedback(ctx context.Context, model string, records ...oip.Feedback) (oip.FeedbackResult, error) {
	return c.VersionFeedback(ctx, model, "", records...)
}

// VersionFeedback is Feedback on one version of a model; "" is whichever is served.
func (c *Client) VersionFeedback(ctx context.Context, model, version string, records ...oip.Feedback) (oip.FeedbackResult, error) {
	return ask(ctx, c, func() (oip.FeedbackResult, error) { return c.transport.Feedback(ctx, model, version, records) })
}

// ask makes one call.
func ask[A any](ctx context.Context, c *Client, question func() (A, error)) (answer A, err error) {
	if err := c.enter(ctx, 0); err != nil {
		return answer, err
	}
	defer c.leave()
	return question()
}
