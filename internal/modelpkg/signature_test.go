package modelpkg

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

func TestCheckTextIsCheckOfWhatIsNotWrittenYet(t *testing.T) {
	dir := writePackage(t)
	file := filepath.Join(dir, FileName)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := CheckIn("", dir)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	got := CheckText(dir, text)
	if len(got.Problems) != len(want.Problems) || got.Model.Digest != want.Model.Digest || got.Model.Files != nil {
		t.Errorf("problems %v, want %v; model %+v", got.Problems, want.Problems, got.Model)
	}
	broken := CheckText(dir, bytes.Replace(text, []byte("format: 1"), []byte("format: 2"), 1))
	if len(broken.Problems) != 1 || broken.Problems[0].Line != 1 || broken.Problems[0].File != file {
		t.Errorf("problems %v", broken.Problems)
	}
}

func TestReadSignature(t *testing.T) {
	dir := writePackage(t)
	s, err := ReadSignature(dir, "onnx/image.onnx")
	if err != nil || len(s.Inputs) == 0 || len(s.Outputs) == 0 || s.Inputs[0].Shape[0] != -1 || s.Inputs[0].DType == tensor.Invalid {
		t.Errorf("%+v, %v", s, err)
	}
	if err := os.Symlink(filepath.Join(t.TempDir(), "x"), filepath.Join(dir, "out.onnx")); err != nil {
		t.Skip(err)
	}
	for name, says := range map[string]string{"gone.onnx": "no such file", "out.onnx": "leads out of the package", FileName: "not an ONNX model"} {
		if _, err := ReadSignature(dir, name); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSubsetHoldsToWhatTheFileHas writes an array whose header says more than there is.
func TestSubsetHoldsToWhatTheFileHas(t *testing.T) {
	for name, header := range map[string]string{"huge": headerNPY("<f8", tensor.Shape{1 << 40, 1 << 10}), "cut": headerNPY("<f8", tensor.Shape{4}) + "1234"} {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		entry, err := w.Create(name + ".npy")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write([]byte(header)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		in := bytes.NewReader(b.Bytes())
		if err := SubsetNPZ(&bytes.Buffer{}, in, in.Size(), Subset{Samples: 4, Rows: []int{0}}); err == nil || !strings.Contains(err.Error(), "array "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
