package repository_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/repository"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// desk is a repository of real packages, and the engine that serves them.
type desk struct {
	*repository.Repository
	t      *testing.T
	dir    string
	engine *engine.Engine
	broken atomic.Pointer[string] // the model whose runs fail; nil: none
	log    *slog.Logger           // nil: none
	now    time.Time              // the time of the last write; no two writes have the same
}

// pack is a package. Two with the same name and version differ in their largest batch.
type pack struct {
	dir, name, version string
	batch              int
}

func (p pack) String() string { return fmt.Sprintf("%s %s/%d", p.name, p.version, p.batch) }

// bare returns a desk whose repository has not been opened.
func bare(t *testing.T, packs ...pack) *desk {
	t.Helper()
	d := &desk{t: t, dir: filepath.Join(t.TempDir(), "models"), now: time.Unix(1e9, 0)}
	d.must(os.Mkdir(d.dir, 0o755))
	for _, p := range packs {
		d.write(p)
	}
	return d
}

// open returns a desk that starts with packages on disk.
func open(t *testing.T, packs ...pack) *desk {
	t.Helper()
	d := bare(t, packs...)
	return d.start(repository.Config{Dir: d.dir})
}

func (d *desk) start(cfg repository.Config) *desk {
	d.t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	if d.log != nil {
		cfg.Log = d.log
	}
	var err error
	d.Repository, err = repository.Open(cfg)
	d.must(err)
	rt := fake.New(fake.Config{Fail: func(r fake.Run) error {
		if broken := d.broken.Load(); broken != nil && r.Model == *broken {
			return errors.New("the device is on fire")
		}
		return nil
	}})
	d.engine, err = engine.New(d.t.Context(), engine.Config{Policy: plan.PolicyMosel, Instances: 2, Threads: 1,
		QueueItemsMax: 100, QueueJobsMax: 100, Log: cfg.Log}, rt)
	d.must(err)
	d.must(d.Serve(d.t.Context(), d.engine))
	d.t.Cleanup(func() { d.must(d.engine.Drain(d.t.Context())) })
	return d
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil && !errors.Is(err, d.t.Context().Err()) {
		d.t.Fatal(err)
	}
}

// make writes a package to a new place and returns its directory.
func (d *desk) make(p pack) string {
	d.t.Helper()
	m := modelpkgtest.Model(p.name, []modelpkg.Spec{{Name: "x", DType: tensor.Uint8, Shape: tensor.Shape{4}}},
		modelpkg.Spec{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{8}}, "x")
	m.Version, m.Limits.BatchItemsMax = p.version, p.batch
	dir := d.t.TempDir()
	_, err := modelpkgtest.Write(dir, m, []modelpkgtest.Measured{{Accuracy: 0.9, Item: time.Microsecond}})
	d.must(err)
	dir = filepath.Join(dir, p.name)
	d.must(filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		d.touch(name)
		return err
	}))
	return dir
}

// write puts a package into the directory and replaces what is there.
func (d *desk) write(p pack) {
	d.t.Helper()
	from := d.make(p)
	d.remove(p.dir)
	d.must(os.Rename(from, d.path(p.dir)))
}

func (d *desk) path(elements ...string) string {
	return filepath.Join(append([]string{d.dir}, elements...)...)
}

func (d *desk) remove(dir string) { d.must(os.RemoveAll(d.path(dir))) }

// touch gives a file a unique time, so that no test depends on the resolution of the
// file system's clock.
func (d *desk) touch(path string) {
	d.t.Helper()
	d.now = d.now.Add(time.Second)
	d.must(os.Chtimes(path, d.now, d.now))
}

// edit writes a file in the directory.
func (d *desk) edit(path, text string) {
	d.t.Helper()
	d.must(os.WriteFile(d.path(path), []byte(text), 0o644))
	d.touch(d.path(path))
}

func (d *desk) read(path string) string {
	d.t.Helper()
	text, err := os.ReadFile(d.path(path))
	d.must(err)
	return string(text)
}

// settle polls twice, after which changes are deployed.
func (d *desk) settle() {
	d.Poll()
	d.Poll()
}

// serves checks what the engine serves.
func (d *desk) serves(when string, want ...pack) {
	d.t.Helper()
	var got, expected []string
	for _, s := range d.engine.List() {
		got = append(got, pack{"", s.Model.Name, s.Model.Version, s.Model.Limits.BatchItemsMax}.String())
	}
	for _, p := range want {
		expected = append(expected, p.String())
	}
	slices.Sort(got)
	slices.Sort(expected)
	if !slices.Equal(got, expected) {
		d.t.Errorf("%s: served are %q, want %q", when, got, expected)
	}
}

// index checks an entry of the index. reason is a part of the entry's reason; "" means
// none.
func (d *desk) index(when, name, version string, state repository.State, reason string) {
	d.t.Helper()
	for _, e := range d.Index() {
		if e.Name == name && e.Version == version && e.State == state && strings.Contains(e.Reason, reason) && (reason != "" || e.Reason == "") {
			return
		}
	}
	d.t.Errorf("%s: the index has no %s %q %s (%s): %+v", when, name, version, state, reason, d.Index())
}

func kind(t *testing.T, what string, err error, want slo.Kind) {
	t.Helper()
	if err == nil || slo.KindOf(err) != want {
		t.Errorf("%s: error %v of kind %v, want %v", what, err, slo.KindOf(err), want)
	}
}

var (
	first  = pack{"first", "first", "1", 2}
	second = pack{"second", "second", "1", 2}
)
