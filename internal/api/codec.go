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

// codec is protobuf, except for inference requests and labels, which it leaves encoded. So
// they are checked against the bounds before they are decoded, which can take much more memory
// than the message, and a malformed request gets an error of ours: gRPC answers INTERNAL
// to every error of Unmarshal.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// frame is an encoded inference request, or a call with labels.
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

// size returns the number of bytes of the message.
func (f *frame) size() int64 { return int64(f.buffer.Len()) }

// decode reads the message, within the exchange's budget, and frees its bytes: the frame
// must not be used again. After an error q has the request's id, if that can be read, and
// nothing else.
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
		err = invalid("the message is not a valid ModelInferRequest: %w", err)
	}
	q.Reset()
	q.Id = inference.RequestID(wire, limits)
	return err
}

// description returns the protocol's service, with handlers that receive frames for
// inference requests.
func description() *grpc.ServiceDesc {
	d := inference.GRPCInferenceService_ServiceDesc
	d.Methods, d.Streams = slices.Clone(d.Methods), slices.Clone(d.Streams)
	for i := range d.Methods {
		switch d.Methods[i].MethodName {
		case "ModelInfer":
			d.Methods[i].Handler = inferHandler
		case "ModelFeedback":
			d.Methods[i].Handler = feedbackHandler
		}
	}
	for i := range d.Streams {
		if d.Streams[i].StreamName == "ModelStreamInfer" {
			d.Streams[i].Handler = func(srv any, s grpc.ServerStream) error { return srv.(*service).stream(s) }
		}
	}
	return &d
}

// The handlers of calls whose messages are left encoded.
var (
	inferHandler = framed(inference.GRPCInferenceService_ModelInfer_FullMethodName,
		func(s *service, ctx context.Context, f *frame) (any, error) { return s.call(ctx, f) })
	feedbackHandler = framed(inference.GRPCInferenceService_ModelFeedback_FullMethodName,
		func(s *service, _ context.Context, f *frame) (any, error) { return s.feedback(f) })
)

// framed returns the handler of a method that protoc-gen-go-grpc generates, with a frame.
func framed(method string, answer func(s *service, ctx context.Context, f *frame) (any, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		f := new(frame)
		if err := decode(f); err != nil {
			return nil, err
		}
		info := &grpc.UnaryServerInfo{Server: srv, FullMethod: method}
		return interceptor(ctx, f, info, func(ctx context.Context, request any) (any, error) {
			return answer(srv.(*service), ctx, request.(*frame))
		})
	}
}

// ended returns the error of a stream after an error of RecvMsg: nil if the client has
// sent all its requests.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return slo.E("", slo.KindCancelled, "the stream cannot be read: %w", err)
}

// deflate is zlib's format. Triton's clients may send it, and grpc-go does not support
// it.
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
