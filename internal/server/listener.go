package server

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// ConnectionsMax is the default bound on the connections of a listener. An idle one takes
// some 20 KiB, so all of them take 80 MiB. places lowers it if the system gives the
// process fewer file descriptors. More clients than this need a load balancer.
const ConnectionsMax = 4096

// fullEvery is how often the log says that connections wait.
const fullEvery = time.Minute

// bounded makes a listener that has at most a number of connections open at a time.
// Further ones wait in the system's queue until one is closed.
//
// golang.org/x/net/netutil has such a listener too, but its connections hide CloseWrite.
// net/http needs it to close a connection in two steps, so that a client that is still
// sending a refused body can read the error.
func bounded(l net.Listener, most int, log *slog.Logger) net.Listener {
	return &boundedListener{Listener: l, places: make(chan struct{}, most), closed: make(chan struct{}), log: log}
}

type boundedListener struct {
	net.Listener
	places chan struct{} // one for each connection that is open
	closed chan struct{}
	once   sync.Once
	log    *slog.Logger
	// When the log last said that there are no places, and no files. Only Accept uses
	// them, which net/http and gRPC call from one goroutine.
	fullLogged, shortLogged time.Time
}

// due reports whether a message is due that was last logged at a time, and if so sets
// that time to now.
func due(last *time.Time) bool {
	now := time.Now()
	if now.Sub(*last) < fullEvery {
		return false
	}
	*last = now
	return true
}

// shortage reports whether a connection could not be accepted because there were too few
// file descriptors or too little memory. net/http and gRPC try again after a moment.
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
		if due(&l.fullLogged) {
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
		if shortage(err) && due(&l.shortLogged) {
			l.log.Warn("no new connections: the process or the system has too many open files", "addr", l.Addr(), "error", err)
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

// CloseWrite tells the other end that no more data will be sent.
func (c *boundedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
