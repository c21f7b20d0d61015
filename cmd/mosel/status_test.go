package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/status"
)

// aboutServer answers as a server of one model that has a token.
func aboutServer(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"error":"a token is needed"}`)
			return
		}
		io.WriteString(w, `{"server":{"name":"mosel","ready":true,"policy":"mosel"},"models":[{"name":"digits","version":"1","state":"ready"}]}`)
	})
	mux.HandleFunc("GET /v1/explain/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != "17" {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"error":"no request is called that"}`)
			return
		}
		io.WriteString(w, `{"job":17,"model":"digits","version":"1","outcome":"on_time","summary":"done"}`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestStatusCommand(t *testing.T) {
	addr := aboutServer(t)
	if _, err := command(t, "status", "--addr", addr); err == nil || !strings.Contains(err.Error(), "a token is needed") {
		t.Errorf("without a token: %v", err)
	}
	t.Setenv("MOSEL_TOKEN", "wrong")
	out, err := command(t, "status", "--addr", addr, "--token", "secret")
	if err != nil || !strings.Contains(out, "digits     version 1   ready") || strings.Contains(out, "\x1b") {
		t.Errorf("%v, printed\n%s", err, out)
	}
	t.Setenv("MOSEL_TOKEN", "secret")
	out, err = command(t, "status", "--addr", addr, "--json")
	var s status.Status
	if err != nil || json.Unmarshal([]byte(out), &s) != nil || s.Server.Name != "mosel" {
		t.Errorf("%v, printed\n%s", err, out)
	}
}

// TestStatusWatch looks three times, at a server that is away the second time.
func TestStatusWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	looks := 0
	err := watchPage(ctx, &out, func(context.Context, int) (string, error) {
		looks++
		switch looks {
		case 2:
			return "", errors.New("away")
		case 3:
			cancel()
		}
		return "page\n", nil
	})
	if err != nil || out.String() != "page\naway\n" {
		t.Errorf("%v, printed %q", err, out.String())
	}
	away := errors.New("away")
	if err := watchPage(t.Context(), &out, func(context.Context, int) (string, error) { return "", away }); !errors.Is(err, away) {
		t.Errorf("a server that was never there: %v", err)
	}
}

func TestExplainCommand(t *testing.T) {
	addr := aboutServer(t)
	out, err := command(t, "explain", "17", "--addr", addr)
	if err != nil || !strings.Contains(out, "request 17, for digits version 1: on time") {
		t.Errorf("%v, printed\n%s", err, out)
	}
	if out, err := command(t, "explain", "18", "--addr", addr); err == nil || err.Error() != "no request is called that" || out != "" {
		t.Errorf("of an unknown one: %v, printed %q", err, out)
	}
	if _, err := command(t, "explain"); !errors.As(err, new(usageError)) {
		t.Errorf("without an id: %v", err)
	}
	if _, err := command(t, "status", "--addr", "grpc://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "REST only") {
		t.Errorf("over gRPC: %v", err)
	}
}

func TestLogFormat(t *testing.T) {
	var out bytes.Buffer
	log, err := newLog(&out, "json", true)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("request failed", "job", "17")
	var line struct{ Msg, Job, Level string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "request failed" || line.Job != "17" || line.Level != "DEBUG" {
		t.Errorf("%v, logged %s", err, out.String())
	}
	if _, err := command(t, "serve", "--log-format", "xml"); !errors.As(err, new(usageError)) {
		t.Errorf("an unknown form: %v", err)
	}
}
