package conformance_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// compression is a way to compress a body. "deflate" is zlib's format by the standard;
// some clients send the compressed bits without zlib's header.
type compression struct {
	name, header string
	strict       bool
}

var compressions = []compression{{"gzip", "gzip", false}, {"zlib", "deflate", false}, {"bare deflate", "deflate", true}, {"gzip in capitals", "GZIP", true}}

func (c compression) of(t *testing.T, body string) string {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch c.name {
	case "zlib":
		w = zlib.NewWriter(&out)
	case "bare deflate":
		w, _ = flate.NewWriter(&out, flate.DefaultCompression) // it fails only for an unknown level
	default:
		w = gzip.NewWriter(&out)
	}
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestRequestsMayBeCompressed(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		for _, c := range compressions {
			header := "Content-Encoding: " + c.header
			t.Run(c.name, func(t *testing.T) {
				if c.strict {
					m.server.needsStrict(t)
				}
				m.needsJSON(t)
				agree(t, m.plain(t), func() result { return m.result(t, m.inferText(t, c.of(t, m.ask(1).text()), header)) })
			})
			t.Run(c.name+" in binary form, the length is that of the uncompressed JSON", func(t *testing.T) {
				m.server.needs(t, "binary_tensor_data")
				if c.strict {
					m.server.needsStrict(t)
				}
				a := m.askBinary(1)
				agree(t, m.plain(t), func() result {
					return m.result(t, m.server.post(t, m.path("/infer"), c.of(t, a.body()), header, a.length()))
				})
			})
			t.Run(c.name+" cut off", func(t *testing.T) {
				if c.strict {
					m.server.needsStrict(t)
				}
				body := c.of(t, m.ask(1).text())
				m.inferText(t, body[:len(body)-5], header).refused(t, http.StatusBadRequest)
			})
			t.Run(c.name+" that is not", func(t *testing.T) {
				if c.strict {
					m.server.needsStrict(t)
				}
				m.inferText(t, m.ask(1).text(), header).refused(t, http.StatusBadRequest)
			})
			t.Run(c.name+" and nothing", func(t *testing.T) {
				m.inferText(t, "", header).refused(t, http.StatusBadRequest)
				m.server.ready(t)
			})
		}
	})
}

func TestRequestsSayHowTheyAreCompressed(t *testing.T) {
	m := subject.models[0]
	t.Run("identity is no compression", func(t *testing.T) {
		m.server.needsStrict(t)
		m.result(t, m.infer(t, m.ask(1), "Content-Encoding: identity"))
	})
	for _, encoding := range []string{"br", "zstd", "compress", "gzip, gzip", "nonsense"} {
		t.Run(encoding+" is refused", func(t *testing.T) {
			m.server.needsStrict(t)
			m.infer(t, m.ask(1), "Content-Encoding: "+encoding).refused(t, http.StatusNotImplemented, http.StatusUnsupportedMediaType)
		})
	}
}

// decompressed returns the answer without the compression that its header states.
func decompressed(t *testing.T, a answer) answer {
	t.Helper()
	var r io.Reader
	var err error
	switch a.header.Get("Content-Encoding") {
	case "", "identity":
		return a
	case "gzip":
		r, err = gzip.NewReader(bytes.NewReader(a.body))
	case "deflate":
		r, err = zlib.NewReader(bytes.NewReader(a.body))
	default:
		t.Fatalf("%v has Content-Encoding %q, which was not accepted", a, a.header.Get("Content-Encoding"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if a.body, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return a
}

// compressedFrom is the size from which docs/protocol.md promises a compressed answer.
const compressedFrom = 1024

func TestAnswersAreCompressedForThoseWhoAcceptIt(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		items := int64(1)
		if m.batched() {
			items = min(8, m.batchMax())
		}
		ask := m.ask(items)
		if m.server.lists("binary_tensor_data") {
			ask = m.askBinary(items)
		}
		size := len(m.infer(t, ask).ok(t).body)
		for _, tc := range []struct{ accept, want string }{{"gzip", "gzip"}, {"deflate", "deflate"}, {"gzip, deflate", "gzip|deflate"}, {"br, gzip;q=0.5", "gzip"},
			{"GZip", "gzip"}, {"gzip;q=0", ""}, {"gzip;q=0, deflate;q=1", "deflate"}, {"identity", ""}, {"br", ""}, {"", ""}} {
			t.Run("Accept-Encoding "+tc.accept, func(t *testing.T) {
				a := m.infer(t, ask, "Accept-Encoding: "+tc.accept).ok(t)
				got := a.header.Get("Content-Encoding")
				if got != "" && !strings.Contains(tc.want, got) {
					t.Errorf("Content-Encoding is %q, which is not accepted", got)
				}
				agree(t, func() result { return m.result(t, m.infer(t, ask)) },
					func() result { return m.result(t, decompressed(t, m.infer(t, ask, "Accept-Encoding: "+tc.accept))) })
				if size < compressedFrom || tc.want == "" {
					return
				}
				m.server.needsStrict(t)
				if got == "" {
					t.Errorf("an answer of %d bytes is not compressed", size)
				}
				if a.header.Get("Content-Length") != strconv.Itoa(len(a.body)) {
					t.Errorf("Content-Length is %q, the compressed body has %d bytes", a.header.Get("Content-Length"), len(a.body))
				}
			})
		}
		t.Run("but no error, which tritonclient could not read", func(t *testing.T) {
			if a := m.inferText(t, "{", "Accept-Encoding: gzip, deflate"); a.header.Get("Content-Encoding") != "" {
				t.Errorf("%v has Content-Encoding %q", a, a.header.Get("Content-Encoding"))
			}
		})
	})
}

// TestBodiesAreBounded needs the server's bound, which the protocol does not provide.
func TestBodiesAreBounded(t *testing.T) {
	subject.needsBodyMax(t)
	m := subject.models[0]
	large := int(subject.bodyMax + 1)
	t.Run("by their length, before they are sent", func(t *testing.T) {
		conn := m.server.dialTCP(t)
		head := "POST " + m.path("/infer") + " HTTP/1.1\r\nHost: " + m.server.host + "\r\nContent-Length: " + strconv.Itoa(large) + "\r\n\r\n"
		exchange(t, conn, head).refused(t, http.StatusRequestEntityTooLarge)
	})
	t.Run("by their size, where no length is said", func(t *testing.T) {
		// In a valid request, so that its size is the only reason.
		text := m.ask(1).text()
		body := io.MultiReader(strings.NewReader(text), &spaces{n: large - len(text)})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.server.rest+m.path("/infer"), body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := m.server.http.Do(r)
		if err != nil {
			m.server.needsStrict(t) // HTTP allows closing the connection without an answer
			t.Fatal(err)
		}
		a, err := m.server.read("POST "+m.path("/infer"), resp)
		if err != nil {
			t.Fatal(err)
		}
		a.refused(t, http.StatusRequestEntityTooLarge)
	})
	for _, c := range compressions[:3] {
		t.Run("by what "+c.name+" hides", func(t *testing.T) {
			bomb := c.of(t, m.ask(1).text()+strings.Repeat(" ", large))
			m.inferText(t, bomb, "Content-Encoding: "+c.header).refused(t, http.StatusRequestEntityTooLarge)
		})
	}
	t.Run("and one below the bound is taken", func(t *testing.T) {
		text := m.ask(1).text()
		m.needsJSON(t)
		m.result(t, m.inferText(t, text+strings.Repeat(" ", large-1-len(text))))
	})
	subject.ready(t)
}

// spaces is n bytes of white space.
type spaces struct{ n int }

func (s *spaces) Read(p []byte) (int, error) {
	if s.n == 0 {
		return 0, io.EOF
	}
	n := min(len(p), s.n)
	copy(p, strings.Repeat(" ", n))
	s.n -= n
	return n, nil
}

func TestCountsAreBounded(t *testing.T) {
	m := subject.models[0]
	m.server.needsStrict(t)
	m.needsJSON(t)
	t.Run("65 inputs", func(t *testing.T) {
		a := m.ask(1)
		for len(a.inputs) < 65 {
			a.inputs = append(a.inputs, a.inputs[0])
		}
		m.infer(t, a).refused(t, http.StatusRequestEntityTooLarge)
	})
	t.Run("65 outputs", func(t *testing.T) {
		a := m.ask(1)
		for len(a.outputs) < 65 {
			a.outputs = append(a.outputs, named(m.Outputs[0].Name))
		}
		m.infer(t, a).refused(t, http.StatusRequestEntityTooLarge)
	})
	eachModel(t, func(t *testing.T, m *model) {
		const items = 100_001
		m.needsBatches(t)
		in := m.Inputs[0]
		for _, other := range m.Inputs {
			if len(fill(other, 1).bytes()) < len(fill(in, 1).bytes()) {
				in = other
			}
		}
		size := items * len(fill(in, 1).bytes())
		if limit := m.server.bodyMax; limit > 0 && int64(size) > limit/2 {
			t.Skipf("%d items of model %s have %d bytes, more than a body may have by -body-max", items, m.Name, size)
		}
		a := ask{inputs: []string{fill(in, 1).binary()}, tail: make([]byte, size)}
		a.inputs[0] = strings.Replace(a.inputs[0], `"shape":[1`, `"shape":[`+strconv.Itoa(items), 1)
		a.inputs[0] = strings.Replace(a.inputs[0], `"binary_data_size":`+strconv.Itoa(size/items), `"binary_data_size":`+strconv.Itoa(size), 1)
		m.infer(t, a).refused(t, http.StatusRequestEntityTooLarge)
	})
}

func TestHeadersAreBounded(t *testing.T) {
	m := subject.models[0]
	m.server.needsStrict(t)
	const bound = 1 << 20
	conn := m.server.dialTCP(t)
	head := "GET /v2 HTTP/1.1\r\nHost: localhost\r\nX-Long: " + strings.Repeat("a", bound) + "\r\n\r\n"
	if a, err := tryExchange(conn, head); err == nil && a.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%v, a header of %d bytes is beyond any use", a, bound)
	}
	subject.ready(t)
}

// TestNoiseIsRefused sends bytes that a fixed seed draws: all of them must be refused,
// and the server must keep running.
func TestNoiseIsRefused(t *testing.T) {
	m := subject.models[0]
	draw := rand.New(rand.NewPCG(1, 2))
	text := m.ask(1).text()
	for range 200 {
		noise := []byte(text)
		for range 1 + draw.IntN(4) {
			noise[draw.IntN(len(noise))] = byte(draw.Uint32())
		}
		a := m.inferText(t, string(noise[:draw.IntN(len(noise)+1)]))
		if a.status >= 500 && a.status != http.StatusNotImplemented && a.status != http.StatusGatewayTimeout {
			t.Errorf("%v, want an error of the client, not of the server", a)
		}
	}
	subject.ready(t)
	m.result(t, m.infer(t, m.ask(1)))
}
