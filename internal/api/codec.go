package api

import (
	"compress/zlib"
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress with it
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
)

// codec is protobuf, but for one thing: an inference request is held against the
// bounds while it is still bytes, since a small message can be large in memory.
type codec struct {
	encoding.CodecV2
	limits oip.Limits
}

func newCodec(limits oip.Limits) codec {
	return codec{encoding.GetCodecV2(proto.Name), limits}
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if _, ok := v.(*inference.ModelInferRequest); !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	if err := inference.CheckRequest(whole.ReadOnlyData(), c.limits); err != nil {
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	return c.CodecV2.Unmarshal(mem.BufferSlice{whole}, v)
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
