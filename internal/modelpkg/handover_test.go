package modelpkg_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// handed loads the staged package with a third variant, whose fusion reads a mask of
// the text encoder too, and a fourth, in which a filter changes the features of the text.
func handed(t *testing.T) *modelpkg.Model {
	t.Helper()
	graphs := stagedGraphs()
	graphs["text.onnx"].Output("mask", tensor.FP32, modelpkgtest.Batch, 4)
	masked := new(modelpkgtest.Graph)
	masked.Input("mask", tensor.FP32, modelpkgtest.Batch, 4)
	masked.Input("text_features", tensor.FP32, modelpkgtest.Batch, 16)
	masked.Input("image_features", tensor.FP32, modelpkgtest.Batch, 16)
	masked.Output("scores", tensor.FP32, modelpkgtest.Batch, 2)
	filter := new(modelpkgtest.Graph)
	filter.Input("text_features", tensor.FP32, modelpkgtest.Batch, 16)
	filter.Output("text_features", tensor.FP32, modelpkgtest.Batch, 16)
	graphs["masked.onnx"], graphs["filter.onnx"] = masked, filter
	yaml := strings.Replace(stagedYAML, "variants:\n", "  - {name: masked, path: masked.onnx}\n  - {name: filter, path: filter.onnx}\nvariants:\n", 1) +
		"  - {name: masked, modalities: [text, image], stages: [text_encoder, image_encoder, masked]}\n" +
		"  - {name: filtered, modalities: [text], stages: [text_encoder, filter, head]}\n"
	m, err := modelpkg.Load(writeStaged(t, yaml, graphs))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const text, both, masked, filtered = 0, 1, 2, 3

func TestHandover(t *testing.T) {
	m := handed(t)
	for _, c := range []struct {
		to   int
		from []int
		want string
	}{
		{both, []int{text}, "[text_features]"},
		{masked, []int{text}, "[text_features mask]"},
		{masked, []int{both}, "[image_features text_features mask]"},
		{masked, []int{text, both}, "[image_features text_features mask]"},
		{filtered, []int{text}, "[text_features]"},
		{both, []int{filtered}, "[text_features]"}, // of the encoder, not of the filter
		{text, []int{filtered}, "[text_features]"}, // the head after the filter is another unit
	} {
		var names []string
		encoder := m.Variants[text].Steps[0].Unit
		for _, value := range m.Handover(c.to, c.from...) {
			names = append(names, value.Name)
			if value.Name == "text_features" && value.Unit != encoder {
				t.Errorf("%d after %v: the text's features are those of unit %d", c.to, c.from, value.Unit)
			}
		}
		slices.Sort(names)
		want := strings.Fields(strings.Trim(c.want, "[]"))
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("%d after %v: %v, want %v", c.to, c.from, names, want)
		}
	}
	if got := fmt.Sprint(m.Handed(text, 0)); got != "[text_features mask]" {
		t.Errorf("the text encoder hands on %s", got)
	}
	if a, b := m.Variants[text].Steps[1].Unit, m.Variants[filtered].Steps[2].Unit; a == b {
		t.Error("the head of other features is the same unit")
	}
}

func TestNeeded(t *testing.T) {
	m := handed(t)
	features := m.Handover(both, text)
	image := modelpkg.Intermediate{Unit: m.Variants[both].Steps[1].Unit, Name: "image_features"}
	for _, c := range []struct {
		name        string
		variant     int
		given, keep []modelpkg.Intermediate
		inner       bool
		want        string
	}{
		{"all", both, nil, nil, false, "[true true true] [0 1]"},
		{"keeps", text, nil, features, false, "[true true] [0]"},
		{"rest", both, features, nil, false, "[false true true] [1]"},
		{"head alone", both, append(features, image), nil, false, "[false false true] []"},
		{"encoder alone", both, nil, []modelpkg.Intermediate{image}, true, "[false true false] [1]"},
	} {
		run, inputs, err := m.Needed(c.variant, c.given, c.keep, c.inner)
		if got := fmt.Sprint(run, inputs); err != nil || got != c.want {
			t.Errorf("%s: %s %v, want %s", c.name, got, err, c.want)
		}
	}
	if _, _, err := m.Needed(text, nil, []modelpkg.Intermediate{image}, false); err == nil {
		t.Error("a variant of texts gives features of images")
	}
}

// TestStageRuns lists the stages of a package whose text has two sizes.
func TestStageRuns(t *testing.T) {
	graphs := stagedGraphs()
	graphs["text.onnx"] = new(modelpkgtest.Graph)
	graphs["text.onnx"].Input("ids", tensor.Int64, modelpkgtest.Batch, modelpkgtest.Batch)
	graphs["text.onnx"].Output("text_features", tensor.FP32, modelpkgtest.Batch, 16)
	yaml := strings.Replace(stagedYAML, "shape: [4]", "shape: [-1], buckets: [4, 8]", 1)
	m, err := modelpkg.Load(writeStaged(t, yaml, graphs))
	if err != nil {
		t.Fatal(err)
	}
	runs, of := m.StageRuns()
	var names []string
	for _, r := range runs {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, " "); got != "text_encoder@4 text_encoder@8 image_encoder head@4 head@8 fusion@4 fusion@8" {
		t.Errorf("stages %s", got)
	}
	if got := fmt.Sprint(of); got != "[[0 3] [1 4] [0 2 5] [1 2 6]]" {
		t.Errorf("variants %s", got)
	}
}

// TestProfileOfStages loads profiles with the stages' times, without them, and with
// those of other stages.
func TestProfileOfStages(t *testing.T) {
	m := handed(t)
	batches := []modelpkg.BatchProfile{{Items: 1, P50MS: 1, P95MS: 1, Runs: 3}}
	profile := func() *modelpkg.Profile {
		p := &modelpkg.Profile{Format: 1, Model: m.Name, ModelDigest: m.Digest, Device: "cpu", Threads: 1}
		for _, v := range m.Variants {
			p.Variants = append(p.Variants, modelpkg.VariantProfile{Name: v.Name, Modalities: v.Modalities.Names(m.ModalityNames()), Precision: v.Precision,
				Accuracy: modelpkg.MeasuredAccuracy(1, 2), Sum: &modelpkg.StageSum{Used: true}, Batches: batches})
		}
		for _, s := range m.Stages {
			p.Stages = append(p.Stages, modelpkg.StageProfile{Name: s.Name, Batches: batches})
		}
		return p
	}
	for name, c := range map[string]struct {
		change func(p *modelpkg.Profile)
		want   string // in the error; "" for none
	}{
		"all":             {func(*modelpkg.Profile) {}, ""},
		"of older mosels": {func(p *modelpkg.Profile) { p.Stages = nil }, ""},
		"too few":         {func(p *modelpkg.Profile) { p.Stages = p.Stages[1:] }, "it has 5 stages; the model has 6"},
		"another order":   {func(p *modelpkg.Profile) { slices.Reverse(p.Stages) }, "stage 0 is filter; the model has text_encoder"},
		"no batches":      {func(p *modelpkg.Profile) { p.Stages[2].Batches = nil }, "stage head: the first batch must be of 1 item"},
	} {
		p := profile()
		c.change(p)
		if err := p.Save(m.ProfilePath("cpu")); err != nil {
			t.Fatal(err)
		}
		got, err := modelpkg.LoadProfile(m, m.ProfilePath("cpu"))
		if c.want == "" && (err != nil || len(got.Stages) != len(p.Stages)) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
