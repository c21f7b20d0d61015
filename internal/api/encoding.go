package api

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/mosel-serve/mosel/internal/slo"
)

// readBody reads a request's body, decompressed.
func (a *API) readBody(w http.ResponseWriter, r *http.Request, x *exchange) error {
	encoding := strings.ToLower(r.Header.Get("Content-Encoding"))
	x.reader = a.newBodyReader(w, r, a.cfg.BodyBytesMax)
	src, size := io.Reader(&x.reader), r.ContentLength
	if encoding != "" && encoding != "identity" {
		var err error
		if src, err = decompressor(encoding, src); err != nil {
			return unreadable(r, err)
		}
		if size <= a.cfg.BodyBytesMax { // else it is refused for that
			size = -1
		}
	}
	return unreadable(r, x.read(src, size, a.cfg.BodyBytesMax))
}

// unreadable returns the error for a body that could not be read: it is too large or
// too slow, the client closed the connection, or it is not compressed as the header
// says.
func unreadable(r *http.Request, err error) error {
	if _, known := errors.AsType[*slo.Error](err); known || err == nil {
		return err
	}
	kind := slo.KindInvalid
	if r.Context().Err() != nil {
		kind = slo.KindCancelled
	}
	return slo.E("", kind, "the body cannot be read: %w", err)
}

func decompressor(encoding string, src io.Reader) (io.Reader, error) {
	switch encoding {
	case "gzip":
		return gzip.NewReader(src)
	case "deflate":
		return inflate(src)
	}
	return nil, slo.E("", slo.KindUnsupported, "Content-Encoding %q is not supported: use gzip, deflate or none", encoding)
}

// inflate reads "deflate". By the standard that is zlib's format, but some clients send
// the compressed data without zlib's header. The first two bytes show which it is.
func inflate(src io.Reader) (io.Reader, error) {
	const method, checked = 8, 31 // RFC 1950: the low half of the first byte is method, the two bytes are a multiple of checked
	buffered := bufio.NewReader(src)
	head, err := buffered.Peek(2)
	if err != nil {
		return nil, err
	}
	if head[0]&15 == method && (int(head[0])<<8|int(head[1]))%checked == 0 {
		inflated, err := zlib.NewReader(buffered)
		return whole{inflated, buffered}, err
	}
	return whole{flate.NewReader(buffered), buffered}, nil
}

// whole decompresses a body and then checks that the body has ended. A compressed
// format marks its own end, but the HTTP server notices that a client has closed the
// connection only after the end of the body was read.
type whole struct {
	io.Reader
	body *bufio.Reader
}

func (w whole) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if _, err = w.body.Peek(1); err == nil {
		err = errors.New("there are bytes after the compressed data")
	}
	return n, err
}

// compressor is a gzip.Writer or zlib.Writer.
type compressor interface {
	io.WriteCloser
	Reset(io.Writer)
}

// compressors are listed by the name of the encoding. They compress quickly rather than
// well, because answers are small and inference needs the processor.
var compressors = map[string]*sync.Pool{
	"gzip":    {New: func() any { return newCompressor(gzip.NewWriterLevel(nil, gzip.BestSpeed)) }},
	"deflate": {New: func() any { return newCompressor(zlib.NewWriterLevel(nil, zlib.BestSpeed)) }},
}

// newCompressor ignores the error, which can only be about the level, a constant.
func newCompressor[C compressor](c C, _ error) compressor { return c }

// compress returns the body in the encoding.
func compress(encoding string, body []byte) ([]byte, error) {
	pool := compressors[encoding]
	c := pool.Get().(compressor)
	defer pool.Put(c)
	var out bytes.Buffer
	c.Reset(&out)
	if _, err := c.Write(body); err != nil {
		return nil, slo.E("compress an answer", slo.KindInternal, "%w", err)
	}
	if err := c.Close(); err != nil {
		return nil, slo.E("compress an answer", slo.KindInternal, "%w", err)
	}
	return out.Bytes(), nil
}

// accepted picks the encoding of an answer from Accept-Encoding: gzip, else deflate, else
// "" for none. A weight of 0 excludes an encoding; other weights are ignored.
func accepted(header string) string {
	if header == "" {
		return ""
	}
	best := ""
	for offer := range strings.SplitSeq(strings.ToLower(header), ",") {
		name, weight, _ := strings.Cut(offer, ";")
		name = strings.TrimSpace(name)
		if q, found := strings.CutPrefix(strings.TrimSpace(weight), "q="); found {
			if f, err := strconv.ParseFloat(q, 64); err != nil || f <= 0 {
				continue
			}
		}
		if name == "gzip" || name == "deflate" && best == "" {
			best = name
		}
	}
	return best
}
