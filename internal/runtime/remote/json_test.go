package remote_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// TestServerWithoutTheBinaryForm speaks JSON to a server that lists no extension. What
// JSON cannot carry is the batch's fault, not the server's.
func TestServerWithoutTheBinaryForm(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/health/ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v2", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"name": "plain", "extensions": []}`) })
	mux.HandleFunc("GET /v2/models/m/versions/1", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"inputs": [], "outputs": []}`) })
	mux.HandleFunc("POST /v2/models/m/versions/1/infer", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %v", r.Header)
		}
		fmt.Fprint(w, `{"outputs": [{"name": "y", "shape": [1, 2], "datatype": "FP32", "data": [0.25, 4]}]}`)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	m := here(modelpkgtest.Model("m", []modelpkg.Spec{{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{}}},
		modelpkg.Spec{Name: "y", DType: tensor.FP32, Shape: tensor.Shape{2}}, "x"), s.URL)
	in := load(t, m)
	number := func(f float64) []runtime.Item {
		return []runtime.Item{{binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(f)))}}
	}
	out, err := in.Run(t.Context(), 0, number(1))
	if err != nil || binary.LittleEndian.Uint32(out[0].Data[4:]) != math.Float32bits(4) {
		t.Errorf("%v, %v", out, err)
	}
	if _, err := in.Run(t.Context(), 0, number(math.NaN())); slo.KindOf(err) != slo.KindInvalid || errors.Is(err, runtime.ErrLost) {
		t.Errorf("a number that JSON cannot carry: %v (kind %v)", err, slo.KindOf(err))
	}
}
