package api

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/web"
)

// paged is an API that has the pages and has not started.
func paged(t *testing.T, guard *access.Guard) fixture {
	cfg := DefaultConfig()
	cfg.Pages = web.Bundle()
	a := New(cfg, guard, newLog(io.Discard))
	a.Listens(access.Listener{Loopback: true, Host: "127.0.0.1"})
	return fixture{T: t, Handler: a.REST()}
}

// here is how a browser on this machine names the server.
const here = "http://localhost"

func TestPages(t *testing.T) {
	f := paged(t, new(access.Guard))
	w := f.call("GET", here+"/", "")
	r := w.Header()
	if w.Code != 200 || r.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(w.Body.String(), "<title>mosel</title>") {
		t.Fatalf("%d %v %s", w.Code, r, w.Body)
	}
	policy := r.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "form-action 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy lacks %s: %s", part, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || r.Get("X-Content-Type-Options") != "nosniff" || r.Get("Set-Cookie") != "" {
		t.Errorf("%v", r)
	}
	if again := f.call("GET", here+"/", "", "If-None-Match: "+r.Get("ETag")); again.Code != 304 || again.Body.Len() != 0 {
		t.Errorf("with the same ETag: %d %q", again.Code, again.Body)
	}
	if w := f.call("HEAD", here+"/", ""); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d %q", w.Code, w.Body)
	}
	for _, path := range []string{"/index.html", "/assets/", "/assets/none.js", "/assets/../index.html", "//"} {
		if w := f.call("GET", here+path, ""); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := f.call("POST", here+"/", ""); w.Code != 405 || w.Header().Get("Allow") != "GET" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

// TestPagesAreSmall reads every file of the bundle, plain and compressed. The bundle is at
// most 300 KB, has no script inside its page, and names no other host.
func TestPagesAreSmall(t *testing.T) {
	f := paged(t, new(access.Guard))
	total := 0
	err := fs.WalkDir(web.Bundle(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		at := "/" + name
		if name == "index.html" {
			at = "/"
		}
		plain, small := f.call("GET", here+at, ""), f.call("GET", here+at, "", "Accept-Encoding: gzip")
		if plain.Code != 200 || small.Code != 200 || plain.Header().Get("Content-Type") == "" {
			t.Fatalf("%s: %d %d %v", at, plain.Code, small.Code, plain.Header())
		}
		total += small.Body.Len()
		got := small.Body.Bytes()
		if small.Header().Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(small.Body)
			if err != nil {
				return err
			}
			if got, err = io.ReadAll(z); err != nil {
				return err
			}
		}
		if !bytes.Equal(got, plain.Body.Bytes()) {
			t.Errorf("%s differs when it is compressed", at)
		}
		if at == "/" && (bytes.Contains(got, []byte("<style")) || bytes.Contains(got, []byte("https://")) || bytes.Count(got, []byte("<script")) != 1) {
			t.Errorf("the page: %s", got)
		}
		return nil
	})
	if err != nil || total == 0 || total > 300_000 {
		t.Errorf("%d bytes, want at most 300,000 (%v)", total, err)
	}
}

// TestPagesAndAccess checks who gets the pages: with tokens everybody, without tokens those
// who use a name of this machine.
func TestPagesAndAccess(t *testing.T) {
	foreign := func(f fixture) int {
		r, err := http.NewRequestWithContext(f.Context(), "GET", "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "attacker.example"
		return send(f, r).Code
	}
	if code := foreign(paged(t, new(access.Guard))); code != 403 {
		t.Errorf("another Host, no tokens: %d, want 403", code)
	}
	f := paged(t, tokens("{name: a, role: infer, sha256: "+strings.Repeat("0", 64)+"}"))
	if code := foreign(f); code != 200 {
		t.Errorf("another Host, tokens: %d, want 200", code)
	}
	if w := f.call("GET", "/v1/status/events", ""); w.Code != 401 {
		t.Errorf("events without a token: %d, want 401", w.Code)
	}
}

// TestModelIsDescribed checks what a profile is said to have.
func TestModelIsDescribed(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		for _, path := range []string{"/v1/models/scene", "/v1/models/scene/versions/3"} {
			w := f.call("GET", path, "")
			if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, `{"name":"image","modalities":["image"],"cascade":false,"accuracy":0.75,"low":0,"high":0,"frontier":true,"per_item_ms":1,"batches":[{"items":1,"p50_ms":1,"p95_ms":1}`) {
				t.Errorf("%s: %d %s", path, w.Code, body)
			}
		}
		if w := f.call("GET", "/v1/models/none", ""); w.Code != 404 {
			t.Errorf("an unknown model: %d", w.Code)
		}
	})
}
