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

// grpc-go holds a message in memory until all of it has been received, and only then
// calls a handler. A connection can carry a thousand messages at a time, and a client
// may never send their last bytes. So a meteredConn counts the bytes it receives until
// the message they belong to reaches its handler. These bytes share one budget with
// the bodies of REST. When the budget is used up, the connection that receives more is
// closed.

// MeteredListener returns a listener for gRPC that counts what its connections receive.
func (a *API) MeteredListener(l net.Listener) net.Listener {
	return &meteredListener{Listener: l, api: a}
}

type meteredListener struct {
	net.Listener
	api *API
}

// Accept implements net.Listener.
func (l *meteredListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &meteredConn{Conn: conn, budget: &l.api.bodies, open: &l.api.conns, messageMax: l.api.cfg.BodyBytesMax, limit: l.api.cfg.ReceiveTime,
		idle: idleTraffic{since: time.Now()}}
	l.api.conns.Store(conn.RemoteAddr().String(), c)
	return c, nil
}

// meteredConn is a connection that counts the bytes of messages that have not reached a
// handler yet.
type meteredConn struct {
	net.Conn
	budget *budget
	open   *sync.Map // API.conns

	messageMax int64         // bytes per message
	limit      time.Duration // time in which a message must be received
	written    atomic.Int64  // bytes since the last message

	mu      sync.Mutex
	awaited int   // messages being received
	pending int64 // bytes received for messages that no handler has yet
	idle    idleTraffic
	closed  bool
}

// connBytesFree is what a connection may hold even if the budget is used up: small
// messages and control frames.
const connBytesFree = 256 << 10

// Read implements net.Conn.
func (c *meteredConn) Read(p []byte) (int, error) {
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
	switch most := connBytesFree + c.idle.late + int64(c.awaited)*(c.messageMax+wireExtra(c.messageMax)); {
	case c.pending > connBytesFree && c.budget.used.Load() > c.budget.max:
		err = fmt.Errorf("a connection has %d bytes of unfinished messages, and all requests together use up their bound of %d bytes", c.pending, c.budget.max)
	case c.awaited > 0 && c.pending > most:
		err = fmt.Errorf("a connection has %d bytes of %d unfinished messages, of which each may have %d", c.pending, c.awaited, c.messageMax)
	default:
		err = c.idle.receive(n, c.written.Load(), c.awaited > 0, c.limit, time.Now())
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Write implements net.Conn.
func (c *meteredConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// wireExtra returns how many bytes a message of the given size takes in addition on the
// wire: frames, headers, TLS.
func wireExtra(size int64) int64 { return size/50 + 512 }

// begin records that a message is awaited. A nil meteredConn is a connection without
// metering; its methods do nothing.
func (c *meteredConn) begin() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaited++
}

// end records that a message of the given size was received completely, or was
// abandoned, and returns its bytes to the budget. Once no message is awaited, all bytes
// are returned.
func (c *meteredConn) end(size int64, whole bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaited = max(0, c.awaited-1)
	c.idle.messageEnded(time.Now(), whole)
	c.written.Store(0)
	if size += wireExtra(size); c.awaited == 0 || size > c.pending {
		size = c.pending
	}
	c.free(size)
}

func (c *meteredConn) free(n int64) {
	c.pending -= n
	c.budget.release(n)
}

// Close implements net.Conn.
func (c *meteredConn) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		c.free(c.pending)
		c.open.CompareAndDelete(c.RemoteAddr().String(), c)
	}
	c.mu.Unlock()
	return c.Conn.Close()
}

// connOf returns the connection of a call, nil if it is not metered.
func (a *API) connOf(ctx context.Context) *meteredConn {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return nil
	}
	value, _ := a.conns.Load(p.Addr.String())
	c, _ := value.(*meteredConn)
	return c
}

// messageBytes returns the size of an inference request, and 0 for other messages,
// which are small.
func messageBytes(m any) int64 {
	if f, ok := m.(*frame); ok && f.buffer != nil {
		return f.size()
	}
	return 0
}
