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

// unreadable says why a body could not be read: it is too large or too slow, its
// sender went away, or it is not what it says it is.
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
	return nil, slo.E("", slo.KindUnsupported, "Content-Encoding %q is not offered: use gzip, deflate or none", encoding)
}

// inflate reads "deflate", which is zlib's format by the standard and the bare
// compressed bits from some clients. zlib's begins with two bytes that tell.
func inflate(src io.Reader) (io.Reader, error) {
	const method, checked = 8, 31 // RFC 1950: the low half of the first byte; both together are a multiple
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

// whole is what is decompressed from all of a body. The format says itself where
// it ends; the end of the body must be seen too, for then the HTTP server begins
// to notice when the client goes away.
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
		err = errors.New("there are bytes behind the compressed ones")
	}
	return n, err
}

// compressor is what gzip.Writer and zlib.Writer are to us.
type compressor interface {
	io.WriteCloser
	Reset(io.Writer)
}

// compressors by the name of the encoding. Speed before size: answers are small,
// and the processor has better to do.
var compressors = map[string]*sync.Pool{
	"gzip":    {New: func() any { return newCompressor(gzip.NewWriterLevel(nil, gzip.BestSpeed)) }},
	"deflate": {New: func() any { return newCompressor(zlib.NewWriterLevel(nil, zlib.BestSpeed)) }},
}

// newCompressor leaves out the error: it is about the level, a constant.
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

// accepted picks the encoding of an answer from Accept-Encoding: gzip, deflate
// or "" for none. A weight of 0 means: not this one; other weights make no
// difference between two that are both offered.
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
