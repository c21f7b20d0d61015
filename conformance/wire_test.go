package conformance_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// exchange writes bytes unchanged and reads one answer.
func exchange(t *testing.T, conn net.Conn, request string) answer {
	t.Helper()
	a, err := tryExchange(conn, request)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tryExchange is exchange with a server that may close the connection.
func tryExchange(conn net.Conn, request string) (answer, error) {
	_, writeErr := io.WriteString(conn, request) // the answer may come before everything is written
	a, err := subject.receive(bufio.NewReader(conn))
	if err != nil {
		return answer{}, errors.Join(writeErr, err)
	}
	return a, nil
}

// receive reads an answer from a connection.
func (s *target) receive(from *bufio.Reader) (answer, error) {
	resp, err := http.ReadResponse(from, nil)
	if err != nil {
		return answer{}, err
	}
	return s.read("raw bytes", resp)
}

// head returns the head of an inference request, without its final empty line.
func (m *model) head(headers ...string) string {
	return "POST " + m.path("/infer") + " HTTP/1.1\r\nHost: " + m.server.host + "\r\n" + strings.Join(append(headers, ""), "\r\n")
}

// whole returns an inference request of HTTP/1.1 as bytes.
func (m *model) whole(a ask, headers ...string) string {
	headers = append(headers, "Content-Length: "+strconv.Itoa(len(a.body())))
	if a.tail != nil {
		headers = append(headers, a.length())
	}
	return m.head(headers...) + "\r\n" + a.body()
}

// chunks cuts a body into chunks of size bytes.
func chunks(body string, size int) string {
	var out strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&out, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return out.String() + "0\r\n\r\n"
}

func TestWireTakesABodyInChunks(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		a := m.ask(1)
		headers := []string{"Transfer-Encoding: chunked"}
		if a.tail != nil {
			headers = append(headers, a.length())
		}
		for _, size := range []int{len(a.body()), 1000, 7} {
			t.Run(fmt.Sprint("of ", size), func(t *testing.T) {
				agree(t, m.plain(t), func() result {
					return m.result(t, exchange(t, m.server.dialTCP(t), m.head(headers...)+"\r\n"+chunks(a.body(), size)))
				})
			})
		}
	})
}

func TestWireTakesTheNamesOfHeadersInAnyCase(t *testing.T) {
	subject.needs(t, "binary_tensor_data")
	m := subject.models[0]
	a := m.askBinary(1)
	length := strconv.Itoa(len(a.text()))
	for _, header := range []string{"inference-header-content-length: " + length, "INFERENCE-HEADER-CONTENT-LENGTH:" + length, "Inference-header-Content-length:\t " + length + " "} {
		t.Run(strings.TrimSpace(header), func(t *testing.T) {
			m.result(t, exchange(t, m.server.dialTCP(t), m.head(header, "content-length: "+strconv.Itoa(len(a.body())))+"\r\n"+a.body()))
		})
	}
}

func TestWireAnswersInTheOrderOfTheRequests(t *testing.T) {
	m := subject.models[0]
	conn := m.server.dialTCP(t)
	var all strings.Builder
	const count = 5
	for i := range count {
		a := m.ask(1)
		a.id = quote(fmt.Sprint("number ", i))
		if i == 2 {
			a.inputs = nil // an answer that comes sooner, and an error that must not end the connection
		}
		all.WriteString(m.whole(a))
	}
	if _, err := io.WriteString(conn, all.String()); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(conn)
	for i := range count {
		a, err := subject.receive(from)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if i == 2 {
			a.refused(t, http.StatusBadRequest)
			continue
		}
		if r := m.result(t, a); r.ID != fmt.Sprint("number ", i) {
			t.Errorf("answer %d has id %q", i, r.ID)
		}
	}
}

func TestWireGoesOnAfterAnError(t *testing.T) {
	m := subject.models[0]
	conn := m.server.dialTCP(t)
	for _, request := range []string{
		m.head("Content-Length: 1") + "\r\n{",
		m.head("Transfer-Encoding: chunked") + "\r\n" + chunks("hello", 2),
		"GET /v2/models/no_such_model HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"DELETE /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		exchange(t, conn, request).refused(t, http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed)
	}
	m.result(t, exchange(t, conn, m.whole(m.ask(1))))
}

// TestWireWaitsForABodyThatIsAnnounced does what curl does with large bodies.
func TestWireWaitsForABodyThatIsAnnounced(t *testing.T) {
	m := subject.models[0]
	conn := m.server.dialTCP(t)
	a := m.ask(1)
	headers := []string{"Expect: 100-continue", "Content-Length: " + strconv.Itoa(len(a.body()))}
	if a.tail != nil {
		headers = append(headers, a.length())
	}
	if _, err := io.WriteString(conn, m.head(headers...)+"\r\n"); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(conn)
	line, err := from.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q, %v: want 100 Continue", line, err)
	}
	if _, err := from.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, a.body()); err != nil {
		t.Fatal(err)
	}
	got, err := subject.receive(from)
	if err != nil {
		t.Fatal(err)
	}
	m.result(t, got)
}

func TestWireSpeaksHTTP10(t *testing.T) {
	conn := subject.dialTCP(t)
	exchange(t, conn, "GET /v2/health/ready HTTP/1.0\r\n\r\n").ok(t)
}

// breakOff sends words and no more. The server may already have closed the connection,
// so errors are ignored.
func breakOff(conn net.Conn, words string) {
	if _, err := io.WriteString(conn, words); err == nil {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
}

// TestWireLivesWithClientsThatBreakOff sends requests that end too soon or are no HTTP.
// A server may answer 400 or close the connection. It must not accept them as requests,
// and must keep running.
func TestWireLivesWithClientsThatBreakOff(t *testing.T) {
	m := subject.models[0]
	whole := m.whole(m.ask(1))
	for name, request := range map[string]string{
		"in the first line":      "POST /v2/mod",
		"in the headers":         whole[:strings.Index(whole, "\r\n\r\n")],
		"before the body":        whole[:strings.Index(whole, "\r\n\r\n")+4],
		"in the body":            whole[:len(whole)-1],
		"in a chunk":             m.head("Transfer-Encoding: chunked") + "\r\nff\r\n{",
		"before the last chunk":  m.head("Transfer-Encoding: chunked") + "\r\n" + strings.TrimSuffix(chunks(m.ask(1).text(), 100), "0\r\n\r\n"),
		"after an invalid chunk": m.head("Transfer-Encoding: chunked") + "\r\nxyz\r\n{}\r\n0\r\n\r\n",
		"after an invalid length": "POST " + m.path("/infer") + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n" +
			m.ask(1).text(),
		"after two lengths":      m.head("Content-Length: 5", "Content-Length: 6") + "\r\n{}{}{}",
		"after no HTTP":          "hello\r\n\r\n",
		"after TLS's first word": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
		"after HTTP 2's preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"at once":                "",
	} {
		t.Run(name, func(t *testing.T) {
			conn := m.server.dialTCP(t)
			breakOff(conn, request)
			if a, err := subject.receive(bufio.NewReader(conn)); err == nil && a.status < 400 {
				t.Errorf("%v", a)
			}
			m.server.ready(t)
		})
	}
	m.result(t, m.infer(t, m.ask(1)))
}
