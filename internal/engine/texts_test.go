package engine_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// shouting is a model that answers texts in capitals, and with a score that is NaN for
// the text "?".
func shouting() engine.Served {
	spec := func(name string, d tensor.DType, shape ...int64) modelpkg.Spec {
		return modelpkg.Spec{Name: name, DType: d, Shape: shape}
	}
	m := &modelpkg.Model{
		Name: "shouting", Version: "1", Digest: "sha256:1", Task: "other", Metric: "external",
		Modalities: []modelpkg.Modality{{Name: "x", Inputs: []int{0}}},
		Inputs:     []modelpkg.Input{{Spec: spec("x", tensor.Bytes, 2), BytesMax: 64}},
		Outputs:    []modelpkg.Spec{spec("score", tensor.FP32), spec("y", tensor.Bytes, 2)},
		Variants:   []modelpkg.Variant{{Name: "v", Modalities: 1, Inputs: []int{0}, Path: "v.onnx", Precision: "fp32"}},
		Limits:     modelpkg.Limits{BatchItemsMax: 4},
	}
	p := &modelpkg.Profile{Model: "shouting", Variants: []modelpkg.VariantProfile{{Name: "v", Accuracy: modelpkg.AccuracyMean{Mean: 0.9},
		Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: 1, P95MS: 1}, {Items: 4, P50MS: 2, P95MS: 2}}}}}
	return engine.Served{Model: m, Profile: p}
}

func shout(items []runtime.Item) ([]tensor.Tensor, error) {
	n := int64(len(items))
	score := tensor.Tensor{Name: "score", DType: tensor.FP32, Shape: tensor.Shape{n}}
	var answers []string
	for _, item := range items {
		x, err := tensor.Values[string](tensor.Tensor{DType: tensor.Bytes, Shape: tensor.Shape{2}, Data: item[0]})
		if err != nil {
			return nil, err
		}
		number := numbers(1)
		if x[0] == "?" {
			number = []byte{0, 0, 0xc0, 0x7f}
		}
		score.Data = append(score.Data, number...)
		answers = append(answers, strings.ToUpper(x[0]), strings.ToUpper(x[1]))
	}
	y, err := tensor.Strings("y", tensor.Shape{n, 2}, answers)
	return []tensor.Tensor{score, y}, err
}

// TestTextsOfManyBatches has one job's texts run in several batches, beside those of
// others: every text comes back in its place.
func TestTextsOfManyBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := shouting()
		rt := fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}, Answer: func(r fake.Run) ([]tensor.Tensor, error) { return shout(r.Items) }})
		e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyAll, Instances: 2, Threads: 1,
			QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard}, rt)
		if err != nil {
			t.Fatal(err)
		}
		defer drain(t, e)
		for jobs := range 5 {
			done := make(chan string)
			for j := range jobs + 1 {
				go func() { done <- shoutJob(t, e, 1+5*j) }()
			}
			for range jobs + 1 {
				if fault := <-done; fault != "" {
					t.Error(fault)
				}
			}
		}
	})
}

// shoutJob sends a job of n items, of which every seventh fails, and returns what is
// wrong with the answer.
func shoutJob(t *testing.T, e *engine.Engine, n int) string {
	var list []runtime.Item
	var want []string
	for i := range n {
		text := strings.Repeat("ab", i%11)
		if i%7 == 3 {
			text = "?"
		}
		x, err := tensor.Strings("x", tensor.Shape{2}, []string{text, "c"})
		if err != nil {
			return err.Error()
		}
		list, want = append(list, runtime.Item{x.Data}), append(want, strings.ToUpper(text), "C")
	}
	r, err := e.Infer(t.Context(), "shouting", "1", engine.Request{Modalities: 1, Items: list, Objective: slo.Objective{Deadline: slo.Never}})
	if err != nil {
		return err.Error()
	}
	got, err := tensor.Values[string](r.Outputs[1])
	if err != nil {
		return err.Error()
	}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		return strings.Join(got, ",") + " instead of " + strings.Join(want, ",")
	}
	if len(r.Failed) != (n+3)/7 {
		return "items that failed are missing"
	}
	return ""
}
