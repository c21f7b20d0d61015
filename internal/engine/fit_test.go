package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// lines is a model of lines of text with buckets of 4 and 16, and of a number beside:
// lines of the first bucket take 1 ms an item, those of the second 10 ms, and the number
// alone 1 ms. Its second output, where it has one, follows the text.
func lines(t *testing.T, follows bool) engine.Served {
	t.Helper()
	spec := func(name string, d tensor.DType, shape ...int64) modelpkg.Spec {
		return modelpkg.Spec{Name: name, DType: d, Shape: shape}
	}
	m := &modelpkg.Model{Name: "lines", Version: "1", Limits: modelpkg.Limits{BatchItemsMax: 8},
		Modalities: []modelpkg.Modality{{Name: "text", Inputs: []int{0, 1, 2}}, {Name: "number", Inputs: []int{3}}},
		Inputs: []modelpkg.Input{
			{Spec: spec("text", tensor.Uint8, -1), Media: modelpkg.MediaText,
				Buckets: &modelpkg.Buckets{Shapes: []tensor.Shape{{4}, {16}}, Mask: 1, Types: -1, Length: 2}},
			{Spec: spec("mask", tensor.Bool, -1)}, {Spec: spec("length", tensor.Int64)},
			{Spec: spec("number", tensor.FP32), Modality: 1},
		},
		Outputs:  []modelpkg.Spec{spec("scores", tensor.FP32, 2)},
		Variants: []modelpkg.Variant{{Name: "text", Modalities: 1}, {Name: "number", Modalities: 2}},
	}
	if follows {
		m.Outputs = append(m.Outputs, spec("codes", tensor.FP32, -1))
		m.Outputs[1].Follows = "text"
		m.Variants = m.Variants[:1]
	}
	measured := []modelpkgtest.Measured{{Accuracy: 0.9, Item: time.Millisecond}, {Accuracy: 0.9, Item: 10 * time.Millisecond}, {Accuracy: 0.8, Item: time.Millisecond}}
	loaded, err := modelpkgtest.Write(t.TempDir(), m, measured)
	if err != nil {
		t.Fatal(err)
	}
	p, err := modelpkg.FindProfile(loaded, "")
	if err != nil {
		t.Fatal(err)
	}
	return engine.Served{Model: loaded, Profile: p}
}

// readLines is the model's graph: the scores are the own length, by the mask and as it is
// told. The codes are those of the text, and NaN for what fills it up and for "?". The
// items of a batch must have one size.
func readLines(m *modelpkg.Model, r fake.Run) ([]tensor.Tensor, error) {
	n := int64(len(r.Items))
	scores := tensor.Tensor{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{n, 2}}
	codes := tensor.Tensor{Name: "codes", DType: tensor.FP32, Shape: tensor.Shape{n, 0}}
	for _, item := range r.Items {
		if m.Variants[r.Variant].Name == "number" {
			scores.Data = append(scores.Data, numbers(number(item[3]), 0)...)
			continue
		}
		size := len(item[0])
		if codes.Shape[1] = int64(size); size != len(r.Items[0][0]) || size != len(item[1]) || len(item[2]) != 8 {
			return nil, fmt.Errorf("a text of %d, a mask of %d, lengths of %d bytes", size, len(item[1]), len(item[2]))
		}
		own := 0
		for k, is := range item[1] {
			own += int(is)
			code := float32(math.NaN())
			if is == 1 && item[0][k] != '?' {
				code = float32(item[0][k])
			}
			codes.Data = append(codes.Data, numbers(code)...)
		}
		scores.Data = append(scores.Data, numbers(float32(own), float32(item[2][0]))...)
	}
	return []tensor.Tensor{scores, codes}[:len(m.Outputs)], nil
}

// runsOf are the runs of a model since it is warm.
type runsOf struct {
	mu   sync.Mutex
	list []string
}

// serveLines makes an engine of the model; runs are the variants and sizes of its batches.
func serveLines(t *testing.T, served engine.Served) (*engine.Engine, *runsOf) {
	t.Helper()
	runs := &runsOf{}
	rt := fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}, Answer: func(r fake.Run) ([]tensor.Tensor, error) {
		runs.mu.Lock()
		runs.list = append(runs.list, fmt.Sprintf("%d on %s", len(r.Items), served.Model.Variants[r.Variant].Name))
		runs.mu.Unlock()
		return readLines(served.Model, r)
	}})
	e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAll, Instances: 1, Threads: 1,
		QueueItemsMax: 10000, QueueJobsMax: 5000, Log: discard}, rt)
	if err != nil {
		t.Fatal(err)
	}
	runs.list = nil
	return e, runs
}

// lineRequest has a text for each item, as tensors or as files.
func lineRequest(files bool, texts ...string) engine.Request {
	r := engine.Request{Modalities: 1, Objective: slo.Objective{Deadline: slo.Never}}
	if files {
		r.Encoded = []bool{true, false, false, false}
	}
	for _, text := range texts {
		r.Items = append(r.Items, runtime.Item{[]byte(text), nil, nil, nil})
	}
	return r
}

// ask sends a request, and says what is wrong with the answer.
func askLines(e *engine.Engine, served engine.Served, r engine.Request) error {
	got, err := e.Infer(context.Background(), "lines", "", r)
	if err != nil {
		return err
	}
	scores, err := tensor.Values[float32](got.Outputs[0])
	if err != nil {
		return err
	}
	for i, item := range r.Items {
		n := len(item[0])
		bucket := map[bool]string{true: "text@4", false: "text@16"}[n <= 4]
		if scores[2*i] != float32(n) || scores[2*i+1] != float32(n) || served.Model.Variants[got.Variants[i]].Name != bucket {
			return fmt.Errorf("item %d, %q: scores %v of %s", i, item[0], scores[2*i:2*i+2], served.Model.Variants[got.Variants[i]].Name)
		}
	}
	return nil
}

// TestItemsOfABucketShareBatches queues jobs of two buckets behind a running one. Those of
// one bucket run together, those of two never do.
func TestItemsOfABucketShareBatches(t *testing.T) {
	served := lines(t, false)
	synctest.Test(t, func(t *testing.T) {
		e, runs := serveLines(t, served)
		defer drain(t, e)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := askLines(e, served, lineRequest(false, "a line of 15 xx")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		for i, text := range []string{"abc", "nine char", "abcd", "ten chars.", "a", "sixteen chars..."} {
			wg.Go(func() {
				if err := askLines(e, served, lineRequest(i%2 == 0, text)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if want := []string{"1 on text@16", "3 on text@4", "3 on text@16"}; !slices.Equal(runs.list, want) {
			t.Errorf("ran %q, want %q", runs.list, want)
		}
	})
}

// TestAShortTextCostsItsOwnBucket checks that admission and answers reckon with the
// bucket's own time, and that a job of items of both buckets runs each on its own.
func TestAShortTextCostsItsOwnBucket(t *testing.T) {
	served := lines(t, false)
	synctest.Test(t, func(t *testing.T) {
		e, _ := serveLines(t, served)
		defer drain(t, e)
		within := func(text string, d time.Duration) error {
			r := lineRequest(true, text)
			r.Objective.Deadline = e.Now().Add(d)
			return askLines(e, served, r)
		}
		if err := within("abcd", 3*time.Millisecond); err != nil {
			t.Errorf("a short text in 3 ms: %v", err)
		}
		var late *slo.Error
		if err := within("abcde", 9*time.Millisecond); !errors.As(err, &late) || late.Kind != slo.KindOverloaded {
			t.Errorf("a long text in 9 ms: %v", err)
		}
		if err := within("abcde", 15*time.Millisecond); err != nil {
			t.Errorf("a long text in 15 ms: %v", err)
		}
		r := lineRequest(true, "a", "abcde", "abc", "abcdefghi", "ab")
		if err := askLines(e, served, r); err != nil {
			t.Error(err)
		}
		// Some items of a mixed job have no text.
		r = lineRequest(false, "abc", "", "abcdefg")
		r.Modalities, r.Mixed = 3, []slo.Carried{{Items: 1, Present: 1}, {Items: 1, Present: 2}, {Items: 1, Present: 1}}
		r.Items[1] = runtime.Item{nil, nil, nil, numbers(5)}
		got, err := e.Infer(t.Context(), "lines", "", r)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, v := range got.Variants {
			names = append(names, served.Model.Variants[v].Name)
		}
		scores, err := tensor.Values[float32](got.Outputs[0])
		if err != nil || !slices.Equal(names, []string{"text@4", "number", "text@16"}) || !slices.Equal(scores, []float32{3, 3, 5, 0, 7, 7}) {
			t.Errorf("%v: %v ran on %q", err, scores, names)
		}
		long := lineRequest(false, "abc", strings.Repeat("x", 17))
		if _, err := e.Infer(t.Context(), "lines", "", long); slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), `item 1: input "text" has the shape [17], which no bucket has room for`) {
			t.Errorf("a text that is too long: %v", err)
		}
	})
}

// TestOutputsThatFollow checks that answers have the items' own sizes, also beside items
// that fail, and that numbers for what filled an item up do not matter.
func TestOutputsThatFollow(t *testing.T) {
	served := lines(t, true)
	synctest.Test(t, func(t *testing.T) {
		e, _ := serveLines(t, served)
		defer drain(t, e)
		for _, c := range []struct {
			what   string
			files  bool
			texts  []string
			failed []int
			fault  string
			n      int64 // of each answer
		}{
			{"one text", false, []string{"abc"}, nil, "", 3},
			{"several", false, []string{"abcde", "fghij", "klmno"}, nil, "", 5},
			{"files", true, []string{"abc", "def"}, nil, "", 3},
			{"an answer with NaN", false, []string{"abc", "a?c", "def"}, []int{1}, `output "codes" is not finite (NaN)`, 3},
			{"a file that cannot be read, in another bucket", true, []string{"abc", "\xff\xff\xff\xff\xff\xff", "def"}, []int{1}, "the text is not UTF-8", 3},
			{"NaN in another bucket", true, []string{"abc", "?????", "def"}, []int{1}, `output "codes" is not finite (NaN)`, 3},
		} {
			got, err := e.Infer(t.Context(), "lines", "", lineRequest(c.files, c.texts...))
			if err != nil {
				t.Errorf("%s: %v", c.what, err)
				continue
			}
			codes, err := tensor.Values[float32](got.Outputs[1])
			if err != nil || !got.Outputs[1].Shape.Equal(tensor.Shape{int64(len(c.texts)), c.n}) {
				t.Errorf("%s: an answer of %v, %v", c.what, got.Outputs[1].Shape, err)
				continue
			}
			var failed []int
			for _, f := range got.Failed {
				failed = append(failed, f.Item)
				if !strings.Contains(f.Err.Error(), c.fault) {
					t.Errorf("%s: %v", c.what, f.Err)
				}
			}
			if !slices.Equal(failed, c.failed) {
				t.Errorf("%s: %v failed", c.what, failed)
			}
			for i, text := range c.texts {
				for k := range text {
					if !slices.Contains(failed, i) && codes[i*int(c.n)+k] != float32(text[k]) {
						t.Errorf("%s: item %d is %v", c.what, i, codes[i*int(c.n):(i+1)*int(c.n)])
						break
					}
				}
			}
		}
		if _, err := e.Infer(t.Context(), "lines", "", lineRequest(true, "abc", "abcd")); slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), "cannot be one tensor") {
			t.Errorf("answers of two sizes: %v", err)
		}
	})
}

// TestManyCallersOfAllSizes sends texts of all sizes from many goroutines.
func TestManyCallersOfAllSizes(t *testing.T) {
	served := lines(t, false)
	synctest.Test(t, func(t *testing.T) {
		e, _ := serveLines(t, served)
		defer drain(t, e)
		var wg sync.WaitGroup
		for caller := range 20 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(caller), 7))
				for range 10 {
					var texts []string
					for range 1 + rng.IntN(12) {
						texts = append(texts, strings.Repeat("x", 1+rng.IntN(16)))
					}
					if err := askLines(e, served, lineRequest(rng.IntN(2) == 0, texts...)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := e.Infer(ctx, "lines", "", lineRequest(true, "abc")); slo.KindOf(err) != slo.KindCancelled {
			t.Errorf("after the end: %v", err)
		}
	})
}
