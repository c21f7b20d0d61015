package api

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// listen starts a real server on a real network; runs take no time.
func listen(t testing.TB, s setup) *httptest.Server {
	t.Helper()
	s.instant = true
	h, e := start(t, s)
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		server.Close()
		if err := e.Drain(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return server
}

// dial sends bytes unchanged and reads an answer.
func dial(t *testing.T, server *httptest.Server, request string) (status int, header http.Header, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(content)
}

// TestTritonClient sends what tritonclient.http sends for client.infer("scene", [image,
// chars, mask], request_id="1"): no Content-Type, inputs in binary form, and
// binary_data_output because no outputs are named.
func TestTritonClient(t *testing.T) {
	server := listen(t, setup{})
	head := `{"id":"1","inputs":[{"name":"image","shape":[1,2,2],"datatype":"UINT8","parameters":{"binary_data_size":4}},` +
		`{"name":"chars","shape":[1,3],"datatype":"UINT8","parameters":{"binary_data_size":3}},` +
		`{"name":"mask","shape":[1,3],"datatype":"BOOL","parameters":{"binary_data_size":3}}],` +
		`"parameters":{"priority":1,"timeout":1000000,"binary_data_output":true}}`
	image, chars, mask := "\x01\x02\x03\x04", "\x07\x08\x09", "\x01\x01\x00"
	body := head + image + chars + mask
	status, header, got := dial(t, server, "POST /v2/models/scene/infer HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: Python/geventhttpclient-2.3.1\r\n"+
		"Inference-Header-Content-Length: "+strconv.Itoa(len(head))+"\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body)
	if status != http.StatusOK {
		t.Fatalf("%d: %s", status, got)
	}
	n, err := strconv.Atoi(header.Get("Inference-Header-Content-Length"))
	if err != nil {
		t.Fatal(err)
	}
	var p oip.Response
	if err := p.Decode([]byte(got), n, oip.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	variant, _ := p.Parameters.Get("variant")
	m := scene().Model
	ran := slices.IndexFunc(m.Variants, func(v modelpkg.Variant) bool { return v.Name == variant.Text() })
	if p.ID != "1" || len(p.Outputs) != 2 || ran < 0 {
		t.Fatalf("%+v", p)
	}
	item := runtime.Item{[]byte(image), nil, []byte(chars), []byte(mask)}
	for i, out := range p.Outputs {
		if out.Name != m.Outputs[i].Name || !bytes.Equal(out.Data, fake.Row(m, i, ran, item)) {
			t.Errorf("output %s is not what variant %s answers to the item", out.Name, variant.Text())
		}
	}
}

// TestKServeClient sends what the KServe SDK sends: JSON in a chunked body, a floor as
// a string, since it has no floats, and an encoding that it would accept.
func TestKServeClient(t *testing.T) {
	server := listen(t, setup{})
	body := ask(`"min_accuracy":"0.75"`, imageJSON)
	status, header, got := dial(t, server, "POST /v2/models/scene/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAccept-Encoding: gzip, deflate\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n"+fmt.Sprintf("%x\r\n%s\r\n", 10, body[:10])+fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body)-10, body[10:]))
	if status != http.StatusOK || header.Get("Content-Encoding") != "" || !strings.Contains(got, `"variant":"image"`) {
		t.Errorf("%d: %s", status, got)
	}
}

// compressed compresses a body in each way that a client may use.
func compressed(t testing.TB, how string, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "zlib":
		w = zlib.NewWriter(&out)
	case "flate":
		w, _ = flate.NewWriter(&out, flate.DefaultCompression)
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCompressedRequests(t *testing.T) {
	with(t, setup{config: func(c *Config) { c.BodyBytesMax = 1 << 20 }}, func(f fixture) {
		head := `{"inputs":[{"name":"image","shape":[1,2,2],"datatype":"UINT8","parameters":{"binary_data_size":4}}],"outputs":[{"name":"scores"}]}`
		length := fmt.Sprintf("Inference-Header-Content-Length: %d", len(head))
		for _, tt := range []struct{ how, header string }{{"gzip", "gzip"}, {"gzip", "GZip"}, {"zlib", "deflate"}, {"flate", "deflate"}} {
			whole := compressed(t, tt.how, []byte(head+"\x01\x02\x03\x04"))
			encoding := "Content-Encoding: " + tt.header
			if w := f.call("POST", inferPath, string(whole), length, encoding); w.Code != http.StatusOK {
				t.Errorf("%s: %d %s", tt.how, w.Code, w.Body)
			}
			if w := f.call("POST", inferPath, string(whole[:len(whole)-3]), length, encoding); w.Code != 400 || !strings.Contains(w.Body.String(), "the body cannot be read") {
				t.Errorf("%s, cut off: %d %s", tt.how, w.Code, w.Body)
			}
			bomb := compressed(t, tt.how, make([]byte, 4<<20))
			if w := f.call("POST", inferPath, string(bomb), encoding); w.Code != 413 {
				t.Errorf("%s: %d bytes that are 4 MiB: %d %s", tt.how, len(bomb), w.Code, w.Body)
			}
		}
		if w := f.call("POST", inferPath, "", "Content-Encoding: deflate"); w.Code != 400 {
			t.Errorf("nothing, compressed: %d %s", w.Code, w.Body)
		}
		if w := f.call("POST", inferPath, ask(``, imageJSON), "Content-Encoding: identity"); w.Code != 200 {
			t.Errorf("identity: %d %s", w.Code, w.Body)
		}
	})
}

// jobParameter matches the part in which answers to the same request differ.
var jobParameter = regexp.MustCompile(`"job":"j-[a-z2-7]{26}",`)

func TestCompressedAnswers(t *testing.T) {
	with(t, setup{config: func(c *Config) { c.CompressBytesMin = 100 }}, func(f fixture) {
		body := `{"parameters":{"binary_data_output":true},"inputs":[` + imageJSON + `]}`
		plain := f.call("POST", inferPath, body)
		for _, encoding := range []string{"gzip", "deflate"} {
			w := f.call("POST", inferPath, body, "Accept-Encoding: br;q=1, "+encoding)
			if w.Header().Get("Content-Encoding") != encoding ||
				w.Header().Get(oip.HeaderLength) != plain.Header().Get(oip.HeaderLength) {
				t.Errorf("%s: header %v", encoding, w.Header())
			}
			var r io.Reader
			var err error
			if encoding == "gzip" {
				r, err = gzip.NewReader(w.Body)
			} else {
				r, err = zlib.NewReader(w.Body)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(jobParameter.ReplaceAll(got, nil), jobParameter.ReplaceAll(plain.Body.Bytes(), nil)) {
				t.Errorf("%s: %q, %v", encoding, got, err)
			}
		}
		if w := f.call("POST", inferPath, `{`, "Accept-Encoding: gzip"); w.Header().Get("Content-Encoding") != "" {
			t.Error("an error is compressed: tritonclient could not read it")
		}
	})
	for header, want := range map[string]string{"": "", "identity": "", "gzip": "gzip", "deflate, gzip;q=0.5": "gzip", "deflate": "deflate",
		"gzip;q=0, deflate": "deflate", "gzip; q=0": "", "*": "", "GZIP": "gzip", "gzip;q=x": ""} {
		if got := accepted(header); got != want {
			t.Errorf("Accept-Encoding %q is answered in %q, want %q", header, got, want)
		}
	}
}

// TestMemoryOfAllRequestsIsBounded sends requests that wait for the only instance until
// there is no memory for another.
func TestMemoryOfAllRequestsIsBounded(t *testing.T) {
	body := ask(`"modalities":"image"`, imageJSON)
	const inFlight = 5000
	with(t, setup{queueJobs: 100, config: func(c *Config) { c.BodyBytesMax, c.BodyBytesInFlight = 1000, inFlight }}, func(f fixture) {
		var waiting []chan *httptest.ResponseRecorder
		refused := func() *httptest.ResponseRecorder { // nil: one more waits
			answer := make(chan *httptest.ResponseRecorder, 1)
			go func() { answer <- f.call("POST", inferPath, body) }()
			synctest.Wait()
			select {
			case w := <-answer:
				return w
			default:
				waiting = append(waiting, answer)
				return nil
			}
		}
		w := refused()
		for ; w == nil; w = refused() {
		}
		if w.Code != 429 || !strings.Contains(w.Body.String(), "reached their bound of 5000 bytes") {
			t.Errorf("after %d: %d %s", len(waiting), w.Code, w.Body)
		}
		// Each holds its body, one item of four inputs, and the four bytes of one of
		// them. The last had no room to be decoded, which may take four times the text.
		each := len(body) + 1 + 5*sliceBytes + 4
		if want := (inFlight-5*len(body)-1-each)/each + 1; len(waiting) < want-1 || len(waiting) > want+1 {
			t.Errorf("%d requests of %d bytes wait, want %d", len(waiting), each, want)
		}
		for _, answer := range waiting {
			if w := <-answer; w.Code != 200 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
		for range 20 { // nothing of the budget is lost
			if w := f.call("POST", inferPath, body); w.Code != 200 {
				t.Errorf("afterwards: %d %s", w.Code, w.Body)
			}
		}
	})
}

// TestRequestThatNeedsTooMuchMemory sends one that no time would make room for.
func TestRequestThatNeedsTooMuchMemory(t *testing.T) {
	x := newExchange(&budget{max: 100})
	other := newExchange(x.budget)
	if err := errors.Join(x.reserve(60), other.reserve(30)); err != nil {
		t.Fatal(err)
	}
	if err := x.reserve(41); slo.KindOf(err) != slo.KindTooLarge {
		t.Errorf("101 bytes of 100 for one request: %v", err)
	}
	if err := x.reserve(40); slo.KindOf(err) != slo.KindOverloaded {
		t.Errorf("100 bytes of which 30 are taken: %v", err)
	}
	if used := x.budget.used.Load(); used != 90 {
		t.Errorf("%d bytes are taken", used)
	}
}

func TestBodiesArriveInAnyPieces(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 1000)
	for _, size := range []int64{-1, 10_000} {
		for name, src := range map[string]io.Reader{"whole": bytes.NewReader(content), "bytes": iotest.OneByteReader(bytes.NewReader(content)),
			"end with data": iotest.DataErrReader(bytes.NewReader(content))} {
			x := newExchange(&budget{max: 1 << 20})
			if err := x.read(src, size, 10_000); err != nil || !bytes.Equal(x.body, content) {
				t.Errorf("%s, size %d: %d bytes, %v", name, size, len(x.body), err)
			}
			x.release()
			if used := x.budget.used.Load(); used != 0 {
				t.Errorf("%d bytes of the budget are lost", used)
			}
		}
		x := newExchange(&budget{max: 1 << 20})
		if err := x.read(bytes.NewReader(content), size, 9_999); slo.KindOf(err) != slo.KindTooLarge {
			t.Errorf("size %d: %v", size, err)
		}
		broken := errors.New("broken")
		if err := x.read(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken)), size, 10_000); !errors.Is(err, broken) {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

// TestItemsAreViews checks that a large batch is split without copying.
func TestItemsAreViews(t *testing.T) {
	m := scene().Model
	const n = 1000
	x := newExchange(&budget{max: 1 << 20})
	x.request.Inputs = []tensor.Tensor{
		{Name: "mask", DType: tensor.Bool, Shape: tensor.Shape{n, 3}, Data: make([]byte, 3*n)},
		{Name: "chars", DType: tensor.Uint8, Shape: tensor.Shape{n, 3}, Data: make([]byte, 3*n)},
	}
	c, err := x.takeItems(m, n)
	if set := c.union; err != nil || set != 4 || len(x.items) != n {
		t.Fatalf("%d items, modalities %b, %v", len(x.items), c.union, err)
	}
	for i, item := range x.items {
		if item[0] != nil || item[1] != nil || &item[2][0] != &x.request.Inputs[1].Data[3*i] || &item[3][0] != &x.request.Inputs[0].Data[3*i] {
			t.Fatalf("item %d is not a view of row %d", i, i)
		}
	}
	if _, err := x.takeItems(m, n-1); slo.KindOf(err) != slo.KindTooLarge {
		t.Errorf("one item too many: %v", err)
	}
}

// signal is a log that signals when a line contains a text.
type signal struct {
	text string
	seen chan struct{}
	once sync.Once
}

func (s *signal) Write(line []byte) (int, error) {
	if strings.Contains(string(line), s.text) {
		s.once.Do(func() { close(s.seen) })
	}
	return len(line), nil
}

// TestClientGoesAway closes the connection while a request waits for the only instance,
// which is blocked: the request must end at once, before the instance is free.
func TestClientGoesAway(t *testing.T) {
	log := &signal{text: "status=499", seen: make(chan struct{})}
	running, free := make(chan struct{}), make(chan struct{})
	var first sync.Once
	server := listen(t, setup{log: log, queueJobs: 5, fail: func(fake.Run) error {
		first.Do(func() { close(running); <-free })
		return nil
	}})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(free)
	post := func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, "POST", server.URL+inferPath, strings.NewReader(ask(``, imageJSON)))
		if err != nil {
			return err
		}
		answer, err := server.Client().Do(r)
		if err == nil {
			answer.Body.Close()
		}
		return err
	}
	wg.Go(func() {
		if err := post(t.Context()); err != nil {
			t.Error(err)
		}
	})
	<-running
	ctx, hangUp := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer hangUp()
	if err := post(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second request: %v", err)
	}
	<-log.seen
}
