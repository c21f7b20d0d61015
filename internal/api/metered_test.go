package api

import (
	"net"
	"sync"
	"testing"
	"time"
)

// plugs is a listener whose connections are plugs.
type plugs struct {
	net.Listener
	conns chan net.Conn
}

func (p plugs) Accept() (net.Conn, error) { return <-p.conns, nil }

// plug is the end of a pipe with its own address.
type plug struct {
	net.Conn
	name string
}

func (n plug) RemoteAddr() net.Addr { return &net.UnixAddr{Name: n.name} }

// TestUnfinishedMessagesAreBounded sends unfinished messages over two connections, until
// the one that needs more and more memory is closed.
func TestUnfinishedMessagesAreBounded(t *testing.T) {
	a := &API{bodies: budget{max: 1 << 20}, cfg: Config{BodyBytesMax: 64 << 20, ReceiveTime: time.Minute}}
	l := plugs{conns: make(chan net.Conn, 2)}
	in := a.MeteredListener(l)
	open := func(name string) (client net.Conn, server *meteredConn) {
		client, conn := net.Pipe()
		l.conns <- plug{conn, name}
		accepted, err := in.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return client, accepted.(*meteredConn)
	}
	var wg sync.WaitGroup
	pour := func(client net.Conn, server *meteredConn, bytes int) (read int, err error) {
		wg.Go(func() { _, _ = client.Write(make([]byte, bytes)) }) // ends when the other end closes
		buffer := make([]byte, 64<<10)
		for read < bytes && err == nil {
			var n int
			n, err = server.Read(buffer)
			read += n
		}
		return read, err
	}
	greedyClient, greedy := open("greedy")
	modestClient, modest := open("modest")
	greedy.begin()
	modest.begin()
	if n, err := pour(greedyClient, greedy, 900<<10); n != 900<<10 || err != nil {
		t.Fatalf("%d bytes within the budget: %v", n, err)
	}
	if n, err := pour(modestClient, modest, 200<<10); n != 200<<10 || err != nil {
		t.Errorf("a connection with few bytes is closed after %d bytes: %v", n, err)
	}
	if n, err := pour(greedyClient, greedy, 300<<10); err == nil {
		t.Errorf("%d more bytes beyond the budget are accepted", n)
	}
	greedy.Close()
	modest.end(150<<10, true) // the only one being received
	if used := a.bodies.used.Load(); used != 0 {
		t.Errorf("%d bytes are counted in the end", used)
	}
	modest.begin()
	modest.begin()
	if _, err := pour(modestClient, modest, 100<<10); err != nil {
		t.Error(err)
	}
	modest.end(40<<10, true)
	if used := a.bodies.used.Load(); used <= 0 || used >= 60<<10 {
		t.Errorf("of 100 KiB for two messages %d bytes are counted once one of 40 KiB is taken", used)
	}
	modest.Close()
	modest.Close()
	modest.end(0, true)
	greedyClient.Close()
	modestClient.Close()
	wg.Wait()
	if used := a.bodies.used.Load(); used != 0 {
		t.Errorf("%d bytes are counted after the end", used)
	}
	conns := 0
	a.conns.Range(func(any, any) bool { conns++; return true })
	if conns != 0 {
		t.Errorf("%d connections are remembered", conns)
	}
}
