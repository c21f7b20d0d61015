package server_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// smallTokenizer knows a few words.
const smallTokenizer = `{"normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "lowercase": true},
  "pre_tokenizer": {"type": "BertPreTokenizer"},
  "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
  "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "play": 4, "##ing": 5, "ete": 6, "!": 7}}}`

// writeTokens writes a model that gives ids, mask and types back, of this length; or with
// these buckets.
func writeTokens(t *testing.T, dir, name string, length int64, buckets ...int64) {
	t.Helper()
	ids, mask, types := typeSpec("ids", tensor.Int64, length), typeSpec("mask", tensor.Int64, length), typeSpec("types", tensor.Int64, length)
	if length < 0 {
		ids.Max, mask.Max, types.Max = 6, 6, 6
	}
	m := &modelpkg.Model{Name: name, Version: "1", Limits: modelpkg.Limits{BatchItemsMax: 4},
		Modalities: []modelpkg.Modality{{Name: "text", Inputs: []int{0, 1, 2}}, {Name: "f", Inputs: []int{3}}},
		Inputs: []modelpkg.Input{{Spec: ids, Media: modelpkg.MediaText, Tokens: &modelpkg.Tokens{Path: "tokenizer.json", Mask: 1, Types: 2}},
			{Spec: mask}, {Spec: types}, {Spec: typeSpec("f", tensor.FP32, 2), Modality: 1}},
		Outputs: []modelpkg.Spec{typeSpec("scores", tensor.FP32, 2), typeSpec("y_ids", tensor.Int64, length), typeSpec("y_mask", tensor.Int64, length),
			typeSpec("y_types", tensor.Int64, length)},
		Variants: []modelpkg.Variant{{Name: "v", Modalities: 3}}}
	if len(buckets) > 0 {
		b := &modelpkg.Buckets{Mask: 1, Types: 2, Length: -1}
		for _, size := range buckets {
			b.Shapes = append(b.Shapes, tensor.Shape{size})
		}
		m.Inputs[0].Buckets = b
		for _, i := range []int{0, 1, 2} {
			m.Inputs[i].Max, m.Outputs[1+i].Max, m.Outputs[1+i].Follows = 0, 0, "ids"
		}
	}
	var g modelpkgtest.Graph
	for _, pair := range [][2]string{{"f", "scores"}, {"ids", "y_ids"}, {"mask", "y_mask"}, {"types", "y_types"}} {
		g.Node("Identity", []string{pair[0]}, []string{pair[1]})
	}
	for _, in := range m.Inputs {
		g.Input(in.Name, in.DType, modelpkgtest.Batch, int(in.Shape[0]))
	}
	for _, out := range m.Outputs {
		g.Output(out.Name, out.DType, modelpkgtest.Batch, int(out.Shape[0]))
	}
	if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name, "tokenizer.json"), []byte(smallTokenizer), 0o644); err != nil {
		t.Fatal(err)
	}
	measured := slices.Repeat([]modelpkgtest.Measured{{Accuracy: 0.9, Item: time.Millisecond}}, max(1, len(buckets)))
	loaded, err := modelpkgtest.WriteGraphs(dir, m, measured, func(modelpkg.Variant) []byte { return g.File() })
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Files["tokenizer.json"] == "" {
		t.Error("the tokenizer is not part of the digest")
	}
}

// TestTextsBecomeIDs sends texts to models of ids, over REST and gRPC: what the graph gets
// is ids, a mask and types.
func TestTextsBecomeIDs(t *testing.T) {
	dir := t.TempDir()
	writeTokens(t, dir, "fixed", 6)
	writeTokens(t, dir, "free", -1)
	writeTokens(t, dir, "sized", -1, 4, 6, 9)
	w := serveTypes(t, dir)
	ask := func(way, model string, texts ...string) (int, []tensor.Tensor, string) {
		n := int64(len(texts))
		f, err1 := tensor.Of("f", tensor.Shape{n, 2}, make([]float32, 2*n))
		x, err2 := tensor.Strings("ids", tensor.Shape{n}, texts)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		return w.ask(t, way, model, []tensor.Tensor{x, f})
	}
	for _, way := range []string{"JSON", "binary", "gRPC"} {
		for _, c := range []struct {
			model     string
			texts     []string
			ids, mask []int64
		}{
			{"fixed", []string{"Playing, été!", "", "play play play play play play"},
				[]int64{2, 4, 5, 1, 6, 3, 2, 3, 0, 0, 0, 0, 2, 4, 4, 4, 4, 3}, []int64{1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}},
			{"free", []string{"play!", "play play"}, []int64{2, 4, 7, 3, 2, 4, 4, 3}, []int64{1, 1, 1, 1, 1, 1, 1, 1}},
			{"sized", []string{"play!", "play play"}, []int64{2, 4, 7, 3, 2, 4, 4, 3}, []int64{1, 1, 1, 1, 1, 1, 1, 1}},
			{"sized", []string{"play! play"}, []int64{2, 4, 7, 4, 3}, []int64{1, 1, 1, 1, 1}},
			{"sized", []string{"play play play play play play play"}, []int64{2, 4, 4, 4, 4, 4, 4, 4, 3}, []int64{1, 1, 1, 1, 1, 1, 1, 1, 1}},
			{"free", []string{"play play play play play play"}, []int64{2, 4, 4, 4, 4, 3}, []int64{1, 1, 1, 1, 1, 1}},
		} {
			status, outputs, fault := ask(way, c.model, c.texts...)
			if status != 200 {
				t.Fatalf("%s: %d %s", way, status, fault)
			}
			ids, err1 := tensor.Values[int64](outputs[1])
			mask, err2 := tensor.Values[int64](outputs[2])
			if err1 != nil || err2 != nil || !slices.Equal(ids, c.ids) || !slices.Equal(mask, c.mask) || !bytes.Equal(outputs[3].Data, make([]byte, 8*len(ids))) {
				t.Errorf("%s %v: %v %v %v, want %v %v", way, c.texts, ids, mask, outputs[3].Data, c.ids, c.mask)
			}
		}
	}
	if status, _, fault := ask("JSON", "sized", "play", "play play play play play play play play"); status != 200 || fault != "" { // the second fails alone
		t.Errorf("%d %s", status, fault)
	}
	if status, _, fault := ask("JSON", "sized", "play play play play play play play play"); status != 400 || !strings.Contains(fault, `item 0: input \"ids\": the text has more than 9 tokens, the largest bucket of the model`) {
		t.Errorf("%d %s", status, fault)
	}
	if status, _, fault := ask("JSON", "sized", "play", "play play play"); status != 400 || !strings.Contains(fault, "they cannot be one tensor") {
		t.Errorf("%d %s", status, fault)
	}
	if status, _, fault := ask("binary", "fixed", "play", "\xff"); status != 200 || fault != "" {
		t.Errorf("%d %s", status, fault)
	}
	if status, _, fault := ask("binary", "fixed", "\xff"); status != 400 || !strings.Contains(fault, `item 0: input \"ids\": the text is not UTF-8`) {
		t.Errorf("%d %s", status, fault)
	}
	x, _ := tensor.Strings("ids", tensor.Shape{1}, []string{"play"}) // as many as the shape says
	mask, _ := tensor.Of("mask", tensor.Shape{1, 6}, make([]int64, 6))
	if status, _, fault := w.ask(t, "JSON", "fixed", []tensor.Tensor{x, mask}); status != 400 || !strings.Contains(fault, `input \"mask\" was sent, but it is made of the text`) {
		t.Errorf("%d %s", status, fault)
	}
	ids, _ := tensor.Of("ids", tensor.Shape{1, 6}, make([]int64, 6))
	if status, _, fault := w.ask(t, "JSON", "fixed", []tensor.Tensor{ids}); status != 400 || !strings.Contains(fault, `mask, types is missing`) {
		t.Errorf("%d %s", status, fault)
	}
}
