package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// fewDigits copies models/digits with its first n samples only.
func fewDigits(t *testing.T, n int) string {
	t.Helper()
	from, dir := filepath.FromSlash("../../models/digits"), t.TempDir()
	for _, name := range []string{"mosel.yaml", "onnx"} {
		source := filepath.Join(from, name)
		if name == "onnx" {
			if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(source)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(filepath.Join(from, "eval", "profile.npz"))
	if err != nil {
		t.Fatal(err)
	}
	arrays, err := modelpkg.ReadNPZ(bytes.NewReader(file), int64(len(file)), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range arrays {
		arrays[i].Data = a.Data[:len(a.Data)/a.Rows()*n]
		arrays[i].Shape = append(tensor.Shape{int64(n)}, a.Shape[1:]...)
	}
	var few bytes.Buffer
	if err := modelpkg.WriteNPZ(&few, arrays); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "eval"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "eval", "profile.npz"), few.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// right counts the right answers of a variant.
func right(s *modelpkg.Samples, variant string) int {
	count := 0
	for i, class := range s.Variants[variant].Predicted {
		if class == s.Labels.Class(i) {
			count++
		}
	}
	return count
}

// TestProfileDigits profiles the shipped model for real, in small.
func TestProfileDigits(t *testing.T) {
	const samples = 60
	dir := fewDigits(t, samples)
	out, err := runMosel("profile", dir, "--quick", "--batches", "1,3", "--device", "test")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m, err := modelpkg.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := modelpkg.FindProfile(m, "")
	if err != nil {
		t.Fatal(err)
	}
	answers, err := modelpkg.LoadSamples(m, p.Origin(), m.SamplesPath("test"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range p.Variants {
		if v.Accuracy.Samples != samples || v.Accuracy.Correct != right(answers, v.Name) || len(v.Batches) != 2 {
			t.Errorf("%s: %+v, and %d of its answers are right", v.Name, v, right(answers, v.Name))
		}
		if v.Accuracy.Mean < 0.5 {
			t.Errorf("%s is right on %v of its own labelled set", v.Name, v.Accuracy.Mean)
		}
	}
	sameAsShipped(t, answers)
	if _, err := os.Stat(filepath.Join(dir, "profiles", "test.svg")); err != nil {
		t.Error(err)
	}
	again, err := runMosel("profile", dir, "--quick", "--batches", "1,3", "--device", "test")
	if err != nil || !strings.Contains(again, "using the saved answers of 8 of 8 variants") {
		t.Errorf("%v\n%s", err, again)
	}
	shown, err := runMosel("profile", dir, "--show")
	if err != nil || !strings.Contains(shown, "digits 1 on test") || strings.Count(shown, "\n") != 12+11+11 {
		t.Errorf("%v\n%s", err, shown)
	}
}

// sameAsShipped checks that the shipped profile is of the shipped graphs: their
// answers to the first samples are those that it was made of. Processors differ
// in the last bits, so that a close call may be another.
func sameAsShipped(t *testing.T, got *modelpkg.Samples) {
	t.Helper()
	m, err := modelpkg.Load(filepath.FromSlash("../../models/digits"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := modelpkg.LoadProfile(m, m.ProfilePath("cpu"))
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := modelpkg.LoadSamples(m, p.Origin(), m.SamplesPath("cpu"))
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range p.Variants {
		if v.Accuracy.Correct != right(shipped, v.Name) {
			t.Errorf("%s: the profile has %d right answers, its samples %d", v.Name, v.Accuracy.Correct, right(shipped, v.Name))
		}
		if again := modelpkg.MeasuredScore(shipped.Scores(v.Name), len(m.Variants)); !reflect.DeepEqual(again, v.Accuracy) {
			t.Errorf("%s: the profile has %+v, its samples give %+v", v.Name, v.Accuracy, again)
		}
		others := 0
		for k, class := range got.Variants[v.Name].Predicted {
			if class != shipped.Variants[v.Name].Predicted[k] {
				others++
			}
		}
		if others > 1 {
			t.Errorf("variant %d, %s: %d of %d answers are not those of the shipped profile", i, v.Name, others, got.Labels.Len())
		}
	}
}
