package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// serve starts a server that is handled by h and makes a client of it.
func serve(t testing.TB, h http.HandlerFunc) *client.Client {
	t.Helper()
	return serveWith(t, client.Options{}, h)
}

func serveWith(t testing.TB, opts client.Options, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(s.URL, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestErrorsInOtherWords: something between client and server may answer in its own.
func TestErrorsInOtherWords(t *testing.T) {
	for _, tt := range []struct {
		status int
		header http.Header
		body   string
		want   client.Error
	}{
		{429, http.Header{"Retry-After": {"2"}}, `{"error":"full","retry_after_ms":1500}`, client.Error{Status: 429, Message: "full", RetryAfter: 1500 * time.Millisecond}},
		{429, http.Header{"Retry-After": {"2"}, oip.HeaderJob: {"j"}}, `{"error":"full"}`, client.Error{Status: 429, Message: "full", RetryAfter: 2 * time.Second, Job: "j"}},
		{429, http.Header{"Retry-After": {"soon"}}, `{"error":"full","retry_after_ms":9223372036854775807}`, client.Error{Status: 429, Message: "full"}},
		{502, nil, "<html>Bad Gateway</html>\n", client.Error{Status: 502, Message: "<html>Bad Gateway</html>"}},
		{499, nil, `{}`, client.Error{Status: 499, Message: "{}"}},
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			maps.Copy(w.Header(), tt.header)
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
		})
		_, err := c.Infer(t.Context(), client.Request{Model: "m", Inputs: []tensor.Tensor{pixels(1)}})
		if got, ok := errors.AsType[*client.Error](err); !ok || *got != tt.want {
			t.Errorf("%d %s: got %#v of %v", tt.status, tt.body, got, err)
		}
	}
}

func TestBadAnswers(t *testing.T) {
	for name, tt := range map[string]struct{ length, body, want string }{
		"not JSON":      {"", "hello", "cannot be used: JSON"},
		"bad length":    {"-3", "{}", `is "-3"`},
		"bad sum":       {"2", "{}x", "the binary part has 1 bytes"},
		"bad parameter": {"", `{"parameters":{"queue_us":"soon"}}`, `parameter "queue_us"`},
		"bad duration":  {"", `{"parameters":{"queue_us":-1}}`, `-1 is not a duration`},
		"too long":      {"", strings.Repeat("x", 101), "the answer cannot be used: it has 101 bytes, more than Options.ResponseBytesMax, which is 100"},
	} {
		c := serveWith(t, client.Options{ResponseBytesMax: 100}, func(w http.ResponseWriter, _ *http.Request) {
			if tt.length != "" {
				w.Header().Set(oip.HeaderLength, tt.length)
			}
			io.WriteString(w, tt.body)
		})
		if _, err := c.Infer(t.Context(), client.Request{Model: "m"}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	streaming := serveWith(t, client.Options{ResponseBytesMax: 100}, func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			io.WriteString(w, strings.Repeat(" ", 50))
			w.(http.Flusher).Flush()
		}
	})
	if _, err := streaming.Infer(t.Context(), client.Request{Model: "m"}); err == nil || !strings.Contains(err.Error(), "more than Options.ResponseBytesMax, which is 100 bytes") {
		t.Errorf("an answer without an end: %v", err)
	}
}

// asked is a transport that keeps the address it is asked for.
type asked string

var errAsked = errors.New("asked")

func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	*a = asked(r.URL.String())
	return nil, errAsked
}

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"localhost:8000":         "http://localhost:8000/v2/models/m%20x",
		"http://[::1]:8000/":     "http://[::1]:8000/v2/models/m%20x",
		"https://host/proxy/":    "https://host/proxy/v2/models/m%20x",
		"https://host/a%2Fproxy": "https://host/a%2Fproxy/v2/models/m%20x",
	} {
		var seen asked
		c, err := client.New(addr, client.Options{Transport: &seen})
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		if _, err := c.Metadata(t.Context(), "m x"); !errors.Is(err, errAsked) || string(seen) != want {
			t.Errorf("%s: %s, want %s", addr, seen, want)
		}
	}
	for _, addr := range []string{"", "ftp://host", "http://", "http://a b", "%", "http://u:p@host", "http://host/?q", "grpc://host/path", "grpc://u@host:1", "grpc://", "grpc://:8001"} {
		if _, err := client.New(addr, client.Options{GRPC: clientgrpc.Dial}); err == nil {
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
		send(t, w, oip.Response{})
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
				_, err := c.Infer(ctx, client.Request{Model: model, Inputs: []tensor.Tensor{in}})
				if i%4 == 0 && err != nil {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}

// TestJSON sends tensors as JSON to a server that knows nothing else, and reads its
// answer.
func TestJSON(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		const want = `{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1.5,-2]}],"outputs":[{"name":"y"}]}`
		if string(body) != want || r.Header.Get("Content-Type") != "application/json" || r.Header.Get(oip.HeaderLength) != "" {
			t.Errorf("got %s, %v", body, r.Header)
		}
		fmt.Fprint(w, `{"model_name": "m", "outputs": [{"name": "y", "shape": [1, 1], "datatype": "INT8", "data": [-3]}]}`)
	}))
	defer server.Close()
	c, err := client.New(server.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x, err := tensor.Of("x", tensor.Shape{1, 2}, []float32{1.5, -2})
	if err != nil {
		t.Fatal(err)
	}
	r := client.Request{Model: "m", Inputs: []tensor.Tensor{x}, Outputs: []string{"y"}, JSON: true}
	got, err := c.Infer(t.Context(), r)
	if err != nil || len(got.Outputs) != 1 || string(got.Outputs[0].Data) != "\xfd" {
		t.Errorf("%+v, %v", got, err)
	}
	r.Inputs[0], _ = tensor.Of("x", tensor.Shape{1, 1}, []float64{math.NaN()})
	if _, err := c.Infer(t.Context(), r); !errors.Is(err, oip.ErrNotJSON) {
		t.Errorf("a number that JSON cannot carry: %v", err)
	}
}
