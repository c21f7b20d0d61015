package api

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pouring is a connection on which a client sends, and what the server reads of it.
type pouring struct {
	client net.Conn
	conn   *meteredConn
}

func pourInto(t *testing.T) pouring {
	t.Helper()
	a := &API{bodies: budget{max: 1 << 30}, cfg: Config{BodyBytesMax: 1 << 20, ReceiveTime: 2 * time.Minute}}
	l := plugs{conns: make(chan net.Conn, 1)}
	client, conn := net.Pipe()
	l.conns <- plug{conn, "client"}
	accepted, err := a.MeteredListener(l).Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); accepted.Close() })
	return pouring{client, accepted.(*meteredConn)}
}

// send sends so many bytes and reads them at the other end.
func (p pouring) send(n int) error {
	go func() { _, _ = p.client.Write(make([]byte, n)) }()
	for buffer := make([]byte, 32<<10); n > 0; {
		read, err := p.conn.Read(buffer)
		if err != nil {
			return err
		}
		n -= read
	}
	return nil
}

// refusedMessages are too large: each is refused when it begins, and some of it is
// under way then.
func refusedMessages(p pouring) error {
	for range 10 {
		p.conn.begin()
		if err := p.send(1); err != nil {
			return err
		}
		p.conn.end(0, false)
		if err := p.send(8 << 20); err != nil {
			return err
		}
		p.conn.begin()
		if err := p.send(100 << 10); err != nil {
			return err
		}
		p.conn.end(100<<10, true)
	}
	return nil
}

// TestConnectionsThatSaySomething: what live connections do is let be, for hours.
func TestConnectionsThatSaySomething(t *testing.T) {
	for name, run := range map[string]func(p pouring) error{
		"pings between calls": func(p pouring) error {
			for range 4 * 3600 {
				time.Sleep(time.Second)
				if err := p.send(40); err != nil {
					return err
				}
			}
			return nil
		},
		"pings while a stream waits": func(p pouring) error {
			p.conn.begin()
			for range 3600 {
				time.Sleep(time.Second)
				if err := p.send(40); err != nil {
					return err
				}
			}
			return nil
		},
		"a large message in its time": func(p pouring) error {
			p.conn.begin()
			for range 100 {
				time.Sleep(time.Second)
				if err := p.send(10 << 10); err != nil {
					return err
				}
			}
			p.conn.end(1000<<10, true)
			return nil
		},
		"what was under way of a message that was refused": refusedMessages,
		"messages without end": func(p pouring) error {
			for range 10_000 {
				p.conn.begin()
				if err := p.send(100 << 10); err != nil {
					return err
				}
				p.conn.end(100<<10, true)
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		},
		"room for a large answer": func(p pouring) error {
			go func() { _, _ = io.Copy(io.Discard, p.client) }()
			for range 20_000 {
				if _, err := p.conn.Write(make([]byte, 16<<10)); err != nil {
					return err
				}
				if err := p.send(140); err != nil {
					return err
				}
			}
			return nil
		},
		"headers of many calls at once": func(p pouring) error { return p.send(200 << 10) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := run(pourInto(t)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestConnectionsThatSayNothing: frames with nothing in them end their connection.
func TestConnectionsThatSayNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		run    func(p pouring) error
		within time.Duration
		want   string
	}{
		"a flood without a call": {func(p pouring) error {
			for {
				if err := p.send(9 * 1000); err != nil {
					return err
				}
			}
		}, time.Second, "without a call"},
		"a trickle without a call": {func(p pouring) error {
			for {
				time.Sleep(time.Second)
				if err := p.send(9 * 100); err != nil {
					return err
				}
			}
		}, 8 * time.Minute, "without a whole message"},
		"a trickle on a stream": {func(p pouring) error {
			p.conn.begin()
			for {
				time.Sleep(time.Second)
				if err := p.send(9 * 100); err != nil {
					return err
				}
			}
		}, 3 * time.Minute, "without a whole message"},
		"a flood on a stream": {func(p pouring) error {
			p.conn.begin()
			for {
				if err := p.send(9 * 10_000); err != nil {
					return err
				}
			}
		}, time.Second, "of 1 unfinished messages, of which each may have 1048576"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				err := tt.run(pourInto(t))
				if took := time.Since(began); err == nil || !strings.Contains(err.Error(), tt.want) || took > tt.within {
					t.Errorf("after %v: %v, want %q within %v", took, err, tt.want, tt.within)
				}
			})
		})
	}
}
