package api

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"
)

// What gRPC receives of a message is in memory before anything of ours sees it,
// and a connection may carry a thousand messages at a time of which the last byte
// never comes. So bytes are counted where they come in, by connection, until the
// message they belong to is handed over; what is on its way to all handlers shares
// one budget with the bodies of REST. Where that is used up, the connection that
// asks for more is closed.

// Inflow makes a listener for gRPC whose connections are counted.
func (a *API) Inflow(l net.Listener) net.Listener { return &inflow{Listener: l, api: a} }

type inflow struct {
	net.Listener
	api *API
}

// Accept implements net.Listener.
func (l *inflow) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &line{Conn: conn, budget: &l.api.bodies, lines: &l.api.lines, messageMax: l.api.cfg.BodyBytesMax, limit: l.api.cfg.ReceiveTime,
		silence: silence{since: time.Now()}}
	l.api.lines.Store(conn.RemoteAddr().String(), c)
	return c, nil
}

// line is a connection and what it has received that no handler has taken over.
type line struct {
	net.Conn
	budget *budget
	lines  *sync.Map

	messageMax int64         // bytes of a message
	limit      time.Duration // in which one must come
	written    atomic.Int64  // bytes, since the last message

	mu      sync.Mutex
	coming  int   // calls of which a message is on its way
	pending int64 // bytes
	silence silence
	closed  bool
}

// lineFree is what a connection may hold whatever the budget: the small messages
// and the control frames of a connection that does no harm.
const lineFree = 256 << 10

// Read implements net.Conn.
func (c *line) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return n, err
	}
	c.pending += int64(n)
	c.budget.used.Add(int64(n))
	if err != nil {
		return n, err
	}
	switch most := lineFree + c.silence.late + int64(c.coming)*(c.messageMax+wireExtra(c.messageMax)); {
	case c.pending > lineFree && c.budget.used.Load() > c.budget.max:
		err = fmt.Errorf("%d bytes of unfinished messages on a connection, while the requests under way hold all of the %d bytes there are", c.pending, c.budget.max)
	case c.coming > 0 && c.pending > most:
		err = fmt.Errorf("%d bytes on a connection for %d messages of %d bytes at most", c.pending, c.coming, c.messageMax)
	default:
		err = c.silence.hear(n, c.written.Load(), c.coming > 0, c.limit, time.Now())
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Write implements net.Conn.
func (c *line) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// wireExtra is what surrounds a message of so many bytes on the wire: frames,
// headers, TLS.
func wireExtra(size int64) int64 { return size/50 + 512 }

// begin counts a message that is to come. A connection that is not counted has no
// line; what is called on that does nothing.
func (c *line) begin() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.coming++
}

// taken counts out a message that has been handed over whole, or given up, with what
// surrounds it on the wire. When no other is on its way, nothing is.
func (c *line) taken(size int64, whole bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.coming = max(0, c.coming-1)
	c.silence.end(time.Now(), whole)
	c.written.Store(0)
	if size += wireExtra(size); c.coming == 0 || size > c.pending {
		size = c.pending
	}
	c.free(size)
}

func (c *line) free(n int64) {
	c.pending -= n
	c.budget.release(n)
}

// Close implements net.Conn.
func (c *line) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		c.free(c.pending)
		c.lines.CompareAndDelete(c.RemoteAddr().String(), c)
	}
	c.mu.Unlock()
	return c.Conn.Close()
}

// lineOf is the connection of a call, nil where it is not counted.
func (a *API) lineOf(ctx context.Context) *line {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return nil
	}
	c, _ := a.lines.Load(p.Addr.String())
	l, _ := c.(*line)
	return l
}

// messageBytes is about how much a message holds. Those that are not inference
// requests are small.
func messageBytes(m any) int64 {
	if f, ok := m.(*frame); ok && f.buffer != nil {
		return f.size()
	}
	return 0
}
