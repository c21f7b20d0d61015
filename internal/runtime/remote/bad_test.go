package remote_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/remote"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// bad is a server over REST on loopback that describes a model as it should, and then
// answers as a test says.
type bad struct {
	*httptest.Server
	address string
	answer  atomic.Pointer[func(number int) reply] // to the request with this number, from 0
	asked   atomic.Int64
	gone    atomic.Bool // it is not ready any more
}

// reply is an answer to a request for inference.
type reply struct {
	status int
	header map[string]string
	body   []byte
	hang   bool  // it never comes
	cut    int   // > 0: the connection is closed after so many bytes of the body
	long   int64 // > 0: a body of so many bytes
}

// answers sets what it answers.
func (b *bad) answers(f func(number int) reply) { b.answer.Store(&f) }

func newBad(t testing.TB) *bad {
	b := &bad{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/health/ready", func(w http.ResponseWriter, _ *http.Request) {
		if b.gone.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /v2/models/{model}/versions/{version}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"name": "fusion", "inputs": [], "outputs": []}`) // nothing to compare
	})
	mux.HandleFunc("GET /v2", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"name": "bad", "extensions": ["binary_tensor_data"]}`)
	})
	mux.HandleFunc("POST /v2/models/{model}/versions/{version}/infer", b.infer)
	b.Server = httptest.NewServer(mux)
	b.address = b.URL
	t.Cleanup(b.Close)
	return b
}

func (b *bad) infer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	answer := (*b.answer.Load())(int(b.asked.Add(1)) - 1)
	if answer.hang {
		<-r.Context().Done()
		return
	}
	for name, value := range answer.header {
		w.Header().Set(name, value)
	}
	switch {
	case answer.cut > 0:
		w.Header().Set("Content-Length", strconv.Itoa(len(answer.body)))
		_, _ = w.Write(answer.body[:answer.cut])
		panic(http.ErrAbortHandler)
	case answer.long > 0:
		for left := answer.long; left > 0; left -= 1 << 16 {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return // it has been told to stop
			}
		}
		return
	case answer.status != 0:
		w.WriteHeader(answer.status)
	}
	_, _ = w.Write(answer.body)
}

// good is an answer as it should be: zeros.
func (b *bad) good(m *modelpkg.Model, items int) reply {
	spec := m.Outputs[0]
	return outputs(tensor.Tensor{Name: spec.Name, DType: spec.DType, Shape: append(tensor.Shape{int64(items)}, spec.Shape...),
		Data: make([]byte, items*runtime.ItemBytes(spec))})
}

// outputs is an answer of these tensors in the binary form.
func outputs(list ...tensor.Tensor) reply {
	answer := oip.Response{ModelName: "fusion", Outputs: list}
	forms := make([]oip.Form, len(list))
	for i := range forms {
		forms[i] = oip.Binary
	}
	body, n, err := answer.Append(nil, forms)
	if err != nil {
		panic(err)
	}
	return reply{header: map[string]string{oip.HeaderLength: strconv.Itoa(n)}, body: body}
}

func scores(name string, d tensor.DType, shape ...int64) tensor.Tensor {
	n, _ := tensor.Shape(shape).Elements()
	return tensor.Tensor{Name: name, DType: d, Shape: shape, Data: make([]byte, n*d.Size())}
}

func says(status int, words string, header ...string) reply {
	r := reply{status: status, body: []byte(fmt.Sprintf("{\"error\": %q}", words)), header: map[string]string{}}
	for i := 0; i+1 < len(header); i += 2 {
		r.header[header[i]] = header[i+1]
	}
	return r
}

const soon = `{"error": "busy", "retry_after_ms": 5}`

// badAnswers are to a batch of two items.
var badAnswers = []struct {
	name    string
	answer  func(b *bad, m *modelpkg.Model, number int) reply
	kind    slo.Kind
	lost    bool
	asked   int64  // requests; 0: one
	want    string // in the error; "": there is none
	timeout time.Duration
}{
	{name: "good", answer: func(b *bad, m *modelpkg.Model, _ int) reply { return b.good(m, 2) }},
	{name: "hangs", answer: func(*bad, *modelpkg.Model, int) reply { return reply{hang: true} }, timeout: 50 * time.Millisecond,
		kind: slo.KindUnavailable, want: "has not answered within 50ms"},
	{name: "hangs and is not ready", answer: func(b *bad, _ *modelpkg.Model, _ int) reply { b.gone.Store(true); return reply{hang: true} },
		timeout: 50 * time.Millisecond, kind: slo.KindUnavailable, lost: true, want: "has not answered within 50ms"},
	{name: "closes half way", answer: func(b *bad, m *modelpkg.Model, _ int) reply { r := b.good(m, 2); r.cut = 40; return r },
		kind: slo.KindUnavailable, want: "the connection to the other server broke"},
	{name: "closes half way and is gone", answer: func(b *bad, m *modelpkg.Model, _ int) reply {
		b.gone.Store(true)
		r := b.good(m, 2)
		r.cut = 40
		return r
	}, kind: slo.KindUnavailable, lost: true, want: "broke"},
	{name: "too few rows", answer: func(b *bad, m *modelpkg.Model, _ int) reply { return b.good(m, 1) },
		kind: slo.KindInternal, want: `output "scores" has the shape [1,16] for 2 items, not [2,16]`},
	{name: "too many rows", answer: func(b *bad, m *modelpkg.Model, _ int) reply { return b.good(m, 3) },
		kind: slo.KindInternal, want: `has the shape [3,16] for 2 items`},
	{name: "other shape", answer: func(*bad, *modelpkg.Model, int) reply { return outputs(scores("scores", tensor.FP32, 2, 4, 4)) },
		kind: slo.KindInternal, want: `has the shape [2,4,4] for 2 items, not [2,16]`},
	{name: "other type", answer: func(*bad, *modelpkg.Model, int) reply { return outputs(scores("scores", tensor.FP64, 2, 16)) },
		kind: slo.KindInternal, want: `is FP64, not FP32`},
	{name: "other name", answer: func(*bad, *modelpkg.Model, int) reply { return outputs(scores("logits", tensor.FP32, 2, 16)) },
		kind: slo.KindInternal, want: `it has no output "scores"`},
	{name: "bytes that do not fit the shape", answer: func(b *bad, m *modelpkg.Model, _ int) reply {
		r := b.good(m, 2)
		r.body = r.body[:len(r.body)-1]
		return r
	},
		kind: slo.KindInternal, want: "cannot be used"},
	{name: "no JSON", answer: func(*bad, *modelpkg.Model, int) reply { return reply{body: []byte("<html>welcome</html>")} },
		kind: slo.KindInternal, want: "cannot be used"},
	{name: "announces too many bytes", answer: func(*bad, *modelpkg.Model, int) reply {
		return reply{body: make([]byte, 2<<20), header: map[string]string{"Content-Length": "2097152"}}
	}, kind: slo.KindInternal, want: "cannot be used"},
	{name: "sends without end", answer: func(*bad, *modelpkg.Model, int) reply { return reply{long: 1 << 40} },
		kind: slo.KindInternal, want: "cannot be used"},
	{name: "busy, then not", answer: func(b *bad, m *modelpkg.Model, number int) reply {
		if number < 2 {
			return reply{status: 429, body: []byte(soon)}
		}
		return b.good(m, 2)
	}, asked: 3},
	{name: "busy all the time", answer: func(*bad, *modelpkg.Model, int) reply { return reply{status: 429, body: []byte(soon)} },
		asked: 3, kind: slo.KindOverloaded, want: "429 Too Many Requests: busy"},
	{name: "busy for long", answer: func(*bad, *modelpkg.Model, int) reply { return says(429, "busy", "Retry-After", "30") },
		kind: slo.KindOverloaded, want: "busy"},
	{name: "busy for longer than there is time", answer: func(*bad, *modelpkg.Model, int) reply {
		return reply{status: 429, body: []byte(`{"error": "busy", "retry_after_ms": 400}`)}
	}, timeout: 100 * time.Millisecond, kind: slo.KindOverloaded, want: "busy"},
	{name: "503 with a time to come back", answer: func(b *bad, m *modelpkg.Model, number int) reply {
		if number == 0 {
			return reply{status: 503, body: []byte(soon)}
		}
		return b.good(m, 2)
	}, asked: 2},
	{name: "503 without", answer: func(*bad, *modelpkg.Model, int) reply { return says(503, "upstream reset") },
		kind: slo.KindUnavailable, want: "upstream reset"},
	{name: "503 and not ready", answer: func(b *bad, _ *modelpkg.Model, _ int) reply { b.gone.Store(true); return says(503, "draining") },
		kind: slo.KindUnavailable, lost: true, want: "draining"},
	{name: "model taken away", answer: func(*bad, *modelpkg.Model, int) reply { return says(404, "no such model") },
		kind: slo.KindUnavailable, lost: true, want: "no such model"},
	{name: "refuses the batch", answer: func(*bad, *modelpkg.Model, int) reply { return says(400, "index out of range") },
		kind: slo.KindInvalid, want: "index out of range"},
	{name: "finds it too large", answer: func(*bad, *modelpkg.Model, int) reply { return says(413, "too large") }, kind: slo.KindTooLarge, want: "too large"},
	{name: "fails", answer: func(*bad, *modelpkg.Model, int) reply { return says(500, "out of memory") }, kind: slo.KindInternal, want: "out of memory"},
	{name: "refuses the token", answer: func(*bad, *modelpkg.Model, int) reply { return says(401, "no") }, kind: slo.KindUnavailable, want: "401"},
	{name: "says much", answer: func(*bad, *modelpkg.Model, int) reply { return says(500, strings.Repeat("x\ny", 5000)) }, kind: slo.KindInternal, want: "..."},
}

// TestBadServer is what becomes of a batch, and of the instance, when the other server
// does not do its part.
func TestBadServer(t *testing.T) {
	for _, test := range badAnswers {
		t.Run(test.name, func(t *testing.T) {
			b := newBad(t)
			m := here(batched(), b.address)
			b.answers(func(number int) reply { return test.answer(b, m, number) })
			if test.timeout > 0 {
				m.Variants[0].Remote.Timeout = test.timeout
			}
			in := load(t, m)
			out, err := in.Run(t.Context(), 0, items(m, 2))
			switch {
			case test.want == "" && (err != nil || len(out) != 1 || out[0].Rows() != 2):
				t.Errorf("%v, %v", out, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || slo.KindOf(err) != test.kind):
				t.Errorf("%v (kind %v), want %q of kind %v", err, slo.KindOf(err), test.want, test.kind)
			case err != nil && (len(err.Error()) > 1000 || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "127.0.0.1")):
				t.Errorf("an error that clients should not see: %v", err)
			}
			if lost := errors.Is(err, runtime.ErrLost); lost != test.lost {
				t.Errorf("lost %v, want %v", lost, test.lost)
			}
			if got := b.asked.Load(); got != max(1, test.asked) {
				t.Errorf("%d requests, want %d", got, max(1, test.asked))
			}
			if test.lost {
				return
			}
			b.answers(func(int) reply { return b.good(m, 1) }) // the instance is as good as before
			if _, err := in.Run(t.Context(), 0, items(m, 1)); err != nil && test.timeout == 0 {
				t.Errorf("the run after it: %v", err)
			}
		})
	}
}

// TestNumbersThatAreNone pass through: the engine fails the items whose they are. So
// do items that another mosel says have failed.
func TestNumbersThatAreNone(t *testing.T) {
	b := newBad(t)
	m := here(batched(), b.address)
	row := scores("scores", tensor.FP32, 2, 16)
	binary.LittleEndian.PutUint32(row.Data[4:], math.Float32bits(float32(math.NaN())))
	b.answers(func(int) reply { return outputs(row) })
	in := load(t, m)
	out, err := in.Run(t.Context(), 0, items(m, 2))
	if err != nil || !math.IsNaN(float64(math.Float32frombits(binary.LittleEndian.Uint32(out[0].Data[4:])))) {
		t.Errorf("%v, %v", out, err)
	}
	b.answers(func(int) reply {
		answer := oip.Response{ModelName: "fusion", Outputs: []tensor.Tensor{scores("scores", tensor.FP32, 2, 16)},
			Parameters: oip.Parameters{{Name: "failed_items", Value: oip.String("1")}}}
		body, n, err := answer.Append(nil, []oip.Form{oip.Binary})
		if err != nil {
			t.Error(err)
		}
		return reply{header: map[string]string{oip.HeaderLength: strconv.Itoa(n)}, body: body}
	})
	out, err = in.Run(t.Context(), 0, items(m, 2))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true} {
		if got := math.IsNaN(float64(math.Float32frombits(binary.LittleEndian.Uint32(out[0].Row(i))))); got != want {
			t.Errorf("item %d is not a number: %v, want %v", i, got, want)
		}
	}
	staged := here(batched(), b.address)
	v := &staged.Variants[0]
	staged.Stages = []modelpkg.Stage{{Name: "encoder", Remote: v.Remote, Outputs: staged.Outputs}}
	v.Remote, v.Steps = nil, []modelpkg.Step{{Inputs: []modelpkg.Source{{Name: "image"}}, Outputs: []string{"scores"}}}
	out, err = load(t, staged).Run(t.Context(), 0, items(staged, 2))
	if out != nil || slo.KindOf(err) != slo.KindInvalid || !strings.Contains(fmt.Sprint(err), "failed 1 of 2 items") {
		t.Errorf("a stage of which one item has failed: %v, %v", out, err)
	}
}

// TestLoadFromAServerThatHangs does not wait longer than its context.
func TestLoadFromAServerThatHangs(t *testing.T) {
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hang.Close()
	ctx, cancel := contextOf(t, 50*time.Millisecond)
	defer cancel()
	in, err := remote.New().Load(ctx, here(batched(), hang.URL), runtime.Options{Threads: 1})
	if in != nil || slo.KindOf(err) != slo.KindDeadlineExceeded {
		t.Errorf("%v, %v (kind %v)", in, err, slo.KindOf(err))
	}
}
