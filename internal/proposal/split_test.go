package proposal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/proposal"
	"github.com/mosel-serve/mosel/tensor"
)

func TestSplit(t *testing.T) {
	files := func(seed uint64) (dir string, profile, heldOut []byte) {
		dir = filepath.Join(t.TempDir(), "m")
		writeFile(t, filepath.Join(dir, "x.onnx"), scorer("y", 3, in("x", tensor.FP32, open, 2)))
		writeNPZ(t, filepath.Join(dir, "samples.npz"),
			arrayOf(t, "x", tensor.Shape{few, 2}, numbers(few*2, func(i int) float32 { return float32(i) })),
			arrayOf(t, "label", tensor.Shape{few}, numbers(few, func(i int) int64 { return int64(i % 3) })),
			arrayOf(t, "note", tensor.Shape{5}, make([]float32, 5)))
		addTexts(t, filepath.Join(dir, "samples.npz"), "writer", slices.Repeat([]string{"ann", "bö", "c"}, few/3)...)
		p := propose(t, dir, proposal.Options{})
		if _, err := p.Split(dir, 0.25, seed); err != nil {
			t.Fatal(err)
		}
		if p.Profile != "eval/profile.npz" || p.HeldOut != "eval/heldout.npz" {
			t.Fatalf("sets %q and %q", p.Profile, p.HeldOut)
		}
		if found := modelpkg.CheckText(dir, p.YAML()); len(found.Problems) > 0 {
			t.Fatal(found.Problems)
		}
		if _, err := p.Split(dir, 0.25, seed); err == nil {
			t.Error("what is split was split again")
		}
		return dir, readFile(t, filepath.Join(dir, p.Profile)), readFile(t, filepath.Join(dir, p.HeldOut))
	}
	_, profile, heldOut := files(1)
	_, again, _ := files(1)
	_, other, _ := files(2)
	if !bytes.Equal(profile, again) || bytes.Equal(profile, other) {
		t.Error("the seed alone must decide")
	}
	var rows []float32
	for name, c := range map[string]struct {
		file    []byte
		samples int
	}{"profile": {profile, 3}, "heldout": {heldOut, 9}} {
		arrays, err := modelpkg.ReadNPZ(bytes.NewReader(c.file), int64(len(c.file)), 1<<20, "x", "label", "note")
		if err != nil || len(arrays) != 3 || arrays[2].Rows() != 5 {
			t.Fatalf("%s: %v %v", name, err, arrays)
		}
		x, _ := tensor.Values[float32](arrays[0])
		labels, _ := tensor.Values[int64](arrays[1])
		writers, err := modelpkg.TextsNPZ(bytes.NewReader(c.file), int64(len(c.file)), "writer")
		if err != nil || len(labels) != c.samples || len(x) != 2*c.samples || len(writers) != c.samples {
			t.Fatalf("%s: %v, %d labels, %d numbers, texts %q", name, err, len(labels), len(x), writers)
		}
		for i, label := range labels {
			sample := int(x[2*i]) / 2
			if label != int64(sample%3) || writers[i] != []string{"ann", "bö", "c"}[sample%3] {
				t.Errorf("%s: sample %d has label %d and text %q: rows were torn apart", name, sample, label, writers[i])
			}
			rows = append(rows, x[2*i])
		}
	}
	slices.Sort(rows)
	if len(slices.Compact(rows)) != few {
		t.Errorf("the parts have samples %v", rows)
	}
}

func TestSplitReplacesNothing(t *testing.T) {
	dir := scored(t, "y", 3, wholeLabels(t, func(i int) int64 { return int64(i % 3) }))
	p := propose(t, dir, proposal.Options{})
	for _, share := range []float64{0.001, 0.999} {
		if _, err := p.Split(dir, share, 1); err == nil {
			t.Errorf("a share of %v was accepted", share)
		}
	}
	mine := filepath.Join(dir, "eval", "heldout.npz")
	writeFile(t, mine, []byte("mine"))
	if _, err := p.Split(dir, 0.5, 1); err == nil {
		t.Error("a file was replaced")
	}
	if got := readFile(t, mine); string(got) != "mine" {
		t.Errorf("it holds %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "eval", "profile.npz")); err == nil {
		t.Error("half a split was left behind")
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
