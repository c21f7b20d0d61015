package repository_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/repository"
	"github.com/mosel-serve/mosel/internal/slo"
)

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

// TestConflictIsResolved has two packages with one name and version. The one that is
// served stays. When it is gone, the other is served, although its files have not
// changed.
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
			d.index("in conflict", "first", "1", repository.Unavailable, "which the package")
			d.index("in conflict", "first", "1", repository.Ready, "")
			kind(t, "loading both", d.Load("first"), slo.KindInvalid)
			d.serves("after asking for both", first, second)
			resolve.act(d)
			d.settle()
			if resolve.want != nil {
				d.serves("resolved", resolve.want...)
				return
			}
			if n := len(d.engine.List()); n != 2 { // either of the two
				t.Errorf("%d models are served", n)
			}
		})
	}
}

// TestFailedVersionKeepsItsPlace has a package with a new version that fails in the
// runtime. The package keeps its earlier version in service, and no other package may
// replace that.
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

func TestUnloadHoldsUntilLoad(t *testing.T) {
	d := open(t, first, second)
	d.must(d.Unload("first"))
	d.must(d.Unload("first")) // a second time does nothing
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
	d.must(d.Load("second")) // no poll has happened yet
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
