package ort_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestLoadedModelOutlivesItsFiles overwrites the files of a loaded model in place, as
// copying a new version does. Weights are mapped into memory; if they were mapped from
// the package's own files, the process would crash.
func TestLoadedModelOutlivesItsFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../../models/digits")); err != nil {
		t.Fatal(err)
	}
	m, err := modelpkg.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.Profile), m)
	if err != nil {
		t.Fatal(err)
	}
	rt, err := ort.Open(t.Context(), ort.Config{})
	if err != nil {
		t.Fatal(err)
	}
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("after loading there are left in the temporary directory %v, %v", left, err)
	}
	items := []runtime.Item{set.Item(0), set.Item(1)}
	var before [][]byte
	for v := range m.Variants {
		outputs, err := in.Run(t.Context(), v, items)
		if err != nil {
			t.Fatal(err)
		}
		before = append(before, outputs[0].Data)
	}
	for name := range m.Files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("short"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for v := range m.Variants {
		outputs, err := in.Run(t.Context(), v, items)
		if err != nil || !bytes.Equal(outputs[0].Data, before[v]) {
			t.Errorf("variant %s answers otherwise when the files have changed: %v", m.Variants[v].Name, err)
		}
	}
	if _, err := rt.Load(t.Context(), m, runtime.Options{Threads: 2}); slo.KindOf(err) != slo.KindInvalid {
		t.Errorf("files that have changed since they were checked are loaded: %v", err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}
