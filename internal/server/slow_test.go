package server_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/server"
)

// served starts a server whose runs take no time.
func served(t *testing.T, change func(*server.Config)) *server.Server {
	t.Helper()
	s := startServer(t, func(cfg *server.Config) {
		cfg.Runtime = fake.New(fake.Config{Instant: true})
		change(cfg)
	})
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil && !errors.Is(err, t.Context().Err()) {
			t.Error(err)
		}
	})
	return s
}

// wire is a connection on which a test sends any bytes.
type wire struct {
	net.Conn
	answers *bufio.Reader
}

func dial(t *testing.T, s *server.Server, text string) wire {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	w := wire{conn, bufio.NewReader(conn)}
	w.say(t, text)
	return w
}

func (w wire) say(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads an answer, which must arrive within a time.
func (w wire) answer(within time.Duration) (status int, body string, err error) {
	if err := w.SetReadDeadline(time.Now().Add(within)); err != nil {
		return 0, "", err
	}
	r, err := http.ReadResponse(w.answers, nil)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return r.StatusCode, string(text), err
}

const alive = "GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"

func TestConnectionsBeyondTheBoundWait(t *testing.T) {
	s := served(t, func(cfg *server.Config) { cfg.ConnectionsMax = 1 })
	first := dial(t, s, alive)
	if status, _, err := first.answer(time.Minute); status != 200 {
		t.Fatal(status, err)
	}
	second := dial(t, s, alive)
	if status, _, err := second.answer(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a second connection is served beside the one: %d, %v", status, err)
	}
	first.say(t, alive)
	if status, _, err := first.answer(time.Minute); status != 200 {
		t.Errorf("the first again: %d, %v", status, err)
	}
	first.Close()
	if status, _, err := second.answer(time.Minute); status != 200 {
		t.Errorf("the second, when the first has gone: %d, %v", status, err)
	}
}

// TestClientsThatStop has a client stop at each place where a server waits for it: the
// connection must be closed.
func TestClientsThatStop(t *testing.T) {
	s := served(t, func(cfg *server.Config) { cfg.API.StallTimeout = 50 * time.Millisecond })
	for name, tt := range map[string]struct {
		text   string
		status int
	}{
		"before a request":     {"", 0},
		"in the header":        {"POST /v2/models/digits/infer HTTP/1.1\r\nHost:", 0},
		"before the body":      {"POST /v2/models/digits/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", 408},
		"in the body":          {"POST /v2/models/digits/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{", 408},
		"in a body of nobody":  {"POST /v2/nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{", 404},
		"in a chunk":           {"POST /v2/models/digits/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", 408},
		"with another request": {"POST /v2/repository/index HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}POST /v2", 200},
	} {
		t.Run(name, func(t *testing.T) {
			w := dial(t, s, tt.text)
			if status, body, err := w.answer(time.Minute); status != tt.status || tt.status != 0 && err != nil {
				t.Errorf("%d %s, %v", status, body, err)
			} else if tt.status == 408 && !strings.Contains(body, "too slowly") {
				t.Error(body)
			}
			if rest, err := io.ReadAll(w.answers); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection goes on: %q, %v", rest, err)
			}
		})
	}
}
