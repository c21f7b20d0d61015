package server_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mosel-serve/mosel/oip"
)

// sort is one sort of request. send returns the status of the answer, 0 if there is
// none.
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

// allSorts are all sorts of requests.
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

// answerMax is how long any client may wait, on a busy machine and with the race
// detector.
const answerMax = 10 * time.Second

// send sends one request of a sort.
func (c *soakClient) send(s sort) {
	began := time.Now()
	c.count(s.name, s.send(c))
	if took := time.Since(began); took > answerMax {
		c.fail("a client, %s, was kept for %v", s.name, took)
	}
}

// mistakes are the possible statuses of a random mutation of a request.
var mistakes = []int{200, 400, 404, 413, 422, 429, 501, 504}

// wantStatus sends a request whose answer must have one of the statuses.
func (c *soakClient) wantStatus(what string, r *http.Request, err error, statuses ...int) int {
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

// mutatedQuestion changes some bytes of a valid body, or its stated length.
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
	return c.wantStatus(fmt.Sprintf("a mutated question %.2000q", body), r, err, mistakes...)
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
	case 0: // flip a bit
		body[at] ^= 1 << c.random.IntN(8)
	case 1: // insert a byte with a meaning in JSON
		const meaning = `{}[]",:0123456789.-+eEtfn\ `
		body[at] = meaning[c.random.IntN(len(meaning))]
	case 2: // add a byte
		body = slices.Insert(body, at, byte(c.random.Uint32()))
	case 3: // remove bytes
		body = slices.Delete(body, at, min(len(body), at+1+c.random.IntN(8)))
	case 4: // repeat bytes
		body = slices.Insert(body, at, body[at:min(len(body), at+1+c.random.IntN(30))]...)
	case 5: // cut off the rest
		body = body[:at]
	}
	return body
}

// hostileBodies are bodies that an attacker might send. None is answered with a result.
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
	return c.wantStatus(fmt.Sprintf("the hostile body %.100q", body), r, err, 400, 413, 429, 501)
}

// elsewhere asks for things that do not exist, or that have another method.
func (c *soakClient) elsewhere() int {
	places := []struct {
		method, path string
		status       int
	}{
		{"GET", "/v2/models/nosuch", 404}, {"POST", "/v2/models/nosuch/infer", 404}, {"POST", "/v2/models/bytes/versions/9/infer", 404},
		{"GET", "/nothing", 404}, {"GET", "/v3", 404}, {"GET", "/v2/models/bytes/../../etc/passwd", 404}, {"GET", "/v2/" + strings.Repeat("a/", 500), 404},
		{"GET", "/v2/models/" + strings.Repeat("m", 5000), 404}, {"GET", "/v2/models/%00%ff", 404},
		{"GET", "/v2/models/bytes/infer", 405}, {"DELETE", "/v2", 405}, {"BREW", "/v2/models/bytes/infer", 405},
		{"POST", "/v2/models/bytes/jobs", 501},
	}
	which := places[c.turn%len(places)]
	c.turn++
	r, err := http.NewRequestWithContext(context.Background(), which.method, "http://"+c.addr+which.path, nil)
	return c.wantStatus(which.method+" "+which.path[:min(len(which.path), 80)], r, err, which.status)
}

func (c *soakClient) lookUp() int {
	paths := []string{"/", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models/scene", "/v2/models/scene/ready",
		"/v2/models/scene/config", "/v2/models/scene/versions/1"}
	path := paths[c.random.IntN(len(paths))]
	r, err := http.NewRequestWithContext(context.Background(), []string{"GET", "HEAD"}[c.random.IntN(2)], "http://"+c.addr+path, nil)
	return c.wantStatus(path, r, err, 200)
}

// givenUp sends a valid question and may cancel it before the answer.
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

// tooLarge exceeds one of the bounds.
func (c *soakClient) tooLarge() int {
	switch c.random.IntN(3) {
	case 0: // by its stated length
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
	case 1: // by its real length
		r, err := c.post(context.Background(), "/v2/models/bytes/infer", http.Header{}, bytes.Repeat([]byte(" "), soakBodyMax+1+c.random.IntN(1000)))
		if err == nil {
			r.ContentLength = -1
		}
		return c.wantStatus("a body without end", r, err, 413, 429)
	}
	items := 41 + c.random.IntN(100)
	head := fmt.Sprintf(`{"inputs":[{"name":"x","shape":[%d,1000],"datatype":"UINT8","parameters":{"binary_data_size":%d}}]}`, items, items*1000)
	r, err := c.post(context.Background(), "/v2/models/bytes/infer", http.Header{oip.HeaderLength: {strconv.Itoa(len(head))}},
		append([]byte(head), make([]byte, items*1000)...))
	return c.wantStatus("too many items", r, err, 413, 429)
}

// bombs are small bodies that decompress to large ones: 240 MiB in gzip, as many
// members one after the other, and 4 MiB in deflate, which has only one.
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
	return c.wantStatus("a compression bomb", r, err, statuses...)
}
