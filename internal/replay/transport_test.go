package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/tensor"
)

// TestTransportKeepsConnections sends many requests at a time, with answers of all
// forms, and counts the connections that it takes.
func TestTransportKeepsConnections(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		switch r.URL.Path {
		case "/chunked":
			for _, b := range body {
				fmt.Fprintf(w, "%c", b)
				w.(http.Flusher).Flush()
			}
		case "/refused":
			http.Error(w, string(body), http.StatusTooManyRequests)
		default:
			_, _ = w.Write(body)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	tr := &transport{}
	var wg sync.WaitGroup
	const callers = 8
	for caller := range callers {
		wg.Go(func() {
			for i := range 100 {
				path := []string{"/plain", "/chunked", "/refused"}[i%3]
				want := strings.Repeat(fmt.Sprint(caller, " ", i, ";"), 1+i%50)
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(want))
				if err != nil {
					t.Error(err)
					return
				}
				answer, err := tr.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || strings.TrimSuffix(string(got), "\n") != want || (answer.StatusCode == 429) != (path == "/refused") {
					t.Errorf("%s answered %d %q, %v; want %q", path, answer.StatusCode, got, err, want)
				}
			}
		})
	}
	wg.Wait()
	if n := connections.Load(); n > callers {
		t.Errorf("%d connections for %d callers", n, callers)
	}
	// The server closes what is idle; nothing of that is seen.
	server.CloseClientConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("again"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatalf("after the server has closed its connections: %v", err)
	}
	answer.Body.Close() // unread: the connection is not used again
	tr.CloseIdleConnections()
}

// TestTransportGivesUp ends a request whose context ends.
func TestTransportGivesUp(t *testing.T) {
	come, gone := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(come)
		<-r.Context().Done()
		close(gone)
	}))
	defer server.Close()
	c, err := client.New(server.URL, client.Options{Transport: &transport{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		x := tensor.Tensor{Name: "x", DType: tensor.Uint8, Shape: tensor.Shape{1}, Data: []byte{1}}
		_, err := c.Infer(ctx, client.Request{Model: "m", Inputs: []tensor.Tensor{x}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a request that was given up: %v", err)
		}
	}()
	<-come
	cancel()
	<-gone
}
