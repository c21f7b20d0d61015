package api

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wired is the client's and the server's end of a metered connection.
type wired struct {
	client net.Conn
	conn   *meteredConn
}

func connectMetered(t *testing.T) wired {
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
	return wired{client, accepted.(*meteredConn)}
}

// send sends n bytes and reads them at the server's end.
func (p wired) send(n int) error {
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

// refusedMessages sends messages that are refused at their start, while a part of them
// is still on the network.
func refusedMessages(p wired) error {
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

// TestLiveConnectionsStayOpen sends what live clients send, for hours.
func TestLiveConnectionsStayOpen(t *testing.T) {
	for name, run := range map[string]func(p wired) error{
		"pings between calls": func(p wired) error {
			for range 4 * 3600 {
				time.Sleep(time.Second)
				if err := p.send(40); err != nil {
					return err
				}
			}
			return nil
		},
		"pings while a stream waits": func(p wired) error {
			p.conn.begin()
			for range 3600 {
				time.Sleep(time.Second)
				if err := p.send(40); err != nil {
					return err
				}
			}
			return nil
		},
		"a large message in its time": func(p wired) error {
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
		"messages without end": func(p wired) error {
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
		"room for a large answer": func(p wired) error {
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
		"headers of many calls at once": func(p wired) error { return p.send(200 << 10) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := run(connectMetered(t)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestBytesWithoutMessagesCloseTheConnection sends frames that are not part of a
// message.
func TestBytesWithoutMessagesCloseTheConnection(t *testing.T) {
	for name, tt := range map[string]struct {
		run    func(p wired) error
		within time.Duration
		want   string
	}{
		"a flood without a call": {func(p wired) error {
			for {
				if err := p.send(9 * 1000); err != nil {
					return err
				}
			}
		}, time.Second, "without a call"},
		"a trickle without a call": {func(p wired) error {
			for {
				time.Sleep(time.Second)
				if err := p.send(9 * 100); err != nil {
					return err
				}
			}
		}, 8 * time.Minute, "without a whole message"},
		"a trickle on a stream": {func(p wired) error {
			p.conn.begin()
			for {
				time.Sleep(time.Second)
				if err := p.send(9 * 100); err != nil {
					return err
				}
			}
		}, 3 * time.Minute, "without a whole message"},
		"a flood on a stream": {func(p wired) error {
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
				err := tt.run(connectMetered(t))
				if took := time.Since(began); err == nil || !strings.Contains(err.Error(), tt.want) || took > tt.within {
					t.Errorf("after %v: %v, want %q within %v", took, err, tt.want, tt.within)
				}
			})
		})
	}
}
