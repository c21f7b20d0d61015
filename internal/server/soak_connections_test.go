package server_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/oip"
)

// rawWire is a connection on which a test writes bytes itself.
type rawWire struct {
	*net.TCPConn
	reader *bufio.Reader
}

// wireMax bounds a connection's life; nothing here takes nearly as long.
const wireMax = 20 * time.Second

func (c *soakClient) dial() *rawWire {
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		c.fail("connect: %v", err)
		return nil
	}
	if err := conn.SetDeadline(time.Now().Add(wireMax)); err != nil {
		c.fail("connect: %v", err)
	}
	return &rawWire{conn.(*net.TCPConn), bufio.NewReader(conn)}
}

// abort closes the connection with a reset, as the system does for a killed program
// with unread data.
func (w *rawWire) abort() {
	_ = w.SetLinger(0)
	_ = w.Close()
}

// read reads one answer.
func (w *rawWire) read() (*reply, error) {
	answer, err := http.ReadResponse(w.reader, nil)
	if err != nil {
		return nil, err
	}
	return readReply(answer)
}

// raw encodes a question as the bytes of an HTTP request.
func (c *soakClient) raw(q *question) []byte {
	body, n, err := q.encode()
	if err != nil {
		c.fail("a question cannot be encoded: %v", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST /v2/models/%s/infer HTTP/1.1\r\nHost: localhost\r\n", q.model.Name)
	if n != oip.AllJSON {
		fmt.Fprintf(&b, "%s: %d\r\n", oip.HeaderLength, n)
	}
	if c.chance(20) { // in chunks
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n")
		for len(body) > 0 {
			size := min(len(body), 1+c.random.IntN(2000))
			fmt.Fprintf(&b, "%x\r\n%s\r\n", size, body[:size])
			body = body[size:]
		}
		b.WriteString("0\r\n\r\n")
		return b.Bytes()
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(body))
	b.Write(body)
	return b.Bytes()
}

// cutOff sends the beginning of a request and no more.
func (c *soakClient) cutOff() int {
	w := c.dial()
	if w == nil {
		return 0
	}
	defer w.Close()
	text := c.raw(c.ask())
	if _, err := w.Write(text[:c.random.IntN(len(text))]); err != nil {
		c.fail("the beginning of a request: %v", err)
		return 0
	}
	if c.chance(50) {
		w.abort()
		return 0
	}
	_ = w.CloseWrite()
	a, err := w.read()
	if err != nil {
		return 0 // nothing to answer
	}
	if !slices.Contains([]int{400, 404, 413, 429, 499}, a.status) {
		c.fail("the beginning of a request is answered %d: %.300s", a.status, a.body)
	}
	return a.status
}

// hungUp closes the connection before it has read its answer.
func (c *soakClient) hungUp() int {
	w := c.dial()
	if w == nil {
		return 0
	}
	defer w.abort()
	if _, err := w.Write(c.raw(c.ask())); err != nil {
		c.fail("a request: %v", err)
	}
	_, _ = io.CopyN(io.Discard, w.reader, c.random.Int64N(100)) // every answer is longer
	return 0
}

// slowly sends a valid question in small pieces.
func (c *soakClient) slowly() int {
	w := c.dial()
	if w == nil {
		return 0
	}
	defer w.Close()
	q := c.ask()
	text := c.raw(q)
	for pieces := 1 + c.random.IntN(10); pieces > 0; pieces-- {
		n := len(text) / pieces
		if _, err := w.Write(text[:n]); err != nil {
			c.fail("a piece of a request: %v", err)
			return 0
		}
		text = text[n:]
		<-time.After(time.Duration(c.random.IntN(3)) * time.Millisecond) // the client is slow
	}
	return c.readAnswers(w, q)
}

// pipelined sends questions without waiting for answers.
func (c *soakClient) pipelined() int {
	w := c.dial()
	if w == nil {
		return 0
	}
	defer w.Close()
	var questions []*question
	var text []byte
	for range 2 + c.random.IntN(5) {
		q := c.ask()
		questions = append(questions, q)
		text = append(text, c.raw(q)...)
	}
	written := make(chan error, 1)
	go func() {
		_, err := w.Write(text)
		written <- err
	}()
	status := c.readAnswers(w, questions...)
	if err := <-written; err != nil {
		c.fail("requests one after the other: %v", err)
	}
	return status
}

// readAnswers reads the answers to questions in order.
func (c *soakClient) readAnswers(w *rawWire, questions ...*question) (status int) {
	for i, q := range questions {
		a, err := w.read()
		if err != nil {
			c.fail("answer %d of %d: %v", i, len(questions), err)
			return 0
		}
		if err := q.check(a); err != nil {
			c.fail("answer %d of %d: %v", i, len(questions), err)
		}
		status = a.status
	}
	return status
}

// garbage sends bytes that are not, or hardly, HTTP. net/http gives these answers, not
// mosel.
func (c *soakClient) garbage() int {
	w := c.dial()
	if w == nil {
		return 0
	}
	defer w.Close()
	text := c.raw(c.ask())
	head := bytes.Index(text, []byte("\r\n\r\n"))
	switch c.random.IntN(3) {
	case 0:
		text = randomBytes(c.random, 1+c.random.IntN(300))
	case 1:
		text = c.mutate(text, head)
	case 2:
		text = slices.Insert(text, head, []byte("\r\nX-Large: "+strings.Repeat("x", 200<<10))...)
	}
	if _, err := w.Write(text); err != nil {
		return 0 // the server closed the connection
	}
	_ = w.CloseWrite()
	a, err := w.read()
	if err != nil {
		return 0
	}
	if known := append([]int{403, 405, 408, 415, 417, 431, 499, 505}, mistakes...); !slices.Contains(known, a.status) {
		c.fail("garbage %.200q is answered %d: %.300s", text, a.status, a.body)
	}
	return 0
}

func randomBytes(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// budgetParts is how many bodies of partBytes fit in the budget. The server reserves
// room for bodies up to this size as a whole, before it reads them, and for larger ones
// as they arrive.
const (
	budgetParts = 20
	partBytes   = 64 << 10
)

// wholeBudget checks that the whole budget for bodies is free again: as many bodies as
// fit are accepted at the same time (the server asks for each once it has reserved
// room), and one more is not.
func (s *soak) wholeBudget() {
	c := newSoakClient(s, soakClients)
	defer c.leave()
	for i := range budgetParts + 1 {
		w := c.dial()
		if w == nil {
			return
		}
		defer w.abort()
		fmt.Fprintf(w, "POST /v2/models/bytes/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", partBytes)
		a, err := w.read()
		if err != nil {
			s.fail("a body of %d bytes: %v", partBytes, err)
			return
		}
		want := http.StatusContinue
		if i == budgetParts {
			want = http.StatusTooManyRequests
		}
		if a.status != want {
			s.fail("body %d is answered %d, not %d: room for %d should be free", i+1, a.status, want, budgetParts)
		}
	}
}
