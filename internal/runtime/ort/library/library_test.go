package library

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/slo"
)

// touch creates an empty file and its directories.
func touch(t *testing.T, file string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// nowhere is a machine with no library and nothing to install from.
func nowhere(t *testing.T) Config {
	t.Setenv(EnvironmentVariable, "")
	return Config{NoInstall: true, CacheDir: t.TempDir(), SystemDirs: []string{}}
}

func TestTheEnvironmentComesFirst(t *testing.T) {
	c := nowhere(t)
	c.SystemDirs = []string{t.TempDir()}
	touch(t, filepath.Join(c.SystemDirs[0], fileName(runtime.GOOS)))
	file := touch(t, filepath.Join(t.TempDir(), "mine.so"))
	t.Setenv(EnvironmentVariable, file)
	at, err := c.Find(t.Context(), nil)
	if err != nil || at != (Location{Path: file, Found: Environment}) {
		t.Errorf("%+v, %v", at, err)
	}
}

func TestTheEnvironmentMustBeRight(t *testing.T) {
	c := nowhere(t)
	refuse := func(Location) error { return errors.New("of another planet") }
	dir := t.TempDir()
	for _, test := range []struct {
		file, want string
		kind       slo.Kind
	}{
		{filepath.Join(dir, "missing.so"), "no such file", slo.KindNotFound},
		{dir, "is a directory; name the file, such as " + filepath.Join(dir, fileName(runtime.GOOS)), slo.KindInvalid},
		{touch(t, filepath.Join(dir, "wrong.so")), "wrong.so: of another planet", slo.KindInvalid},
	} {
		t.Setenv(EnvironmentVariable, test.file)
		_, err := c.Find(t.Context(), refuse)
		if err == nil || !strings.Contains(err.Error(), test.want) || slo.KindOf(err) != test.kind {
			t.Errorf("%v (kind %v), want %q of kind %v", err, slo.KindOf(err), test.want, test.kind)
		}
	}
}

func TestSystemLibraries(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the names are those of Linux")
	}
	c := nowhere(t)
	dir := t.TempDir()
	c.SystemDirs = []string{filepath.Join(dir, "missing"), filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	touch(t, filepath.Join(dir, "a", "libonnxruntime.so.1.9.0"))
	touch(t, filepath.Join(dir, "a", "libonnxruntime_providers_shared.so"))
	old := touch(t, filepath.Join(dir, "b", "libonnxruntime.so.1.24.0"))
	want := touch(t, filepath.Join(dir, "b", "libonnxruntime.so.1.131.0"))
	if err := os.Symlink(filepath.Base(want), filepath.Join(dir, "b", "libonnxruntime.so")); err != nil {
		t.Fatal(err)
	}
	var offered []string
	at, err := c.Find(t.Context(), func(l Location) error {
		offered = append(offered, l.Path)
		return nil
	})
	if err != nil || at != (Location{Path: want, Found: System}) {
		t.Errorf("%+v, %v", at, err)
	}
	// Libraries that cannot be loaded are skipped, and each real file is offered once.
	offered = nil
	_, err = c.Find(t.Context(), func(l Location) error {
		offered = append(offered, l.Path)
		return errors.New("cannot be loaded")
	})
	if !slices.Equal(offered, []string{want, old}) {
		t.Errorf("offered %q", offered)
	}
	for _, text := range []string{"libonnxruntime.so.1.9.0: version 1.9.0 is older than 1.24", "1.131.0: cannot be loaded", "1.24.0: cannot be loaded"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in %v", text, err)
		}
	}
}

func TestTheErrorSaysWhatWasTriedAndWhatToDo(t *testing.T) {
	c := nowhere(t)
	c.SystemDirs = []string{"/a", "/b"}
	_, err := c.Find(t.Context(), nil)
	want := "find the ONNX Runtime library: no ONNX Runtime library of version 1.24 or later can be used. Tried:\n" +
		"  - MOSEL_ONNXRUNTIME is not set\n" +
		"  - no " + fileName(runtime.GOOS) + " in the system directories /a, /b\n" +
		"  - nothing is installed in " + filepath.Join(c.CacheDir, Version, runtime.GOOS+"-"+runtime.GOARCH) + "\n" +
		"What to do: run \"mosel runtime install\" where the official release, PyPI or npm can be reached (HTTPS_PROXY is honoured), " +
		"or download https://github.com/microsoft/onnxruntime/releases/tag/v" + Version +
		" on another machine and set MOSEL_ONNXRUNTIME to the path of its " + fileName(runtime.GOOS)
	if err == nil || err.Error() != want || slo.KindOf(err) != slo.KindNotFound {
		t.Errorf("%v\nwant\n%s", err, want)
	}
}

func TestTheCacheIsTheUsers(t *testing.T) {
	c := nowhere(t)
	c.CacheDir = ""
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	own := filepath.Join(temporary, "mosel-"+strconv.Itoa(os.Getuid()), "onnxruntime")
	if _, err := c.Find(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "nothing is installed in "+own) {
		t.Error(err)
	}
	if runtime.GOOS != "linux" {
		return
	}
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	if _, err := c.Find(t.Context(), nil); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "mosel", "onnxruntime", Version)) {
		t.Error(err)
	}
}

// TestTheFirstCacheThatCanBeWrittenIsUsed checks that without a home directory, or with
// a read-only one, the library goes to the user's temporary directory.
func TestTheFirstCacheThatCanBeWrittenIsUsed(t *testing.T) {
	file := touch(t, filepath.Join(t.TempDir(), "file"))
	blocked := &store{cache: cachedir.At(filepath.Join(file, "x")), root: "no"}
	good := &store{cache: cachedir.At(t.TempDir()), root: "yes"}
	var tried attempts
	if s := firstWritable([]*store{blocked, good}, &tried); s != good || len(tried) != 1 {
		t.Errorf("%+v, tried %q", s, tried)
	}
	if s := firstWritable([]*store{blocked}, &tried); s != nil || !strings.HasPrefix(tried[1], "nothing can be installed in no: ") {
		t.Errorf("%+v, tried %q", s, tried)
	}
}

// TestALibraryThatOthersMayReplaceIsNotUsed checks this because the library would be
// loaded into the process.
func TestALibraryThatOthersMayReplaceIsNotUsed(t *testing.T) {
	c := nowhere(t)
	c.CacheDir = ""
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	s := c.stores()[0]
	if err := s.cache.Make(); err != nil {
		t.Fatal(err)
	}
	content := touch(t, s.file())
	digest, err := Digest(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeOrigin(filepath.Join(s.dir(), originFile), origin{Channel: PyPI, SHA256: digest}); err != nil {
		t.Fatal(err)
	}
	if at, err := c.Find(t.Context(), nil); err != nil || at.Path != s.file() {
		t.Fatalf("%+v, %v", at, err)
	}
	if err := os.Chmod(filepath.Dir(s.root), 0o777); err != nil { //nolint:gosec // it is the case
		t.Fatal(err)
	}
	if at, err := c.Find(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "nobody else may be able to write") {
		t.Errorf("%+v, %v", at, err)
	}
}

func TestSystemDirs(t *testing.T) {
	getenv := func(name string) string {
		return map[string]string{"LD_LIBRARY_PATH": "/mine::relative:/usr/lib", "DYLD_LIBRARY_PATH": "/theirs"}[name]
	}
	for platform, want := range map[string]string{
		"linux/arm64":  "/mine /usr/lib /usr/local/lib /usr/lib64 /opt/onnxruntime/lib /usr/lib/aarch64-linux-gnu",
		"linux/s390x":  "/mine /usr/lib /usr/local/lib /usr/lib64 /opt/onnxruntime/lib",
		"darwin/arm64": "/theirs /opt/homebrew/lib /usr/local/lib",
	} {
		goos, goarch, _ := strings.Cut(platform, "/")
		if got := strings.Join(systemDirs(goos, goarch, getenv), " "); got != want {
			t.Errorf("%s: %s, want %s", platform, got, want)
		}
	}
}

func TestVersions(t *testing.T) {
	for file, want := range map[string]string{
		"/lib/libonnxruntime.so":              "",
		"/lib/libonnxruntime.so.1":            "",
		"/lib/libonnxruntime.so.1.30.0":       "1.30.0",
		"/lib/libonnxruntime.1.30.0.dylib":    "1.30.0",
		"/onnxruntime.1.2.3/libonnxruntime.x": "",
	} {
		if got := fileVersion(file); got != want {
			t.Errorf("%s: version %q, want %q", file, got, want)
		}
	}
	ascending := []string{"", "1.9", "1.9.1", "1.24", "1.24.3", "1.100.0", "2.0"}
	for i, a := range ascending {
		for j, b := range ascending {
			if olderThan(a, b) != (i < j) {
				t.Errorf("%q is older than %q: %v", a, b, olderThan(a, b))
			}
		}
	}
	if olderThan(Version, Oldest) {
		t.Errorf("what is installed (%s) is too old to be used (%s)", Version, Oldest)
	}
}
