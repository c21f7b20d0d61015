package library

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

// release makes a compressed tar with one member.
func release(t *testing.T, member, content string) []byte {
	t.Helper()
	var file bytes.Buffer
	compressed := gzip.NewWriter(&file)
	files := tar.NewWriter(compressed)
	for _, name := range []string{"./" + filepath.Dir(member) + "/other", "./" + member} {
		if err := files.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(files, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(files.Close(), compressed.Close()); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// wheel makes a zip with one member.
func wheel(t *testing.T, member, content string) []byte {
	t.Helper()
	var file bytes.Buffer
	files := zip.NewWriter(&file)
	w, err := files.Create(member)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// shop is a source that returns bytes and counts its calls.
type shop struct {
	sells Channel
	data  []byte
	err   error
	sold  atomic.Int32
}

func (s *shop) channel() Channel { return s.sells }
func (s *shop) String() string   { return "the " + string(s.sells) + " shop" }

func (s *shop) fetch(_ context.Context, p pin, dir string) (string, error) {
	s.sold.Add(1)
	if s.err != nil {
		return "", s.err
	}
	archive := filepath.Join(dir, p.archive)
	return archive, os.WriteFile(archive, s.data, 0o600)
}

// stocked makes an empty store whose release and wheel have the given libraries.
func stocked(t *testing.T) (s *store, github, pypi *shop) {
	tgz, whl := release(t, "ort/lib/lib.so", "from the release"), wheel(t, "ort/lib.so", "from the wheel")
	github, pypi = &shop{sells: Release, data: tgz}, &shop{sells: PyPI, data: whl}
	return &store{
		root: filepath.Join(t.TempDir(), "cache"), goos: "linux", goarch: "amd64",
		pins: map[Channel]pin{
			Release: {archive: "ort.tgz", sha256: digestOf(tgz), member: "ort/lib/lib.so"},
			PyPI:    {archive: "ort.whl", sha256: digestOf(whl), member: "ort/lib.so"},
		},
		sources:  []source{github, pypi},
		progress: io.Discard,
	}, github, pypi
}

// installed checks that the store has exactly one complete installation.
func installed(t *testing.T, s *store, channel Channel, content string) {
	t.Helper()
	at, err := s.lookup()
	if err != nil || at != (Location{Path: s.file(), Found: Cache, Channel: channel}) {
		t.Fatalf("%+v, %v", at, err)
	}
	if got, err := os.ReadFile(at.Path); err != nil || string(got) != content {
		t.Errorf("%q, %v, want %q", got, err, content)
	}
	left, _ := filepath.Glob(filepath.Join(s.root, "*"))
	if len(left) != 2 {
		t.Errorf("the cache has %q, want one version and the lock", left)
	}
}

func TestInstall(t *testing.T) {
	s, github, pypi := stocked(t)
	var said strings.Builder
	s.progress = &said
	at, err := s.install(t.Context(), &attempts{})
	if err != nil || at.Path != s.file() {
		t.Fatalf("%+v, %v", at, err)
	}
	installed(t, s, Release, "from the release")
	want := "installing ONNX Runtime " + Version + ", which is needed once: the release shop ...\nONNX Runtime " + Version + " is installed in " + s.dir() + "\n"
	if said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
	if github.sold.Load() != 1 || pypi.sold.Load() != 0 {
		t.Errorf("%d from the release, %d wheels", github.sold.Load(), pypi.sold.Load())
	}
}

func TestInstallFallsBack(t *testing.T) {
	for name, spoil := range map[string]func(*store, *shop){
		"out of reach": func(_ *store, github *shop) { github.err = errors.New("no route") },
		"cut short":    func(_ *store, github *shop) { github.data = github.data[:len(github.data)-1] },
		"another file": func(_ *store, github *shop) { github.data = append(github.data, 0) },
		"no archive": func(s *store, github *shop) {
			github.data = []byte("hello")
			s.pins[Release] = pin{archive: "ort.tgz", sha256: digestOf(github.data), member: "ort/lib/lib.so"}
		},
		"not in there": func(s *store, github *shop) {
			s.pins[Release] = pin{archive: "ort.tgz", sha256: digestOf(github.data), member: "elsewhere"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, github, _ := stocked(t)
			spoil(s, github)
			var tried attempts
			if _, err := s.install(t.Context(), &tried); err != nil {
				t.Fatal(err)
			}
			installed(t, s, PyPI, "from the wheel")
			if len(tried) != 1 || !strings.HasPrefix(tried[0], "the release shop: ") {
				t.Errorf("tried %q", tried)
			}
		})
	}
}

func TestInstallFailsWithEverythingTried(t *testing.T) {
	s, github, pypi := stocked(t)
	github.err, pypi.data = errors.New("no route to host"), []byte("something else")
	tried := attempts{"the first"}
	_, err := s.install(t.Context(), &tried)
	if slo.KindOf(err) != slo.KindUnavailable {
		t.Fatalf("%v (kind %v)", err, slo.KindOf(err))
	}
	for _, want := range []string{"- the first\n", "- the release shop: no route to host\n",
		"- the pypi shop: ort.whl is not the pinned file: its SHA-256 is " + digestOf(pypi.data), "What to do: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if _, err := s.lookup(); err == nil {
		t.Error("something is installed")
	}
}

func TestInstallWhereThereIsNoBuild(t *testing.T) {
	s, github, _ := stocked(t)
	s.goarch, s.pins = "s390x", nil
	_, err := s.install(t.Context(), &attempts{})
	if slo.KindOf(err) != slo.KindUnsupported || !strings.Contains(err.Error(), "no build of ONNX Runtime "+Version+" for linux/s390x") {
		t.Errorf("%v (kind %v)", err, slo.KindOf(err))
	}
	if github.sold.Load() != 0 {
		t.Error("something was downloaded")
	}
}

func TestInstallWhereNothingMayBeWritten(t *testing.T) {
	s, _, _ := stocked(t)
	s.root = filepath.Join(touch(t, filepath.Join(t.TempDir(), "file")), "cache")
	_, err := s.install(t.Context(), &attempts{})
	if slo.KindOf(err) != slo.KindUnavailable || !strings.Contains(err.Error(), "not a directory") || !strings.Contains(err.Error(), EnvironmentVariable) {
		t.Errorf("%v (kind %v)", err, slo.KindOf(err))
	}
}

func TestInstallIsCancelled(t *testing.T) {
	s, github, pypi := stocked(t)
	ctx, cancel := context.WithCancel(t.Context())
	github.err = errors.New("interrupted")
	s.sources[0] = cancelling{github, cancel}
	if _, err := s.install(ctx, &attempts{}); slo.KindOf(err) != slo.KindCancelled || !errors.Is(err, context.Canceled) {
		t.Errorf("%v (kind %v)", err, slo.KindOf(err))
	}
	if pypi.sold.Load() != 0 {
		t.Error("went on after the cancel")
	}
}

type cancelling struct {
	*shop
	cancel func()
}

func (c cancelling) fetch(ctx context.Context, p pin, dir string) (string, error) {
	c.cancel()
	return c.shop.fetch(ctx, p, dir)
}

func TestManyInstallAtOnce(t *testing.T) {
	s, github, _ := stocked(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			at, err := s.install(t.Context(), &attempts{})
			if err != nil || at.Path != s.file() {
				t.Errorf("%+v, %v", at, err)
			}
		})
	}
	all.Wait()
	installed(t, s, Release, "from the release")
	if n := github.sold.Load(); n != 1 {
		t.Errorf("downloaded %d times", n)
	}
}

// TestRenamesRace tests installations on a file system without locks.
func TestRenamesRace(t *testing.T) {
	s, _, _ := stocked(t)
	if err := os.MkdirAll(s.root, 0o755); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if at, err := s.installFrom(t.Context(), s.sources[0], s.pins[Release]); err != nil || at.Path != s.file() {
				t.Errorf("%+v, %v", at, err)
			}
		})
	}
	all.Wait()
	if _, err := s.lookup(); err != nil {
		t.Error(err)
	}
}

func TestWhatIsDamagedIsReplaced(t *testing.T) {
	for name, damage := range map[string]func(s *store) error{
		"truncated":  func(s *store) error { return os.Truncate(s.file(), 3) },
		"missing":    func(s *store) error { return os.Remove(s.file()) },
		"no record":  func(s *store) error { return os.Remove(filepath.Join(s.dir(), originFile)) },
		"bad record": func(s *store) error { return os.WriteFile(filepath.Join(s.dir(), originFile), []byte("{"), 0o600) },
		"left over":  func(s *store) error { return os.MkdirAll(filepath.Join(s.root, incomplete+"1", "ready"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			s, github, _ := stocked(t)
			if _, err := s.install(t.Context(), &attempts{}); err != nil {
				t.Fatal(err)
			}
			if err := damage(s); err != nil {
				t.Fatal(err)
			}
			_, err := s.lookup()
			if whole := name == "left over"; (err == nil) != whole {
				t.Fatal(err)
			}
			if _, err := s.install(t.Context(), &attempts{}); err != nil {
				t.Fatal(err)
			}
			installed(t, s, Release, "from the release")
			if n := github.sold.Load(); n > 2 {
				t.Errorf("downloaded %d times", n)
			}
		})
	}
}

func TestWebsite(t *testing.T) {
	whole := strings.Repeat("x", 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v/whole.tgz":
			fmt.Fprint(w, whole)
		case "/v/cut.tgz":
			w.Header().Set("Content-Length", "2000")
			fmt.Fprint(w, whole)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	w := website{files: server.URL + "/v", client: server.Client()}
	for archive, want := range map[string]string{"whole.tgz": "", "cut.tgz": "unexpected EOF", "none.tgz": "404 Not Found"} {
		file, err := w.fetch(t.Context(), pin{archive: archive}, t.TempDir())
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", archive, err, want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != whole {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

// TestRegistry uses a shell script as a registry's client.
func TestRegistry(t *testing.T) {
	dir := t.TempDir()
	client := filepath.Join(dir, "client")
	script := `#!/bin/sh
if [ "$1" = good ]; then echo "$PWD $2" > "$2/archive"; exit 0; fi
i=0; while [ $i -lt 200 ]; do echo "line $i of much that nobody wants to read"; i=$((i+1)); done
echo "the reason"; exit 3
`
	if err := os.WriteFile(client, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	r := registry{from: NPM, programs: [][]string{{"no such program"}, {client}}}
	r.arguments = func(p pin, dir string) []string { return []string{p.wheel, dir} }
	work := t.TempDir()
	file, err := r.fetch(t.Context(), pin{archive: "archive", wheel: "good"}, work)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file); !strings.Contains(string(got), " "+work) {
		t.Errorf("called with %q", got)
	}
	_, err = r.fetch(t.Context(), pin{wheel: "bad"}, work)
	if err == nil || !strings.HasSuffix(err.Error(), "the reason") || !strings.Contains(err.Error(), "exit status 3: ") || len(err.Error()) > complaintBytesMax+50 {
		t.Errorf("%v", err)
	}
	r.programs = r.programs[:1]
	if _, err := r.fetch(t.Context(), pin{}, work); err == nil || err.Error() != "no such program is not installed" {
		t.Error(err)
	}
}

func TestPins(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{64}$`)
	for platform, channels := range pins {
		for _, from := range sources() {
			p, ok := channels[from.channel()]
			if !ok || !form.MatchString(p.sha256) || p.member == "" || !strings.Contains(p.archive, Version) {
				t.Errorf("%s, %s: %+v", platform, from, p)
			}
		}
		if channels[PyPI].wheel == "" || !strings.Contains(channels[PyPI].archive, channels[PyPI].wheel) {
			t.Errorf("%s: %+v", platform, channels[PyPI])
		}
	}
	if _, ok := pins[runtime.GOOS+"/"+runtime.GOARCH]; !ok {
		t.Skipf("no build for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
}

var fetchAll = flag.Bool("fetch", false, "download every pinned archive from every channel and verify it; for whoever changes a pin")

// TestFetch checks the pins against the real archives, if -fetch is given.
func TestFetch(t *testing.T) {
	if !*fetchAll {
		t.Skip("give -fetch to download all pinned archives")
	}
	for platform, channels := range pins {
		goos, goarch, _ := strings.Cut(platform, "/")
		for _, from := range sources() {
			t.Run(platform+" "+string(from.channel()), func(t *testing.T) {
				s := &store{root: t.TempDir(), goos: goos, goarch: goarch, pins: channels, sources: []source{from}, progress: io.Discard}
				at, err := s.install(t.Context(), &attempts{})
				if err != nil {
					t.Fatal(err)
				}
				digest, err := Digest(at.Path)
				t.Logf("%s: library %s, %v", from, digest, err)
			})
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("\x1f\x8b"), false)
	f.Add([]byte("PK\x05\x06"), true)
	f.Fuzz(func(t *testing.T, data []byte, isWheel bool) {
		archive := filepath.Join(t.TempDir(), "archive.tgz")
		if isWheel {
			archive += ".whl"
		}
		if err := os.WriteFile(archive, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "library")
		if digest, err := unpack(archive, "lib.so", file); err == nil {
			if got, err := Digest(file); err != nil || got != digest {
				t.Errorf("%s, %v, want %s", got, err, digest)
			}
		}
	})
}
