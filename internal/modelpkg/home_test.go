package modelpkg

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

// shelf is a directory of models with two packages, pair and shared. The weights of
// pair are a link to those of shared.
func shelf(t *testing.T) (models, dir string) {
	t.Helper()
	models = t.TempDir()
	dir = filepath.Join(models, "pair")
	if err := os.CopyFS(dir, os.DirFS(writePackage(t))); err != nil {
		t.Fatal(err)
	}
	write(t, models, "shared/weights.bin", make([]byte, 4496))
	relink(t, filepath.Join(dir, "onnx", "weights.bin"), "../../shared/weights.bin")
	return models, dir
}

func relink(t *testing.T, path, to string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.FromSlash(to), path); err != nil {
		t.Skip("no symbolic links here")
	}
}

// TestLinksInsideTheModelsDirectory checks that a link may lead to a file of another
// package if the caller named the directory of both, and nowhere else.
func TestLinksInsideTheModelsDirectory(t *testing.T) {
	models, dir := shelf(t)
	m, err := LoadIn(models, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := m.Files["onnx/weights.bin"]; !ok {
		t.Errorf("the digest does not cover the linked weights: %v", m.Files)
	}
	to := t.TempDir()
	if err := m.Copy(to); err != nil {
		t.Error(err)
	}
	if info, err := os.Lstat(filepath.Join(to, "onnx", "weights.bin")); err != nil || !info.Mode().IsRegular() || info.Size() != 4496 {
		t.Errorf("the copy is %v %v", info, err)
	}
	const escaped = `a link leads out of the package (links must be relative, and stay inside the package or the models directory)`
	want := []string{`18:46: variant image: onnx/image.onnx keeps weights in weights.bin: ` + escaped,
		`19:51: variant all: onnx/all.onnx keeps weights in weights.bin: ` + escaped}
	if got := lines(dir, Check(dir)); !slices.Equal(got, want) {
		t.Errorf("the package alone: %q", got)
	}
	other := t.TempDir()
	if got := lines(dir, CheckIn(other, dir).Problems); !slices.Equal(got, want) {
		t.Errorf("another directory of models: %q", got)
	}
	write(t, other, "weights.bin", make([]byte, 4496))
	relink(t, filepath.Join(dir, "onnx", "weights.bin"), filepath.ToSlash(filepath.Join(other, "weights.bin")))
	if got := lines(dir, CheckIn(models, dir).Problems); !slices.Equal(got, want) {
		t.Errorf("a link out of the directory of models: %q", got)
	}
	rel, err := filepath.Rel(filepath.Join(dir, "onnx"), filepath.Join(other, "weights.bin"))
	if err != nil {
		t.Fatal(err)
	}
	relink(t, filepath.Join(dir, "onnx", "weights.bin"), filepath.ToSlash(rel))
	if got := lines(dir, CheckIn(models, dir).Problems); !slices.Equal(got, want) {
		t.Errorf("a relative link out of the directory of models: %q", got)
	}
}

// TestLinkedPackage checks a package that is in the directory of models only by a link:
// it is read as if it were alone, with its own directory as the bound.
func TestLinkedPackage(t *testing.T) {
	models, elsewhere := t.TempDir(), writePackage(t)
	link := filepath.Join(models, "pair")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Skip("no symbolic links here")
	}
	if _, err := LoadIn(models, link); err != nil {
		t.Error(err)
	}
	relink(t, filepath.Join(elsewhere, "onnx", "weights.bin"), filepath.ToSlash(filepath.Join(models, "weights.bin")))
	if _, err := LoadIn(models, link); err == nil {
		t.Error("a link of a linked package leads out of it")
	}
}

// TestPipesAreRefused checks that no file in a package makes its reader wait.
func TestPipesAreRefused(t *testing.T) {
	for name, want := range map[string]string{
		FileName:            "not a regular file",
		"onnx/image.onnx":   "18:46: variant image: onnx/image.onnx: not a regular file",
		"onnx/weights.bin":  "18:46: variant image: onnx/image.onnx keeps weights in weights.bin: not a regular file",
		"eval/profile.npz":  "25:12: evaluation set eval/profile.npz: not a regular file",
		"profiles/cpu.json": "profiles/cpu.json: load profile",
	} {
		dir := writePackage(t)
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := mkfifo(path); err != nil {
			t.Skip(err)
		}
		if got := lines(dir, Check(dir)); len(got) == 0 || !strings.Contains(got[0], "not a regular file") || !strings.Contains(got[0], name) && !strings.Contains(got[0], want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestSystemFaults checks that a fault of the system is not reported as a problem of
// the package.
func TestSystemFaults(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}, true},
		{slo.E("load", slo.KindUnavailable, "%w", &fs.PathError{Err: syscall.ENFILE}), true},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}, false},
		{Problems{{Message: "too many open files"}}, false},
		{fileError("open x", &fs.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}), true},
		{fileError("open x", &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}), false},
	} {
		if got := IsSystemFault(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
	r := newReport(FileName)
	r.unread(place{Line: 3}, &fs.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}, "variant v")
	if len(r.Problems) > 0 || !errors.Is(r.system, syscall.EMFILE) {
		t.Errorf("%v, %v", r.Problems, r.system)
	}
}
