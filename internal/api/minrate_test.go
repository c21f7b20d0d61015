package api

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime/fake"
)

// pipes is a network in memory with virtual time.
type pipes struct {
	fixture // the served API
	dialed  chan net.Conn
	closed  chan struct{}
	once    sync.Once
	clients sync.WaitGroup
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.dialed:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.dialed <- far
	return near
}

// stallTimeout is that of the servers here.
const stallTimeout = 30 * time.Second

// serving runs a test against a server that is configured as in package server. At the
// end all connections must end by themselves.
func serving(t *testing.T, s setup, test func(t *testing.T, network *pipes)) {
	t.Helper()
	config := s.config
	s.config = func(c *Config) {
		c.StallTimeout = stallTimeout
		if config != nil {
			config(c)
		}
	}
	with(t, s, func(f fixture) {
		network := &pipes{fixture: f, dialed: make(chan net.Conn), closed: make(chan struct{})}
		server := &http.Server{Handler: f, ReadHeaderTimeout: stallTimeout / 3, ReadTimeout: stallTimeout, WriteTimeout: stallTimeout, IdleTimeout: stallTimeout}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = server.Serve(network)
		}()
		test(f.T, network)
		network.clients.Wait()
		if err := server.Shutdown(f.Context()); err != nil {
			f.Error(err)
		}
		<-ended
	})
}

// head returns the head of a request with a body of n bytes.
func head(path string, n int, headers ...string) string {
	lines := append([]string{"POST " + path + " HTTP/1.1", "Host: x", fmt.Sprintf("Content-Length: %d", n)}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// trickle sends text in pieces of n bytes at intervals, until the other end closes.
func trickle(conn net.Conn, text string, n int, every time.Duration) {
	for len(text) > 0 {
		piece := text[:min(n, len(text))]
		if _, err := io.WriteString(conn, piece); err != nil {
			return
		}
		text = text[len(piece):]
		time.Sleep(every)
	}
}

// answerOf reads an answer and returns how long after began it arrived.
func answerOf(t *testing.T, conn net.Conn, began time.Time) (answer *http.Response, body string, after time.Duration) {
	t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	after = time.Since(began)
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text), after
}

// TestSlowBodies has clients that send less than 64 bytes in 30 s, in several ways, and
// one that sends a little more.
func TestSlowBodies(t *testing.T) {
	body := ask(``, imageJSON)
	body += strings.Repeat(" ", 1000-len(body))
	chunked := "POST " + inferPath + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		name, head, body string
		piece            int
		every            time.Duration
		status           int
		after            time.Duration // when the answer comes
	}{
		{"nothing", head(inferPath, 1000), "", 1, 0, 408, stallTimeout},
		{"a byte now and then", head(inferPath, 1000), body, 1, 5 * time.Second, 408, stallTimeout},
		{"fast at first", head(inferPath, 1000), body[:900], 900, 0, 408, stallTimeout},
		{"too slow later", head(inferPath, 1000), body, 40, 29 * time.Second, 408, stallTimeout + 29*time.Second},
		{"in chunks", chunked, strings.Repeat("1\r\n \r\n", 300), 6, 5 * time.Second, 408, stallTimeout},
		{"compressed", head(inferPath, 1000, "Content-Encoding: gzip"), "\x1f\x8b\x08", 1, time.Second, 408, stallTimeout},
		{"about the repository", head("/v2/repository/index", 20), "{", 1, 0, 408, stallTimeout},
		{"to nowhere", head("/v2/nowhere", 20), "{", 1, 0, 404, stallTimeout / 6},
		{"slow enough", head(inferPath, 1000), body, 16, 5 * time.Second, 200, 62 * 5 * time.Second},
		{"at once", head(inferPath, 1000), body, 1000, 0, 200, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			serving(t, setup{instant: true, config: func(c *Config) { c.StallBytes = 64 }}, func(t *testing.T, network *pipes) {
				conn, began := network.dial(), time.Now()
				defer conn.Close()
				network.clients.Go(func() { trickle(conn, tt.head, len(tt.head), 0) })
				synctest.Wait()
				network.clients.Go(func() { trickle(conn, tt.body, tt.piece, tt.every) })
				answer, text, after := answerOf(t, conn, began)
				if answer.StatusCode != tt.status || after < tt.after || after > tt.after+time.Second {
					t.Errorf("%d after %v, want %d after %v: %s", answer.StatusCode, after, tt.status, tt.after, text)
				}
				if tt.status != 200 && !answer.Close {
					t.Error("the connection is not closed, and the next request would be read out of the body")
				}
				if tt.status == 408 && !strings.Contains(text, "the body was sent too slowly: 64 bytes, or its end, must be received within 30s") {
					t.Errorf("it does not say why: %s", text)
				}
			})
		})
	}
}

// TestNoDeadlineWhileARequestRuns has a request wait and run for longer than the stall
// timeout: the connection stays open.
func TestNoDeadlineWhileARequestRuns(t *testing.T) {
	s := setup{instant: true, queueJobs: 2, config: func(c *Config) { c.StallBytes = 16 },
		fail: func(fake.Run) error { time.Sleep(10 * stallTimeout); return nil }}
	serving(t, s, func(t *testing.T, network *pipes) {
		conn := network.dial()
		defer conn.Close()
		for range 2 { // the second uses the same connection
			network.clients.Go(func() { network.call("POST", inferPath, ask(``, imageJSON)) }) // occupies the instance
			synctest.Wait()
			began := time.Now()
			body := ask(``, imageJSON)
			first := head(inferPath, len(body))
			network.clients.Go(func() { trickle(conn, first+body, len(first), 0) })
			if answer, text, after := answerOf(t, conn, began); answer.StatusCode != 200 || after < 20*stallTimeout {
				t.Errorf("%d after %v: %s", answer.StatusCode, after, text)
			}
		}
	})
}

// TestARefusalDoesNotWaitForTheBody has a client that sends "Expect: 100-continue" and no
// body.
func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	serving(t, setup{instant: true}, func(t *testing.T, network *pipes) {
		conn, began := network.dial(), time.Now()
		defer conn.Close()
		network.clients.Go(func() { trickle(conn, head("/v2/nowhere", 1000, "Expect: 100-continue"), 1000, 0) })
		if answer, text, after := answerOf(t, conn, began); answer.StatusCode != 404 || after > time.Second {
			t.Errorf("%d after %v: %s", answer.StatusCode, after, text)
		}
	})
}

// TestSlowReaders has clients that read an answer of 34 kB slowly, or not at all.
func TestSlowReaders(t *testing.T) {
	const items, window = 8000, 8 << 10
	body := ask(``, strings.NewReplacer("[1,2,2]", fmt.Sprintf("[%d,2,2]", items), "[[1,2],[3,4]]",
		"["+strings.Repeat("1,2,3,4,", items-1)+"1,2,3,4]").Replace(imageJSON))
	for _, tt := range []struct {
		name  string
		every time.Duration // interval for reading an eighth of a window; 0: never
		whole bool
	}{{"never", 0, false}, {"too slowly", 5 * time.Second, false}, {"slowly enough", 3 * time.Second, true}} {
		t.Run(tt.name, func(t *testing.T) {
			serving(t, setup{instant: true, config: func(c *Config) { c.StallBytes = window }}, func(t *testing.T, network *pipes) {
				conn, began := network.dial(), time.Now()
				defer conn.Close()
				trickle(conn, head(inferPath, len(body))+body, len(body), 0)
				var got bytes.Buffer
				for tt.every > 0 {
					time.Sleep(tt.every)
					if _, err := io.CopyN(&got, conn, window/8); err != nil {
						break
					}
					if _, content, ok := strings.Cut(got.String(), "\r\n\r\n"); ok && strings.HasSuffix(content, "]}]}\n") {
						break
					}
				}
				if tt.every == 0 {
					time.Sleep(2 * stallTimeout)
				}
				whole := strings.HasSuffix(got.String(), "]}]}\n")
				if whole != tt.whole || tt.whole && (got.Len() < 3*window || time.Since(began) < 2*stallTimeout) {
					t.Errorf("%d bytes in %v, all of it: %v", got.Len(), time.Since(began), whole)
				}
				if !tt.whole { // the server has closed the connection and holds nothing
					if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
						t.Errorf("%d bytes more, %v", n, err)
					}
				}
			})
		})
	}
}

// TestClientGoesAwayBehindEveryEncoding closes the connection while a request waits.
// The server notices only if it has read the body to its very end.
func TestClientGoesAwayBehindEveryEncoding(t *testing.T) {
	for how, header := range map[string]string{"": "identity", "gzip": "gzip", "zlib": "deflate", "flate": "deflate"} {
		body := []byte(ask(``, imageJSON))
		if how != "" {
			body = compressed(t, how, body)
		}
		var log bytes.Buffer
		s := setup{instant: true, log: &log, fail: func(fake.Run) error { time.Sleep(time.Hour); return nil }, queueJobs: 5}
		serving(t, s, func(t *testing.T, network *pipes) {
			network.clients.Go(func() { network.call("POST", inferPath, ask(``, imageJSON)) }) // occupies the instance for an hour
			synctest.Wait()
			conn := network.dial()
			trickle(conn, head(inferPath, len(body), "Content-Encoding: "+header)+string(body), 1000, 0)
			synctest.Wait()
			conn.Close()
			synctest.Wait()
			if !strings.Contains(log.String(), "status=499") {
				t.Errorf("%q: the server did not notice: %s", how, log.String())
			}
		})
	}
}

func TestBytesAfterCompressedData(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		for how, header := range map[string]string{"gzip": "gzip", "zlib": "deflate", "flate": "deflate"} {
			body := string(compressed(t, how, []byte(ask(``, imageJSON)))) + "x"
			if w := f.call("POST", inferPath, body, "Content-Encoding: "+header); w.Code != 400 || !strings.Contains(w.Body.String(), "the body cannot be read") {
				t.Errorf("%s: %d %s", how, w.Code, w.Body)
			}
		}
	})
}

// TestEmptyGzipMembers sends a body of endless empty gzip members. It decompresses to
// nothing, so the bound on the compressed body must end it.
func TestEmptyGzipMembers(t *testing.T) {
	with(t, setup{config: func(c *Config) { c.BodyBytesMax = 10_000 }}, func(f fixture) {
		nothing := bytes.Repeat(compressed(t, "gzip", nil), 1000)
		r := io.MultiReader(bytes.NewReader(nothing), neverRead{t})
		request, err := http.NewRequestWithContext(f.Context(), "POST", inferPath, r)
		if err != nil {
			t.Fatal(err)
		}
		if w := send(f, request, "Content-Encoding: gzip"); w.Code != 413 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

type neverRead struct{ *testing.T }

func (r neverRead) Read([]byte) (int, error) {
	r.Error("it is read on and on")
	return 0, io.EOF
}

// TestContentLengthClaimsNoMemory has many clients that announce the largest body and
// do not send it: other clients must still be served.
func TestContentLengthClaimsNoMemory(t *testing.T) {
	serving(t, setup{instant: true, queueJobs: 2}, func(t *testing.T, network *pipes) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		conns := make([]net.Conn, 200) // of 64 MiB each: twelve times the budget
		for i := range conns {
			conns[i] = network.dial()
			defer conns[i].Close()
			trickle(conns[i], head(inferPath, 64<<20)+"{", 1000, 0)
		}
		synctest.Wait()
		if w := network.call("POST", inferPath, ask(``, imageJSON)); w.Code != 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		runtime.ReadMemStats(&after)
		if grown := (after.TotalAlloc - before.TotalAlloc) / uint64(len(conns)); grown > 256<<10 {
			t.Errorf("each announced body took %d bytes", grown)
		}
	})
}

// TestLargeBodiesGrow reads bodies of sizes around those at which the buffer grows.
func TestLargeBodiesGrow(t *testing.T) {
	for _, n := range []int{readAhead - 1, readAhead, readAhead + 1, 2*readAhead + 1, 2*readAhead + 2, 5 * readAhead} {
		content := bytes.Repeat([]byte{7}, n)
		for _, size := range []int64{-1, int64(n)} {
			x := newExchange(&budget{max: 1 << 30})
			if err := x.read(bytes.NewReader(content), size, int64(n)); err != nil || !bytes.Equal(x.body, content) {
				t.Errorf("%d bytes of size %d: %d, %v", n, size, len(x.body), err)
			}
			if size >= 0 && x.reserved != size+1 {
				t.Errorf("%d bytes: %d are reserved", n, x.reserved)
			}
			x.release()
			if used := x.budget.used.Load(); used != 0 {
				t.Errorf("%d bytes of the budget are lost", used)
			}
		}
	}
}
