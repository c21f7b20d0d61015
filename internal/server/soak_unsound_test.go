package server_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mosel-serve/mosel/oip"
)

// sort is one sort of request. send returns the status of the answer, 0 where
// there is none.
type sort struct {
	name  string
	share int // of all requests, relative to the other sorts
	send  func(*soakClient) int
}

// overHTTP is what clients do over HTTP.
var overHTTP = []sort{
	{"sound", 40, (*soakClient).soundQuestion},
	{"mutated", 25, (*soakClient).mutatedQuestion},
	{"hostile", 8, (*soakClient).hostileBody},
	{"elsewhere", 8, (*soakClient).elsewhere},
	{"looked up", 4, (*soakClient).lookUp},
	{"given up", 8, (*soakClient).givenUp},
	{"cut off", 6, (*soakClient).cutOff},
	{"hung up", 4, (*soakClient).hungUp},
	{"slow", 2, (*soakClient).slowly},
	{"pipelined", 2, (*soakClient).pipelined},
	{"too large", 4, (*soakClient).tooLarge},
	{"bomb", 1, (*soakClient).bomb},
	{"garbage", 4, (*soakClient).garbage},
}

// allSorts are everything that clients do.
var allSorts = slices.Concat(overHTTP, overGRPC, guests)

// anySort draws a sort by its share.
func (c *soakClient) anySort() sort {
	total := 0
	for _, s := range c.sorts {
		total += s.share
	}
	at := c.random.IntN(total)
	for _, s := range c.sorts {
		if at -= s.share; at < 0 {
			return s
		}
	}
	return c.sorts[0]
}

// answerMax is how long any client may be kept waiting, on a machine that has
// other things to do and with the race detector.
const answerMax = 10 * time.Second

// send sends one request of a sort.
func (c *soakClient) send(s sort) {
	began := time.Now()
	c.count(s.name, s.send(c))
	if took := time.Since(began); took > answerMax {
		c.fail("a client, %s, was kept for %v", s.name, took)
	}
}

// mistakes are the statuses that a request may have that means who knows what.
var mistakes = []int{200, 400, 404, 413, 422, 429, 501, 504}

// expect sends a request whose answer must have one of the statuses.
func (c *soakClient) expect(what string, r *http.Request, err error, statuses ...int) int {
	if err != nil {
		c.fail("%s cannot be sent: %v", what, err)
		return 0
	}
	a, err := c.do(r)
	if err != nil {
		c.fail("%s has no answer: %v", what, err)
		return 0
	}
	if !slices.Contains(statuses, a.status) {
		c.fail("%s is answered %d, not one of %v: %.300s", what, a.status, statuses, a.body)
	} else if a.status != http.StatusOK && r.Method != http.MethodHead {
		if err := checkError(a); err != nil {
			c.fail("%s: %v", what, err)
		}
	}
	return a.status
}

// mutatedQuestion changes some bytes of a sound body, or says another length.
func (c *soakClient) mutatedQuestion() int {
	q := c.ask()
	body, n, err := q.encode()
	if err != nil {
		c.fail("a question cannot be encoded: %v", err)
		return 0
	}
	for range 1 + c.random.IntN(4) {
		body = c.mutate(body, n)
	}
	header := http.Header{}
	if n != oip.AllJSON {
		if c.chance(10) {
			n = c.random.IntN(len(body) + 10)
		}
		header.Set(oip.HeaderLength, strconv.Itoa(n))
	}
	r, err := c.post(context.Background(), "/v2/models/"+q.model.Name+"/infer", header, body)
	return c.expect(fmt.Sprintf("a mutated question %.2000q", body), r, err, mistakes...)
}

// mutate changes one place, most often in the JSON part.
func (c *soakClient) mutate(body []byte, jsonBytes int) []byte {
	if len(body) == 0 {
		return body
	}
	at := c.random.IntN(len(body))
	if jsonBytes != oip.AllJSON && c.chance(80) {
		at = c.random.IntN(min(jsonBytes, len(body)))
	}
	switch c.random.IntN(6) {
	case 0: // a bit
		body[at] ^= 1 << c.random.IntN(8)
	case 1: // a byte that means something in JSON
		const meaning = `{}[]",:0123456789.-+eEtfn\ `
		body[at] = meaning[c.random.IntN(len(meaning))]
	case 2: // one more
		body = slices.Insert(body, at, byte(c.random.Uint32()))
	case 3: // some less
		body = slices.Delete(body, at, min(len(body), at+1+c.random.IntN(8)))
	case 4: // some twice
		body = slices.Insert(body, at, body[at:min(len(body), at+1+c.random.IntN(30))]...)
	case 5: // the rest is missing
		body = body[:at]
	}
	return body
}

// hostileBodies are what somebody thinks of who wants to harm. None is answered
// with a result.
var hostileBodies = []string{
	"", "null", "[]", "{}", `{"inputs":null}`, "\xff\xfe", `{"inputs":[{}]}`,
	strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 30_000),
	`{"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `,"inputs":[]}`,
	hostileInput(`[1,1000]`, strings.Repeat("[", 100_000)),
	hostileInput(`[9223372036854775807,9223372036854775807]`, `[1]`), hostileInput(`[-1,-1000]`, `[1]`), hostileInput(`[1e2,10]`, `[1]`),
	hostileInput(`[4294967296,4294967296]`, `[]`), hostileInput(`[1,100000000]`, `[1,2]`), hostileInput(`[`+strings.Repeat("1,", 50)+`1]`, `[1]`),
	hostileInput(`[1,1000]`, `[1e999999999999999999999]`), hostileInput(`[1,1000]`, `[`+strings.Repeat("9", 100_000)+`]`),
	hostileInput(`[1,1000]`, `["\ud800"]`), hostileInput(`[1,1000]`, `{"a":1}`), hostileInput(`[0,1000]`, `[]`),
	`{"parameters":{` + strings.Repeat(`"a":1,`, 10_000) + `"b":1},"inputs":[]}`,
	`{"id":"` + strings.Repeat("i", 10_000) + `","inputs":[]}`,
	`{"inputs":[` + strings.Repeat(`{"name":"x","shape":[1],"datatype":"UINT8","data":[1]},`, 1000) + `{}]}`,
	`{"inputs":[{"name":"x","shape":[1,1000],"datatype":"UINT8","parameters":{"binary_data_size":18446744073709551615}}]}`,
	`{"inputs":[{"name":"x","shape":[1,1000],"datatype":"UINT8","parameters":{"shared_memory_region":"r"}}]}`,
	`{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["a"]}]}`,
}

func hostileInput(shape, data string) string {
	return `{"inputs":[{"name":"x","shape":` + shape + `,"datatype":"UINT8","data":` + data + `}]}`
}

func (c *soakClient) hostileBody() int {
	body := hostileBodies[c.random.IntN(len(hostileBodies))]
	header := http.Header{}
	if c.chance(30) {
		header.Set(oip.HeaderLength, []string{"-1", "0", "1", strconv.Itoa(len(body)), "999999999", "99999999999999999999", "x"}[c.random.IntN(7)])
	}
	r, err := c.post(context.Background(), "/v2/models/bytes/infer", header, []byte(body))
	return c.expect(fmt.Sprintf("the hostile body %.100q", body), r, err, 400, 413, 429, 501)
}

// elsewhere asks for what is not there, or is there for others.
func (c *soakClient) elsewhere() int {
	places := []struct {
		method, path string
		status       int
	}{
		{"GET", "/v2/models/nosuch", 404}, {"POST", "/v2/models/nosuch/infer", 404}, {"POST", "/v2/models/bytes/versions/9/infer", 404},
		{"GET", "/", 404}, {"GET", "/v3", 404}, {"GET", "/v2/models/bytes/../../etc/passwd", 404}, {"GET", "/v2/" + strings.Repeat("a/", 500), 404},
		{"GET", "/v2/models/" + strings.Repeat("m", 5000), 404}, {"GET", "/v2/models/%00%ff", 404},
		{"GET", "/v2/models/bytes/infer", 405}, {"DELETE", "/v2", 405}, {"BREW", "/v2/models/bytes/infer", 405},
		{"POST", "/v2/models/bytes/jobs", 501},
	}
	which := places[c.turn%len(places)]
	c.turn++
	r, err := http.NewRequestWithContext(context.Background(), which.method, "http://"+c.addr+which.path, nil)
	return c.expect(which.method+" "+which.path[:min(len(which.path), 80)], r, err, which.status)
}

func (c *soakClient) lookUp() int {
	paths := []string{"/v2", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models/scene", "/v2/models/scene/ready",
		"/v2/models/scene/config", "/v2/models/scene/versions/1"}
	path := paths[c.random.IntN(len(paths))]
	r, err := http.NewRequestWithContext(context.Background(), []string{"GET", "HEAD"}[c.random.IntN(2)], "http://"+c.addr+path, nil)
	return c.expect(path, r, err, 200)
}

// givenUp asks and may lose patience.
func (c *soakClient) givenUp() int {
	q := c.ask()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.random.IntN(3000))*time.Microsecond)
	defer cancel()
	r, err := c.request(ctx, q)
	if err != nil {
		c.fail("a sound question cannot be sent: %v", err)
		return 0
	}
	a, err := c.do(r)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return 0
	case err != nil:
		c.fail("a question with a context: %v", err)
		return 0
	}
	if err := q.check(a); err != nil {
		c.fail("a question with a context: %v", err)
	}
	return a.status
}

// rawWire is a connection by hand.
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

// abort closes the connection with a reset, as a program that is killed does
// where data are left unread.
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

// raw writes out a question as bytes on the rawWire.
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
		return 0 // nothing to answer to
	}
	if !slices.Contains([]int{400, 404, 413, 429, 499}, a.status) {
		c.fail("the beginning of a request is answered %d: %.300s", a.status, a.body)
	}
	return a.status
}

// hungUp goes away before it has read its answer.
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

// slowly sends a sound question in small pieces.
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
		<-time.After(time.Duration(c.random.IntN(3)) * time.Millisecond) // this is what it is to be slow
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

// readAnswers reads the answers to questions in their order.
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

// tooLarge exceeds one of the bounds.
func (c *soakClient) tooLarge() int {
	switch c.random.IntN(3) {
	case 0: // by what it says
		w := c.dial()
		if w == nil {
			return 0
		}
		defer w.abort()
		fmt.Fprintf(w, "POST /v2/models/bytes/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n{", int64(soakBodyMax)+1+c.random.Int64N(1<<40))
		a, err := w.read()
		if err != nil || a.status != http.StatusRequestEntityTooLarge {
			c.fail("a body that says that it is too large: %+v, %v", a, err)
			return 0
		}
		return a.status
	case 1: // by what comes
		r, err := c.post(context.Background(), "/v2/models/bytes/infer", http.Header{}, bytes.Repeat([]byte(" "), soakBodyMax+1+c.random.IntN(1000)))
		if err == nil {
			r.ContentLength = -1
		}
		return c.expect("a body without end", r, err, 413, 429)
	}
	items := 41 + c.random.IntN(100)
	head := fmt.Sprintf(`{"inputs":[{"name":"x","shape":[%d,1000],"datatype":"UINT8","parameters":{"binary_data_size":%d}}]}`, items, items*1000)
	r, err := c.post(context.Background(), "/v2/models/bytes/infer", http.Header{oip.HeaderLength: {strconv.Itoa(len(head))}},
		append([]byte(head), make([]byte, items*1000)...))
	return c.expect("too many items", r, err, 413, 429)
}

// bombs are small bodies that become large: 240 MiB in gzip, its members one after the
// other, and 4 MiB in deflate, which has but one.
var bombs = sync.OnceValue(func() map[string][]byte {
	zeros := make([]byte, 4<<20)
	return map[string][]byte{
		"gzip":    bytes.Repeat(compressed(gzip.NewWriter(nil), zeros), 60),
		"deflate": compressed(zlib.NewWriter(nil), zeros),
	}
})

func (c *soakClient) bomb() int {
	encoding := []string{"gzip", "deflate"}[c.random.IntN(2)]
	body, statuses := bombs()[encoding], []int{413, 429}
	if c.chance(30) {
		body, statuses = body[:c.random.IntN(100)], []int{400, 429}
	}
	r, err := c.post(context.Background(), "/v2/models/bytes/infer", http.Header{"Content-Encoding": {encoding}}, body)
	return c.expect("a compression bomb", r, err, statuses...)
}

// garbage is not HTTP, or hardly. Such answers are net/http's, not ours.
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
		return 0 // the server had enough
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

// budgetParts is how many bodies of partBytes there is room for. The server makes
// room for bodies up to this size as a whole, before it reads them; for larger
// ones as they come.
const (
	budgetParts = 20
	partBytes   = 64 << 10
)

// wholeBudget checks that the memory for bodies is all free again: as many as
// there is room for are admitted at the same time, each of which the server asks
// for when it has made room, and one more is not.
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
