package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// serve starts a server that is handled by h and makes a client of it.
func serve(t testing.TB, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(s.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// request reads what the client sent.
func request(t testing.TB, r *http.Request) oip.Request {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	n, err := strconv.Atoi(r.Header.Get(oip.HeaderLength))
	if err != nil {
		t.Error(err)
	}
	var q oip.Request
	if err := q.Decode(body, n, oip.DefaultLimits()); err != nil {
		t.Error(err)
	}
	return q
}

// answer sends a response in binary form.
func answer(t testing.TB, w http.ResponseWriter, p oip.Response) {
	t.Helper()
	forms := slices.Repeat([]oip.Form{oip.Binary}, len(p.Outputs))
	body, n, err := p.Append(nil, forms)
	if err != nil {
		t.Error(err)
	}
	if n != oip.AllJSON {
		w.Header().Set(oip.HeaderLength, strconv.Itoa(n))
	}
	w.Write(body)
}

func pixels(n int) tensor.Tensor {
	return tensor.Tensor{Name: "image", DType: tensor.Uint8, Shape: tensor.Shape{int64(n), 2}, Data: make([]byte, 2*n)}
}

func TestInfer(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.EscapedPath() != "/v2/models/a%2Fb/versions/3/infer" {
			t.Errorf("%s %s", r.Method, r.URL.EscapedPath())
		}
		q := request(t, r)
		want := oip.Parameters{{Name: "x", Value: oip.Int(1)}, {Name: "min_accuracy", Value: oip.Float(0.97)},
			{Name: "deadline_ms", Value: oip.Float(12.5)}, {Name: "late", Value: oip.String("run")},
			{Name: "modalities", Value: oip.String("image,text")}}
		if q.ID != "7" || !slices.Equal(q.Parameters, want) || len(q.Inputs) != 1 || len(q.Inputs[0].Data) != 64 ||
			!slices.Equal(q.Outputs, []oip.Output{{Name: "scores", Form: oip.Binary}}) {
			t.Errorf("got %+v", q)
		}
		answer(t, w, oip.Response{ModelName: "a/b", ModelVersion: "3", ID: q.ID,
			Parameters: oip.Parameters{{Name: "variant", Value: oip.String("image:24,all:8")}, {Name: "modalities", Value: oip.String("image,text")},
				{Name: "expected_accuracy", Value: oip.Float(0.9712)}, {Name: "queue_us", Value: oip.Int(1500)},
				{Name: "compute_us", Value: oip.Int(250)}, {Name: "late", Value: oip.Bool(true)}},
			Outputs: []tensor.Tensor{{Name: "scores", DType: tensor.Int8, Shape: tensor.Shape{32}, Data: make([]byte, 32)}}})
	})
	got, err := c.Infer(t.Context(), Request{Model: "a/b", Version: "3", ID: "7", Inputs: []tensor.Tensor{pixels(32)}, Outputs: []string{"scores"},
		MinAccuracy: 0.97, Deadline: 12500 * time.Microsecond, Late: LateRun, Modalities: []string{"image", "text"},
		Parameters: oip.Parameters{{Name: "x", Value: oip.Int(1)}}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Model != "a/b" || got.Version != "3" || got.ID != "7" || got.Variant != "image:24,all:8" || !slices.Equal(got.Modalities, []string{"image", "text"}) ||
		got.ExpectedAccuracy != 0.9712 || got.Queue != 1500*time.Microsecond || got.Compute != 250*time.Microsecond || !got.Late {
		t.Errorf("got %+v", got)
	}
	if want := []VariantItems{{"image", 24}, {"all", 8}}; !slices.Equal(got.Mix(), want) {
		t.Errorf("mix %v, want %v", got.Mix(), want)
	}
	if out, ok := got.Output("scores"); !ok || out.Rows() != 32 {
		t.Errorf("output %+v", out)
	}
	if _, ok := got.Output("label"); ok {
		t.Error("there is an output that nobody sent")
	}
}

func TestInferAsksForNothingByDefault(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if q := request(t, r); len(q.Parameters) > 0 || len(q.Outputs) > 0 || q.OutputForm != oip.Binary || q.ID != "" {
			t.Errorf("got %+v", q)
		}
		answer(t, w, oip.Response{ModelName: "m", Outputs: []tensor.Tensor{pixels(2)}})
	})
	got, err := c.Infer(t.Context(), Request{Model: "m", Inputs: []tensor.Tensor{pixels(2)}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Mix() != nil {
		t.Errorf("a server that is not mosel has the mix %v", got.Mix())
	}
	got.Variant = "all"
	if want := []VariantItems{{"all", 2}}; !slices.Equal(got.Mix(), want) {
		t.Errorf("mix %v, want %v", got.Mix(), want)
	}
}

func TestContextDeadlineIsSentAlong(t *testing.T) {
	for _, tt := range []struct {
		own, context time.Duration
		atMost       float64
	}{{0, time.Minute, 60_000}, {time.Hour, time.Minute, 60_000}, {time.Second, time.Minute, 1000}} {
		ctx, cancel := context.WithTimeout(t.Context(), tt.context)
		params, err := (&Request{Deadline: tt.own}).objective(ctx, nil)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		value, _ := params.Get("deadline_ms")
		if ms, err := value.Float64(); err != nil || ms > tt.atMost || ms <= 0 {
			t.Errorf("deadline %v under a context of %v: %v ms, %v", tt.own, tt.context, ms, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		status    int
		header    string
		body      string
		want      Error
		retryable bool
	}{
		{429, "2", `{"error":"full","retry_after_ms":1500}`, Error{429, "full", 1500 * time.Millisecond, 0}, true},
		{429, "2", `{"error":"full"}`, Error{429, "full", 2 * time.Second, 0}, true},
		{503, "", `{"error":"draining"}`, Error{503, "draining", 0, 0}, true},
		{422, "", `{"error":"no","best_accuracy":0.91}`, Error{422, "no", 0, 0.91}, false},
		{502, "x", "<html>Bad Gateway</html>\n", Error{502, "<html>Bad Gateway</html>", 0, 0}, false},
		{499, "", `{}`, Error{499, "{}", 0, 0}, false},
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", tt.header)
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
		})
		_, err := c.Infer(t.Context(), Request{Model: "m", Inputs: []tensor.Tensor{pixels(1)}})
		var got *Error
		if !errors.As(err, &got) || *got != tt.want || got.Retryable() != tt.retryable {
			t.Errorf("%d %s: got %#v of %v", tt.status, tt.body, got, err)
		}
		if !strings.HasPrefix(err.Error(), fmt.Sprintf("infer m: %d ", tt.status)) {
			t.Errorf("error prints %q", err)
		}
	}
}

func TestInferFailsBeforeSending(t *testing.T) {
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	ended, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	for name, tt := range map[string]struct {
		ctx  context.Context
		r    Request
		want string
	}{
		"no model": {t.Context(), Request{}, "no model is named"},
		"unsound tensor": {t.Context(), Request{Model: "m", Inputs: []tensor.Tensor{{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{2}}}},
			"needs 2 elements"},
		"negative deadline": {t.Context(), Request{Model: "m", Deadline: -1}, "deadline -1ns is negative"},
		"context ended":     {ended, Request{Model: "m"}, context.DeadlineExceeded.Error()},
	} {
		if _, err := c.Infer(tt.ctx, tt.r); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestBadAnswers(t *testing.T) {
	for name, tt := range map[string]struct{ length, body, want string }{
		"not JSON":      {"", "hello", "is not what the protocol says"},
		"bad length":    {"-3", "{}", `is "-3"`},
		"bad sum":       {"2", "{}x", "the binary part has 1 bytes"},
		"bad parameter": {"", `{"parameters":{"queue_us":"soon"}}`, `parameter "queue_us"`},
		"bad duration":  {"", `{"parameters":{"queue_us":-1}}`, `-1 is not a duration`},
		"too long":      {"", strings.Repeat("x", 101), "the answer has 101 bytes, the bound is 100"},
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if tt.length != "" {
				w.Header().Set(oip.HeaderLength, tt.length)
			}
			io.WriteString(w, tt.body)
		})
		c.bytesMax = 100
		if _, err := c.Infer(t.Context(), Request{Model: "m"}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	streaming := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			io.WriteString(w, strings.Repeat(" ", 50))
			w.(http.Flusher).Flush()
		}
	})
	streaming.bytesMax = 100
	if _, err := streaming.Infer(t.Context(), Request{Model: "m"}); err == nil || !strings.Contains(err.Error(), "more than the bound of 100 bytes") {
		t.Errorf("an answer without an end: %v", err)
	}
}

func TestQuestionsAboutTheServer(t *testing.T) {
	ready := http.StatusOK
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "GET /v2":
			io.WriteString(w, `{"name":"mosel","version":"1","extensions":["binary_tensor_data"]}`)
		case "GET /v2/health/ready":
			w.WriteHeader(ready)
			io.WriteString(w, `{"ready":true,"live":true}`)
		case "POST /v2/repository/index":
			io.WriteString(w, `[{"name":"digits","version":"1","state":"READY","reason":""}]`)
		case "GET /v2/models/digits":
			io.WriteString(w, `{"name":"digits","versions":["1"],"inputs":[{"name":"image","datatype":"UINT8","shape":[-1,28,28]}]}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"error":"no such model"}`)
		}
	})
	ctx := t.Context()
	if s, err := c.Server(ctx); err != nil || s.Name != "mosel" {
		t.Errorf("server %+v, %v", s, err)
	}
	if ok, err := c.Ready(ctx); err != nil || !ok {
		t.Errorf("ready %v, %v", ok, err)
	}
	ready = http.StatusServiceUnavailable
	if ok, err := c.Ready(ctx); err != nil || ok {
		t.Errorf("not ready %v, %v", ok, err)
	}
	if list, err := c.Models(ctx); err != nil || len(list) != 1 || list[0].State != "READY" {
		t.Errorf("models %+v, %v", list, err)
	}
	if m, err := c.Metadata(ctx, "digits"); err != nil || len(m.Inputs) != 1 || m.Inputs[0].Shape[1] != 28 {
		t.Errorf("metadata %+v, %v", m, err)
	}
	var failure *Error
	if _, err := c.Metadata(ctx, "other"); !errors.As(err, &failure) || failure.Status != 404 {
		t.Errorf("metadata of an unknown model: %v", err)
	}
	gone, err := New("127.0.0.1:1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Ready(ctx); err == nil || errors.As(err, &failure) && failure == nil {
		t.Error("a server that is not there answers")
	}
}

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"localhost:8000":         "http://localhost:8000/v2/models/m%20x",
		"http://[::1]:8000/":     "http://[::1]:8000/v2/models/m%20x",
		"https://host/proxy/":    "https://host/proxy/v2/models/m%20x",
		"https://host/a%2Fproxy": "https://host/a%2Fproxy/v2/models/m%20x",
	} {
		c, err := New(addr, Options{})
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		if got := c.url("models", "m x").String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	for _, addr := range []string{"", "ftp://host", "http://", "http://a b", "%"} {
		if _, err := New(addr, Options{}); err == nil {
			t.Errorf("%q is an address", addr)
		}
	}
}

// TestBuffersAreNotSharedTooEarly sends many requests to a server that answers
// some of them before it has read them, while others are given up; what the
// server does read must be what was sent.
func TestBuffersAreNotSharedTooEarly(t *testing.T) {
	const size = 200_000
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/early/infer") {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // given up
		}
		n, _ := strconv.Atoi(r.Header.Get(oip.HeaderLength))
		part := body[n:]
		if len(part) != size || slices.ContainsFunc(part, func(b byte) bool { return b != part[0] }) {
			t.Errorf("a body of %d bytes holds bytes of another", len(part))
		}
		answer(t, w, oip.Response{})
	})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			data := slices.Repeat([]byte{byte(worker)}, size)
			in := tensor.Tensor{Name: "x", DType: tensor.Uint8, Shape: tensor.Shape{1, size}, Data: data}
			for i := range 20 {
				ctx, cancel := context.WithCancel(t.Context())
				model := "read"
				switch i % 4 {
				case 1:
					model = "early"
				case 2:
					go cancel()
				}
				_, err := c.Infer(ctx, Request{Model: model, Inputs: []tensor.Tensor{in}})
				if i%4 == 0 && err != nil {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}

func TestPayload(t *testing.T) {
	p := newPayload()
	p.bytes = append(p.bytes, "hello"...)
	first := p.reader()
	second, err := p.again()
	if err != nil {
		t.Fatal(err)
	}
	p.release()
	first.Close()
	first.Close() // lets go once
	if got := p.holders.Load(); got != 1 {
		t.Fatalf("%d holders, want 1: the second reader", got)
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("a closed reader reads")
	}
	if got, err := io.ReadAll(second); err != nil || string(got) != "hello" {
		t.Errorf("second reader: %q, %v", got, err)
	}
	second.Close()
	if got := p.holders.Load(); got != 0 {
		t.Errorf("%d holders, want none", got)
	}
}

// BenchmarkInfer is one request after the other to a server that only reads.
func BenchmarkInfer(b *testing.B) {
	c := serve(b, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		answer(b, w, oip.Response{ModelName: "m", Outputs: []tensor.Tensor{pixels(1)}})
	})
	in := []tensor.Tensor{pixels(1), {Name: "audio", DType: tensor.Int16, Shape: tensor.Shape{1, 8000}, Data: make([]byte, 16000)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Infer(b.Context(), Request{Model: "m", Inputs: in, MinAccuracy: 0.97, Deadline: 50 * time.Millisecond}); err != nil {
			b.Fatal(err)
		}
	}
}
