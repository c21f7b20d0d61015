package replay

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// transport sends requests over reused connections, one at a time on each. The calling
// goroutine writes and reads. net/http's transport has two more goroutines per
// connection and passes each request between them, which costs several times more than
// the server spends on the answer; that would falsify the measurement if both share a
// machine. It supports only plain HTTP/1.1 and bodies of known length.
type transport struct {
	mu     sync.Mutex
	idle   []*kept // the last used at the end
	closed bool
}

// kept is a connection.
type kept struct {
	net.Conn
	reader *bufio.Reader
	writer *bufio.Writer
	used   bool // it had an answer before, so the server may have closed it since
}

const connectTimeout = 10 * time.Second

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	for {
		c, err := t.connection(r.Context(), r.URL.Host)
		if err != nil {
			return nil, err
		}
		answer, err := t.exchange(c, r)
		if err == nil {
			return answer, nil
		}
		_ = c.Close() // it is not used any more
		if !c.used || r.GetBody == nil || r.Context().Err() != nil {
			if cause := context.Cause(r.Context()); cause != nil {
				err = cause
			}
			return nil, err
		}
		// The server may have closed it because it was idle for too long.
		if r.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
}

// connection returns an idle connection, or a new one.
func (t *transport) connection(ctx context.Context, addr string) (*kept, error) {
	t.mu.Lock()
	if n := len(t.idle); n > 0 {
		c := t.idle[n-1]
		t.idle = t.idle[:n-1]
		t.mu.Unlock()
		return c, nil
	}
	t.mu.Unlock()
	conn, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &kept{Conn: conn, reader: bufio.NewReader(conn), writer: bufio.NewWriterSize(conn, 32<<10)}, nil
}

// exchange writes the request and reads the header of the answer. The connection can
// be reused when the answer's body has been read completely and closed.
func (t *transport) exchange(c *kept, r *http.Request) (*http.Response, error) {
	stop := context.AfterFunc(r.Context(), func() { _ = c.SetDeadline(time.Unix(1, 0)) }) // such a connection is closed later
	err := c.write(r)
	if err == nil {
		var answer *http.Response
		if answer, err = http.ReadResponse(c.reader, r); err == nil {
			answer.Body = &body{ReadCloser: answer.Body, left: answer.ContentLength, done: func(whole bool) {
				if !stop() || !whole || answer.Close {
					_ = c.Close() // it is not used any more
					return
				}
				t.keep(c)
			}}
			return answer, nil
		}
	}
	stop()
	return nil, err
}

// write sends a request.
func (c *kept) write(r *http.Request) error {
	w := c.writer
	w.Reset(c.Conn)
	for _, text := range [...]string{r.Method, " ", r.URL.RequestURI(), " HTTP/1.1\r\nHost: ", r.URL.Host, "\r\n"} {
		_, _ = w.WriteString(text) // Flush returns the error
	}
	if err := r.Header.Write(w); err != nil {
		return err
	}
	_, _ = w.WriteString("Content-Length: " + strconv.FormatInt(max(0, r.ContentLength), 10) + "\r\n\r\n")
	if r.Body != nil {
		_, err := io.Copy(w, r.Body)
		r.Body.Close()
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// keep stores a connection for reuse.
func (t *transport) keep(c *kept) {
	c.used = true
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = c.Close() // it is not used any more
		return
	}
	t.idle = append(t.idle, c)
}

// CloseIdleConnections closes idle connections now, and busy ones when they are
// released.
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, c := range t.idle {
		_ = c.Close() // it is not used any more
	}
	t.idle = nil
}

// body is the body of an answer. When it is closed, it stores the connection for reuse
// if the body was read completely.
type body struct {
	io.ReadCloser
	left int64 // bytes; -1: unknown
	once sync.Once
	done func(whole bool)
	end  bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left >= 0 {
		b.left -= int64(n)
	}
	b.end = b.end || errors.Is(err, io.EOF) || b.left == 0
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.once.Do(func() { b.done(b.end || b.left == 0) })
	return nil
}
