package api

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// A REST client must keep a minimum rate in both directions: it has Config.StallTimeout
// to send each Config.StallBytes of a body, and as long to read each StallBytes of an
// answer. A large body may take long over a slow network. But a client that sends or
// reads only a byte now and then loses its connection, and the memory of its request is
// freed. There is no deadline while a request waits and runs: net/http ends the read
// deadline at the end of the body.

// bodyReader reads the body of a request at the minimum rate.
type bodyReader struct {
	src          io.Reader
	control      http.ResponseController
	stallTimeout time.Duration // 0: the connection has no deadlines
	window       int64         // bytes to be received within stallTimeout
	got          int64         // received bytes of the window
	left         int64         // bytes that the body may still have
	bytesMax     int64
}

// newBodyReader returns a reader for a request's body of at most bytesMax. A compressed
// body counts with its compressed size.
func (a *API) newBodyReader(w http.ResponseWriter, r *http.Request, bytesMax int64) bodyReader {
	b := bodyReader{src: r.Body, control: *http.NewResponseController(w), stallTimeout: a.cfg.StallTimeout, window: a.cfg.StallBytes,
		left: bytesMax, bytesMax: bytesMax}
	b.nextWindow()
	return b
}

// nextWindow gives the client the time for the next window.
func (b *bodyReader) nextWindow() {
	if b.stallTimeout > 0 {
		_ = b.control.SetReadDeadline(time.Now().Add(b.stallTimeout)) // fails without a connection, as in tests
	}
	b.got = 0
}

// Read implements io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	b.got += int64(n)
	b.left -= int64(n)
	switch {
	case b.left < 0:
		return n, slo.E("", slo.KindTooLarge, "the body has more than %d bytes", b.bytesMax)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, httpError{http.StatusRequestTimeout, slo.E("", slo.KindInvalid,
			"the body was sent too slowly: %d bytes, or its end, must be received within %v", b.window, b.stallTimeout)}
	case err == nil && b.got >= b.window: // after the body's end there must be no deadline
		b.nextWindow()
	}
	return n, err
}

// answerWriter writes an answer at the minimum rate.
type answerWriter struct {
	http.ResponseWriter
	control      http.ResponseController
	stallTimeout time.Duration
	window       int64
	leaving      *atomic.Bool
}

// withMinRate returns w with a deadline for each window that is written.
func (a *API) withMinRate(w http.ResponseWriter) http.ResponseWriter {
	if a.cfg.StallTimeout == 0 {
		return w
	}
	return &answerWriter{w, *http.NewResponseController(w), a.cfg.StallTimeout, a.cfg.StallBytes, &a.leaving}
}

// refused shortens the time for the rest of a request that was refused. The HTTP
// server reads the rest of a small body before it sends the answer, because many
// clients read only after they have sent everything; the answer must still be in time.
func (a *answerWriter) refused() {
	_ = a.control.SetReadDeadline(time.Now().Add(a.stallTimeout / 6))
}

// Unwrap returns the wrapped writer, for http.ResponseController.
func (a *answerWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements http.ResponseWriter. A server that is about to stop closes the
// connection after the answer, so that the client sends its next request elsewhere.
func (a *answerWriter) WriteHeader(status int) {
	if a.leaving.Load() {
		a.Header().Set("Connection", "close")
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write writes one window after the other. A small answer stays in the buffer of the
// HTTP server, which writes it within the last deadline.
func (a *answerWriter) Write(p []byte) (written int, err error) {
	for {
		_ = a.control.SetWriteDeadline(time.Now().Add(a.stallTimeout)) // fails without a connection
		n, err := a.ResponseWriter.Write(p[written:min(len(p), written+int(a.window))])
		if written += n; err != nil || written == len(p) {
			return written, err
		}
	}
}
