package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// wordsTokenizer has a token for each of 300 words.
func wordsTokenizer() []byte {
	var vocabulary strings.Builder
	for i := range 300 {
		fmt.Fprintf(&vocabulary, `, "w%d": %d`, i, 2+i)
	}
	return fmt.Appendf(nil, `{"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[PAD]": 0, "[UNK]": 1%s}}}`, vocabulary.String())
}

// words is a model of texts that become ids, in buckets of 4 and 256, and of a number.
func words(t testing.TB) engine.Served {
	t.Helper()
	spec := func(name string, d tensor.DType, shape ...int64) modelpkg.Spec {
		return modelpkg.Spec{Name: name, DType: d, Shape: shape}
	}
	m := &modelpkg.Model{Name: "words", Version: "1", Limits: modelpkg.Limits{BatchItemsMax: 8},
		Modalities: []modelpkg.Modality{{Name: "text", Inputs: []int{0, 1}}, {Name: "number", Inputs: []int{2}}},
		Inputs: []modelpkg.Input{
			{Spec: spec("ids", tensor.Int64, -1), Media: modelpkg.MediaText, Tokens: &modelpkg.Tokens{Path: "tokenizer.json", Mask: 1, Types: -1},
				Buckets: &modelpkg.Buckets{Shapes: []tensor.Shape{{4}, {256}}, Mask: 1, Types: -1, Length: -1}},
			{Spec: spec("mask", tensor.Int64, -1)}, {Spec: spec("number", tensor.FP32), Modality: 1},
		},
		Outputs:  []modelpkg.Spec{spec("scores", tensor.FP32, 2)},
		Variants: []modelpkg.Variant{{Name: "text", Modalities: 1}, {Name: "number", Modalities: 2}},
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, m.Name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, m.Name, "tokenizer.json"), wordsTokenizer(), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := modelpkgtest.Write(dir, m, slices.Repeat([]modelpkgtest.Measured{{Accuracy: 0.9, Item: time.Millisecond}}, 3))
	if err != nil {
		t.Fatal(err)
	}
	p, err := modelpkg.FindProfile(loaded, "")
	if err != nil {
		t.Fatal(err)
	}
	return engine.Served{Model: loaded, Profile: p}
}

func serveWords(t testing.TB, served engine.Served, cfg fake.Config) *engine.Engine {
	t.Helper()
	e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: plan.PolicyMosel, Instances: 1, Threads: 1,
		QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard}, fake.New(cfg))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func wordsRequest(modalities slo.Modalities, texts ...string) engine.Request {
	r := engine.Request{Modalities: modalities, Encoded: []bool{true, false, false}, Objective: slo.Objective{Deadline: slo.Never}}
	for _, text := range texts {
		r.Items = append(r.Items, runtime.Item{[]byte(text), nil, []byte{0, 0, 0, 0}})
	}
	return r
}

// TestTextsAreMadeIntoIDsOnce counts how often texts are read whose length decides about
// their bucket, and looks at what runs. A text of which no ids can be made, or too many,
// fails its item alone, and only if it is read.
func TestTextsAreMadeIntoIDsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := words(t)
		var ran []string
		e := serveWords(t, served, fake.Config{Instant: true, Fail: func(r fake.Run) error {
			for _, item := range r.Items {
				if v := served.Model.Variants[r.Variant]; v.Declared() == "text" {
					ran = append(ran, fmt.Sprint(v.Name, " ", item[0][: 4*8 : 4*8][8], " ", item[1][3*8], " ", len(item[0])/8))
				}
			}
			return nil
		}})
		ran = nil
		got, err := e.Infer(t.Context(), "words", "", wordsRequest(1, "w1 w7 w2", "w1 w7 w2 w3 w4"))
		if files, _ := e.FilesDecoded(); err != nil || files != 2 {
			t.Errorf("%d texts were read: %v", files, err)
		}
		slices.Sort(ran)
		if want := []string{"text@256 9 1 256", "text@4 9 0 4"}; !slices.Equal(ran, want) {
			t.Errorf("%q ran, want %q", ran, want)
		}
		long := strings.Repeat("w1 ", 257)
		got, err = e.Infer(t.Context(), "words", "", wordsRequest(1, "w1", "\xff", long, "w2"))
		if err != nil || len(got.Failed) != 2 || got.Failed[0].Item != 1 || got.Failed[1].Item != 2 || !strings.Contains(got.Failed[1].Err.Error(), "more than 256 tokens") {
			t.Errorf("%+v, %v", got.Failed, err)
		}
		if got, err = e.Infer(t.Context(), "words", "", wordsRequest(2, "\xff", long)); err != nil || len(got.Failed) != 0 {
			t.Errorf("texts that nobody reads: %+v, %v", got.Failed, err)
		}
		drain(t, e)
	})
}

// BenchmarkTexts is the time of a request of 8 texts of 200 words, without a model.
func BenchmarkTexts(b *testing.B) {
	var text strings.Builder
	for i := range 200 {
		fmt.Fprintf(&text, "w%d ", i)
	}
	e := serveWords(b, words(b), fake.Config{Instant: true})
	r := wordsRequest(1, slices.Repeat([]string{text.String()}, 8)...)
	for b.Loop() {
		if _, err := e.Infer(b.Context(), "words", "", r); err != nil {
			b.Fatal(err)
		}
	}
	drainBench(b, e)
}
