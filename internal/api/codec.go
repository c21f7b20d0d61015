package api

import (
	"compress/zlib"
	"context"
	"errors"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress with it
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// codec is protobuf, but for one thing: an inference request stays bytes. What is
// wrong with it is then for its handler to say, in a stream as well, where grpc
// would end the call with a code for defects; and it can be held against the
// bounds before it takes the memory of a message.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	m.wire = data.MaterializeToBuffer(mem.DefaultBufferPool())
	return nil
}

// message is an inference request: bytes first, and a message once it is read.
type message struct {
	wire    mem.Buffer
	request inference.ModelInferRequest
}

// read makes a message of the bytes, within the bounds and the exchange's budget.
func (m *message) read(x *exchange, limits oip.Limits) error {
	defer m.wire.Free()
	wire := m.wire.ReadOnlyData()
	if err := undecodable(inference.CheckRequest(wire, limits)); err != nil {
		return err
	}
	if err := x.reserve(inference.RequestMemory(wire)); err != nil {
		return err
	}
	if err := protobuf.Unmarshal(wire, &m.request); err != nil {
		return invalid("the message is no ModelInferRequest: %w", err)
	}
	return nil
}

// decode makes the exchange's request of the message, which needs its tensors no
// longer.
func (m *message) decode(x *exchange, limits oip.Limits) error {
	err := undecodable(inference.DecodeRequest(&x.request, &m.request, limits))
	m.request.Inputs, m.request.RawInputContents = nil, nil
	if err == nil {
		x.hold(dataBytes(x.request.Inputs) - x.reserved)
	}
	return err
}

// descriptor is the protocol's service with handlers of ours for inference, which
// take a message where the generated ones take what grpc has unmarshaled.
func descriptor() *grpc.ServiceDesc {
	d := inference.GRPCInferenceService_ServiceDesc
	d.Methods, d.Streams = slices.Clone(d.Methods), slices.Clone(d.Streams)
	for i := range d.Methods {
		if d.Methods[i].MethodName == "ModelInfer" {
			d.Methods[i].Handler = inferOnce
		}
	}
	for i := range d.Streams {
		if d.Streams[i].StreamName == "ModelStreamInfer" {
			d.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error { return srv.(*service).stream(stream) }
		}
	}
	return &d
}

// inferOnce handles ModelInfer.
func inferOnce(srv any, ctx context.Context, receive func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // grpc's order
	m := new(message)
	if err := receive(m); err != nil {
		return nil, err
	}
	info := &grpc.UnaryServerInfo{Server: srv, FullMethod: inference.GRPCInferenceService_ModelInfer_FullMethodName}
	return intercept(ctx, m, info, func(ctx context.Context, request any) (any, error) {
		return srv.(*service).inferOnce(ctx, request.(*message))
	})
}

// ended is the error with which a stream ends that could not be read to its end:
// nil where the client has no more to send.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return slo.E("", slo.KindCancelled, "the stream cannot be read: %w", err)
}

// deflate is zlib's format, which Triton's clients can send and grpc does not
// bring along.
type deflate struct{}

func init() { encoding.RegisterCompressor(deflate{}) }

// Name implements encoding.Compressor.
func (deflate) Name() string { return "deflate" }

// Compress implements encoding.Compressor.
func (deflate) Compress(w io.Writer) (io.WriteCloser, error) {
	return zlib.NewWriterLevel(w, zlib.BestSpeed)
}

// Decompress implements encoding.Compressor.
func (deflate) Decompress(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }
