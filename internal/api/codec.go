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
	pb "google.golang.org/protobuf/proto"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// codec is protobuf, but for inference requests: those stay bytes, so that they
// are held against the bounds before they become values, which a small message may
// make many of, and so that one that makes no sense is answered in our words. An
// error of Unmarshal is INTERNAL to gRPC, whatever it says.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// frame is an encoded inference request.
type frame struct{ buffer mem.Buffer }

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	f.buffer = data.MaterializeToBuffer(mem.DefaultBufferPool())
	return nil
}

// size is the number of bytes of the message.
func (f *frame) size() int64 { return int64(f.buffer.Len()) }

// decode reads the message, for which there must be room in the exchange's budget.
// Its bytes are given back, and must not be asked again. After an error q has the
// request's id, if that can be read, and nothing else.
func (f *frame) decode(q *inference.ModelInferRequest, x *exchange, limits oip.Limits) error {
	defer f.buffer.Free()
	wire := f.buffer.ReadOnlyData()
	memory, err := inference.Inspect(wire, limits)
	if err = undecodable(err); err == nil {
		err = x.reserve(memory)
	}
	if err == nil {
		if err = pb.Unmarshal(wire, q); err == nil {
			return nil
		}
		err = invalid("the message is no ModelInferRequest: %w", err)
	}
	q.Reset()
	q.Id = inference.RequestID(wire, limits)
	return err
}

// description is the protocol's, with its inference requests as frames.
func description() *grpc.ServiceDesc {
	d := inference.GRPCInferenceService_ServiceDesc
	d.Methods, d.Streams = slices.Clone(d.Methods), slices.Clone(d.Streams)
	for i := range d.Methods {
		if d.Methods[i].MethodName == "ModelInfer" {
			d.Methods[i].Handler = inferHandler
		}
	}
	for i := range d.Streams {
		if d.Streams[i].StreamName == "ModelStreamInfer" {
			d.Streams[i].Handler = func(srv any, s grpc.ServerStream) error { return srv.(*service).stream(s) }
		}
	}
	return &d
}

// inferHandler is what protoc-gen-go-grpc writes for a call, with a frame.
//
//nolint:revive // the order of its parameters is grpc's
func inferHandler(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	f := new(frame)
	if err := decode(f); err != nil {
		return nil, err
	}
	info := &grpc.UnaryServerInfo{Server: srv, FullMethod: inference.GRPCInferenceService_ModelInfer_FullMethodName}
	return interceptor(ctx, f, info, func(ctx context.Context, request any) (any, error) {
		return srv.(*service).call(ctx, request.(*frame))
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
