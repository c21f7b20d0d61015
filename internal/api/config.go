package api

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/feedback"
	"github.com/mosel-serve/mosel/internal/jobs"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// Config has the bounds on what clients may send.
type Config struct {
	// BodyBytesMax bounds a request's body, both compressed and decompressed.
	BodyBytesMax int64
	// BodyBytesInFlight bounds the memory of all requests in progress together: their
	// bodies, the decoded data, and the answers. Further requests are shed.
	BodyBytesInFlight int64
	// StallTimeout is how long a client may take to send the next StallBytes of a body,
	// or to read the next StallBytes of an answer, before its connection is closed.
	// Together they are the minimum rate of a connection.
	StallTimeout time.Duration
	StallBytes   int64
	// HeaderBytesMax bounds a request's header. Package server passes it to the HTTP
	// server, which reads headers before this package sees them.
	HeaderBytesMax int
	// ItemsMax bounds the items of one request. Larger work is several requests.
	ItemsMax int
	// CompressBytesMin is the size from which answers are compressed for clients that
	// accept it. Compressing smaller answers takes more time than it saves.
	CompressBytesMin int
	// ClientHeader is the header that identifies the client for fair sharing. "" disables
	// it, for clients that cannot be trusted to use one name each.
	ClientHeader string
	// Confidence is that of floors of requests that say nothing of it.
	Confidence slo.Confidence
	// MessagesMax bounds the requests in progress on one gRPC connection, and
	// StreamWindow those of one stream.
	MessagesMax  int
	StreamWindow int
	// ReceiveTime bounds how long the message of a gRPC request may take to be received.
	ReceiveTime time.Duration
	// Tensors bounds the contents of a request's body.
	Tensors oip.Limits
	// Feedback, if not nil, remembers answers so that labels that come later can be scored.
	// FeedbackRole may bring labels.
	Feedback     *feedback.Store
	FeedbackRole access.Role
	// Pages are the files of the pages that are served at /; nil: none.
	Pages fs.FS
	// Jobs, if not nil, keeps durable jobs. JobsRole may submit, read and cancel them.
	Jobs     *jobs.Manager
	JobsRole access.Role
	// Version is the server's version, for its metadata.
	Version string
	// Tracer, if not nil, gets a span for every inference and for each of its stages.
	Tracer trace.Tracer
}

// DefaultConfig returns bounds that ordinary clients do not reach: bodies of 64 MiB (a
// batch of 100 images of 224x224 in FP32 has 60), 1 GiB for all of them, 100,000 items,
// connections of at least 70 kbit/s.
func DefaultConfig() Config {
	return Config{
		BodyBytesMax:      64 << 20,
		BodyBytesInFlight: 1 << 30,
		StallTimeout:      30 * time.Second,
		StallBytes:        256 << 10,
		HeaderBytesMax:    64 << 10,
		ItemsMax:          100_000,
		CompressBytesMin:  1 << 10,
		ClientHeader:      oip.HeaderClient,
		MessagesMax:       1024,
		StreamWindow:      64,
		ReceiveTime:       2 * time.Minute,
		Tensors:           oip.DefaultLimits(),
		FeedbackRole:      access.Infer,
		JobsRole:          access.Infer,
		Version:           buildVersion(),
	}
}

// buildVersion returns the version that the Go toolchain recorded in the program.
func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// Validate reports every setting that is out of range.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.BodyBytesMax >= 1, "the bound on a body is %d bytes: it must be at least 1", c.BodyBytesMax)
	check(c.BodyBytesInFlight >= (1+decodedPerByte)*c.BodyBytesMax,
		"the bound on all bodies is %d bytes: it must be at least %d times the bound on one, which is %d, because a body of JSON may need so much when it is decoded",
		c.BodyBytesInFlight, 1+decodedPerByte, c.BodyBytesMax)
	check(c.StallTimeout > 0 && c.StallBytes >= 1, "StallTimeout is %v and StallBytes is %d: both must be above 0", c.StallTimeout, c.StallBytes)
	check(c.HeaderBytesMax >= 1, "the bound on headers is %d bytes: it must be at least 1", c.HeaderBytesMax)
	check(c.ItemsMax >= 1, "the bound on items is %d: it must be at least 1", c.ItemsMax)
	check(c.MessagesMax >= 1 && c.StreamWindow >= 1, "the bounds on a gRPC connection are %d requests and %d of a stream: both must be at least 1", c.MessagesMax, c.StreamWindow)
	check(c.ReceiveTime > 0, "the time to receive a gRPC request is %v: it must be above 0", c.ReceiveTime)
	check(c.FeedbackRole == access.Infer || c.FeedbackRole == access.Admin, "the role that feedback needs is %v: it must be infer or admin", c.FeedbackRole)
	check(c.CompressBytesMin >= 0, "the size from which answers are compressed is %d bytes: it must be at least 0", c.CompressBytesMin)
	check(min(c.Tensors.Tensors, c.Tensors.Rank, c.Tensors.Elements, c.Tensors.NameBytes, c.Tensors.ValueBytes, c.Tensors.Depth) >= 1 && c.Tensors.Parameters >= 0,
		"a bound on tensors is too low: Parameters must be at least 0 and all others at least 1: %+v", c.Tensors)
	if len(errs) == 0 {
		return nil
	}
	return &slo.Error{Op: "configure the API", Kind: slo.KindInvalid, Err: errors.Join(errs...)}
}
