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

// A connection is held to a pace in both directions: a client may take Patience
// to send the next PatienceBytes of a request's body, and as long to take the
// next of an answer. So a slow line gets a large body through, however long it
// takes, while who sends or reads a byte now and then loses the connection, and
// with it what the request holds. In between, while the request waits and runs,
// no clock ticks: net/http ends a deadline for reading with the body's end.

// upload reads the body of a request.
type upload struct {
	src      io.Reader
	control  http.ResponseController
	patience time.Duration // 0: the connection has no deadlines
	window   int64         // bytes for which the client has its patience
	got      int64         // of the window
	left     int64         // bytes that the body may still have
	bytesMax int64
}

// upload begins to read the body of a request, of at most bytesMax as it is
// sent, which is not what it is when decompressed.
func (a *API) upload(w http.ResponseWriter, r *http.Request, bytesMax int64) upload {
	u := upload{src: r.Body, control: *http.NewResponseController(w), patience: a.cfg.Patience, window: a.cfg.PatienceBytes,
		left: bytesMax, bytesMax: bytesMax}
	u.expect()
	return u
}

// expect gives the client its patience for what comes next.
func (u *upload) expect() {
	if u.patience > 0 {
		_ = u.control.SetReadDeadline(time.Now().Add(u.patience)) // fails where there is no connection, as in a test
	}
	u.got = 0
}

// Read reads a piece of the body.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.src.Read(p)
	u.got += int64(n)
	u.left -= int64(n)
	switch {
	case u.left < 0:
		return n, slo.E("", slo.KindTooLarge, "the body has more than %d bytes", u.bytesMax)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, httpError{http.StatusRequestTimeout, slo.E("", slo.KindInvalid,
			"the body came too slowly: the next %d bytes of it, or its end, were not there within %v", u.window, u.patience)}
	case err == nil && u.got >= u.window: // at the end the deadline is gone, and must stay so
		u.expect()
	}
	return n, err
}

// download writes an answer.
type download struct {
	http.ResponseWriter
	control  http.ResponseController
	patience time.Duration
	window   int64
	leaving  *atomic.Bool
}

// paced is w, through which nothing is written to a client that does not read.
func (a *API) paced(w http.ResponseWriter) http.ResponseWriter {
	if a.cfg.Patience == 0 {
		return w
	}
	return &download{w, *http.NewResponseController(w), a.cfg.Patience, a.cfg.PatienceBytes, &a.leaving}
}

// refused shortens the patience with what is left of a request that was refused.
// The HTTP server reads the rest of a small body before it answers, since many
// clients only then begin to read, and the answer must still find time.
func (d *download) refused() {
	_ = d.control.SetReadDeadline(time.Now().Add(d.patience / 6))
}

// Unwrap gives http.ResponseController what is inside.
func (d *download) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// WriteHeader implements http.ResponseWriter. A server that is about to stop closes
// the connection with the answer, so that the client sends its next request elsewhere.
func (d *download) WriteHeader(status int) {
	if d.leaving.Load() {
		d.Header().Set("Connection", "close")
	}
	d.ResponseWriter.WriteHeader(status)
}

// Write writes piece after piece. What is small stays in the buffer of the HTTP
// server, which writes it within the last deadline.
func (d *download) Write(p []byte) (written int, err error) {
	for {
		_ = d.control.SetWriteDeadline(time.Now().Add(d.patience)) // fails where there is no connection
		n, err := d.ResponseWriter.Write(p[written:min(len(p), written+int(d.window))])
		if written += n; err != nil || written == len(p) {
			return written, err
		}
	}
}
