package repository_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/repository"
	"github.com/mosel-serve/mosel/internal/slo"
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
	for i, name := range names { // one file per poll, so that two polls never see the same files
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
			d.index("away", "first", "1", repository.Ready, "has no packages any more")
			if err := d.Load("first"); err == nil {
				t.Error("loading a package that is away goes well")
			}
			d.serves("away, after asking for it", first, second)
			back()
			d.settle()
			d.serves("back", first, second)
			d.index("back", "first", "1", repository.Ready, "")
			if !slices.EqualFunc(d.engine.List(), before, func(a, b engine.Served) bool { return a.Model == b.Model && a.Profile == b.Profile }) {
				t.Error("the models were loaded anew")
			}
		})
	}
}
