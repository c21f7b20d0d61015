package client

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/status"
)

// TestStatus asks a server that answers what the server of this house writes.
func TestStatus(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /behind/v1/status", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("the token did not come: %v", r.Header)
		}
		w.Write([]byte(`{"server":{"name":"mosel","policy":"mosel"},"queue":{"items":3},"models":[{"name":"digits"}],"later":1}`))
	})
	mux.HandleFunc("GET /behind/v1/explain/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != "a/b c" {
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte(`{"error":"no such request"}`))
			return
		}
		w.Write([]byte(`{"job":42,"request":"a/b c","deadline_ms":12.5}`))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	c, err := New(server.URL+"/behind", Options{Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.Status(t.Context())
	if err != nil || s.Server != (status.Server{Name: "mosel", Policy: "mosel"}) || s.Queue.Items != 3 || len(s.Models) != 1 || s.Models[0].Name != "digits" {
		t.Errorf("status %+v, %v", s, err)
	}
	x, err := c.Explain(t.Context(), "a/b c")
	if err != nil || x.Job != 42 || x.Request != "a/b c" || x.DeadlineMS == nil || *x.DeadlineMS != 12.5 {
		t.Errorf("explanation %+v, %v", x, err)
	}
	for _, id := range []string{"43", ""} {
		if _, err := c.Explain(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("of %q: %v, want not found", id, err)
		}
	}
}

// TestStatusOverGRPC checks that the error says where to ask; nothing is asked.
func TestStatusOverGRPC(t *testing.T) {
	c, err := New("grpc://127.0.0.1:1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Status(t.Context())
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "over REST only") {
		t.Errorf("status: %v, want unsupported", err)
	}
	if _, err := c.Explain(t.Context(), "1"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("explain: %v, want unsupported", err)
	}
}
