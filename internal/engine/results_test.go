package engine_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// growing is a model with two scores and an output whose size in bytes is the first
// number of the item. Its input has a fixed or a dynamic length; a setting is one value
// for the batch. The number 13 makes its graph fail, an infinity makes its scores
// infinite.
func growing(dynamic bool) engine.Served {
	length := int64(1)
	if dynamic {
		length = -1
	}
	m := &modelpkg.Model{
		Name: "growing", Version: "1", Digest: "sha256:1", Task: "classification", Metric: "accuracy",
		Modalities: []modelpkg.Modality{{Name: "x", Inputs: []int{0, 1}}},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{length}}},
			{Spec: modelpkg.Spec{Name: "setting", DType: tensor.Uint8, Shape: tensor.Shape{}}, Unbatched: true},
		},
		Outputs: []modelpkg.Spec{
			{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{2}},
			{Name: "bytes", DType: tensor.Uint8, Shape: tensor.Shape{-1}},
		},
		Variants: []modelpkg.Variant{{Name: "v", Modalities: 1, Inputs: []int{0, 1}, Path: "v.onnx", Precision: "fp32"}},
		Limits:   modelpkg.Limits{BatchItemsMax: 8},
	}
	p := &modelpkg.Profile{Model: "growing", Variants: []modelpkg.VariantProfile{{Name: "v", Accuracy: modelpkg.AccuracyMean{Mean: 0.9},
		Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: 1, P95MS: 1}, {Items: 8, P50MS: 2, P95MS: 2}}}}}
	return engine.Served{Model: m, Profile: p}
}

func number(x []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(x)) }

func numbers(values ...float32) []byte {
	x, _ := tensor.Of("", tensor.Shape{int64(len(values))}, values) // as many as the shape says
	return x.Data
}

var errThirteen = errors.New("thirteen")

// grow is the model's graph. If the items of a batch ask for different sizes, it gives
// all of them the largest, as padding does. One infinity makes all scores infinite.
func grow(items []runtime.Item) ([]tensor.Tensor, error) {
	size, spoilt := 0, float32(0)
	for _, item := range items {
		x := number(item[0])
		if x == 13 {
			return nil, errThirteen
		}
		if math.IsInf(float64(x), 0) {
			spoilt = x
			continue
		}
		size = max(size, int(x))
	}
	n := int64(len(items))
	scores, rows := []byte{}, []byte{}
	for _, item := range items {
		scores = append(scores, numbers(number(item[0])+spoilt, float32(items[0][1][0])+float32(len(item[0])))...)
		rows = append(rows, bytes.Repeat([]byte{byte(number(item[0][len(item[0])-4:]))}, size)...)
	}
	return []tensor.Tensor{
		{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{n, 2}, Data: scores},
		{Name: "bytes", DType: tensor.Uint8, Shape: tensor.Shape{n, int64(size)}, Data: rows},
	}, nil
}

// serveGrowing returns an engine with the model.
func serveGrowing(t *testing.T, dynamic bool, instances int) *engine.Engine {
	t.Helper()
	served := growing(dynamic)
	rt := fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}, Answer: func(r fake.Run) ([]tensor.Tensor, error) { return grow(r.Items) }})
	e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAll, Instances: instances, Threads: 1,
		QueueItemsMax: 10000, QueueJobsMax: 5000, Log: discard}, rt)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func growingRequest(list []runtime.Item) engine.Request {
	return engine.Request{Modalities: 1, Items: list, Objective: slo.Objective{Deadline: slo.Never}}
}

// checkGrown compares an answer with the answers to each item alone.
func checkGrown(list []runtime.Item, got engine.Response, err error) error {
	shapes := map[string]bool{}
	fails := false
	alone := make([][]tensor.Tensor, len(list))
	var infinite []int
	for i, item := range list {
		outputs, failure := grow(list[i : i+1])
		if failure != nil {
			fails = true
			continue
		}
		alone[i] = outputs
		shapes[outputs[1].Shape.String()] = true
		if math.IsInf(float64(number(item[0])), 0) {
			infinite = append(infinite, i)
		}
	}
	switch {
	case fails || len(shapes) > 1:
		if err == nil {
			return fmt.Errorf("fails %v, shapes %v: answered", fails, shapes)
		}
		if !fails && (slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), `output "bytes" has shape`)) {
			return fmt.Errorf("shapes %v: %w (kind %v)", shapes, err, slo.KindOf(err))
		}
		return nil
	case err != nil:
		if len(infinite) == len(list) && slo.KindOf(err) == slo.KindInvalid {
			return nil
		}
		return err
	}
	var failed []int
	for _, f := range got.Failed {
		failed = append(failed, f.Item)
		if slo.KindOf(f.Err) != slo.KindInvalid || f.Err.Error() != `output "scores" is not finite (+Inf): input "x" is not finite either (+Inf)` {
			return fmt.Errorf("an infinite item: %w (kind %v)", f.Err, slo.KindOf(f.Err))
		}
	}
	if !slices.Equal(failed, infinite) {
		return fmt.Errorf("items %v failed, want %v", failed, infinite)
	}
	for i := range list {
		for o, out := range got.Outputs {
			if !slices.Contains(infinite, i) && (!out.Shape[1:].Equal(alone[i][o].Shape[1:]) || !bytes.Equal(out.Row(i), alone[i][o].Data)) {
				return fmt.Errorf("item %d: output %q is %v % x, alone %v % x", i, out.Name, out.Shape, out.Row(i), alone[i][o].Shape, alone[i][o].Data)
			}
		}
	}
	return nil
}

// TestAnswersAreThoseOfItemsAlone sends concurrent requests with items of all sizes,
// including failing and infinite ones: every answer equals the answer to its item
// alone.
func TestAnswersAreThoseOfItemsAlone(t *testing.T) {
	for seed := range 20 {
		for _, dynamic := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				e := serveGrowing(t, dynamic, 1+seed%3)
				var wg sync.WaitGroup
				for caller := range 30 {
					wg.Go(func() {
						rng := rand.New(rand.NewPCG(uint64(seed), uint64(caller)))
						for range 5 {
							list := grownItems(rng, dynamic)
							got, err := e.Infer(t.Context(), "growing", "", growingRequest(list))
							if err := checkGrown(list, got, err); err != nil {
								t.Errorf("%v: %v", list, err)
								return
							}
						}
					})
				}
				wg.Wait()
				drain(t, e)
			})
		}
	}
}

// grownItems draws a request. With a dynamic input, the output's size follows from the
// input's, as a runtime may assume.
func grownItems(rng *rand.Rand, dynamic bool) []runtime.Item {
	size := rng.IntN(4) // 0: outputs without a byte
	list := make([]runtime.Item, 1+rng.IntN(12))
	for i := range list {
		if rng.IntN(40) == 0 {
			size = rng.IntN(4)
		}
		x := []float32{float32(size)}
		if dynamic {
			x = append(x, make([]float32, size)...)
		}
		switch rng.IntN(60) {
		case 0:
			x[0] = 13
		case 1:
			if size == 0 {
				x[0] = float32(math.Inf(1))
			}
		}
		list[i] = runtime.Item{numbers(x...), {byte(rng.IntN(2))}}
	}
	return list
}

// TestSizesThatDependOnValuesAndNotOnLengths has items of the same length with answers
// of different sizes. The engine detects that from the samples when the model is
// loaded. From then on no answer is padded to the size of another.
func TestSizesThatDependOnValuesAndNotOnLengths(t *testing.T) {
	served := growing(true)
	served.Model.Dir, served.Model.Evaluation.Profile = t.TempDir(), "samples.npz"
	f, err := os.Create(served.Model.File(served.Model.Evaluation.Profile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := modelpkg.WriteNPZ(f, []tensor.Tensor{
		{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{2, 2}, Data: numbers(1, 0, 3, 0)},
		{Name: "setting", DType: tensor.Uint8, Shape: tensor.Shape{2}, Data: []byte{0, 0}},
	}); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		rt := fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}, Answer: func(r fake.Run) ([]tensor.Tensor, error) { return grow(r.Items) }})
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAll, Instances: 1, Threads: 1,
			QueueItemsMax: 100, QueueJobsMax: 50, Log: discard}, rt)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				list := []runtime.Item{{numbers(float32(i%4), 0), {0}}}
				if err := checkGrown(list, inferGrown(t, e, list), nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		drain(t, e)
	})
}

// TestAJobWhoseAnswersDifferFailsAlone has the items of one job in different batches.
func TestAJobWhoseAnswersDifferFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := serveGrowing(t, false, 1)
		one, five := runtime.Item{numbers(1), {0}}, runtime.Item{numbers(5), {0}}
		list := slices.Concat(slices.Repeat([]runtime.Item{one}, 8), slices.Repeat([]runtime.Item{five}, 8))
		_, err := e.Infer(t.Context(), "growing", "", growingRequest(list))
		if slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), "has shape [1] for one item of the request and [5] for another") {
			t.Errorf("%v (kind %v)", err, slo.KindOf(err))
		}
		if err := checkGrown(list[:8], inferGrown(t, e, list[:8]), nil); err != nil {
			t.Error(err)
		}
		drain(t, e)
	})
}

func inferGrown(t *testing.T, e *engine.Engine, list []runtime.Item) engine.Response {
	t.Helper()
	got, err := e.Infer(t.Context(), "growing", "", growingRequest(list))
	if err != nil {
		t.Error(err)
	}
	return got
}

// TestAnInstanceLostWhileRunningApart loses the instance in the second of the runs that
// a failed batch is split into: results from before are discarded, and all items run
// again.
func TestAnInstanceLostWhileRunningApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := growing(true)
		var runs int
		warm := 4
		rt := fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}, Answer: func(r fake.Run) ([]tensor.Tensor, error) {
			outputs, err := grow(r.Items)
			if err == nil && r.Instance == 0 && r.Number > warm && len(r.Items) == 1 {
				if runs++; runs == 2 {
					return nil, fmt.Errorf("cable pulled: %w", runtime.ErrLost)
				}
			}
			return outputs, err
		}})
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAll, Instances: 1, Threads: 1,
			QueueItemsMax: 100, QueueJobsMax: 50, Log: discard}, rt)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { inferGrown(t, e, slices.Repeat([]runtime.Item{{numbers(1, 0), {0}}}, 8)) }) // the others wait behind it
		synctest.Wait()
		for i := range 3 {
			list := []runtime.Item{{numbers(1, float32(i)), {0}}}
			wg.Go(func() {
				if err := checkGrown(list, inferGrown(t, e, list), nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if _, err := e.Infer(t.Context(), "growing", "", growingRequest([]runtime.Item{{numbers(13, 0), {0}}})); err == nil {
				t.Error("a graph that fails has answered")
			}
		})
		wg.Wait()
		if runs < 2 {
			t.Error("no instance was lost: the test proves nothing")
		}
		drain(t, e)
	})
}

// TestWhatTheRuntimeReturnsIsChecked has outputs that cannot be split by items.
func TestWhatTheRuntimeReturnsIsChecked(t *testing.T) {
	scores := tensor.Tensor{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{1, 2}, Data: make([]byte, 8)}
	for _, outputs := range [][]tensor.Tensor{
		nil,
		{scores},
		{scores, {Name: "bytes", DType: tensor.Uint8}},
		{scores, {Name: "bytes", DType: tensor.Uint8, Shape: tensor.Shape{0, 1}}},
		{scores, {Name: "bytes", DType: tensor.Uint8, Shape: tensor.Shape{2, 1}, Data: []byte{1, 2}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			served := growing(false)
			warm := true
			rt := fake.New(fake.Config{Instant: true, Answer: func(r fake.Run) ([]tensor.Tensor, error) {
				if warm {
					return grow(r.Items)
				}
				return outputs, nil
			}})
			e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAll, Instances: 1, Threads: 1,
				QueueItemsMax: 100, QueueJobsMax: 50, Log: discard}, rt)
			if err != nil {
				t.Fatal(err)
			}
			warm = false
			if _, err := e.Infer(t.Context(), "growing", "", growingRequest([]runtime.Item{{numbers(1), {0}}})); slo.KindOf(err) != slo.KindInternal || err == nil {
				t.Errorf("%v: %v", outputs, err)
			}
			<-time.After(time.Second)
			drain(t, e)
		})
	}
}
