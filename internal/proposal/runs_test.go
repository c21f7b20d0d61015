package proposal_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/proposal"
	"github.com/mosel-serve/mosel/tensor"
)

// TestAnyGraphsThatRun draws models whose graphs really run, one for each of some
// subsets of their inputs, and lets the runtime judge the package.
func TestAnyGraphsThatRun(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			dir := filepath.Join(t.TempDir(), "m")
			inputs, arrays := runnable(t, r)
			classes := 1 + r.IntN(4)
			labels := numbers(few, func(i int) int64 { return int64(i % max(2, classes)) })
			arrays = append(arrays, arrayOf(t, "label", tensor.Shape{few}, labels))
			sets := map[string]bool{}
			for range 1 + r.IntN(4) {
				var some []value
				for _, in := range inputs {
					if r.IntN(2) == 0 {
						some = append(some, in)
					}
				}
				if key := fmt.Sprint(some); len(some) > 0 && !sets[key] {
					sets[key] = true
					writeFile(t, filepath.Join(dir, fmt.Sprintf("g%d.onnx", len(sets))), scorer("y", classes, some...))
				}
			}
			writeFile(t, filepath.Join(dir, "all_quant.onnx"), scorer("y", classes, inputs...))
			writeNPZ(t, filepath.Join(dir, "samples.npz"), arrays...)
			_, m := sound(t, dir, proposal.Options{})
			if len(m.Variants) != len(sets)+1 {
				t.Errorf("%d variants of %d graphs", len(m.Variants), len(sets)+1)
			}
		})
	}
}

// runnable draws inputs, and their samples, which all have a size above 0.
func runnable(t *testing.T, r *rand.Rand) (inputs []value, arrays []tensor.Tensor) {
	names := []string{"image", "image_left", "image_right", "input_ids", "attention_mask", "x", "sensor_a", "sensor_b", "audio", "on", "a: b"}
	r.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	for _, name := range names[:1+r.IntN(4)] {
		dims, shape := []int{open}, tensor.Shape{few}
		for range 1 + r.IntN(3) {
			size := 1 + r.IntN(4)
			shape = append(shape, int64(size))
			if r.IntN(4) == 0 {
				size = open
			}
			dims = append(dims, size)
		}
		n, err := shape.Elements()
		if err != nil {
			t.Fatal(err)
		}
		value := in(name, tensor.FP32, dims...)
		var array tensor.Tensor
		switch r.IntN(3) {
		case 0:
			array = arrayOf(t, name, shape, numbers(n, func(i int) float32 { return float32(i%9) / 9 }))
		case 1:
			value.dtype = tensor.Int64
			array = arrayOf(t, name, shape, numbers(n, func(i int) int64 { return int64(i % 7) }))
		default:
			value.dtype = tensor.Uint8
			array = arrayOf(t, name, shape, numbers(n, func(i int) uint8 { return uint8(i) }))
		}
		inputs, arrays = append(inputs, value), append(arrays, array)
	}
	return inputs, arrays
}

func TestSetsAreToldApartByName(t *testing.T) {
	for name, c := range map[string]struct {
		files                  []string
		o                      proposal.Options
		profile, heldOut, says string
	}{
		"one":              {files: []string{"s.npz"}, profile: "s.npz"},
		"named":            {files: []string{"eval/profile.npz", "eval/heldout.npz", "samples.npz"}, profile: "eval/profile.npz", heldOut: "eval/heldout.npz"},
		"a test set":       {files: []string{"val.npz", "my_test.npz", "train.npz"}, profile: "val.npz", heldOut: "my_test.npz"},
		"training only":    {files: []string{"train.npz"}},
		"two":              {files: []string{"a.npz", "b.npz"}, says: "--profile FILE --heldout FILE"},
		"two, and chosen":  {files: []string{"a.npz", "b.npz"}, o: proposal.Options{Profile: "b.npz", HeldOut: "a.npz"}, profile: "b.npz", heldOut: "a.npz"},
		"a file not there": {files: []string{"a.npz"}, o: proposal.Options{Profile: "b.npz"}, says: "there is no such file of samples"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := scored(t, "y", 3)
			x := readFile(t, filepath.Join(dir, "x.onnx"))
			dir = t.TempDir()
			writeFile(t, filepath.Join(dir, "x.onnx"), x)
			for i, file := range c.files {
				writeNPZ(t, filepath.Join(dir, file), arrayOf(t, "x", tensor.Shape{few, 2}, numbers(few*2, func(k int) float32 { return float32(k + i) })),
					wholeLabels(t, func(k int) int64 { return int64(k % 3) }))
			}
			writeNPZ(t, filepath.Join(dir, "unrelated.npz"), arrayOf(t, "w", tensor.Shape{2}, []float32{1, 2}))
			p := propose(t, dir, c.o)
			said := slices.ContainsFunc(p.Decisions, func(d proposal.Decision) bool {
				return c.says != "" && strings.Contains(d.Why+strings.Join(d.Answers, " "), c.says)
			})
			if said != (c.says != "") || c.says == "" && (p.Profile != c.profile || p.HeldOut != c.heldOut || len(p.Decisions) > 0) {
				t.Errorf("profile %q, held out %q, decisions %+v", p.Profile, p.HeldOut, p.Decisions)
			}
		})
	}
}
