package modelpkg

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

func TestCopyIsWhatWasChecked(t *testing.T) {
	m := loadGood(t)
	copied := t.TempDir()
	if err := m.Copy(copied); err != nil {
		t.Fatal(err)
	}
	for name := range m.Files {
		want, err := os.ReadFile(m.File(name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(copied, name))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is copied as %d bytes, %v; it has %d", name, len(got), err, len(want))
		}
	}
	if err := os.WriteFile(m.File("onnx/weights.bin"), []byte("another version"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := m.Copy(t.TempDir()); slo.KindOf(err) != slo.KindInvalid {
		t.Errorf("a file that has changed: %v", err)
	}
	if err := os.Remove(m.File("onnx/weights.bin")); err != nil {
		t.Fatal(err)
	}
	if err := m.Copy(t.TempDir()); slo.KindOf(err) != slo.KindInvalid {
		t.Errorf("a file that has gone: %v", err)
	}
}
