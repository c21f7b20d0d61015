package profiler

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// double is a runtime with two variants on the test's clock: "half" is right for even
// samples and takes 1 ms per item, "full" is always right and takes 4 ms per item and 2
// ms per batch.
type double struct {
	loads  [][]int
	runs   int
	opened int                 // and not closed
	fail   func(run int) error // nil: never
	skew   func(variant, items int) time.Duration
	score  float32
}

func (d *double) Name() string    { return "double" }
func (d *double) Version() string { return "7" }
func (d *double) Close() error    { d.opened--; return nil }

func (d *double) Load(_ context.Context, _ *modelpkg.Model, o runtime.Options) (runtime.Instance, error) {
	d.loads = append(d.loads, o.Variants)
	return d.instance(), nil
}

func (d *double) instance() runtime.Instance { return instance{d} }

type instance struct{ *double }

func (in instance) Slots() int { return 1 }

func (in instance) Close() error { return nil }

func (in instance) Run(_ context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	in.runs++
	if in.fail != nil {
		if err := in.fail(in.runs); err != nil {
			return nil, err
		}
	}
	took := time.Duration(len(items)) * time.Millisecond
	if variant == 1 {
		took = 4*took + 2*time.Millisecond
	}
	if in.skew != nil {
		took += in.skew(variant, len(items))
	}
	time.Sleep(took) // the test's clock
	var data []byte
	for _, item := range items {
		sample := int(item[0][0])
		right := sample % 3
		if variant == 0 && sample%2 == 1 {
			right = (right + 1) % 3
		}
		for class := range 3 {
			score := float32(0.1)
			if class == right {
				score = in.score
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(score))
		}
	}
	return []tensor.Tensor{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{int64(len(items)), 3}, Data: data}}, nil
}

// open returns the double. The profiler closes what it opens.
func (d *double) open(context.Context) (runtime.Runtime, error) {
	d.opened++
	return d, nil
}

func newDouble() *double { return &double{score: 0.8} }

// testModel returns the model of the double and a labelled set of n samples.
func testModel(t *testing.T, n int) (*modelpkg.Model, *modelpkg.Set) {
	t.Helper()
	m := &modelpkg.Model{
		Dir: t.TempDir(), Name: "toy", Version: "3", Digest: "sha256:toy",
		Modalities: []modelpkg.Modality{{Name: "a", Inputs: []int{0}}},
		Inputs:     []modelpkg.Input{{Spec: modelpkg.Spec{Name: "x", DType: tensor.Uint8}}},
		Outputs:    []modelpkg.Spec{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{3}}},
		Variants: []modelpkg.Variant{
			{Name: "half", Modalities: 1, Inputs: []int{0}, Precision: "fp32"},
			{Name: "full", Modalities: 1, Inputs: []int{0}, Precision: "fp32"},
		},
		Limits:     modelpkg.Limits{BatchItemsMax: 6},
		Evaluation: modelpkg.Evaluation{Profile: "set.npz"},
	}
	samples, labels := make([]byte, n), make([]byte, n)
	for i := range samples {
		samples[i], labels[i] = byte(i), byte(i%3)
	}
	shape := tensor.Shape{int64(n)}
	var file bytes.Buffer
	err := modelpkg.WriteNPZ(&file, []tensor.Tensor{
		{Name: "x", DType: tensor.Uint8, Shape: shape, Data: samples},
		{Name: "label", DType: tensor.Uint8, Shape: shape, Data: labels},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(m.Dir, "set.npz")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(path, m)
	if err != nil {
		t.Fatal(err)
	}
	return m, set
}

// withRate returns the set with a second input: three rates in turn.
func withRate(t *testing.T, m *modelpkg.Model, set *modelpkg.Set) *modelpkg.Set {
	t.Helper()
	n := set.Len()
	x, rate, labels := make([]byte, n), make([]byte, n), make([]byte, n)
	for i := range n {
		x[i], rate[i], labels[i] = set.Item(i)[0][0], byte(8+i%3), byte(set.Labels.Class(i))
	}
	shape := tensor.Shape{int64(n)}
	var file bytes.Buffer
	err := modelpkg.WriteNPZ(&file, []tensor.Tensor{
		{Name: "x", DType: tensor.Uint8, Shape: shape, Data: x},
		{Name: "rate", DType: tensor.Uint8, Shape: shape, Data: rate},
		{Name: "label", DType: tensor.Uint8, Shape: shape, Data: labels},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(m.Dir, "rates.npz")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := modelpkg.OpenSet(path, m)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func options() Options {
	o := Default()
	o.Device, o.Detail, o.Threads, o.Budget = "test", "a test", 2, 0
	return o
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, set := testModel(t, 100)
		d := newDouble()
		var kept []int
		var progress []Progress
		o := options()
		o.Keep = func(s *modelpkg.Samples) error { kept = append(kept, len(s.Variants)); return nil }
		o.Progress = func(p Progress) { progress = append(progress, p) }
		got, err := Run(t.Context(), d.open, m, set, o)
		if err != nil {
			t.Fatal(err)
		}
		p := got.Profile
		if p.Model != "toy" || p.ModelDigest != "sha256:toy" || p.Device != "test" || p.Threads != 2 || p.Runtime != "double" ||
			p.RuntimeVersion != "7" || p.Samples != 100 || p.DatasetDigest != set.Digest || p.Created.IsZero() {
			t.Errorf("profile: %+v", p)
		}
		half, full := p.Variants[0], p.Variants[1]
		if !reflect.DeepEqual(half.Accuracy, modelpkg.MeasuredAccuracy(50, 100)) || !reflect.DeepEqual(full.Accuracy, modelpkg.MeasuredAccuracy(100, 100)) {
			t.Errorf("accuracy: %+v, %+v", half.Accuracy, full.Accuracy)
		}
		checkAnswers(t, half, full)
		for i, items := range []int{1, 2, 4, 6} {
			ms := float64(items)
			for _, c := range []struct {
				b    modelpkg.BatchProfile
				want float64
			}{{half.Batches[i], ms}, {full.Batches[i], 4*ms + 2}} {
				if c.b.Items != items || c.b.P50MS != c.want || c.b.P95MS != c.want || c.b.Runs != 10 || c.b.MemoryBytes < 0 {
					t.Errorf("batch of %d: %+v, want %v ms", items, c.b, c.want)
				}
			}
		}
		if s := got.Samples; s.Variants["full"].Confidence[7] != 0.8 || s.Variants["half"].Predicted[7] != 2 || s.Labels.Class(7) != 1 {
			t.Errorf("samples: %+v", s)
		}
		if len(d.loads) != 3 || !slices.Equal(d.loads[0], []int{0}) || !slices.Equal(d.loads[1], []int{1}) || d.loads[2] != nil {
			t.Errorf("loads: %v", d.loads)
		}
		if d.opened != 0 {
			t.Errorf("%d runtimes are left open", d.opened)
		}
		if !slices.Equal(kept, []int{1, 2}) {
			t.Errorf("kept after %v variants", kept)
		}
		checkProgress(t, progress)
	})
}

// checkProgress checks that progress rises to 1, and that the double, whose runs always
// take the same time, is predicted exactly.
func checkProgress(t *testing.T, progress []Progress) {
	t.Helper()
	share := 0.0
	var stages []string
	for _, p := range progress {
		if p.Share < share {
			t.Errorf("progress fell from %v to %v", share, p.Share)
		}
		share = p.Share
		if len(stages) == 0 || stages[len(stages)-1] != p.Stage {
			stages = append(stages, p.Stage)
		}
	}
	if math.Abs(share-1) > 1e-2 || !slices.Equal(stages, []string{"memory", "accuracy", "latency"}) {
		t.Errorf("progress ended at %v after %v", share, stages)
	}
}

// TestBudget checks that a fast model is timed more often.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, set := testModel(t, 10)
		o := options()
		o.Budget = 2 * time.Second // 21 rounds in which the short batches run twice
		got, err := Run(t.Context(), newDouble().open, m, set, o)
		if err != nil {
			t.Fatal(err)
		}
		if runs := got.Profile.Variants[0].Batches[0].Runs; runs != 21 {
			t.Errorf("%d runs", runs)
		}
	})
}

// TestAnswersAreKept checks that a second profile only measures the times, and that an
// interrupted one continues with the missing variants.
func TestAnswersAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, set := testModel(t, 60)
		first, err := Run(t.Context(), newDouble().open, m, set, options())
		if err != nil {
			t.Fatal(err)
		}
		runs := func(o Options) int {
			t.Helper()
			d := newDouble()
			got, err := Run(t.Context(), d.open, m, set, o)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range got.Profile.Variants {
				if !reflect.DeepEqual(v.Accuracy, first.Profile.Variants[i].Accuracy) {
					t.Errorf("%s: accuracy %+v", v.Name, v.Accuracy)
				}
			}
			return d.runs
		}
		const timed, answers = 13 * (2*4 + 5), 10 // 5 cells are short: they run twice
		const alone = 2 * (1 + 6)                 // a batch of each variant, and its items one by one
		const scout = 2*4 + alone
		o := options()
		o.Answers = first.Samples
		o.Items = 20 // quick; but all answers are known
		if got := runs(o); got != scout+timed {
			t.Errorf("%d runs with all answers", got)
		}
		o = options()
		delete(first.Samples.Variants, "full")
		o.Answers = first.Samples
		if got := runs(o); got != scout+timed+answers {
			t.Errorf("%d runs with the answers of one variant", got)
		}
		o = options()
		o.Timed = first.Profile
		if got := runs(o); got != 2+alone+2*answers {
			t.Errorf("%d runs for the answers alone", got)
		}
		other := *first.Samples
		other.Labels = other.Labels.Pick([]int{1, 2, 3})
		o = options()
		o.Answers = &other
		if got := runs(o); got != scout+timed+2*answers {
			t.Errorf("%d runs with the answers to other samples", got)
		}
	})
}

func TestQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, set := testModel(t, 100)
		o := Quick()
		o.Device, o.Threads, o.Items = "test", 1, 30
		got, err := Run(t.Context(), newDouble().open, m, set, o)
		if err != nil {
			t.Fatal(err)
		}
		if a := got.Profile.Variants[1].Accuracy; a.Samples != 30 || a.Correct != 30 || got.Profile.Samples != 100 {
			t.Errorf("accuracy %+v of %d", a, got.Profile.Samples)
		}
		if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "30 samples leave accuracies uncertain (half 0.667 ±") {
			t.Errorf("warnings: %q", got.Warnings)
		}
	})
}

func TestWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, set := testModel(t, 100)
		d := newDouble()
		d.skew = func(variant, items int) time.Duration {
			if variant == 1 && items == 1 {
				return 20 * time.Millisecond
			}
			return 0
		}
		o := options()
		got, err := Run(t.Context(), d.open, m, set, o)
		if err != nil {
			t.Fatal(err)
		}
		if got.Profile.Variants[1].Batches[0].P50MS != 26 {
			t.Error("the measurement was changed")
		}
		if len(got.Warnings) != 2 || got.Warnings[0] != "full: a batch of 2 took less time (10 ms) than one of 1 (26 ms)" {
			t.Errorf("warnings: %q", got.Warnings)
		}
		count := 0
		d.skew = func(int, int) time.Duration { count++; return time.Duration(count%5/4) * time.Second }
		if got, err = Run(t.Context(), d.open, m, set, o); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.HasPrefix(w, "times vary much") }) {
			t.Errorf("warnings: %q", got.Warnings)
		}
	})
}

func TestRunErrors(t *testing.T) {
	m, set := testModel(t, 20)
	for _, c := range []struct {
		name   string
		change func(*Options, *double)
		kind   slo.Kind
		want   string
	}{
		{"batches", func(o *Options, _ *double) { o.Batches = []int{1, 4, 2} }, slo.KindInvalid, "must ascend from 1"},
		{"first batch", func(o *Options, _ *double) { o.Batches = []int{2} }, slo.KindInvalid, "must ascend from 1"},
		{"large batch", func(o *Options, _ *double) { o.Batches = []int{1, 7} }, slo.KindInvalid, "the model's limit of 6"},
		{"threads", func(o *Options, _ *double) { o.Threads = 0 }, slo.KindInvalid, "threads and trials must be at least 1"},
		{"not a number", func(_ *Options, d *double) { d.score = float32(math.NaN()) }, slo.KindInvalid,
			"variant half, sample 0: the score of class 0 is not a number"},
		{"run", func(_ *Options, d *double) {
			d.fail = func(int) error { return slo.E("run", slo.KindInternal, "no luck") }
		}, slo.KindInternal, "no luck"},
		{"keep", func(o *Options, _ *double) { o.Keep = func(*modelpkg.Samples) error { return errors.New("disk full") } }, slo.KindInternal, "disk full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, d := options(), newDouble()
				c.change(&o, d)
				_, err := Run(t.Context(), d.open, m, set, o)
				if slo.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		})
	}
}

// TestCancelled checks that every stage ends soon, and that the kept answers are
// complete for their variants.
func TestCancelled(t *testing.T) {
	for _, at := range []int{1, 12, 20, 35, 50, 70} { // scouting, the first variant alone, its answers, the second's, timing
		synctest.Test(t, func(t *testing.T) {
			m, set := testModel(t, 100)
			ctx, cancel := context.WithCancel(t.Context())
			d := newDouble()
			d.fail = func(run int) error {
				if run == at {
					cancel()
				}
				return nil
			}
			o := options()
			o.Keep = func(s *modelpkg.Samples) error {
				for name, v := range s.Variants {
					if len(v.Predicted) != 100 {
						t.Errorf("%s has %d answers", name, len(v.Predicted))
					}
				}
				return nil
			}
			_, err := Run(ctx, d.open, m, set, o)
			if slo.KindOf(err) != slo.KindCancelled || d.runs != at {
				t.Errorf("cancelled at run %d: %v after %d runs", at, err, d.runs)
			}
		})
	}
}

func TestLadder(t *testing.T) {
	for limit, want := range map[int][]int{1: {1}, 2: {1, 2}, 3: {1, 2, 3}, 32: {1, 2, 4, 8, 16, 32}, 33: {1, 2, 4, 8, 16, 32, 33}} {
		if got := Ladder(limit); !slices.Equal(got, want) {
			t.Errorf("up to %d: %v", limit, got)
		}
	}
}

func TestTimesAreNeverNothing(t *testing.T) {
	got := timing{runs: []time.Duration{0, 1, 2000}}
	if p50, p95 := got.milliseconds(0.5), got.milliseconds(0.95); p50 != 0.001 || p95 != 0.002 {
		t.Errorf("%v ms, %v ms", p50, p95)
	}
}

// TestMemory checks the reading with an allocation that must show.
func TestMemory(t *testing.T) {
	before := residentBytes("VmRSS:")
	if before == 0 {
		t.Skip("no /proc/self/status here")
	}
	block := make([]byte, 64<<20)
	for i := range block {
		block[i] = 1
	}
	if grown := residentBytes("VmRSS:") - before; grown < 32<<20 {
		t.Errorf("64 MiB show as %d bytes", grown)
	}
	if residentBytes("NoSuchField:") != 0 || block[len(block)-1] != 1 {
		t.Error("an unknown field has a value")
	}
}
