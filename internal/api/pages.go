package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/access"
)

// page is a file of the pages, as it is sent.
type page struct {
	body, compressed []byte // compressed is nil if that saves nothing
	header           map[string]string
}

// pageHeaders say what a page may do: nothing but run its own script and style, talk to
// this server, show pictures that it made, and record sound if its user allows it.
var pageHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src blob:; " +
		"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	"Permissions-Policy":           "microphone=(self), camera=(), geolocation=(), payment=(), usb=()",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
}

// pageTypes do not depend on what the machine knows of files.
var pageTypes = map[string]string{".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".png": "image/png", ".wav": "audio/wav"}

// pagesOf reads all files of the pages, so that requests open nothing. Names of files
// below assets/ contain a hash of their content, so browsers may keep them.
func pagesOf(files fs.FS) map[string]page {
	if files == nil {
		return nil
	}
	pages := map[string]page{}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		digest := sha256.Sum256(body)
		p := page{body: body, header: map[string]string{"Content-Type": pageTypes[path.Ext(name)], "Cache-Control": "no-cache",
			"ETag": `"` + hex.EncodeToString(digest[:16]) + `"`}}
		at := "/" + name
		switch {
		case name == "index.html":
			at = "/"
		case strings.HasPrefix(name, "assets/"):
			p.header["Cache-Control"] = "public, max-age=31536000, immutable"
		}
		var small bytes.Buffer
		z, _ := gzip.NewWriterLevel(&small, gzip.BestCompression) // the level is valid
		_, _ = z.Write(body)                                      // to memory
		_ = z.Close()
		if small.Len() < len(body) {
			p.compressed = small.Bytes()
		}
		pages[at] = p
		return nil
	})
	if err != nil {
		panic(err) // the files are inside the program
	}
	return pages
}

// pageRoutes are the routes of the pages.
func (a *API) pageRoutes() (list []route) {
	for at := range a.pages {
		pattern := at
		if at == "/" {
			pattern = "/{$}"
		}
		list = append(list, route{http.MethodGet, pattern, a.page(at), access.Public})
	}
	return list
}

// page sends a file of the pages. A server with tokens sends it without one: a browser
// asks for it before its user can sign in, and it tells nothing of the server. Otherwise
// the Host is checked, as for all calls.
func (a *API) page(at string) handler {
	p := a.pages[at]
	return func(w http.ResponseWriter, r *http.Request, _ arguments) error {
		if !a.guard.HasTokens() {
			if _, err := a.guard.Check(access.Infer, a.peer(r)); err != nil {
				return err
			}
		}
		header := w.Header()
		for _, headers := range []map[string]string{pageHeaders, p.header} {
			for name, value := range headers {
				header.Set(name, value)
			}
		}
		header.Set("Vary", "Accept-Encoding")
		if r.Header.Get("If-None-Match") == p.header["ETag"] {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		body := p.body
		if p.compressed != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			body = p.compressed
			header.Set("Content-Encoding", "gzip")
		}
		header.Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			_, _ = w.Write(body) // a client that has left needs no answer
		}
		return nil
	}
}
