package server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
)

// logLines is a log that sends each message to a channel.
type logLines chan string

func (l logLines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// listen makes a bounded listener on a free port, and its log.
func listen(t *testing.T, most int) (net.Listener, logLines) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := make(logLines, 10)
	b := bounded(l, most, slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { b.Close() })
	return b, log
}

// connect makes a connection and returns both ends.
func connect(t *testing.T, l net.Listener) (near, far net.Conn) {
	t.Helper()
	near = dialTo(t, l)
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

func dialTo(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestConnectionsAreBounded(t *testing.T) {
	l, log := listen(t, 2)
	_, first := connect(t, l)
	_, second := connect(t, l)
	dialTo(t, l)
	accepted := make(chan net.Conn)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- conn
	}()
	select {
	case <-accepted:
		t.Fatal("a third connection is accepted beside the two")
	case line := <-log:
		if !strings.Contains(line, "new connections wait") || !strings.Contains(line, "open=2") {
			t.Errorf("the log says %q", line)
		}
	}
	for range 2 { // closing a connection twice must free only one place
		first.Close()
	}
	third := <-accepted
	if n := len(l.(*boundedListener).places); n != 2 {
		t.Errorf("%d places are taken by two connections", n)
	}
	second.Close()
	third.Close()
	if n := len(l.(*boundedListener).places); n != 0 {
		t.Errorf("%d places are taken without connections", n)
	}
}

func TestAClosedListenerDoesNotWait(t *testing.T) {
	l, log := listen(t, 1)
	connect(t, l)
	ended := make(chan error)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	<-log
	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("waiting for a place: %v", err)
	}
	l.Close()
	m, _ := listen(t, 1)
	m.Close()
	if _, err := m.Accept(); !errors.Is(err, net.ErrClosed) || len(m.(*boundedListener).places) != 0 {
		t.Errorf("with a place free: %v", err)
	}
}

// TestConnectionsCloseInTwoSteps checks that after CloseWrite the other end can read to
// the end and still send.
func TestConnectionsCloseInTwoSteps(t *testing.T) {
	l, _ := listen(t, 1)
	near, far := connect(t, l)
	if _, err := io.WriteString(far, "no"); err != nil {
		t.Fatal(err)
	}
	if err := far.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(near); err != nil || string(text) != "no" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := io.WriteString(near, "still here"); err != nil {
		t.Error(err)
	}
	near.Close()
	if text, err := io.ReadAll(far); err != nil || string(text) != "still here" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestPlaces has limits on open files, with the connections that they leave room for.
func TestPlaces(t *testing.T) {
	for _, tt := range []struct {
		limit                   uint64
		want, listeners, models int
		places                  int // 0: an error
	}{
		{0, 4096, 2, 1, 4096}, {1 << 40, 4096, 2, 1, 4096}, {1 << 20, 4096, 2, 1, 4096}, {1 << 20, 10, 2, 1, 10},
		{1024, 4096, 2, 1, (1024 - 64 - 4 - 64) / 2}, {1024, 4096, 1, 1, 1024 - 64 - 4 - 64}, {1024, 4096, 2, 100, (1024 - 64 - 400 - 64) / 2},
		{1024, 100, 2, 1, 100}, {134, 4096, 2, 1, 1}, {133, 4096, 2, 1, 0}, {1, 1, 1, 0, 0},
	} {
		got, err := places(tt.limit, tt.want, tt.listeners, tt.models*filesPerModel)
		if got != tt.places || (err == nil) != (tt.places > 0) || err != nil && !strings.Contains(err.Error(), "ulimit -n") {
			t.Errorf("%+v: %d, %v", tt, got, err)
		}
	}
}

// TestFilesOfPackages counts what packages need beside their own files.
func TestFilesOfPackages(t *testing.T) {
	remote := func(server string) modelpkg.Variant {
		return modelpkg.Variant{Remote: &modelpkg.Remote{Server: server, Slots: 8}}
	}
	for _, tt := range []struct {
		model modelpkg.Model
		want  int
	}{
		{modelpkg.Model{}, 4},
		{modelpkg.Model{Isolation: modelpkg.IsolationProcess}, 4 + 2*3},
		{modelpkg.Model{Variants: []modelpkg.Variant{{}, remote("grpc://gpu"), remote("https://gpu")}}, 4 + 1 + 9},
	} {
		if got := filesOf([]engine.Served{{Model: &tt.model}}, 2); got != tt.want {
			t.Errorf("%+v needs %d files, want %d", tt.model, got, tt.want)
		}
	}
}
