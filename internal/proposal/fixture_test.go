package proposal_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

func writeFile(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func arrayOf[T tensor.Element](t testing.TB, name string, shape tensor.Shape, values []T) tensor.Tensor {
	t.Helper()
	a, err := tensor.Of(name, shape, values)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func writeNPZ(t testing.TB, name string, arrays ...tensor.Tensor) {
	t.Helper()
	var b bytes.Buffer
	if err := modelpkg.WriteNPZ(&b, arrays); err != nil {
		t.Fatal(err)
	}
	writeFile(t, name, b.Bytes())
}

// addTexts adds an array of texts, as numpy.array(texts, dtype=str) is saved, to an
// archive.
func addTexts(t testing.TB, file, name string, texts ...string) {
	t.Helper()
	old, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range old.File {
		if err := w.Copy(f); err != nil {
			t.Fatal(err)
		}
	}
	wide := 1
	for _, s := range texts {
		wide = max(wide, len([]rune(s)))
	}
	header := fmt.Sprintf("{'descr': '<U%d', 'fortran_order': False, 'shape': (%d,), }", wide, len(texts))
	header += strings.Repeat(" ", 63-(10+len(header))%64) + "\n"
	data := append([]byte("\x93NUMPY\x01\x00"), binary.LittleEndian.AppendUint16(nil, uint16(len(header)))...)
	data = append(data, header...)
	for _, s := range texts {
		cell := make([]byte, 4*wide)
		for i, c := range []rune(s) {
			binary.LittleEndian.PutUint32(cell[4*i:], uint32(c))
		}
		data = append(data, cell...)
	}
	entry, err := w.Create(name + ".npy")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, b.Bytes())
}
