package server

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// ConnectionsMax is the default bound on the connections of a listener. One that
// is idle takes some 20 KiB, so all of them take 80 MiB. It is lowered where the
// system gives the process fewer file descriptors, see places. More clients than
// this come through a load balancer.
const ConnectionsMax = 4096

// fullEvery is how often the log is told that connections wait.
const fullEvery = time.Minute

// bounded makes a listener that has at most so many connections open at a time.
// Further ones wait in the system's queue until one is closed.
//
// golang.org/x/net/netutil has one too, which hides that a connection is TCP;
// net/http must see it to close it in two steps, so that a client that is still
// sending a body that was refused gets to read why.
func bounded(l net.Listener, most int, log *slog.Logger) net.Listener {
	return &boundedListener{Listener: l, places: make(chan struct{}, most), closed: make(chan struct{}), log: log}
}

type boundedListener struct {
	net.Listener
	places chan struct{} // one for each connection that is open
	closed chan struct{}
	once   sync.Once
	log    *slog.Logger
	// By Accept, which net/http and gRPC call from one goroutine: when the log was
	// last told that there are no places, and no files.
	told, short time.Time
}

// toldOften reports whether the log has been told of something lately, and notes
// that it is told now where it has not.
func (*boundedListener) toldOften(last *time.Time) bool {
	now := time.Now()
	if now.Sub(*last) < fullEvery {
		return true
	}
	*last = now
	return false
}

// shortage reports whether a connection could not be accepted for want of file
// descriptors or memory. It passes: net/http and gRPC try again after a moment.
func shortage(err error) bool {
	for _, cause := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	default:
		if !l.toldOften(&l.told) {
			l.log.Warn("new connections wait until others are closed", "addr", l.Addr(), "open", cap(l.places))
		}
		select {
		case l.places <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		if shortage(err) && !l.toldOften(&l.short) {
			l.log.Warn("no new connections: the process, or the system, has no room for more open files", "addr", l.Addr(), "error", err)
		}
		return nil, err
	}
	return &boundedConn{Conn: conn, leave: func() { <-l.places }}, nil
}

func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// boundedConn gives its place back when it is closed.
type boundedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (c *boundedConn) Close() error {
	c.once.Do(c.leave)
	return c.Conn.Close()
}

// CloseWrite says to the other end that nothing more comes.
func (c *boundedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
