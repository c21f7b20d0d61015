package repository_test

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/repository"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestNoMoreFilesIsNoFaultOfAPackage has the process run out of file descriptors when
// packages have changed: what is served stays, and the change is applied when there are
// descriptors again.
func TestNoMoreFilesIsNoFaultOfAPackage(t *testing.T) {
	d := bare(t, first, second)
	var log bytes.Buffer
	d.log = slog.New(slog.NewTextHandler(&log, nil))
	d.start(repository.Config{Dir: d.dir})
	changed := pack{"first", "first", "1", 7}
	d.write(changed)
	d.Poll()
	withoutFiles(t, func() {
		for range 3 {
			d.Poll()
		}
		kind(t, "loading it by hand", d.Load("first"), slo.KindUnavailable)
	})
	d.serves("without file descriptors", first, second)
	d.index("without file descriptors", "first", "1", repository.Ready, "cannot be read now")
	d.index("without file descriptors", "second", "1", repository.Ready, "cannot be read now")
	if n := strings.Count(log.String(), "cannot be read now"); n != 2 || strings.Contains(log.String(), "ERROR") {
		t.Errorf("the log says: %s", log.String())
	}
	d.settle()
	d.serves("with file descriptors again", changed, second)
	d.index("with file descriptors again", "second", "1", repository.Ready, "")
}

// withoutFiles runs f while no file can be opened.
func withoutFiles(t *testing.T, f func()) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	f()
}

// TestPipesAreNoPackages has a pipe in place of a package's file: nothing waits for its
// writer.
func TestPipesAreNoPackages(t *testing.T) {
	d := bare(t, first)
	for dir, name := range map[string]string{"a": "mosel.yaml", "b": "x.onnx", "c": "profiles/made-up.json"} {
		p := pack{dir, "piped-" + dir, "1", 2}
		d.write(p)
		d.remove(dir + "/" + name)
		d.must(syscall.Mkfifo(d.path(dir, name), 0o644))
	}
	started := make(chan struct{})
	go func() {
		defer close(started)
		d.start(repository.Config{Dir: d.dir})
	}()
	select {
	case <-started:
	case <-time.After(20 * time.Second):
		t.Fatal("a pipe holds the start up")
	}
	d.serves("at the start", first)
	d.remove("first")
	d.must(os.Mkdir(d.path("first"), 0o755))
	d.must(syscall.Mkfifo(d.path("first", "mosel.yaml"), 0o644))
	d.settle()
	d.index("when it has become a pipe", "first", "1", repository.Ready, "regular file")
}
