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

// desk is a repository of real packages, and the engine that it keeps in step.
type desk struct {
	*repository.Repository
	t      *testing.T
	dir    string
	engine *engine.Engine
	broken atomic.Pointer[string] // the model whose runs fail; nil: none
	log    *slog.Logger           // nil: none
	now    time.Time              // of what is written: no two writes have the same
}

// pack is a package. Two of the same name and version differ in the size of a batch.
type pack struct {
	dir, name, version string
	batch              int
}

func (p pack) String() string { return fmt.Sprintf("%s %s/%d", p.name, p.version, p.batch) }

// open starts with packages on disk.
func open(t *testing.T, packs ...pack) *desk {
	t.Helper()
	d := &desk{t: t, dir: filepath.Join(t.TempDir(), "models"), now: time.Unix(1e9, 0)}
	d.must(os.Mkdir(d.dir, 0o755))
	for _, p := range packs {
		d.write(p)
	}
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

// make writes a package somewhere and says where.
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

// write puts a package into the directory, in the place of what is there.
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

// touch gives a file a time of its own, so that no test depends on how fine the
// file system's clock is.
func (d *desk) touch(path string) {
	d.t.Helper()
	d.now = d.now.Add(time.Second)
	d.must(os.Chtimes(path, d.now, d.now))
}

// edit writes a file of the directory.
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

// settle looks twice, after which what has changed is deployed.
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

// index checks an entry of the index, the reason by a part of it; "" is no reason.
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

func TestNewPackageIsTakenWhenItStandsStill(t *testing.T) {
	d := open(t, first)
	d.settle()
	d.serves("at the start", first)
	d.index("at the start", "first", "1", repository.Ready, "")
	whole := d.make(second)
	d.must(os.Mkdir(d.path("second"), 0o755))
	names := []string{"x.onnx", "mosel.yaml", filepath.Join("profiles", "made-up.json")}
	d.must(os.Mkdir(d.path("second", "profiles"), 0o755))
	for i, name := range names { // one file at every look: it is never the same twice
		d.must(os.Rename(filepath.Join(whole, name), d.path("second", name)))
		d.Poll()
		d.serves(fmt.Sprintf("with %d files", i+1), first)
	}
	d.index("while it is copied", "second", "", repository.Unavailable, "not loaded yet")
	d.Poll()
	d.serves("when it has stood still", first, second)
	d.index("when it has stood still", "second", "1", repository.Ready, "")
}

func TestHiddenDirectoriesAndFilesAreNoPackages(t *testing.T) {
	d := open(t, first)
	d.write(pack{".second", "second", "1", 2})
	d.must(os.Mkdir(d.path("empty"), 0o755))
	d.edit("README.md", "models\n")
	d.settle()
	d.serves("after a look", first)
	if n := len(d.Index()); n != 1 {
		t.Errorf("the index has %d entries: %+v", n, d.Index())
	}
}

func TestChangedPackageReplacesTheOld(t *testing.T) {
	d := open(t, first, second)
	changed := first
	changed.batch = 3
	d.write(changed)
	d.Poll()
	d.serves("after one look", first, second)
	d.Poll()
	d.serves("after two looks", changed, second)
	newer := changed
	newer.version = "2"
	d.write(newer)
	d.settle()
	d.serves("with another version in place", newer, second)
	if _, err := d.engine.Use("first", "1"); slo.KindOf(err) != slo.KindNotFound {
		t.Errorf("the old version: %v", err)
	}
	d.index("with another version in place", "first", "2", repository.Ready, "")
	renamed := newer
	renamed.name = "primus"
	d.write(renamed)
	d.settle()
	d.serves("with another name in place", renamed, second)
}

func TestOnlyWhatMattersReloads(t *testing.T) {
	d := open(t, first)
	before := d.engine.List()[0].Model
	d.edit("first/README.md", "about it\n")
	d.touch(d.path("first", "x.onnx"))
	d.settle()
	if d.engine.List()[0].Model != before {
		t.Error("a README and a new time of a graph had the model loaded anew")
	}
	d.index("with a README", "first", "1", repository.Ready, "")
	profile := d.read("first/profiles/made-up.json")
	d.edit("first/profiles/made-up.json", strings.Replace(profile, `"runs": 1`, `"runs": 2`, 1))
	d.settle()
	if d.engine.List()[0].Model == before {
		t.Error("a new profile changed nothing")
	}
}

func TestBrokenPackageChangesNothing(t *testing.T) {
	other := pack{"first", "first", "1", 5}
	for name, breaks := range map[string]struct {
		act  func(*desk)
		says string
	}{
		"bad yaml": {func(d *desk) { d.edit("first/mosel.yaml", "format: [") }, "mosel.yaml"},
		"unknown key": {func(d *desk) {
			d.edit("first/mosel.yaml", strings.Replace(d.read("first/mosel.yaml"), `"format"`, `"colour": 1, "format"`, 1))
		}, "colour"},
		"missing graph": {func(d *desk) { d.must(os.Remove(d.path("first", "x.onnx"))) }, "x.onnx"},
		"no profile":    {func(d *desk) { d.remove("first/profiles") }, "profile"},
		"profile of another model": {func(d *desk) {
			d.edit("first/mosel.yaml", strings.Replace(d.read("first/mosel.yaml"), `"max_batch": 2`, `"max_batch": 1`, 1))
		}, "another model"},
		"a graph outside of the package": {func(d *desk) {
			d.must(os.Rename(d.path("first", "x.onnx"), filepath.Join(d.dir, "..", "x.onnx")))
			d.must(os.Symlink(filepath.Join("..", "..", "x.onnx"), d.path("first", "x.onnx")))
		}, "x.onnx"},
		"runs that fail": {func(d *desk) {
			d.broken.Store(&first.name)
			d.write(pack{"first", "first", "1", 4})
		}, "on fire"},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, first, second)
			breaks.act(d)
			for range 3 {
				d.settle()
			}
			d.serves("broken", first, second)
			d.index("broken", "first", "1", repository.Ready, breaks.says)
			if err := d.Load("first"); err == nil || !strings.Contains(err.Error(), breaks.says) {
				t.Errorf("loading it: %v", err)
			}
			d.serves("broken, after asking for it", first, second)
			d.broken.Store(nil)
			d.write(other)
			d.settle()
			d.serves("repaired", other, second)
			d.index("repaired", "first", "1", repository.Ready, "")
		})
	}
}

func TestBrokenPackageThatIsPutBack(t *testing.T) {
	d := open(t, first)
	sound := d.read("first/mosel.yaml")
	d.edit("first/mosel.yaml", "{}")
	d.settle()
	d.index("broken", "first", "1", repository.Ready, "served")
	d.edit("first/mosel.yaml", sound)
	d.settle()
	d.index("put back", "first", "1", repository.Ready, "")
	d.serves("put back", first)
}

func TestNewPackageThatIsBroken(t *testing.T) {
	d := open(t, first)
	d.write(second)
	d.edit("second/mosel.yaml", "nonsense")
	d.settle()
	d.serves("broken", first)
	d.index("broken", "second", "", repository.Unavailable, "mosel.yaml")
	d.write(second)
	d.settle()
	d.serves("repaired", first, second)
}

func TestRightsOfAFileCount(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("as root every file can be read: only the fingerprint is tested")
	}
	d := open(t, first)
	d.write(second)
	d.must(os.Chmod(d.path("second", "mosel.yaml"), 0))
	d.settle()
	if os.Geteuid() != 0 {
		d.index("unreadable", "second", "", repository.Unavailable, "permission")
	}
	d.must(os.Chmod(d.path("second", "mosel.yaml"), 0o644))
	d.settle()
	d.serves("readable", first, second)
}

func TestVersionsSideBySide(t *testing.T) {
	d := open(t, first)
	newer := pack{"first-v2", "first", "2", 7}
	d.write(newer)
	d.settle()
	d.serves("two versions", first, newer)
	d.must(d.Unload("first"))
	d.serves("unloaded by its name")
	d.must(d.Load("first"))
	d.serves("loaded by its name", first, newer)
	d.remove("first")
	d.settle()
	d.serves("the older one removed", newer)
}

// TestConflictIsResolved has two packages of one name and version: the one that is
// served stays, and when it is gone the other follows, untouched.
func TestConflictIsResolved(t *testing.T) {
	twin := pack{"twin", "first", "1", 9}
	newer := pack{"first", "first", "2", 2}
	for name, resolve := range map[string]struct {
		act  func(*desk)
		want []pack
	}{
		"the first is removed":             {func(d *desk) { d.remove("first") }, []pack{twin, second}},
		"the first has another version":    {func(d *desk) { d.write(newer) }, []pack{twin, newer, second}},
		"the second has another version":   {func(d *desk) { d.write(pack{"twin", "first", "3", 9}) }, []pack{first, {"", "first", "3", 9}, second}},
		"the second is removed":            {func(d *desk) { d.remove("twin") }, []pack{first, second}},
		"the second is broken":             {func(d *desk) { d.edit("twin/mosel.yaml", "{}") }, []pack{first, second}},
		"the first moves before the other": {func(d *desk) { d.must(os.Rename(d.path("first"), d.path("a"))) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, first, second)
			d.write(twin)
			d.settle()
			d.serves("in conflict", first, second)
			d.index("in conflict", "first", "1", repository.Unavailable, "as is that of")
			d.index("in conflict", "first", "1", repository.Ready, "")
			kind(t, "loading both", d.Load("first"), slo.KindInvalid)
			d.serves("after asking for both", first, second)
			resolve.act(d)
			d.settle()
			if resolve.want != nil {
				d.serves("resolved", resolve.want...)
				return
			}
			if n := len(d.engine.List()); n != 2 { // whichever: one of the two
				t.Errorf("%d models are served", n)
			}
		})
	}
}

// TestFailedVersionKeepsItsPlace has a package with a new version that fails in
// the runtime: what it serves on is still its own, and nobody else's to replace.
func TestFailedVersionKeepsItsPlace(t *testing.T) {
	d := open(t, first, second)
	d.broken.Store(&first.name)
	d.write(pack{"first", "first", "2", 2})
	d.settle()
	d.broken.Store(nil)
	d.write(pack{"twin", "first", "1", 9})
	d.settle()
	d.serves("with a twin of the old version", first, second)
	d.remove("first")
	d.settle()
	d.serves("when it is gone", pack{"", "first", "1", 9}, second)
}

func TestOnlyAndSingle(t *testing.T) {
	d := &desk{t: t, dir: t.TempDir(), now: time.Unix(1e9, 0)}
	d.write(first)
	d.write(second)
	d.start(repository.Config{Dir: d.dir, Only: []string{"first"}})
	d.settle()
	d.serves("only the first", first)
	kind(t, "loading what is not to be served", d.Load("second"), slo.KindNotFound)

	single := &desk{t: t, dir: d.dir, now: time.Unix(2e9, 0)}
	single.start(repository.Config{Dir: d.path("second")})
	single.serves("a package as the directory", second)
	d.must(os.Rename(d.path("second", "mosel.yaml"), d.path("second", "away")))
	single.settle()
	single.serves("while its file is away", second)
	d.must(os.Rename(d.path("second", "away"), d.path("second", "mosel.yaml")))
	changed := second
	changed.batch = 6
	d.write(changed)
	single.settle()
	single.serves("changed", changed)
}

func TestRemovedPackageIsUnloaded(t *testing.T) {
	d := open(t, first, second)
	d.remove("first")
	d.Poll()
	d.serves("after one look", first, second)
	d.Poll()
	d.serves("after two looks", second)
	if n := len(d.Index()); n != 1 {
		t.Errorf("the index has %+v", d.Index())
	}
	kind(t, "loading what is gone", d.Load("first"), slo.KindNotFound)
	d.write(first)
	d.settle()
	d.serves("when it is back", first, second)
}

func TestDirectoryThatIsAwayChangesNothing(t *testing.T) {
	d := open(t, first, second)
	for name, gone := range map[string]func() (back func()){
		"renamed": func() func() {
			d.must(os.Rename(d.dir, d.dir+".away"))
			return func() { d.must(os.Rename(d.dir+".away", d.dir)) }
		},
		"empty, as one that is not mounted": func() func() {
			d.must(os.Rename(d.dir, d.dir+".away"))
			d.must(os.Mkdir(d.dir, 0o755))
			return func() {
				d.must(os.Remove(d.dir))
				d.must(os.Rename(d.dir+".away", d.dir))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := d.engine.List()
			back := gone()
			for range 3 {
				d.settle()
			}
			d.serves("away", first, second)
			d.index("away", "first", "1", repository.Ready, "to be found")
			if err := d.Load("first"); err == nil {
				t.Error("loading a package that is away goes well")
			}
			d.serves("away, after asking for it", first, second)
			back()
			d.settle()
			d.serves("back", first, second)
			d.index("back", "first", "1", repository.Ready, "")
			if !slices.Equal(d.engine.List(), before) {
				t.Error("the models were loaded anew")
			}
		})
	}
}

func TestUnloadHoldsUntilLoad(t *testing.T) {
	d := open(t, first, second)
	d.must(d.Unload("first"))
	d.must(d.Unload("first")) // a second time is as good
	d.serves("unloaded", second)
	d.index("unloaded", "first", "1", repository.Unavailable, "unloaded")
	changed := pack{"first", "first", "4", 8}
	elsewhere := pack{"other", "first", "5", 8}
	for _, step := range []struct {
		what string
		act  func()
	}{
		{"looked at", func() {}},
		{"changed", func() { d.write(changed) }},
		{"broken", func() { d.edit("first/mosel.yaml", "{}") }},
		{"removed", func() { d.remove("first") }},
		{"back", func() { d.write(changed) }},
		{"also in another directory", func() { d.write(elsewhere) }},
	} {
		step.act()
		d.settle()
		d.serves(step.what, second)
	}
	d.index("in another directory", "first", "5", repository.Unavailable, "unloaded")
	d.must(d.Load("first"))
	d.serves("loaded", changed, elsewhere, second)
	d.must(d.Unload("first"))
	d.write(pack{"first", "renamed", "1", 8})
	d.settle()
	d.serves("under another name", second)
	d.must(d.Load("renamed"))
	d.serves("loaded by its new name", pack{"", "renamed", "1", 8}, second)
}

func TestUnknownNames(t *testing.T) {
	d := open(t, first, second)
	outside := pack{"../outside", "outside", "1", 2}
	d.write(outside)
	for _, name := range []string{"", ".", "..", "nosuch", "../outside", d.path("first"), "first/", "./first", "first/../second", "*", "f*", "\x00", strings.Repeat("x", 10_000)} {
		kind(t, fmt.Sprintf("load %.40q", name), d.Load(name), slo.KindNotFound)
		kind(t, fmt.Sprintf("unload %.40q", name), d.Unload(name), slo.KindNotFound)
	}
	d.settle()
	d.serves("after all of them", first, second)
}

func TestLoadTakesWhatIsThere(t *testing.T) {
	d := open(t, first)
	d.write(pack{"folder", "second", "1", 2})
	d.must(d.Load("second")) // nothing has looked yet
	d.serves("loaded by the model's name", first, second)
	d.must(d.Unload("second"))
	d.must(d.Load("folder"))
	d.serves("loaded by the directory's name", first, second)
	d.write(pack{"first", "first", "1", 6})
	d.must(d.Load("first"))
	d.serves("changed a moment ago", pack{"", "first", "1", 6}, second)
	d.settle()
	d.serves("looked at", pack{"", "first", "1", 6}, second)
}

// TestLinksThatAreSwitched has packages as Kubernetes mounts them: behind links of
// which one is switched when all is there. Files may have the same sizes and times.
func TestLinksThatAreSwitched(t *testing.T) {
	d := open(t, second)
	old, changed := d.make(first), d.make(pack{"", "first", "1", 4})
	same := time.Unix(1_234_567, 0)
	for _, dir := range []string{old, changed} {
		d.must(filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Chtimes(name, same, same))
		}))
	}
	relink := func(to, link string) {
		t.Helper()
		d.must(os.Symlink(to, link+".new"))
		d.must(os.Rename(link+".new", link))
	}
	relink(old, d.path("first"))
	d.settle()
	d.serves("a link to a directory", first, second)
	relink(changed, d.path("first"))
	d.settle()
	d.serves("switched", pack{"", "first", "1", 4}, second)

	// a directory whose files are links through one that is switched
	d.must(os.Mkdir(d.path("map"), 0o755))
	for i, batch := range []int{3, 5} {
		stamp := fmt.Sprintf("..stamp%d", i)
		d.must(os.Rename(d.make(pack{"", "mapped", "1", batch}), d.path("map", stamp)))
		relink(stamp, d.path("map", "..data"))
		if i == 0 {
			for _, name := range []string{"mosel.yaml", "x.onnx", "profiles"} {
				d.must(os.Symlink(filepath.Join("..data", name), d.path("map", name)))
			}
		}
		d.settle()
		d.serves(stamp, pack{"", "first", "1", 4}, second, pack{"", "mapped", "1", batch})
	}
}

func TestDanglingLinksAndLoopsAreNoTrouble(t *testing.T) {
	d := open(t, first)
	d.must(os.Symlink("nowhere", d.path("dangling")))
	d.must(os.Symlink("loop", d.path("loop")))
	d.must(os.Symlink(".", d.path("first", "self")))
	d.must(os.Symlink("nowhere", d.path("first", "dangling")))
	d.settle()
	d.serves("with strange links", first)
	d.index("with strange links", "first", "1", repository.Ready, "")
}
