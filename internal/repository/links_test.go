package repository_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/repository"
)

// TestLinksThatAreSwitched has packages as Kubernetes mounts them: behind links, one of
// which is switched when everything is in place. Files may have the same sizes and
// times.
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

	// A directory whose files are links through a link that is switched.
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

// TestLinkedPackages has packages that are links to directories inside the model
// directory.
func TestLinkedPackages(t *testing.T) {
	d := bare(t)
	d.must(os.Mkdir(d.path(".store"), 0o755))
	d.must(os.Rename(d.make(first), d.path(".store", "one")))
	d.must(os.Rename(d.make(pack{"", "first", "1", 7}), d.path(".store", "two")))
	d.must(os.Symlink(filepath.Join(".store", "one"), d.path("first")))
	d.start(repository.Config{Dir: d.dir})
	d.serves("at the start", first)
	d.must(os.Symlink(filepath.Join(".store", "two"), d.path("new")))
	d.must(os.Rename(d.path("new"), d.path("first")))
	d.settle()
	d.serves("when the link leads elsewhere", pack{"", "first", "1", 7})
}

// TestFilesOfALinkedDirectoryAreSeen has profiles in a directory that the package links
// to.
func TestFilesOfALinkedDirectoryAreSeen(t *testing.T) {
	d := bare(t, first)
	d.must(os.Mkdir(d.path(".store"), 0o755))
	d.must(os.Rename(d.path("first", "profiles"), d.path(".store", "profiles")))
	d.must(os.Symlink(filepath.Join("..", ".store", "profiles"), d.path("first", "profiles")))
	d.start(repository.Config{Dir: d.dir})
	d.serves("at the start", first)
	d.edit(".store/profiles/made-up.json", "{}")
	d.settle()
	d.index("when the profile has changed", "first", "1", repository.Ready, "made-up.json")
}
