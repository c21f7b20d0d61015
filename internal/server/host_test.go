package server_test

import (
	"net/http"
	"testing"

	"github.com/mosel-serve/mosel/internal/server"
)

// TestHostOfALocalServer calls a server that listens on loopback with the host name of
// a foreign page that resolves to it, and a server that listens everywhere.
func TestHostOfALocalServer(t *testing.T) {
	for addr, strangers := range map[string]int{"127.0.0.1:0": http.StatusForbidden, "0.0.0.0:0": http.StatusOK} {
		s := served(t, func(c *server.Config) { c.Addr = addr })
		for host, known := range map[string]int{"evil.example:8000": strangers, "localhost:8000": http.StatusOK, "127.0.0.1": http.StatusOK} {
			for _, path := range []string{"/v2", "/v2/models", "/v2/models/stats", "/v2/health/ready"} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr().String()+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Host = host
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
				want := known
				if path == "/v2/health/ready" {
					want = http.StatusOK
				}
				if answer.StatusCode != want {
					t.Errorf("%s, host %s: %s is answered %d, want %d", addr, host, path, answer.StatusCode, want)
				}
			}
		}
	}
}
