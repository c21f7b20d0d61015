package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/oip"
)

// FuzzInfer sends arbitrary bodies with arbitrary headers. Every answer must be a
// success or an error in JSON, never an internal error, and the server must keep
// running.
func FuzzInfer(f *testing.F) {
	head := `{"inputs":[{"name":"image","shape":[1,2,2],"datatype":"UINT8","parameters":{"binary_data_size":4}}],"parameters":{"binary_data_output":true}}`
	f.Add("scene", []byte(head+"\x01\x02\x03\x04"), fmt.Sprint(len(head)), "", "gzip")
	f.Add("scene", []byte(ask(`"min_accuracy":0.75,"deadline_ms":"50","late":"run","modalities":"image"`, imageJSON, audioJSON, textJSON)), "", "", "deflate;q=0")
	f.Add("single", []byte("\x01\x02\x03\x04"), "0", "", "")
	f.Add("scene", compressed(f, "gzip", []byte(ask(``, imageJSON))), "", "gzip", "")
	f.Add("scene", compressed(f, "zlib", []byte(ask(``, imageJSON))), "", "deflate", "")
	f.Add("a%2Fb", []byte(`{"inputs":[{"name":"x","shape":[99999999999],"datatype":"FP32","data":[]}]}`), "-1", "br", "*")

	h, e := start(f, setup{instant: true, queueJobs: 100, config: func(c *Config) { c.BodyBytesMax, c.CompressBytesMin = 1<<20, 1 }})
	f.Cleanup(func() {
		if err := e.Drain(context.Background()); err != nil {
			f.Error(err)
		}
	})
	post := func(t *testing.T, model string, body []byte, length, encoding, accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(string(body)))
		r.URL.Path = "/v2/models/" + model + "/infer"
		r.Header = http.Header{"Content-Encoding": {encoding}, "Accept-Encoding": {accept}}
		if length != "" {
			r.Header.Set(oip.HeaderLength, length)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	f.Fuzz(func(t *testing.T, model string, body []byte, length, encoding, accept string) {
		w := post(t, model, body, length, encoding, accept)
		switch {
		case w.Code == http.StatusInternalServerError:
			t.Fatalf("a defect: %s", w.Body)
		case w.Code != http.StatusOK:
			var words oip.ErrorBody
			if err := json.Unmarshal(w.Body.Bytes(), &words); err != nil || words.Error == "" {
				t.Fatalf("%d without words: %q", w.Code, w.Body)
			}
		}
		if w := post(t, "scene", []byte(ask(``, imageJSON)), "", "", ""); w.Code != http.StatusOK {
			t.Fatalf("afterwards a sound request is answered %d: %s", w.Code, w.Body)
		}
	})
}

// BenchmarkInfer runs a request in binary form through handler and engine, with a
// runtime that takes no time: the cost of serving without the run.
func BenchmarkInfer(b *testing.B) {
	h, e := start(b, setup{instant: true, queueJobs: 100})
	head := `{"parameters":{"min_accuracy":0.97,"deadline_ms":5000,"binary_data_output":true},"inputs":[` +
		`{"name":"image","shape":[1,2,2],"datatype":"UINT8","parameters":{"binary_data_size":4}},` +
		`{"name":"audio","shape":[1,8000],"datatype":"INT16","parameters":{"binary_data_size":16000}},` +
		`{"name":"chars","shape":[1,3],"datatype":"UINT8","parameters":{"binary_data_size":3}},` +
		`{"name":"mask","shape":[1,3],"datatype":"BOOL","parameters":{"binary_data_size":3}}]}`
	body := head + strings.Repeat("\x01", 16010)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, inferPath, strings.NewReader(body))
		r.Header.Set(oip.HeaderLength, fmt.Sprint(len(head)))
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusOK {
			b.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	b.StopTimer()
	if err := e.Drain(context.Background()); err != nil {
		b.Error(err)
	}
}
