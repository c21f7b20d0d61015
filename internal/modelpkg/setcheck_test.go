package modelpkg

import (
	"archive/zip"
	"bytes"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

// repacked returns the arrays of a valid set with further entries.
func repacked(t *testing.T, more ...[2]string) []byte {
	t.Helper()
	sound := npz(t, setArrays(4))
	archive, err := zip.NewReader(bytes.NewReader(sound), int64(len(sound)))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range archive.File {
		if err := w.Copy(f); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range more {
		f, err := w.Create(e[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestOtherArraysAreIgnored checks what is documented: other arrays in a set do not
// matter.
func TestOtherArraysAreIgnored(t *testing.T) {
	header := func(descr, order, shape string) string {
		return string(npy(1, "{'descr': "+descr+", 'fortran_order': "+order+", 'shape': "+shape+", }\n", []byte("12345678")))
	}
	for name, more := range map[string][][2]string{
		"texts":                 {{"names.npy", header("'<U5'", "False", "(4,)")}},
		"pickled objects":       {{"ids.npy", header("'|O'", "False", "(4,)")}},
		"records":               {{"rows.npy", header("[('a', '<i4'), ('b', '<f8')]", "False", "(4,)")}},
		"dates":                 {{"when.npy", header("'<M8[ns]'", "False", "(4,)")}},
		"complex numbers":       {{"waves.npy", header("'<c16'", "False", "(4,)")}},
		"Fortran order":         {{"grid.npy", header("'<i2'", "True", "(2, 2)")}},
		"big-endian":            {{"old.npy", header("'>i4'", "False", "(2,)")}},
		"data that are cut off": {{"half.npy", header("'<i8'", "False", "(400,)")}},
		"no array at all":       {{"README", "hello"}, {"empty.npy", ""}},
		"twice the same":        {{"x.npy", header("'<i8'", "False", "(1,)")}, {"x.npy", header("'<i8'", "False", "(1,)")}},
		"a name without end":    {{strings.Repeat("x", 5000) + ".npy", ""}},
	} {
		dir := writePackage(t)
		write(t, dir, "eval/profile.npz", repacked(t, more...))
		if problems := Check(dir); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
	dir := writePackage(t)
	write(t, dir, "eval/profile.npz", repacked(t, [2]string{"label.npy", ""}))
	if got := lines(dir, Check(dir)); len(got) != 1 || got[0] != `25:12: evaluation set eval/profile.npz: the entry "label.npy" is not an array, or is there twice` {
		t.Errorf("an array that is read, twice: %q", got)
	}
}

// TestSampleProblems checks that unusable samples are reported by array and first
// sample.
func TestSampleProblems(t *testing.T) {
	const wave, image = "max: 16000}", "media: image}"
	for _, c := range []struct {
		name, old, text string
		change          func([]tensor.Tensor)
		want            string
	}{
		{"NaN", "", "", func(a []tensor.Tensor) { a[2].Data = encode(tensor.FP32, 1, 2, math.NaN(), 4) },
			`25:12: evaluation set eval/profile.npz: array "gain": element 0 of sample 2 is NaN; save finite numbers`},
		{"infinity", "", "", func(a []tensor.Tensor) { a[2].Data = encode(tensor.FP32, 1, math.Inf(-1), math.NaN(), 4) },
			`25:12: evaluation set eval/profile.npz: array "gain": element 0 of sample 1 is -Inf; save finite numbers`},
		{"longer than max", wave, "max: 4}", func([]tensor.Tensor) {},
			`25:12: evaluation set eval/profile.npz: the samples of array "wave" have a size of 5 where the input has -1; its max is 4`},
		{"outside the range", image, "range: [0, 2]}", func([]tensor.Tensor) {},
			`25:12: evaluation set eval/profile.npz: sample 3 of array "image": input "image": element 0 is 3; it must be between 0 and 2`},
		{"all absent", image, "absent: zeros}", func(a []tensor.Tensor) { a[0].Data = make([]byte, 16) },
			`25:12: evaluation set eval/profile.npz: array "image": every sample looks absent, as absent: zeros says; nothing can be measured on them`},
		{"a label too large", "", "", func(a []tensor.Tensor) { a[3].Data = encode(tensor.Int64, 0, 1, 2, 0) },
			`25:12: evaluation set eval/profile.npz: the label of sample 2 is 2; the model has the classes 0 to 1`},
		{"fewer rows", "", "", func(a []tensor.Tensor) {
			a[0].Shape, a[0].Data = tensor.Shape{3, 2, 2}, a[0].Data[:12]
		}, `25:12: evaluation set eval/profile.npz: array "image" has 3 samples; there are 4 labels`},
		{"empty samples", "", "", func(a []tensor.Tensor) { a[1].Shape, a[1].Data = tensor.Shape{4, 0}, nil },
			`25:12: evaluation set eval/profile.npz: array "wave" has shape [4,0]; its samples are empty`},
	} {
		dir := writePackage(t)
		write(t, dir, FileName, []byte(strings.Replace(goodYAML, c.old, c.text, 1)))
		arrays := setArrays(4)
		c.change(arrays)
		write(t, dir, "eval/profile.npz", npz(t, arrays))
		if got := lines(dir, Check(dir)); len(got) == 0 || got[0] != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

// TestSampleWarnings checks the warnings about valid samples.
func TestSampleWarnings(t *testing.T) {
	dir := writePackage(t)
	write(t, dir, FileName, []byte(strings.Replace(goodYAML, "media: image}", "media: image, absent: zeros}", 1)))
	f := CheckIn("", dir)
	want := []string{
		`mosel.yaml:25: evaluation set eval/profile.npz: array "image": 1 of 4 samples look absent (absent: zeros), sample 0 first; a server will not run the modality on them`,
		`mosel.yaml:25: evaluation set eval/profile.npz: the samples of "wave" have size 5, and up to 16000 (max) is served: the profile's times hold for 5`,
		`mosel.yaml:25: evaluation set eval/profile.npz has 4 samples, which leave accuracies uncertain: one near 0.9 is known to ±32.7 points; 1,000 or more are advised`,
		`mosel.yaml:26: evaluation set eval/heldout.npz: array "image": 1 of 3 samples look absent (absent: zeros), sample 0 first; a server will not run the modality on them`,
	}
	if len(f.Problems) > 0 || !slices.Equal(f.Warnings, want) {
		t.Errorf("%v\n%s", f.Problems, strings.Join(f.Warnings, "\n"))
	}
}

func TestProfileWarnings(t *testing.T) {
	p := &Profile{Device: "cpu", Variants: []VariantProfile{
		{Name: "image", Accuracy: MeasuredAccuracy(190, 200)}, {Name: "all", Accuracy: MeasuredAccuracy(198, 200)}}}
	want := []string{"profile cpu: 200 samples leave accuracies uncertain (image 0.950 ±3.1 points, all 0.990 ±1.6 points); profile on 1,000 or more"}
	if got := p.Warnings(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	for i := range p.Variants {
		p.Variants[i].Accuracy = MeasuredAccuracy(900, 1000)
	}
	if got := p.Warnings(); got != nil {
		t.Errorf("a thousand samples: %q", got)
	}
}

// TestASetThatWasLeftOut: a package with a profile needs its set only to be profiled.
func TestASetThatWasLeftOut(t *testing.T) {
	m := loadGood(t)
	if err := os.Remove(m.File(m.Evaluation.Profile)); err != nil {
		t.Fatal(err)
	}
	missing := "25:12: evaluation set eval/profile.npz: no such file or directory"
	if got := lines(m.Dir, Check(m.Dir)); !slices.Equal(got, []string{missing}) {
		t.Errorf("without a profile: %q", got)
	}
	if err := goodProfile(m, "cpu").Save(m.ProfilePath("cpu")); err != nil {
		t.Fatal(err)
	}
	warning := "mosel.yaml:25: evaluation set eval/profile.npz does not exist: the package can be served with its profiles, but not profiled"
	if f := CheckIn("", m.Dir); len(f.Problems) > 0 || !slices.Contains(f.Warnings, warning) {
		t.Errorf("with a profile: %v\n%q", f.Problems, f.Warnings)
	}
}
