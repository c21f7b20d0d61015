package cachedir

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// elsewhere points the environment at directories of the test.
func elsewhere(t *testing.T) (home, temporary string) {
	t.Helper()
	home, temporary = t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("TMPDIR", temporary)
	return home, temporary
}

func TestTheUsersCacheComesFirst(t *testing.T) {
	home, temporary := elsewhere(t)
	dirs := Find("things")
	if len(dirs) != 2 || !strings.HasPrefix(dirs[0].Path, home) || !strings.HasPrefix(dirs[1].Path, temporary) {
		t.Fatalf("%+v", dirs)
	}
	for _, d := range dirs {
		if err := d.Trust(); err != nil {
			t.Errorf("%s, not there yet: %v", d.Path, err)
		}
		if err := d.Make(); err != nil {
			t.Errorf("%s: %v", d.Path, err)
		}
		if entries, err := os.ReadDir(d.Path); err != nil || len(entries) > 0 {
			t.Errorf("%s has %v, %v", d.Path, entries, err)
		}
	}
	if info, err := os.Stat(filepath.Dir(dirs[1].Path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the temporary one: %v, %v", info.Mode(), err)
	}
}

func TestWithoutAHomeThereIsTheTemporaryDirectory(t *testing.T) {
	_, temporary := elsewhere(t)
	t.Setenv("HOME", "")
	dirs := Find("things")
	if len(dirs) != 1 || !strings.HasPrefix(dirs[0].Path, temporary) {
		t.Fatalf("%+v", dirs)
	}
	if err := dirs[0].Make(); err != nil {
		t.Error(err)
	}
}

// TestATemporaryDirectoryOfOthersIsNotUsed: whoever else can write there could
// put a library there.
func TestATemporaryDirectoryOfOthersIsNotUsed(t *testing.T) {
	for name, prepare := range map[string]func(own string) error{
		"open to all": func(own string) error { return os.Chmod(mkdir(own), 0o777) }, //nolint:gosec // it is the case
		"a link":      func(own string) error { return os.Symlink(mkdir(own+"-real"), own) },
		"a file":      func(own string) error { return os.WriteFile(own, nil, 0o600) },
	} {
		_, temporary := elsewhere(t)
		t.Setenv("HOME", "")
		if err := prepare(filepath.Join(temporary, "mosel-"+strconv.Itoa(os.Getuid()))); err != nil {
			t.Fatal(err)
		}
		d := Find("things")[0]
		if d.Trust() == nil || d.Make() == nil {
			t.Errorf("%s: it is used", name)
		}
	}
}

func mkdir(dir string) string {
	if err := os.Mkdir(dir, 0o700); err != nil {
		panic(err)
	}
	return dir
}

func TestWhatCannotBeWrittenIsAnError(t *testing.T) {
	home, _ := elsewhere(t)
	if err := os.WriteFile(filepath.Join(home, ".cache"), nil, 0o600); err != nil { // in the way, for root too
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, ".cache"))
	if err := Find("things")[0].Make(); err == nil {
		t.Error("a file is a directory")
	}
}
