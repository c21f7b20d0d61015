package example

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/models"
)

// small is a package of few bytes.
func small() fstest.MapFS {
	return fstest.MapFS{
		"mosel.yaml":        {Data: []byte("name: digits\n")},
		"onnx/all.onnx":     {Data: []byte(strings.Repeat("weights", 100_000))},
		"profiles/cpu.json": {Data: []byte("{}")},
	}
}

// check fails unless place holds small as it is.
func check(t *testing.T, place string) {
	t.Helper()
	if filepath.Base(place) != Name || !intact(small(), place) {
		t.Errorf("%s is not the example", place)
	}
}

func TestTheExampleIsWrittenOnceAndFoundAgain(t *testing.T) {
	caches := []cachedir.Dir{cachedir.At(t.TempDir())}
	place, err := dir(small(), caches)
	if err != nil {
		t.Fatal(err)
	}
	check(t, place)
	before, err := os.Stat(filepath.Join(place, "mosel.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// A profile that its user measured stays, and is no damage.
	profile := filepath.Join(place, "profiles", "cpu.json")
	if err := os.WriteFile(profile, []byte(`{"mine":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := dir(small(), caches)
	if err != nil || again != place {
		t.Fatalf("%s, %v", again, err)
	}
	after, err := os.Stat(filepath.Join(place, "mosel.yaml"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again (%v)", err)
	}
	if mine, err := os.ReadFile(profile); err != nil || string(mine) != `{"mine":1}` {
		t.Errorf("the profile is %q, %v", mine, err)
	}
}

// TestAnotherVersionHasAnotherPlace: a program that is replaced does not serve the
// package of the one before it.
func TestAnotherVersionHasAnotherPlace(t *testing.T) {
	caches := []cachedir.Dir{cachedir.At(t.TempDir())}
	first, err := dir(small(), caches)
	if err != nil {
		t.Fatal(err)
	}
	other := small()
	other["mosel.yaml"] = &fstest.MapFile{Data: []byte("name: digitS\n")}
	second, err := dir(other, caches)
	if err != nil || first == second {
		t.Fatalf("%s, %v", second, err)
	}
	check(t, first)
}

func TestADamagedExampleIsReplaced(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"changed": func(file string) error { return os.WriteFile(file, []byte(strings.Repeat("heights", 100_000)), 0o600) },
		"cut":     func(file string) error { return os.Truncate(file, 100) },
		"longer": func(file string) error {
			return os.WriteFile(file, []byte(strings.Repeat("weights", 100_001)), 0o600)
		},
		"missing": os.Remove,
	} {
		cache := t.TempDir()
		caches := []cachedir.Dir{cachedir.At(cache)}
		place, err := dir(small(), caches)
		if err != nil {
			t.Fatal(err)
		}
		if err := damage(filepath.Join(place, "onnx", "all.onnx")); err != nil {
			t.Fatal(err)
		}
		if place, err = dir(small(), caches); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		check(t, place)
		if left, _ := os.ReadDir(cache); len(left) != 1 {
			t.Errorf("%s: %v is left behind", name, left)
		}
	}
}

// TestManyProcessesAtOnce: each writes for itself, one rename wins, and all serve
// the same directory.
func TestManyProcessesAtOnce(t *testing.T) {
	cache := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			place, err := dir(small(), []cachedir.Dir{cachedir.At(cache)})
			if err != nil {
				t.Error(err)
				return
			}
			check(t, place)
		})
	}
	all.Wait()
	if left, _ := os.ReadDir(cache); len(left) != 1 {
		t.Errorf("%v is left behind", left)
	}
}

// blocked is a directory in which nothing can be made, not even by root.
func blocked(t *testing.T) cachedir.Dir {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return cachedir.At(filepath.Join(file, "cache"))
}

func TestACacheThatCannotBeWritten(t *testing.T) {
	good := cachedir.At(t.TempDir())
	place, err := dir(small(), []cachedir.Dir{blocked(t), good})
	if err != nil || !strings.HasPrefix(place, good.Path) {
		t.Fatalf("%s, %v", place, err)
	}
	check(t, place)
	bad := blocked(t)
	_, err = dir(small(), []cachedir.Dir{bad})
	if err == nil || !strings.Contains(err.Error(), filepath.Dir(bad.Path)) || !strings.Contains(err.Error(), "takes 1 MB") || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("%v", err)
	}
}

// full gives its files up to one, which fails as on a full disk would.
type full struct{ fstest.MapFS }

func (f full) Open(name string) (fs.File, error) {
	if name == "profiles/cpu.json" {
		return nil, syscall.ENOSPC
	}
	return f.MapFS.Open(name)
}

// ReadFile keeps MapFS from reading past Open.
func (f full) ReadFile(name string) ([]byte, error) {
	if name == "profiles/cpu.json" {
		return nil, syscall.ENOSPC
	}
	return f.MapFS.ReadFile(name)
}

func TestWhatIsNotCompleteDoesNotAppear(t *testing.T) {
	cache := t.TempDir()
	if err := write(full{small()}, cachedir.At(cache), filepath.Join(cache, "x", Name)); err == nil {
		t.Fatal("no error")
	}
	if left, _ := os.ReadDir(cache); len(left) != 0 {
		t.Errorf("%v is left behind", left)
	}
}

// TestTheExampleIsComplete: the program has every file of the package that serving and
// the demonstration need. The large set for profiling is left out.
func TestTheExampleIsComplete(t *testing.T) {
	for _, name := range []string{"mosel.yaml", "onnx/weights.bin", "onnx/all_int8.onnx", "eval/heldout.npz",
		"profiles/cpu.json", "samples/seven.png", "samples/seven.wav"} {
		if info, err := fs.Stat(models.Example(), name); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := fs.WalkDir(os.DirFS("../../models/"+Name), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || name == "eval/profile.npz" || path.Dir(name) == profilesDir {
			return err
		}
		_, err = fs.Stat(models.Example(), name)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
